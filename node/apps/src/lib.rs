//! The replicated applications of Schedia as pure state machines.
//!
//! An [`App`] turns a committed command into changes of its tables and a reply, the same on every member.
//!
//! Invariants:
//! * Nothing here sees a clock, a socket, randomness or raft; the time of a command is its entry's ([`At`]).
//! * Nothing here can fail because of the network or of another member.
//! * A refused command changes no table and no memory (`tables::Delta`).
//!
//! Not here: where tables live (`storage` of schedia-node), who is allowed to ask (its doors), what is durable (its log).

mod applications;
pub mod cluster;
mod ids;
mod keys;
pub mod kv;
pub mod once;
pub mod queue;
mod stop;
pub mod tables;

pub use applications::{Applications, Command, Event, InvalidCommand, Query, Reply, TABLES, sweep};
pub use ids::{At, ClusterId, Epoch, InvalidId, Level, NodeId, ShardId, StoreId};
pub use stop::{Refusal, Stop};

use tables::Tables;

/// A replicated application: a pure state machine over its tables.
///
/// Whatever an implementation keeps in memory is derived from its tables, and rebuilt by [`App::open`] at start
/// and after a snapshot was installed.
pub trait App: Sized {
    /// A replicated write.
    type Command;
    /// A read.
    type Query;
    /// What a command or query answers.
    type Reply;
    /// What a command made happen, in order: for watchers and wake-ups.
    type Event;

    /// Rebuilds what the application keeps in memory.
    fn open(tables: &dyn Tables) -> Result<Self, Stop>;

    /// Executes one committed command. On [`Stop::Refused`] tables and memory are as before.
    fn apply(
        &mut self,
        at: At,
        command: Self::Command,
        tables: &mut dyn Tables,
    ) -> Result<(Self::Reply, Vec<Self::Event>), Stop>;

    /// Answers a read from the state as it is; `at` is that of the last applied entry.
    fn query(&self, at: At, query: Self::Query, tables: &dyn Tables) -> Result<Self::Reply, Stop>;
}
