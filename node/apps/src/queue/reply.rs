//! What the queue answers, and what it makes happen: plain data, no decisions.
//!
//! Travels between members of two releases during an upgrade: new variants and fields are appended.

use super::{Hook, Queue, QueueName, Refusal, Subscription, SubscriptionId, Task, TaskId, TaskResult, Topic};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Command::Create`](super::Command::Create), in its order.
    Created(Vec<Result<Created, Refusal>>),
    /// To [`Command::Claim`](super::Command::Claim): may be none.
    Claimed(Vec<Task>),
    /// To [`Command::Heartbeat`](super::Command::Heartbeat).
    Extended {
        /// When the lease ends now.
        until_ms: u64,
    },
    /// To [`Command::Abandon`](super::Command::Abandon).
    Abandoned,
    /// To [`Command::Nack`](super::Command::Nack).
    Nacked {
        /// When the task is tried again, in seconds; `None` = it is dead.
        delay_s: Option<u32>,
    },
    /// To [`Command::Finish`](super::Command::Finish), in its order.
    Finished(Vec<Result<Finished, Refusal>>),
    /// To [`Command::Tick`](super::Command::Tick).
    Ticked {
        /// How many rows were due and done.
        done: u32,
        /// When the next one is.
        next_ms: Option<u64>,
    },
    /// To [`Command::Lead`](super::Command::Lead).
    Leading {
        /// Until when no lease ends.
        grace_until_ms: u64,
    },
    /// To [`Command::Cancel`](super::Command::Cancel).
    Cancelled,
    /// To [`Command::Pause`](super::Command::Pause).
    Paused {
        /// Whether that was otherwise before.
        changed: bool,
    },
    /// To [`Command::Move`](super::Command::Move).
    Moved {
        /// How many.
        moved: u32,
        /// Whether the limit left some.
        more: bool,
    },
    /// To [`Command::Purge`](super::Command::Purge) and [`Command::Cleanup`](super::Command::Cleanup).
    Removed {
        /// How many.
        removed: u32,
        /// Where a purge goes on; `None` = there is no more.
        next: Option<Bytes>,
    },
    /// To [`Command::Delivered`](super::Command::Delivered).
    Delivered {
        /// Whether it was the delivery that is pending.
        changed: bool,
    },
    /// To [`Command::PutTopic`](super::Command::PutTopic).
    TopicPut {
        /// As it is now.
        topic: Topic,
        /// Whether there was none before.
        created: bool,
        /// Whether the policy is another one.
        changed: bool,
    },
    /// To [`Command::DeleteTopic`](super::Command::DeleteTopic).
    TopicDeleted {
        /// Whether there was one.
        deleted: bool,
    },
    /// To [`Command::Subscribe`](super::Command::Subscribe) and [`Command::Renew`](super::Command::Renew).
    Subscribed {
        /// When it ends.
        expires_ms: u64,
    },
    /// To [`Command::Unsubscribe`](super::Command::Unsubscribe).
    Unsubscribed,
    /// To [`Query::Task`](super::Query::Task).
    Task(Box<Task>),
    /// To [`Query::Result`](super::Query::Result).
    Result {
        /// The task.
        task: Box<Task>,
        /// What a worker said of it.
        result: Option<TaskResult>,
    },
    /// To [`Query::Head`](super::Query::Head): the place in the list of the first queue that a claim would take from.
    Head(Option<u32>),
    /// To [`Query::Queue`](super::Query::Queue); `None` = it was never used.
    Queue(Option<Box<Queue>>),
    /// To [`Query::Queues`](super::Query::Queues).
    Queues {
        /// This page.
        queues: Vec<Queue>,
        /// Behind which to go on; `None` = there are no more.
        next: Option<QueueName>,
    },
    /// To [`Query::List`](super::Query::List).
    Tasks {
        /// This page.
        tasks: Vec<Task>,
        /// Where to go on; `None` = there are no more.
        next: Option<Bytes>,
    },
    /// To [`Query::Hooks`](super::Query::Hooks).
    Hooks {
        /// Those to be called by then, oldest first.
        due: Vec<Hook>,
        /// When the next one is to be called.
        next_ms: Option<u64>,
    },
    /// To [`Query::NextDue`](super::Query::NextDue).
    NextDue(Option<u64>),
    /// To [`Query::Topic`](super::Query::Topic).
    Topic(Option<Topic>),
    /// To [`Query::Topics`](super::Query::Topics).
    Topics {
        /// This page.
        topics: Vec<Topic>,
        /// Behind which to go on; `None` = there are no more.
        next: Option<String>,
    },
    /// To [`Query::Subscriptions`](super::Query::Subscriptions).
    Subscriptions {
        /// This page.
        subscriptions: Vec<Subscription>,
        /// Behind which to go on; `None` = there are no more.
        next: Option<SubscriptionId>,
    },
}

/// A task was created, or was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// As it is.
    pub task: Task,
    /// Whether it was created before, under the same key; then this command did nothing.
    pub replayed: bool,
}

/// A task has ended with a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// When.
    pub ended_ms: u64,
}

/// What happened to a task: for claims and clients that wait, and for notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Of which queue.
    pub queue: Arc<QueueName>,
    /// Which.
    pub task: TaskId,
    /// What.
    pub change: Change,
}

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was created, and is ready.
    Created,
    /// It was created, and is delayed.
    CreatedDelayed,
    /// It is ready again.
    Ready,
    /// It waits for its time.
    Delayed,
    /// A worker has it.
    Claimed,
    /// Its lease ended by time; what becomes of it follows.
    Expired,
    /// A worker did it.
    Completed,
    /// A worker found that it cannot be done.
    Failed,
    /// It is a dead letter.
    Dead,
    /// It was cancelled.
    Cancelled,
    /// It is there no longer.
    Removed,
}
