//! What the queue is told to do: plain data, no decisions.
//!
//! Commands stand in logs: variants and fields are never reordered, removed or changed; new ones are appended, and proposed
//! only from the level on that knows them.

use super::{Place, Policy, Retry, SubscriptionId, TaskId};
use crate::Epoch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A replicated write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates tasks, at most [`BATCH_MAX`](super::BATCH_MAX). Each is answered for itself: one that is refused changes nothing.
    Create(Vec<Create>),
    /// Leases tasks that are ready to a worker.
    Claim(Claim),
    /// A worker is at it still: its lease ends so long from now.
    Heartbeat {
        /// The task.
        task: TaskId,
        /// Who says so.
        owner: Owner,
        /// From now on.
        extend_ms: u64,
    },
    /// A worker gives a task back, as if it had not claimed it.
    Abandon {
        /// The task.
        task: TaskId,
        /// Who says so.
        owner: Owner,
    },
    /// A worker failed, and the task is tried again later, or is dead.
    Nack(Nack),
    /// Workers are done, at most [`BATCH_MAX`](super::BATCH_MAX). Each is answered for itself: one that is refused changes
    /// nothing.
    Finish(Vec<Finish>),
    /// Does what is due.
    Tick {
        /// So many rows, at most [`ROWS_MAX`](super::ROWS_MAX).
        limit: u32,
    },
    /// A leader was elected: for so long no lease ends, as nobody could extend one while there was none.
    Lead {
        /// From now on.
        grace_ms: u64,
    },
    /// Ends a task that nobody wants any more.
    Cancel {
        /// Whose.
        tenant: String,
        /// The task.
        task: TaskId,
    },
    /// Stops or allows claims from a queue.
    Pause {
        /// Of whom.
        tenant: String,
        /// Of which queue.
        command: String,
        /// Whether claims are to pass it over.
        paused: bool,
    },
    /// Gives tasks that are dead, failed, cancelled or delayed another try.
    Move(Move),
    /// Removes tasks that nobody works at.
    Purge(Purge),
    /// Removes what will not be kept any longer at a time to come.
    Cleanup {
        /// The time.
        before_ms: u64,
        /// So many tasks, at most [`ROWS_MAX`](super::ROWS_MAX).
        limit: u32,
    },
    /// A webhook was called.
    Delivered(Delivered),
    /// Writes a topic. The same policy again changes nothing.
    PutTopic {
        /// Whose.
        tenant: String,
        /// Its name.
        name: String,
        /// What is to hold for it.
        policy: Policy,
    },
    /// Deletes a topic; none there is no failure.
    DeleteTopic {
        /// Whose.
        tenant: String,
        /// Its name.
        name: String,
    },
    /// Asks to be told of ready tasks.
    Subscribe(Subscribe),
    /// Keeps a subscription.
    Renew {
        /// Whose.
        tenant: String,
        /// Which.
        id: SubscriptionId,
        /// From now on; `None` = as long as it asked for the last time.
        ttl_ms: Option<u64>,
    },
    /// Ends a subscription.
    Unsubscribe {
        /// Whose.
        tenant: String,
        /// Which.
        id: SubscriptionId,
    },
}

/// Creates a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Drawn by the door: refused if there is such a task already.
    pub id: TaskId,
    /// Whose. 1 to 63 bytes.
    pub tenant: String,
    /// What is to be done; with the tenant it names the queue. 1 to 255 bytes.
    pub command: String,
    /// JSON text. With all other texts at most [`TASK_BYTES_MAX`](super::TASK_BYTES_MAX).
    pub payload: Bytes,
    /// 0 to 9; 9 is claimed first.
    pub priority: u8,
    /// Called when the task has ended.
    pub webhook: Option<String>,
    /// How many claims may fail.
    pub max_attempts: u32,
    /// Under a key that is known already the first task is answered, and none created.
    pub key: Option<Key>,
    /// When it can be claimed.
    pub due: Due,
    /// When it is tried again.
    pub retry: Retry,
    /// How long it is kept once it has ended.
    pub retention_ms: u64,
    /// W3C trace context, passed on as it is.
    pub trace_parent: Option<String>,
    /// W3C trace context, passed on as it is.
    pub trace_state: Option<String>,
}

/// An idempotency key: of one queue of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// 1 to 255 bytes.
    pub text: String,
    /// How long it is known. It ends earlier with its task.
    pub keep_ms: u64,
}

