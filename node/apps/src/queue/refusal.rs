//! Why the queue refused.

use super::{Place, SubscriptionId, TaskId};
use crate::Stop;
use serde::{Deserialize, Serialize};

/// Why the queue refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such task, or it is another tenant's.
    #[error("task not found")]
    UnknownTask,
    /// The task is not leased to this worker, or not by this lease, or no longer.
    #[error("the task is not leased to this worker")]
    NotOwner,
    /// The task is not in progress, so it has no result yet, or has it already.
    #[error("the task is not in progress")]
    NotInProgress,
    /// The task has ended already.
    #[error("the task has ended already")]
    AlreadyEnded,
    /// The id is taken.
    #[error("there is such a task already: {id}")]
    TaskExists {
        /// The id.
        id: TaskId,
    },
    /// No such subscription, or it is another tenant's, or has ended.
    #[error("subscription not found")]
    UnknownSubscription,
    /// The id is taken.
    #[error("there is such a subscription already: {id}")]
    SubscriptionExists {
        /// The id.
        id: SubscriptionId,
    },
    /// There are as many as can be.
    #[error("no room for another {what}; the most there can be: {count_max}")]
    Full {
        /// Of what.
        what: String,
        /// The bound.
        count_max: u64,
    },
    /// A batch would answer more than one reply holds.
    #[error("the tasks under known keys are more than one reply holds ({bytes_max} bytes): ask for fewer")]
    AnswersTooMuch {
        /// The bound.
        bytes_max: u64,
    },
    /// A text has a bounded length.
    #[error("{what}: {bytes_min} to {bytes_max} bytes, not {bytes}")]
    Length {
        /// Which text.
        what: String,
        /// Its length.
        bytes: u64,
        /// The least.
        bytes_min: u64,
        /// The most.
        bytes_max: u64,
    },
    /// A list has a bounded length.
    #[error("{what}: {count_min} to {count_max}, not {count}")]
    Count {
        /// Which list.
        what: String,
        /// Its length.
        count: u64,
        /// The least.
        count_min: u64,
        /// The most.
        count_max: u64,
    },
    /// Tasks there are left alone.
    #[error("nothing can be done so with tasks that are {place}")]
    WrongPlace {
        /// Where they are.
        place: Place,
    },
}

impl Refusal {
    /// Whether another state might have taken what was refused. Otherwise nothing will ever take it.
    pub fn is_of_the_state(&self) -> bool {
        match self {
            Refusal::UnknownTask
            | Refusal::NotOwner
            | Refusal::NotInProgress
            | Refusal::AlreadyEnded
            | Refusal::TaskExists { .. }
            | Refusal::UnknownSubscription
            | Refusal::SubscriptionExists { .. }
            | Refusal::Full { .. }
            | Refusal::AnswersTooMuch { .. } => true,
            Refusal::Length { .. } | Refusal::Count { .. } | Refusal::WrongPlace { .. } => false,
        }
    }
}

/// What one of a batch came to: that it was refused says nothing of the others.
pub(super) fn each<T>(done: Result<T, Stop>) -> Result<Result<T, Refusal>, Stop> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(Stop::Refused(crate::Refusal::Queue(refusal))) => Ok(Err(refusal)),
        Err(stop) => Err(stop),
    }
}
