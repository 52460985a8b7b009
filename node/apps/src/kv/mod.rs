//! A revisioned key/value store.

use serde::{Deserialize, Serialize};

/// Why the key/value store refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such key.
    #[error("key not found")]
    KeyNotFound,
}
