//! What a transaction is: comparisons that decide between two lists of operations. Plain data, and whether it makes sense.
//!
//! The rules are etcd's: comparisons see the state before the transaction, a read in a branch sees the changes before it
//! in that branch, and all changes are one revision.
//!
//! Like commands, these stand in logs: variants and fields are never reordered, removed or changed; new ones are appended.
//! A lease to attach, values to ignore and transactions in transactions would be variants of [`Operation`]; a lease to compare, of [`Target`].
//!
//! Not here: carrying it out (`execute.rs`).

use super::write::{check_key, check_value};
use super::{KeyRange, KeyValue, List, Page, Refusal, TXN_OPERATIONS_MAX};
use crate::Stop;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// If all comparisons hold, then one list of operations, else the other. One revision for all of its changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// What must hold; nothing always does. At most [`TXN_OPERATIONS_MAX`], like each branch.
    pub compare: Vec<Compare>,
    /// Done if it holds.
    pub success: Vec<Operation>,
    /// Done if it does not.
    pub failure: Vec<Operation>,
}

/// One comparison. Of a range it holds if it holds for every key there is; without any, as for a key that is not there.
///
/// A key that is not there has the numbers 0, and no value: comparing that, even for difference, does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Of which keys.
    pub keys: Keys,
    /// What is to be the ...
    pub target: Target,
    /// ... of the target's operand.
    pub relation: Relation,
}

/// One key, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keys {
    /// This key.
    One(Bytes),
    /// All keys of a range.
    Range(KeyRange),
}

/// What of a key is compared, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Its puts since it was created.
    Version(u64),
    /// The revision that created it.
    CreateRevision(u64),
    /// The revision of its newest put.
    ModRevision(u64),
    /// Its value, byte by byte.
    Value(Bytes),
}

/// How the key's side stands to the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `<`
    Less,
}

/// One operation of a branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Writes a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// Deletes keys; none there is no failure.
    Delete(Keys),
    /// Reads a key.
    Get {
        /// The key.
        key: Bytes,
        /// As of this revision, which must have been there before the transaction.
        revision: Option<u64>,
    },
    /// Reads a page of a range.
    List(List),
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationReply {
    /// Of [`Operation::Put`].
    Put {
        /// The revision of the put that created the key.
        create_revision: u64,
        /// Puts since it was created, this one included.
        version: u64,
    },
    /// Of [`Operation::Delete`].
    Deleted {
        /// How many keys there were.
        keys: u64,
    },
    /// Of [`Operation::Get`].
    Got(Option<KeyValue>),
    /// Of [`Operation::List`].
    Page(Page),
}

/// The answer to a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnReply {
    /// The store's revision; that of the transaction, if it changed anything.
    pub revision: u64,
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// One for each operation of that branch, in its order.
    pub results: Vec<OperationReply>,
}

impl Txn {
    /// Whether neither branch changes anything: then it is a query, and needs no place in the log.
    pub fn only_reads(&self) -> bool {
        !self.operations().any(|operation| matches!(operation, Operation::Put { .. } | Operation::Delete(_)))
    }

    /// Whether a branch writes a value.
    pub fn puts(&self) -> bool {
        self.operations().any(|operation| matches!(operation, Operation::Put { .. }))
    }

    fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.success.iter().chain(&self.failure)
    }

    /// Refuses what makes no sense, whatever the state is.
    pub(super) fn check(&self) -> Result<(), Stop> {
        for length in [self.compare.len(), self.success.len(), self.failure.len()] {
            if length > TXN_OPERATIONS_MAX {
                return Err(Refusal::TooManyOperations { operations: length as u64 }.into());
            }
        }
        self.compare.iter().try_for_each(|compare| compare.keys.check())?;
        self.operations().try_for_each(Operation::check)?;
        changed_once(&self.success)?;
        changed_once(&self.failure)
    }
}

impl Keys {
    fn check(&self) -> Result<(), Stop> {
        match self {
            Keys::One(key) => check_key(key),
            Keys::Range(_) => Ok(()),
        }
    }

    fn contains(&self, key: &Bytes) -> bool {
        match self {
            Keys::One(one) => one == key,
            Keys::Range(range) => range.contains(key),
        }
    }
}

impl Operation {
    fn check(&self) -> Result<(), Stop> {
        match self {
            Operation::Put { key, value } => check_key(key).and_then(|()| check_value(value)),
            Operation::Delete(keys) => keys.check(),
            Operation::Get { key, .. } => check_key(key),
            Operation::List(_) => Ok(()),
        }
    }
}

/// A branch changes a key at most once: neither two puts of it, nor a put and a delete. Two deletes may overlap.
fn changed_once(branch: &[Operation]) -> Result<(), Stop> {
    let duplicate = |key: &Bytes| Stop::from(Refusal::DuplicateKey { key: key.clone() });
    let mut puts = BTreeSet::new();
    for operation in branch {
        if let Operation::Put { key, .. } = operation
            && !puts.insert(key)
        {
            return Err(duplicate(key));
        }
    }
    for operation in branch {
        if let Operation::Delete(keys) = operation
            && let Some(key) = puts.iter().find(|key| keys.contains(key))
        {
            return Err(duplicate(key));
        }
    }
    Ok(())
}
