//! Consensus: one openraft group per shard. All of openraft's generics end here.
//!
//! [`Group`] is a shard's raft: it takes encoded entries and gives their outcomes, read indexes and memberships.
//!
//! Invariants:
//! * Nothing outside this module names openraft; nothing it writes or sends depends on openraft's serialization.
//! * An error tells whether an entry may have been appended: see [`WriteError`].
//! * The storage underneath failing, or the state being broken, stops the group for good and says why.
//!
//! Not here: batching, deadlines and forwarding (`crate::shards`), bytes on the wire (`crate::peer`), bytes on disk
//! (`crate::storage`).

mod clocks;
mod config;
mod confirm;
mod entry;
mod feed;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod group;
mod heart;
mod holds;
mod incoming;
mod lease;
mod log;
mod machine;
mod membership;
mod network;
mod news;
mod outgoing;
mod purge;
mod reading;
mod recovery;
#[cfg(test)]
mod seeded;
mod serve;
#[cfg(test)]
mod simulation;
mod snapshot;
mod sooner;
#[cfg(test)]
mod suite;
mod types;
mod wire;

pub(crate) use clocks::{Middle, Wall};
pub(crate) use confirm::Rounds;
pub(crate) use entry::{Body, COMMANDS_BYTES_MAX, COMMANDS_MAX, Stamp};
pub(crate) use feed::{Feed, Reader, key as feed_key};
pub(crate) use group::{Group, Leader, Open, WriteError, Writing};
pub(crate) use lease::Promises;
pub(crate) use membership::ChangeError;
pub(crate) use news::News;
pub(crate) use types::Outcome;
pub(crate) use wire::{decode_read_index, encode_read_index};
