//! A cluster in one thread, in time that is not waited for: the same seed plays the same second by second.
//!
//! Real: openraft's core, rounds for reads (`confirm`), the encodings of messages and entries (`wire`, `types`), the log and its segments, the state machine
//! and its applications, the state file. Simulated: the network, the time a sync takes, clocks, crashes, and which of the
//! unsynced entries a crash leaves ([`node`], [`network`]). One tokio runtime of one thread with its clock paused plays it; openraft
//! draws its timeouts from the seed (`super::seeded`). Threads of storage are waited for while nothing else runs.
//!
//! After each step ([`Truth`]):
//! * a term has one leader at most;
//! * an entry that was applied anywhere is the entry of its index for ever, and leaves the same state on every node;
//! * logs that have an entry of the same index and term are the same up to there;
//! * a read that a majority has confirmed sees all that was acknowledged or read before it began.
//!
//! In the end everything that was acknowledged is in the state of all, once.
//!
//! Not simulated: changes of membership, votes lost on their way to a disk, snapshots, connections and forwarding, whose tasks use threads of tokio's (`spawn_blocking`) or choose at random
//! (`select!`): those are for `cargo torture`.

mod network;
mod node;
mod tests;
mod truth;
mod world;

pub(super) use network::Net;
pub(super) use node::{Node, Raft};
pub(super) use truth::Truth;
pub(super) use world::{play, play_on};
