//! What the queue tells of tasks, queues, topics and subscriptions: plain data.
//!
//! Travels between members of two releases during an upgrade: new variants and fields are appended.

use super::{Artifact, Delivery, PRIORITIES, Policy, Retry, SubscriptionId, TaskId, Token};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Place {
    /// Can be claimed.
    Ready,
    /// Becomes ready when it is due.
    Delayed,
    /// Leased to a worker.
    InProgress,
    /// As many claims failed as may.
    Dead,
    /// A worker did it.
    Completed,
    /// A worker found that it cannot be done.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Ready => "ready",
            Place::Delayed => "delayed",
            Place::InProgress => "in progress",
            Place::Dead => "dead",
            Place::Completed => "completed",
            Place::Failed => "failed",
            Place::Cancelled => "cancelled",
        })
    }
}

/// A task as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// Whose.
    pub tenant: String,
    /// As it was spelled when it was created.
    pub command: String,
    /// JSON text; empty where a list was asked to leave it out.
    pub payload: Bytes,
    /// 0 to 9.
    pub priority: u8,
    /// Called when the task has ended.
    pub webhook: Option<String>,
    /// W3C trace context.
    pub trace_parent: Option<String>,
    /// W3C trace context.
    pub trace_state: Option<String>,
    /// The idempotency key it was created under.
    pub key: Option<String>,
    /// Where it is.
    pub place: Place,
    /// Who works at it, in progress only.
    pub lease: Option<Lease>,
    /// When it becomes ready; delayed only.
    pub due_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// Claims that failed.
    pub failures: u32,
    /// How many may.
    pub max_attempts: u32,
    /// Why it ended without success.
    pub error: Option<String>,
    /// When it is tried again.
    pub retry: Retry,
    /// How long it is kept once it has ended.
    pub retention_ms: u64,
    /// When it was created.
    pub created_ms: u64,
    /// When it was changed.
    pub updated_ms: u64,
}

impl Task {
    /// Which attempt this is: that of the claim under way or done, or of the claim to come once one has failed; 0 before.
    pub fn attempts(&self) -> u32 {
        match self.place {
            Place::InProgress | Place::Completed | Place::Failed => self.failures.saturating_add(1),
            Place::Ready | Place::Delayed if self.failures > 0 => self.failures.saturating_add(1),
            Place::Ready | Place::Delayed | Place::Dead | Place::Cancelled => self.failures,
        }
    }
}

/// A task that a worker has claimed is its own until the lease ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Names the lease.
    pub token: Token,
    /// Whose it is.
    pub worker: String,
    /// When it ends, or later if leadership has changed since.
    pub until_ms: u64,
}

/// What a task came to, if a worker said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// JSON text.
    pub result: Option<Bytes>,
    /// Files that were made.
    pub artifacts: Vec<Artifact>,
}

/// A queue: its tenant and its command in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueName {
    /// Whose.
    pub tenant: String,
    /// In lower case.
    pub command: String,
}

/// A queue as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Which.
    pub name: QueueName,
    /// Whether claims pass it over.
    pub paused: bool,
    /// Its tasks.
    pub counts: Counts,
    /// What has happened to it.
    pub totals: Totals,
    /// When the first of those that are ready was changed.
    pub oldest_ready_ms: Option<u64>,
}

/// How many tasks of a queue are where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// By priority.
    pub ready: [u64; PRIORITIES],
    /// Become ready when they are due.
    pub delayed: u64,
    /// Leased.
    pub in_progress: u64,
    /// Dead letters.
    pub dead: u64,
    /// Still kept.
    pub completed: u64,
    /// Still kept.
    pub failed: u64,
    /// Still kept.
    pub cancelled: u64,
}

/// How often something happened to a queue since it was first used. A queue of which nothing is left begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tasks created.
    pub created: u64,
    /// Leases given.
    pub claimed: u64,
    /// Tasks that workers did.
    pub completed: u64,
    /// Tasks that workers found impossible.
    pub failed: u64,
    /// Leases that ended by time.
    pub expired: u64,
    /// Tasks that became dead letters.
    pub dead: u64,
    /// Tasks cancelled.
    pub cancelled: u64,
}

/// A webhook to be called, with the result of its task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Whose.
    pub task: TaskId,
    /// Names the end of the task that it tells.
    pub end: u64,
    /// Tries so far.
    pub tries: u32,
    /// Since when.
    pub due_ms: u64,
    /// Where.
    pub url: String,
}

/// What holds for the tasks of a topic; the doors make it so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Whose.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// What holds.
    pub policy: Policy,
    /// Counts the policies, from 1 on.
    pub version: u64,
    /// When the first was written.
    pub created_ms: u64,
    /// When this one was.
    pub updated_ms: u64,
}

/// Who is told of ready tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its name.
    pub id: SubscriptionId,
    /// Whose.
    pub tenant: String,
    /// Called.
    pub callback_url: String,
    /// As they were spelled.
    pub commands: Vec<String>,
    /// Who else is told.
    pub delivery: Delivery,
    /// Not more often than that, in seconds.
    pub interval_s: u32,
    /// How long it asked for the last time.
    pub ttl_ms: u64,
    /// When it ends.
    pub expires_ms: u64,
    /// When it was made.
    pub created_ms: u64,
}
