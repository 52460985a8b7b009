//! A write that may be sent again: plain data, no decisions.
//!
//! Commands stand in logs and outcomes in tables: variants and fields are never reordered, removed or changed; new ones are
//! appended.

use crate::{Refusal, kv};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A write under a key that its sender chose: it takes effect once, however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Whose key it is; empty = nobody was authenticated.
    pub principal: String,
    /// 1 to [`KEY_BYTES_MAX`](super::KEY_BYTES_MAX) bytes. Keys of two principals, or for two applications, never meet.
    pub key: String,
    /// Of the request: another request under the same key is refused.
    pub fingerprint: Fingerprint,
    /// What is to happen once.
    pub write: Write,
}

/// A write of an application whose writes may be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// To the key/value store.
    Kv(kv::Command),
}

impl Write {
    /// What stands for the application in rows.
    pub(super) fn application(&self) -> u8 {
        match self {
            Write::Kv(_) => 1,
        }
    }
}

/// Tells requests apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of the parts of a request. Lengths go in too, so that no two lists of parts read the same.
    pub fn of(parts: &[&[u8]]) -> Fingerprint {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Fingerprint(hash.finalize().into())
    }
}

/// What the write came to, whenever that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether this is what an earlier command under the same key came to; then this one did nothing.
    pub replayed: bool,
    /// What it came to.
    pub outcome: Outcome,
}

/// What a write came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The key/value store answered.
    Kv(kv::Reply),
    /// The state of the application refused it. Another state might have taken it, so the no is kept.
    Refused(Refusal),
    /// The answer to a transaction that read too much to be kept: what it did is known, what it read is not.
    Shortened {
        /// The store's revision; that of the transaction, if it changed anything.
        revision: u64,
        /// Whether all comparisons held.
        succeeded: bool,
    },
}

impl Outcome {
    /// What is kept of it if it is too long: its status and revision. Only transactions answer at length.
    pub(super) fn shortened(&self) -> Option<Outcome> {
        match self {
            Outcome::Kv(kv::Reply::Txn(kv::TxnReply { revision, succeeded, results: _ })) => {
                Some(Outcome::Shortened { revision: *revision, succeeded: *succeeded })
            }
            _ => None,
        }
    }
}

/// Why a write that may be sent again was refused as such.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Unrepeatable {
    /// The key stands for another request.
    #[error("the idempotency key was used for another request: take a new key for a new request")]
    KeyReused,
}
