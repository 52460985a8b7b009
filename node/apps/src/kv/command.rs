//! What the key/value store is asked, and what it answers: plain data, no decisions.
//!
//! Commands stand in logs: [`Command`]'s variants and their fields are never reordered, removed or changed; new ones are
//! appended, and proposed only from the level on that knows them. Replies travel between members of two releases
//! during an upgrade, so they follow the same rule.

use super::{KeyRange, Revision, Txn, TxnReply};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A replicated write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Writes a key.
    Put(Put),
    /// Deletes a key.
    Delete(Delete),
    /// Gives up the history before a revision; that revision itself stays readable.
    Compact {
        /// The oldest revision that stays readable.
        revision: u64,
    },
    /// Deletes a range of keys.
    DeleteRange(DeleteRange),
    /// Compares, then changes and reads several keys.
    Txn(Txn),
}

/// Writes a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// 1 to 4,096 bytes.
    pub key: Bytes,
    /// At most 1.5 MiB.
    pub value: Bytes,
    /// Write only if the key's newest change has this revision; 0 = only if there is no such key.
    pub if_mod_revision: Option<u64>,
}

/// Deletes a key. Refused if it is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// The key.
    pub key: Bytes,
    /// Delete only if the key's newest change has this revision.
    pub if_mod_revision: Option<u64>,
}

/// Deletes the keys of a range; none there is no failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRange {
    /// Which keys.
    pub range: KeyRange,
    /// `None`: all of them, or refused if that is more than one command deletes ([`CHANGES_MAX`](super::CHANGES_MAX)).
    /// Otherwise only the first ones, this many at most; 0 = as many as one command deletes.
    pub limit: Option<u32>,
}

/// A read. A revision of `None` is the newest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One key.
    Get {
        /// The key.
        key: Bytes,
        /// As of this revision.
        revision: Option<u64>,
    },
    /// One page of a range of keys.
    List(List),
    /// Where the store stands.
    Revisions,
    /// The revision up to which history may be given up (what a leader proposes as [`Command::Compact`]), if any.
    Compactable {
        /// Log time now.
        now_ms: u64,
        /// Keep what was readable this long ago,
        keep_ms: u64,
        /// and at least this many revisions.
        keep_revisions: u64,
    },
    /// A transaction that only reads.
    Txn(Txn),
    /// A page of the history of changes.
    Changes(Since),
}

/// One page of the history of changes, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// Of which keys.
    pub range: KeyRange,
    /// From this change on. One below the compaction is refused.
    pub from: Revision,
    /// Whether to tell what each key was before, where that is still known.
    pub previous: bool,
}

/// One page of a range of keys, in key order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Which keys.
    pub range: KeyRange,
    /// As of this revision. A continuation's takes precedence.
    pub revision: Option<u64>,
    /// Where the page before ended.
    pub after: Option<Continuation>,
    /// Rows wanted, at most; 0 = as many as a page holds.
    pub limit: u32,
    /// What of each key.
    pub detail: Detail,
}

/// What a list tells of each key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detail {
    /// Everything.
    #[default]
    Whole,
    /// All but the value, which is left empty.
    KeysOnly,
    /// Only how many there are ([`Page::count`]); such a page spans more keys.
    CountOnly,
}

/// Where a page ended: the next one continues behind that key, at the same revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// The revision all pages are read at.
    pub revision: u64,
    /// The last key of the page.
    pub key: Bytes,
}

/// A key with its value and its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty when only keys were asked for.
    pub value: Bytes,
    /// The revision of the put that created the key.
    pub create_revision: u64,
    /// The revision of its newest put.
    pub mod_revision: u64,
    /// Puts since it was created, that one included.
    pub version: u64,
    /// The lease it is attached to; 0 = none.
    pub lease: u64,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The store's revision now.
    pub revision: u64,
    /// The revision the page was read at.
    pub at_revision: u64,
    /// Keys of this page.
    pub count: u64,
    /// The rows, unless only the count was asked for.
    pub rows: Vec<KeyValue>,
    /// Where to go on; `None` = the range is exhausted.
    pub next: Option<Continuation>,
}

