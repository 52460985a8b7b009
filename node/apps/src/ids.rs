//! The identities of a cluster and its parts, and the place of a command in its history.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A member's number in raft. Never used twice in one cluster: the seed is 1, later ids are log indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

/// One raft group and its state. Shard 0 always exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u32);

/// The version of commands and apply rules that a cluster agreed on. Raised by a command, never lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Level(pub u32);

/// Counts restores and recoveries of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Level {
    /// The oldest level whose entries this release applies.
    pub const MIN: Level = Level(1);
    /// The newest level this release can propose.
    pub const MAX: Level = Level(1);
}

/// The place and the log time of a command: unique, and the same on every member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// Restores and recoveries before this entry.
    pub epoch: Epoch,
    /// The entry's index in the log of its shard.
    pub index: u64,
    /// The command's place in its entry.
    pub position: u32,
    /// Log time in milliseconds since 1970: never runs backwards.
    pub time_ms: u64,
}

/// A text that is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id (1 to 64 characters of a-z, 0-9 and '-'): {0:?}")]
pub struct InvalidId(pub String);

/// Names one cluster for ever; restores and recoveries make a new one. 1 to 64 characters of `a-z0-9-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

/// Names one disk for ever: drawn at the first start on an empty one. 1 to 64 characters of `a-z0-9-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoreId(String);

fn checked(text: String) -> Result<String, InvalidId> {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(valid) { Ok(text) } else { Err(InvalidId(text)) }
}

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                checked(text).map($name)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                checked(text.to_owned()).map($name)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_id!(ClusterId);
text_id!(StoreId);

macro_rules! number_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
number_id!(NodeId);
number_id!(ShardId);
number_id!(Level);
number_id!(Epoch);
