//! The JSON of the client port's kv API: lists, transactions, deleted ranges, watches. Single values travel raw.
//!
//! Keys and values are base64, since they are any bytes.

use serde::{Deserialize, Serialize};

/// A page of `GET /v1/kv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvPage {
    /// The store's revision now.
    pub revision: u64,
    /// The revision this page, and every page continuing it, is read at.
    pub at_revision: u64,
    /// Keys of this page.
    pub count: u64,
    /// The keys, unless only their count was asked for.
    pub rows: Vec<KvRow>,
    /// The parameter `continue` of the next page; absent at the end.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A key in a [`KvPage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvRow {
    /// The key, in base64.
    pub key: String,
    /// The value, in base64; empty when only keys were asked for.
    pub value: String,
    /// The revision of the put that created the key.
    pub create_revision: u64,
    /// The revision of its newest put.
    pub mod_revision: u64,
    /// Puts since it was created.
    pub version: u64,
}

/// Which keys: one, or those of a range (a prefix, two ends, or both). Exactly one of the two is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvKeys {
    /// This key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Keys that begin with this; an empty one means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Keys from this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Keys before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// Body of `POST /v1/kv:txn`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvTxn {
    /// What must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compare: Vec<KvCompare>,
    /// Done if it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success: Vec<KvOperation>,
    /// Done if it does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failure: Vec<KvOperation>,
}

/// A comparison: what of which keys stands how to what. The keys are said as in [`KvKeys`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvCompare {
    /// One key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Keys that begin with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Keys from this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Keys before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// What of the key.
    pub target: KvTarget,
    /// How it must stand.
    pub operator: KvOperator,
    /// To what: a number, or base64 for the target `value`.
    pub operand: serde_json::Value,
}

/// What of a key is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvTarget {
    /// Its value.
    Value,
    /// Its puts since it was created.
    Version,
    /// The revision that created it.
    CreateRevision,
    /// The revision of its newest put.
    ModRevision,
}

/// How two things stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvOperator {
    /// Equal.
    #[serde(rename = "=")]
    Equal,
    /// Not equal.
    #[serde(rename = "!=")]
    NotEqual,
    /// Greater.
    #[serde(rename = ">")]
    Greater,
    /// Less.
    #[serde(rename = "<")]
    Less,
}

/// An operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvOperation {
    /// Writes a key.
    Put(KvPut),
    /// Deletes keys.
    Delete(KvKeys),
    /// Reads a key.
    Get(KvGet),
    /// Reads a page of a range.
    List(KvList),
}

/// A put in a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvPut {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A get in a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvGet {
    /// The key.
    pub key: String,
    /// As of this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// A list in a transaction. Without any end it is of all keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvList {
    /// Keys that begin with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Keys from this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Keys before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// As of this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// At most this many rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Without values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keys_only: bool,
    /// Only how many there are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub count_only: bool,
}

/// Answer of `POST /v1/kv:txn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvTxnAnswer {
    /// The store's revision: that of the transaction, if it changed anything.
    pub revision: u64,
    /// Whether every comparison held, so that `success` was done.
    pub succeeded: bool,
    /// One for each operation that was done, in order.
    pub results: Vec<KvResult>,
    /// Whether the results were too long to be kept for this copy of an earlier request: then there are none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub results_omitted: bool,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvResult {
    /// Of a put: the key's numbers.
    Put {
        /// The revision of the put that created the key.
        create_revision: u64,
        /// Puts since it was created, this one included.
        version: u64,
    },
    /// Of a delete.
    Delete {
        /// How many keys there were.
        deleted: u64,
    },
    /// Of a get.
    Get {
        /// The key, if it is there.
        row: Option<KvRow>,
    },
    /// Of a list.
    List(KvPage),
}

/// Answer of `DELETE /v1/kv` for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvDeleted {
    /// The store's revision.
    pub revision: u64,
    /// How many keys there were.
    pub deleted: u64,
    /// Whether the limit left some.
    pub more: bool,
}

/// The data of one event of `GET /v1/kv:watch`: the changes of one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvChanges {
    /// The revision.
    pub revision: u64,
    /// Its changes, in their order.
    pub changes: Vec<KvChange>,
    /// Whether the next event continues this revision, which was too large for one. Only the last one has an `id`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum KvChange {
    /// It was written.
    Put {
        /// The key as it is now.
        #[serde(flatten)]
        row: KvRow,
        /// As it was before, if that was asked for and there was something.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prev: Option<KvRow>,
    },
    /// It was deleted.
    Delete {
        /// The key.
        key: String,
        /// As it was before, if that was asked for and is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prev: Option<KvRow>,
    },
}