/// When a new task can be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Due {
    /// At once.
    Now,
    /// At a time in milliseconds since 1970; one that has passed is now.
    At(u64),
    /// So many milliseconds from now.
    After(u64),
}

/// Leases tasks that are ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Of whom.
    pub tenant: String,
    /// From these queues, in this order; at most [`COMMANDS_MAX`](super::COMMANDS_MAX).
    pub from: Vec<Source>,
    /// Who will work. At most 1,024 bytes.
    pub worker: String,
    /// From now on.
    pub lease_ms: u64,
    /// So many tasks at most: 1 to [`BATCH_MAX`](super::BATCH_MAX).
    pub count: u32,
}

/// A queue to claim from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The queue's.
    pub command: String,
    /// Passed over while so many of its tasks are in progress.
    pub in_progress_max: Option<u32>,
}

/// Who says something of a task in progress. Only the worker whose lease is valid is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The task of another tenant is not found.
    pub tenant: String,
    /// Must be the lease's.
    pub worker: String,
    /// Must be the lease's, if given.
    pub token: Option<Token>,
}

/// Names one lease of one task. Never given twice: what a restore takes back it makes an earlier epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Restores and recoveries before the claim.
    pub epoch: Epoch,
    /// Counted by the queue.
    pub number: u64,
}

/// A worker failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// The task.
    pub task: TaskId,
    /// Who says so.
    pub owner: Owner,
    /// How long to wait, in seconds; `None` and 0 = as the task's retry policy says.
    pub delay_s: Option<u32>,
    /// The task's error, should it be dead now. At most 64 KiB; may be empty.
    pub reason: String,
}

/// A worker is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// The task.
    pub task: TaskId,
    /// Who says so.
    pub owner: Owner,
    /// What it came to.
    pub outcome: Outcome,
    /// Files that were made; at most 100.
    pub artifacts: Vec<Artifact>,
}

/// What a worker came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It did the task.
    Completed {
        /// JSON text.
        result: Bytes,
    },
    /// It cannot be done: the task is not tried again.
    Failed {
        /// Why. At most 64 KiB.
        error: String,
        /// JSON text.
        result: Option<Bytes>,
    },
}

/// A file that a worker made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// At most 1,024 bytes.
    pub name: String,
    /// Where it is. At most 2,048 bytes.
    pub url: String,
}

/// Gives tasks another try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Whose.
    pub tenant: String,
    /// Of which queue.
    pub command: String,
    /// Where they are: dead, failed, cancelled or delayed. All but the delayed begin anew, with no failed claims.
    pub from: Place,
    /// When they can be claimed, in milliseconds since 1970; `None` = at once. Not for those that are delayed.
    pub due_ms: Option<u64>,
    /// Only these, those that are there; at most [`ROWS_MAX`](super::ROWS_MAX). `None` = all.
    pub ids: Option<Vec<TaskId>>,
    /// So many, at most [`ROWS_MAX`](super::ROWS_MAX).
    pub limit: u32,
}

/// Removes tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Whose.
    pub tenant: String,
    /// Of which queue.
    pub command: String,
    /// Where they are: anywhere but in progress.
    pub place: Place,
    /// Only those that ended, or were created if they have not ended, before this time.
    pub before_ms: Option<u64>,
    /// Where the purge before ended.
    pub after: Option<Bytes>,
    /// Looks at so many tasks, at most [`ROWS_MAX`](super::ROWS_MAX).
    pub limit: u32,
}

/// A webhook was called. Of another end of the task, or of another try, nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Whose.
    pub task: TaskId,
    /// Which end of the task it told.
    pub end: u64,
    /// Tries before this one.
    pub tries: u32,
    /// When to try again; `None` = it is done, or given up.
    pub again_ms: Option<u64>,
}

/// Asks to be told of ready tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// Drawn by the door: refused if there is such a subscription already.
    pub id: SubscriptionId,
    /// Whose.
    pub tenant: String,
    /// Called. 1 to 2,048 bytes.
    pub callback_url: String,
    /// Tasks of these queues; at most [`COMMANDS_MAX`](super::COMMANDS_MAX).
    pub commands: Vec<String>,
    /// Who else is told.
    pub delivery: Delivery,
    /// Not more often than that, in seconds.
    pub interval_s: u32,
    /// How long it holds, unless renewed.
    pub ttl_ms: u64,
}

/// Who is told of a ready task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// Every subscription.
    Fanout,
    /// One of those with this group, in turn. 1 to 255 bytes.
    Group(String),
    /// One of all that say so, another one each minute.
    Hash,
}
