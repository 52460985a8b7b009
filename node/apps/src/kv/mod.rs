//! A revisioned key/value store.
//!
//! Every command that changes keys takes the next revision of the whole store; a fresh store is at 1, so its first
//! write is 2. Every change of every key is kept in a history until it is compacted, so a read can name an older revision.
//!
//! Tables. Every row begins with its format, 01. Numbers are most significant byte first, 8 bytes where nothing else
//! is said; `text` is a key as `keys.rs` writes it; a revision is main and sub (4 bytes: the place among the changes
//! of one command).
//!
//! ```text
//! kv.live      key                          01 main sub create version lease (main sub)*
//!              one row per key that exists: its newest put, without the value, and the marks of `chain.rs`
//! kv.history   main sub                     01 01 create version lease older? n key value      a put
//!                                           01 00 older n key                                  a tombstone
//!              every change, in order, n (2 bytes) the length of the key: values, and what a watch will replay;
//!              `older` = (main sub) (main sub), two earlier puts of the key, not there in its first
//! kv.ended     text(key) main sub           01 create
//!              one row per tombstone: the life of the key that it ended
//! kv.clock     minute since 1970            01 first
//!              the first revision written in each minute: finds what was readable an hour ago
//! kv.state     "1"                          01 revision compacted? minute?
//!              the newest revision, the oldest readable one, the newest minute; `?` = 00 or 01, then a number
//! kv.swept     "1"                          01 compacted main sub
//!              how far this member removed what that compaction made invisible; not part of the state
//! ```
//!
//! Invariants:
//! * Only a command that changes a key takes a revision; nothing of our own ever does.
//! * One command changes a key at most once, so a key has at most one change per main revision.
//! * No answer, no digest and no later command depends on a row that [`removable`] names.
//!
//! Leases fit in later: one is a number in every put's row, and a table of its own.
//!
//! Not here: who proposes a compaction (the leader, from [`Query::Compactable`]); removing the rows (`storage`); waiting
//! for changes (`shards`).

mod chain;
mod changes;
mod command;
mod compact;
mod execute;
mod history;
mod range;
mod read;
mod rows;
mod txn;
mod write;

pub use command::{
    Change, Changed, Changes, Command, Continuation, Delete, DeleteRange, Detail, Event, KeyValue, List,
    Page, Put, Query, Refusal, Reply, Since,
};
pub(crate) use compact::digest;
pub use compact::{Removal, removable};
pub use range::{KeyRange, Revision};
pub use txn::{Compare, Keys, Operation, OperationReply, Relation, Target, Txn, TxnReply};

use crate::tables::{Table, Tables};
use crate::{App, At, Stop};
use rows::State;

/// The longest key.
pub const KEY_BYTES_MAX: usize = 4_096;
/// The longest value.
pub const VALUE_BYTES_MAX: usize = 1_572_864;
/// The most rows of one page of a list.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// A page of a list ends with the row that brings its keys and values to this many bytes.
pub const PAGE_BYTES: usize = 1 << 20;

/// The most comparisons of a transaction, and operations of each of its branches.
pub const TXN_OPERATIONS_MAX: usize = 128;
/// The most keys of ranges that one command deletes, compares or reads: some tens of milliseconds of applying.
pub const CHANGES_MAX: usize = 10_000;
/// The most bytes of keys and values that one transaction compares or answers.
pub const READ_BYTES_MAX: usize = 2 << 20;

/// Every table of the store.
pub(crate) const TABLES: [Table; 6] =
    [rows::STATE, rows::LIVE, history::HISTORY, rows::ENDED, rows::CLOCK, rows::SWEPT];

/// The key/value store: its numbers; all rows are in its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kv {
    state: State,
}

impl Kv {
    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.state.revision
    }
}

impl App for Kv {
    type Command = Command;
    type Query = Query;
    type Reply = Reply;
    type Event = Event;

    fn open(tables: &dyn Tables) -> Result<Kv, Stop> {
        let fresh = State { revision: 1, compacted: None, minute: None };
        Ok(Kv { state: rows::state(tables)?.unwrap_or(fresh) })
    }

    fn apply(
        &mut self,
        at: At,
        command: Command,
        tables: &mut dyn Tables,
    ) -> Result<(Reply, Vec<Event>), Stop> {
        match command {
            Command::Put(put) => self.put(at, put, tables),
            Command::Delete(delete) => self.delete(at, &delete, tables),
            Command::Compact { revision } => self.compact(revision, tables),
            Command::DeleteRange(delete) => self.delete_range(at, &delete, tables),
            Command::Txn(txn) => self.txn(at, &txn, tables),
        }
    }

    fn query(&self, _at: At, query: Query, tables: &dyn Tables) -> Result<Reply, Stop> {
        match query {
            Query::Get { key, revision } => self.get(key, revision, tables),
            Query::List(list) => self.list(&list, tables).map(Reply::Page),
            Query::Revisions => {
                Ok(Reply::Revisions { revision: self.state.revision, compacted: self.state.compacted })
            }
            Query::Compactable { now_ms, keep_ms, keep_revisions } => {
                self.compactable(now_ms, keep_ms, keep_revisions, tables).map(Reply::Compactable)
            }
            Query::Txn(txn) => self.read_txn(&txn, tables),
            Query::Changes(since) => self.changes(&since, tables).map(Reply::Changes),
        }
    }
}
