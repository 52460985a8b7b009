//! The Schedia server and its command line.
//!
//! A node is one process: a member of a cluster that replicates the applications of `schedia_apps` by consensus, and
//! serves them over HTTP. One way only: doors -> shards -> raft -> storage.
//!
//! # The life of a write
//! 1. [`doors::server`] accepts the connection and reads the header; [`doors::native`] admits the request, counts its
//!    body, decodes the key and makes a `schedia_apps::Command` of it. No decision is made there.
//! 2. [`shards::Shard::propose`] forwards it to the leader over [`peer`] if this node does not lead. On the leader
//!    the shard's proposer drains its queue, stamps the commands with log time, and hands them to raft as one entry.
//! 3. `raft` appends the entry and sends it to the members, at the same time. [`storage`]'s writer thread writes what
//!    all shards queued and syncs once. The entry is committed when a majority has synced it.
//! 4. Every member applies the entry: the application's `apply` writes into the overlay of the state, and returns the
//!    reply. A refusal changes nothing, and is the same on all of them.
//! 5. The node that took the request has its reply. [`doors::error`] gives an error its status, code and words.
//! 6. Within some seconds the flusher brings the overlay to the state file, together with the mark of what it
//!    covers; then the log below that mark may be purged.
//!
//! # The life of a read
//! 1. The door makes a `schedia_apps::Query` of the request.
//! 2. [`shards::Shard::read`] asks the leader how far a read must look. The leader makes sure that it still leads by
//!    one round to a majority, shared by all reads that wait for one.
//! 3. This node waits until it has applied that far, and answers from overlay and state file. `consistency=stale`
//!    skips 2 and the waiting.
//!
//! # What survives a crash
//! Everything that was acknowledged: it is in the synced logs of a majority. A node that comes back opens its state
//! as of the last checkpoint, applies what the log has beyond it, and takes part under its old id, with no call to
//! anybody. A request under way is lost with its connection; its client does not know whether it was applied, and is
//! told so (`outcome_unknown`) whenever there is still somebody to tell.
//!
//! # Reading order
//! [`config`] (what may be set), [`node`] (how the parts are put together, begin and end), [`doors`] and [`admin`]
//! (what is served), [`shards`] (proposing, reading, the membership driver), `raft` (where openraft's types end),
//! [`peer`] (what members say to each other), [`storage`] (what is on disk), [`join`] (how a node becomes a member),
//! [`auth`] (who a client is), [`health`] (what it tells of itself), [`cli`].

pub mod admin;
pub mod auth;
pub mod cli;
mod compaction;
pub mod config;
pub mod doors;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod health;
pub mod join;
pub mod listen;
pub mod metrics;
pub mod node;
pub mod peer;
pub mod queues;
mod raft;
pub(crate) mod request;
pub mod shards;
pub mod storage;
pub mod telemetry;
