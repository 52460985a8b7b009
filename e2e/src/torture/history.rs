//! What a round remembers: every operation with its call, its answer and its times, every watch, every fault.
//!
//! A history is kept as JSON lines, so that it can be checked again without a cluster ([`History::read`]).
//!
//! Invariants:
//! * A value is written by one operation only: whoever sees it knows whose it is.
//! * Times are of one clock of this process, in microseconds since the round began.

use super::tasks::history::Job;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// Keys of a group. Transactions and lists stay within one group, so that each group is checked by itself.
pub const KEYS: usize = 3;

/// A key's value and the revision it was written at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// The number of the write.
    pub value: u64,
    /// Its revision.
    pub revision: u64,
}

/// The keys of a group, as a list shows them.
pub type Cells = [Option<Cell>; KEYS];

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Writes a key.
    Put {
        /// Which of the group.
        key: usize,
        /// The number of the write.
        value: u64,
    },
    /// Writes a key if its mod revision is the expected one; 0: if there is none.
    PutIf {
        /// Which of the group.
        key: usize,
        /// The number of the write.
        value: u64,
        /// The revision.
        expected: u64,
    },
    /// Deletes a key.
    Delete {
        /// Which of the group.
        key: usize,
    },
    /// Reads a key.
    Get {
        /// Which of the group.
        key: usize,
    },
    /// Reads the whole group.
    List,
    /// Writes the first two keys if both have the expected mod revisions; otherwise reads both.
    Txn {
        /// The numbers of the writes.
        values: [u64; 2],
        /// The revisions.
        expected: [u64; 2],
    },
    /// Reads the whole group as the node has it, however old.
    Stale,
    /// Reads the whole group as of a revision.
    Past {
        /// The revision.
        at: u64,
    },
}

impl Call {
    /// Whether it may change something.
    pub fn writes(&self) -> bool {
        match self {
            Call::Put { .. } | Call::PutIf { .. } | Call::Delete { .. } | Call::Txn { .. } => true,
            Call::Get { .. } | Call::List | Call::Stale | Call::Past { .. } => false,
        }
    }
}

/// What a node answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Of a write that was done.
    Written {
        /// Its revision.
        revision: u64,
    },
    /// Of a get.
    Found {
        /// The store's.
        revision: u64,
        /// The key, if it is there.
        cell: Option<Cell>,
    },
    /// Of a list.
    Listed {
        /// The revision it was read at.
        revision: u64,
        /// The keys.
        cells: Cells,
    },
    /// Of a put whose expectation did not hold.
    Differs {
        /// The mod revision that stood in the way; 0: there is no such key.
        current: u64,
    },
    /// Of a delete: there was no such key.
    Missing,
    /// Of a transaction whose expectations did not hold.
    Otherwise {
        /// The store's.
        revision: u64,
        /// Both keys.
        cells: [Option<Cell>; 2],
    },
}

impl Answer {
    /// The store's revision, where the answer names one.
    pub fn revision(&self) -> Option<u64> {
        match self {
            Answer::Written { revision }
            | Answer::Found { revision, .. }
            | Answer::Listed { revision, .. }
            | Answer::Otherwise { revision, .. } => Some(*revision),
            Answer::Differs { .. } | Answer::Missing => None,
        }
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered.
    Done(Answer),
    /// Refused, certainly not applied.
    NotApplied(String),
    /// Applied or not, now or later.
    Unknown(String),
    /// An answer that no correct request may get.
    Wrong(String),
}

impl Outcome {
    /// What two copies of one write have come to, sent under one `Idempotency-Key`.
    pub fn and(self, other: Outcome) -> Outcome {
        match (self, other) {
            (Outcome::Done(one), Outcome::Done(other)) if one != other => {
                Outcome::Wrong(format!("two answers to one key: {one:?} and {other:?}"))
            }
            (Outcome::Wrong(words), _) | (_, Outcome::Wrong(words)) => Outcome::Wrong(words),
            (Outcome::Done(answer), _) | (_, Outcome::Done(answer)) => Outcome::Done(answer),
            (Outcome::Unknown(words), _) | (_, Outcome::Unknown(words)) => Outcome::Unknown(words),
            (Outcome::NotApplied(words), Outcome::NotApplied(_)) => Outcome::NotApplied(words),
        }
    }
}

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Whose.
    pub client: u32,
    /// The node that was asked, the last one of several.
    pub node: String,
    /// How often it was sent; more than once only under an `Idempotency-Key`.
    #[serde(default = "once")]
    pub copies: u32,
    /// The group of keys.
    pub group: usize,
    /// What was asked for.
    pub call: Call,
    /// When it was sent.
    pub begun_us: u64,
    /// When its outcome was known.
    pub ended_us: u64,
    /// The outcome.
    pub outcome: Outcome,
}

fn once() -> u32 {
    1
}

/// A change that a watch showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// The group of keys.
    pub group: usize,
    /// Which key.
    pub key: usize,
    /// What was written; none: it was deleted.
    pub value: Option<u64>,
}

/// All changes of one revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// The revision.
    pub revision: u64,
    /// The changes, in their order.
    pub changes: Vec<Change>,
}

/// What one watcher saw, over all its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// It asked for the changes from this revision on.
    pub from: u64,
    /// It was shown that there are no other changes up to this one.
    pub upto: u64,
    /// How often it asked anew, on whatever node.
    pub connections: u64,
    /// The changes, as they came.
    pub events: Vec<Event>,
    /// What no watch may be told.
    pub wrong: Vec<String>,
}

/// A fault, for whoever reads the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// When.
    pub at_us: u64,
    /// What.
    pub what: String,
}

/// All of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The seed of the round.
    pub seed: u64,
    /// Every operation.
    pub operations: Vec<Operation>,
    /// Every watcher.
    pub watches: Vec<Watched>,
    /// Every fault, begun and ended.
    pub faults: Vec<Noted>,
    /// Every act of producers and workers.
    pub jobs: Vec<Job>,
    /// The statuses that webhooks told, by task.
    pub told: BTreeMap<String, Vec<String>>,
}

/// A line of a kept history.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Seed(u64),
    Fault(Noted),
    Operation(Operation),
    Watch(Watched),
    Job(Job),
    Told(BTreeMap<String, Vec<String>>),
}

impl History {
    /// Writes it as JSON lines.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        let lines = [Line::Seed(self.seed)].into_iter();
        let lines = lines.chain(self.faults.iter().cloned().map(Line::Fault));
        let lines = lines.chain(self.operations.iter().cloned().map(Line::Operation));
        let lines = lines.chain(self.jobs.iter().cloned().map(Line::Job));
        let lines = lines.chain([Line::Told(self.told.clone())]);
        for line in lines.chain(self.watches.iter().cloned().map(Line::Watch)) {
            serde_json::to_writer(&mut file, &line)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }

    /// Reads what [`History::write`] wrote.
    pub fn read(path: &Path) -> std::io::Result<History> {
        let mut history = History::default();
        for line in BufReader::new(std::fs::File::open(path)?).lines() {
            match serde_json::from_str(&line?)? {
                Line::Seed(seed) => history.seed = seed,
                Line::Fault(fault) => history.faults.push(fault),
                Line::Operation(operation) => history.operations.push(operation),
                Line::Watch(watched) => history.watches.push(watched),
                Line::Job(job) => history.jobs.push(job),
                Line::Told(told) => history.told = told,
            }
        }
        Ok(history)
    }
}
