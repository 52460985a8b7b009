//! The cluster record: who belongs to this cluster, replicated on shard 0 from the first entry.
//!
//! The record is the intent. The leader of shard 0 drives raft's memberships toward it and marks it settled.

mod command;
mod record;

pub use command::{Command, Event, Query, Refusal, Reply};
pub use record::{Member, Record};