/// An answer. `revision` is the store's after a command, or when a query was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Command::Put`]: the revision is the key's new modification revision.
    Put {
        /// The store's revision.
        revision: u64,
        /// The revision of the put that created the key.
        create_revision: u64,
        /// Puts since it was created, this one included.
        version: u64,
    },
    /// To [`Command::Delete`].
    Deleted {
        /// The store's revision.
        revision: u64,
    },
    /// To [`Command::Compact`].
    Compacted {
        /// The store's revision.
        revision: u64,
    },
    /// To [`Query::Get`].
    Got {
        /// The store's revision.
        revision: u64,
        /// The key, if it existed.
        found: Option<KeyValue>,
    },
    /// To [`Query::List`].
    Page(Page),
    /// To [`Query::Revisions`].
    Revisions {
        /// The store's revision.
        revision: u64,
        /// The oldest readable one, once anything was compacted.
        compacted: Option<u64>,
    },
    /// To [`Query::Compactable`].
    Compactable(Option<u64>),
    /// To [`Command::DeleteRange`].
    DeletedRange {
        /// The store's revision.
        revision: u64,
        /// How many keys there were.
        deleted: u64,
        /// Whether the limit left some.
        more: bool,
    },
    /// To [`Command::Txn`] and [`Query::Txn`].
    Txn(TxnReply),
    /// To [`Query::Changes`].
    Changes(Changes),
}

/// One page of the history of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The store's revision now.
    pub revision: u64,
    /// The changes, in their order.
    pub changes: Vec<Changed>,
    /// Where to go on: every change before it that lies in the range is in this page or an earlier one. It stands within
    /// a revision (`sub` above 0) only if that one's changes are too many bytes for one page.
    pub next: Revision,
}

/// A change as the history tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// When it happened.
    pub revision: Revision,
    /// The change.
    pub change: Change,
    /// What the key was before, if that was asked for, there was something, and it is not compacted.
    pub previous: Option<KeyValue>,
}

/// A change of a key, in the order of the changes: what watchers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub revision: Revision,
    /// The change.
    pub change: Change,
    /// The put it replaced or deleted, readable in the history until compacted.
    pub previous: Option<Revision>,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It was written.
    Put(KeyValue),
    /// It was deleted.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// Why the key/value store refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such key.
    #[error("key not found")]
    KeyNotFound,
    /// The precondition of a write does not hold.
    #[error("the key's modification revision is not the expected one: {current}")]
    ModRevisionDiffers {
        /// The key's modification revision; 0 = there is no such key.
        current: u64,
    },
    /// The history of that revision was given up.
    #[error("revision has been compacted; the oldest readable one: {compacted}")]
    Compacted {
        /// The oldest readable revision.
        compacted: u64,
    },
    /// That revision has not been written yet.
    #[error("revision is in the future; the newest one: {current}")]
    FutureRevision {
        /// The store's revision.
        current: u64,
    },
    /// A key has 1 to 4,096 bytes.
    #[error("a key has 1 to 4096 bytes, not {bytes}")]
    KeyLength {
        /// The length of the key that was sent.
        bytes: u64,
    },
    /// A value has at most 1.5 MiB.
    #[error("a value has at most 1572864 bytes, not {bytes}")]
    ValueTooLarge {
        /// The length of the value that was sent.
        bytes: u64,
    },
    /// A list of a transaction is bounded.
    #[error("a transaction has at most 128 comparisons and 128 operations in each branch, not {operations}")]
    TooManyOperations {
        /// The length of the list that was sent.
        operations: u64,
    },
    /// One branch of a transaction changes a key twice.
    #[error("a branch of a transaction changes a key at most once, this one twice: {}", key.escape_ascii())]
    DuplicateKey {
        /// The key.
        key: Bytes,
    },
    /// What one command deletes, compares or reads is bounded.
    #[error(
        "one command deletes, compares or reads at most {keys_max} keys of ranges: take smaller ranges, or a limit"
    )]
    TooManyKeys {
        /// The bound.
        keys_max: u64,
    },
    /// What one transaction reads is bounded.
    #[error("one transaction reads at most {bytes_max} bytes: read less, or outside of it")]
    ReadsTooMuch {
        /// The bound.
        bytes_max: u64,
    },
    /// A transaction that changes keys was asked as a query.
    #[error("a transaction that changes keys is no query")]
    NotOnlyReads,
}

impl Refusal {
    /// Whether another state might have taken what was refused. Otherwise nothing will ever take it.
    pub fn is_of_the_state(&self) -> bool {
        match self {
            Refusal::KeyNotFound
            | Refusal::ModRevisionDiffers { .. }
            | Refusal::Compacted { .. }
            | Refusal::FutureRevision { .. }
            | Refusal::TooManyKeys { .. }
            | Refusal::ReadsTooMuch { .. } => true,
            Refusal::KeyLength { .. }
            | Refusal::ValueTooLarge { .. }
            | Refusal::TooManyOperations { .. }
            | Refusal::DuplicateKey { .. }
            | Refusal::NotOnlyReads => false,
        }
    }
}
