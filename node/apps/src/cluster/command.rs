//! What the cluster record is asked, and what it answers: plain data, no decisions.
//!
//! Commands stand in logs: variants and their fields are never reordered, removed or changed; new ones are appended.

use super::{Member, Record};
use crate::{Level, NodeId, StoreId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A replicated change of the record. `expected` is the generation it was planned from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first record of a new cluster.
    Initialize(Record),
    /// Adds a member without a vote.
    AddLearner {
        /// The member. Its id was given out by this shard's log, so it is lower than this entry's index.
        member: Member,
        /// The generation this was planned from.
        expected: u64,
    },
    /// Declares the voters: the intent that the leader then makes true in every shard.
    SetVoters {
        /// Exactly these members.
        voters: BTreeSet<NodeId>,
        /// The generation this was planned from.
        expected: u64,
    },
    /// Every shard's committed membership is what the record of this generation says.
    Settle {
        /// The generation that was made true.
        generation: u64,
    },
    /// Removes a member that does not vote. Its id is never used again.
    RemoveMember {
        /// The member.
        id: NodeId,
        /// The generation this was planned from.
        expected: u64,
    },
    /// Corrects a member's name or addresses.
    UpdateMember {
        /// The member as it should be.
        member: Member,
        /// The generation this was planned from.
        expected: u64,
    },
    /// Raises the level of commands in use. The proposer has seen that every member supports it.
    RaiseLevel {
        /// The new level.
        level: Level,
        /// The generation whose members support it.
        expected: u64,
    },
    /// Adds a member that votes as soon as it has caught up. Its id is this entry's index.
    ///
    /// Decided by the disk alone, so it needs no generation: a disk that is a member's already is that member. A member
    /// of the same name at the same address lost its disk: the new one takes its place.
    Join {
        /// The member's name.
        name: String,
        /// Where its peers reach it: host:port.
        address: String,
        /// Where its clients reach it: a URL.
        http_url: Option<String>,
        /// Its disk.
        store_id: StoreId,
    },
}

/// A read of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// The record itself.
    Record,
    /// Whether an id was removed.
    Removed(NodeId),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To every command but [`Command::Join`]: the record is as asked, now or already before.
    Changed {
        /// The generation of the record now.
        generation: u64,
        /// Whether every shard's committed membership follows it.
        settled: bool,
    },
    /// To [`Query::Record`]: `None` before the cluster was initialized.
    Record(Option<Record>),
    /// To [`Query::Removed`]: the index of the entry that removed the id.
    Removed(Option<u64>),
    /// To [`Command::Join`]: the disk is this member's.
    Joined {
        /// The member.
        id: NodeId,
        /// The generation of the record now.
        generation: u64,
    },
}

/// The record changed: this is the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event(pub Record);

/// Why the cluster record refused a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The change was planned from another generation of the record.
    #[error("planned from another generation; the cluster record's: {current}")]
    Stale {
        /// The generation now.
        current: u64,
    },
    /// An earlier change is not finished.
    #[error("generation {current} of the cluster record is not settled yet")]
    ChangeInProgress {
        /// The generation now.
        current: u64,
    },
    /// There is no record yet.
    #[error("the cluster has not been initialized")]
    NotInitialized,
    /// There is another record already.
    #[error("the cluster is already initialized otherwise: {difference}")]
    AlreadyInitialized {
        /// In what it differs.
        difference: String,
    },
    /// The record says nothing of this id.
    #[error("no such member: {id}")]
    UnknownMember {
        /// The id.
        id: NodeId,
    },
    /// The id was removed, and is never used again.
    #[error("member {id} was removed at log index {index}")]
    Removed {
        /// The id.
        id: NodeId,
        /// The index of the entry that removed it.
        index: u64,
    },
    /// The id belongs to another member.
    #[error("member {id} is another one: {difference}")]
    OtherMember {
        /// The id.
        id: NodeId,
        /// In what it differs.
        difference: String,
    },
    /// The log of shard 0 has not given out that id.
    #[error("no id given out by this cluster (ask for one with node-ids): {id}")]
    IdNotGiven {
        /// The id.
        id: NodeId,
    },
    /// A voter is demoted before it is removed.
    #[error("member {id} still votes")]
    StillVotes {
        /// The id.
        id: NodeId,
    },
    /// The membership is changed by its manager alone.
    #[error("membership is managed by the {by}")]
    Managed {
        /// Who changes it.
        by: String,
    },
    /// Another member has that name, at another address.
    #[error("the name belongs to member {id}, which is at another address: {address}")]
    NameTaken {
        /// The member.
        id: NodeId,
        /// Where it is.
        address: String,
    },
    /// A record that makes no sense: no voters, too many shards, an empty name, ….
    #[error("invalid: {reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
}
