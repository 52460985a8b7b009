//! All applications of one shard, behind one set of enums that only delegate.

use crate::{Level, cluster, kv};
use serde::{Deserialize, Serialize};

/// A replicated write of any application. Stands in logs: variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// For the cluster record.
    Cluster(cluster::Command),
    /// For the key/value store.
    Kv(kv::Command),
}

/// A read of any application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Of the cluster record.
    Cluster(cluster::Query),
    /// Of the key/value store.
    Kv(kv::Query),
}

/// What any application answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// From the cluster record.
    Cluster(cluster::Reply),
    /// From the key/value store.
    Kv(kv::Reply),
}

/// What a command of any application made happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// In the cluster record.
    Cluster(cluster::Event),
    /// In the key/value store.
    Kv(kv::Event),
}

/// Bytes that are no command of their level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no command of level {level}: {reason}")]
pub struct InvalidCommand {
    /// The level the entry claims.
    pub level: Level,
    /// What is wrong.
    pub reason: String,
}

impl Command {
    /// The command as it stands in logs.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a command is plain data, which postcard always encodes")
    }

    /// The command that stands in a log entry of this level. Bytes left over are an error.
    pub fn decode(level: Level, bytes: &[u8]) -> Result<Command, InvalidCommand> {
        let invalid = |reason: String| InvalidCommand { level, reason };
        if !(Level::MIN..=Level::MAX).contains(&level) {
            return Err(invalid(format!("this release knows levels {} to {}", Level::MIN, Level::MAX)));
        }
        match postcard::take_from_bytes(bytes) {
            Ok((command, [])) => Ok(command),
            Ok((_, rest)) => Err(invalid(format!("{} bytes behind its end", rest.len()))),
            Err(error) => Err(invalid(error.to_string())),
        }
    }
}
