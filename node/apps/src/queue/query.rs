//! What the queue is asked: plain data, no decisions.
//!
//! Travels between members of two releases during an upgrade: new variants and fields are appended.

use super::{Place, QueueName, Source, SubscriptionId, TaskId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One task.
    Task {
        /// Whose; `None` = of anybody.
        tenant: Option<String>,
        /// Which.
        id: TaskId,
    },
    /// One task and its result.
    Result {
        /// Whose; `None` = of anybody.
        tenant: Option<String>,
        /// Which.
        id: TaskId,
    },
    /// Whether a claim would find something.
    Head {
        /// Of whom.
        tenant: String,
        /// From these queues, in this order; at most [`COMMANDS_MAX`](super::COMMANDS_MAX).
        from: Vec<Source>,
    },
    /// One queue.
    Queue {
        /// Whose.
        tenant: String,
        /// Its command.
        command: String,
    },
    /// A page of queues, by tenant and command.
    Queues {
        /// Whose; `None` = of anybody.
        tenant: Option<String>,
        /// Behind this one.
        after: Option<QueueName>,
        /// So many, at most [`ROWS_MAX`](super::ROWS_MAX); 0 = as many.
        limit: u32,
    },
    /// A page of tasks of a queue.
    List(List),
    /// Webhooks to be called by a time. The caller's: the last entry may be old.
    Hooks {
        /// In milliseconds since 1970.
        until_ms: u64,
        /// Behind that one: when it was due, and its task.
        after: Option<(u64, TaskId)>,
        /// So many, at most [`ROWS_MAX`](super::ROWS_MAX); 0 = as many.
        limit: u32,
    },
    /// When [`Command::Tick`](super::Command::Tick) will have something to do.
    NextDue,
    /// One topic.
    Topic {
        /// Whose.
        tenant: String,
        /// Its name.
        name: String,
    },
    /// A page of topics, by name.
    Topics {
        /// Whose.
        tenant: String,
        /// Behind this one.
        after: Option<String>,
        /// So many, at most [`ROWS_MAX`](super::ROWS_MAX); 0 = as many.
        limit: u32,
    },
    /// A page of subscriptions of all tenants, by id.
    Subscriptions {
        /// Behind this one.
        after: Option<SubscriptionId>,
        /// So many, at most [`ROWS_MAX`](super::ROWS_MAX); 0 = as many.
        limit: u32,
    },
}

/// A page of tasks of a queue, in order: first by place, then as they would be claimed, become due, were claimed or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Whose.
    pub tenant: String,
    /// Of which queue.
    pub command: String,
    /// Only there; `None` = everywhere.
    pub place: Option<Place>,
    /// Only those created then.
    pub created: Span,
    /// Only those that ended then; one without bounds is met by those that have not ended, too.
    pub ended: Span,
    /// Where the page before ended.
    pub after: Option<Bytes>,
    /// Looks at so many tasks, at most [`ROWS_MAX`](super::ROWS_MAX); 0 = as many.
    pub limit: u32,
    /// Whether to tell payloads.
    pub payloads: bool,
}

/// A span of time, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// From this time on.
    pub from_ms: Option<u64>,
    /// Before this time.
    pub before_ms: Option<u64>,
}
