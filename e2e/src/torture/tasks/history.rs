//! What is remembered of the queue: every act with its outcome and its times. A batch is as many jobs with the same times.

use serde::{Deserialize, Serialize};

/// A task as it is created. Its number is its payload, and of one task only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct New {
    /// Given once.
    pub number: u64,
    /// Which of the round's queues.
    pub queue: usize,
    /// 0 to 9.
    pub priority: u32,
    /// Not to be claimed earlier.
    pub delay_s: u64,
    /// How many claims may fail.
    pub attempts: u32,
    /// Whether its end is to be told.
    pub webhook: bool,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// A new task.
    Create(New),
    /// A lease of tasks of these queues.
    Claim {
        /// Which of the round's queues.
        queues: Vec<usize>,
        /// For how long.
        lease_s: u64,
        /// How many tasks.
        count: usize,
    },
    /// So long from now.
    Heartbeat {
        /// Its id.
        task: String,
        /// The lease's.
        token: String,
        /// At least as long as the lease lasts anyway.
        extend_s: u64,
    },
    /// The task goes back.
    Abandon {
        /// Its id.
        task: String,
        /// The lease's.
        token: String,
    },
    /// The task is tried again later.
    Nack {
        /// Its id.
        task: String,
        /// The lease's.
        token: String,
        /// Not earlier.
        delay_s: u64,
    },
    /// The task has ended.
    Finish {
        /// Its id.
        task: String,
        /// The lease's.
        token: String,
        /// Given once: whose result it is.
        result: u64,
        /// Done, or failed for good.
        completed: bool,
    },
    /// What a task has come to.
    Look {
        /// Its id.
        task: String,
    },
}

/// A task in a worker's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its id.
    pub task: String,
    /// Its number.
    pub number: u64,
    /// As it was created.
    pub priority: u32,
    /// Which try this is.
    pub attempt: u32,
    /// Of this lease.
    pub token: String,
}

impl Held {
    /// The token in the order that leases of one queue were given in.
    pub fn order(&self) -> Option<(u64, u64)> {
        order(&self.token)
    }
}

/// The parts of a token.
pub fn order(token: &str) -> Option<(u64, u64)> {
    let (epoch, number) = token.split_once('.')?;
    Some((epoch.parse().ok()?, number.parse().ok()?))
}

/// What a look shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// codeQ's.
    pub status: String,
    /// codeQ's.
    pub location: String,
    /// Its number.
    pub number: u64,
    /// Tries that were made.
    pub attempt: u32,
    /// Whose result there is.
    pub result: Option<u64>,
}

impl Seen {
    /// Whether nothing will change any more.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "COMPLETED" | "FAILED")
    }

    /// Whether it failed too often.
    pub fn is_dead(&self) -> bool {
        self.location == "DLQ_SET"
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The task has this id.
    Created {
        /// The id.
        task: String,
    },
    /// These were leased; none: there was none.
    Claimed(Vec<Held>),
    /// The lease lasts longer.
    Extended,
    /// The task went back.
    Abandoned,
    /// It is tried again, or dead.
    Nacked {
        /// Whether it is not tried again.
        dead: bool,
    },
    /// It has ended.
    Finished,
    /// This is what there is.
    Seen(Seen),
}

/// How an act ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOutcome {
    /// It was done.
    Done(Told),
    /// It was decided that it is not done: the lease is another's, the task has ended.
    Refused(String),
    /// Certainly not done: nobody decided.
    NotApplied(String),
    /// Done or not, now or later.
    Unknown(String),
    /// An answer that no correct request may get.
    Wrong(String),
}

impl JobOutcome {
    /// Whether it may have had an effect.
    pub fn may_be_done(&self) -> bool {
        matches!(self, JobOutcome::Done(_) | JobOutcome::Unknown(_))
    }
}

/// One act of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Whose.
    pub client: u32,
    /// The node that was asked.
    pub node: String,
    /// When it was sent.
    pub begun_us: u64,
    /// When its outcome was known.
    pub ended_us: u64,
    /// What was asked for.
    pub act: Act,
    /// What came of it.
    pub outcome: JobOutcome,
}
