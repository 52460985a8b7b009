//! The JSON of the client port's kv API. Single values travel raw; only lists are JSON.

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
