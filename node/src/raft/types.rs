//! openraft's types as this project fills them in, and their encodings on disk and between nodes.
//!
//! Invariants:
//! * Every encoded vote, log id and membership begins with a version byte of ours: none depends on openraft's own
//!   serialization, which may change with its release.
//! * A command is encoded once, when it is proposed: log, memory and network carry the same bytes.

use super::entry::Body;
use bytes::{BufMut, Bytes, BytesMut};
use openraft::impls::leader_id_std;
use openraft::vote::RaftLeaderId;
use openraft::{BasicNode, EntryPayload};
use schedia_api::LogId;
use schedia_apps::{At, Refusal, Reply};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// What an applied entry answers: one result per command. Entries without commands answer none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The place of the entry's first command; the others follow in `position`.
    pub(crate) at: At,
    pub(crate) results: Vec<Result<Reply, Refusal>>,
}

/// Tests can seed what openraft draws.
#[cfg(test)]
use super::seeded::Seeded as Runtime;
#[cfg(not(test))]
use openraft::impls::TokioRuntime as Runtime;

openraft::declare_raft_types!(
    /// The raft of a shard. A log id is a term and an index; a node is an address.
    pub(crate) Types:
        D = Body,
        R = Outcome,
        NodeId = u64,
        Node = BasicNode,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

pub(crate) type RaftLogId = openraft::alias::LogIdOf<Types>;
pub(crate) type Vote = openraft::alias::VoteOf<Types>;
pub(crate) type Entry = openraft::alias::EntryOf<Types>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub(crate) type Membership = openraft::Membership<u64, BasicNode>;

/// The first byte of everything encoded here.
const VERSION: u8 = 1;

/// Encodes behind a version byte.
pub(super) fn encode(value: &impl Serialize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(32).writer();
    bytes.get_mut().put_u8(VERSION);
    postcard::to_io(value, &mut bytes).expect("plain data, which postcard always encodes");
    bytes.into_inner().freeze()
}

/// Decodes what [`encode`] made; `what` names it in the error.
pub(super) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> io::Result<T> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {reason}"));
    match bytes.split_first() {
        Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(|error| invalid(error.to_string())),
        Some((version, _)) => Err(invalid(format!("version {version} is unknown to this release"))),
        None => Err(invalid("empty".into())),
    }
}

pub(crate) fn log_id(id: RaftLogId) -> LogId {
    LogId { term: id.leader_id.term, index: id.index }
}

pub(crate) fn raft_log_id(id: LogId) -> RaftLogId {
    // A committed leader is its term alone: the node is dropped.
    RaftLogId::new(leader_id_std::LeaderId::new(id.term, 0).to_committed(), id.index)
}

pub(super) fn encode_log_id(id: RaftLogId) -> Bytes {
    encode(&log_id(id))
}

pub(super) fn decode_log_id(bytes: &[u8]) -> io::Result<RaftLogId> {
    decode("log id", bytes).map(raft_log_id)
}

/// A vote: who may lead a term, and whether a majority agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ballot {
    term: u64,
    node: u64,
    committed: bool,
}

impl From<Vote> for Ballot {
    fn from(vote: Vote) -> Ballot {
        Ballot { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<Ballot> for Vote {
    fn from(ballot: Ballot) -> Vote {
        let leader_id = RaftLeaderId::new(ballot.term, ballot.node);
        Vote { leader_id, committed: ballot.committed }
    }
}

pub(super) fn encode_vote(vote: Vote) -> Bytes {
    encode(&Ballot::from(vote))
}

pub(super) fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    decode::<Ballot>("vote", bytes).map(Vote::from)
}

/// A membership: one set of voters, or two while it is joint; every member's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Members {
    voters: Vec<BTreeSet<u64>>,
    addresses: BTreeMap<u64, String>,
}

impl From<&Membership> for Members {
    fn from(membership: &Membership) -> Members {
        Members {
            voters: membership.get_joint_config().clone(),
            addresses: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}

impl TryFrom<Members> for Membership {
    type Error = io::Error;

    fn try_from(Members { voters, addresses }: Members) -> io::Result<Membership> {
        let nodes: BTreeMap<u64, BasicNode> =
            addresses.into_iter().map(|(id, address)| (id, BasicNode::new(address))).collect();
        if voters.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(voters, nodes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }
}

/// A membership and the entry it stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredMembers {
    log_id: Option<LogId>,
    members: Members,
}

impl From<&StoredMembership> for StoredMembers {
    fn from(stored: &StoredMembership) -> StoredMembers {
        StoredMembers { log_id: stored.log_id().map(log_id), members: stored.membership().into() }
    }
}

impl TryFrom<StoredMembers> for StoredMembership {
    type Error = io::Error;

    fn try_from(StoredMembers { log_id, members }: StoredMembers) -> io::Result<StoredMembership> {
        Ok(StoredMembership::new(log_id.map(raft_log_id), members.try_into()?))
    }
}

pub(super) fn encode_stored_membership(stored: &StoredMembership) -> Bytes {
    encode(&StoredMembers::from(stored))
}

/// Empty bytes are the membership before the first.
pub(super) fn decode_stored_membership(bytes: &[u8]) -> io::Result<StoredMembership> {
    match bytes {
        [] => Ok(StoredMembership::default()),
        _ => decode::<StoredMembers>("membership", bytes)?.try_into(),
    }
}

/// The body of a log entry as bytes: what the log keeps and the network carries.
pub(super) fn encode_payload(payload: &EntryPayload<Body, u64, BasicNode>) -> Bytes {
    match payload {
        EntryPayload::Blank => Body::blank().into_bytes(),
        EntryPayload::Normal(body) => body.clone().into_bytes(),
        EntryPayload::Membership(membership) => {
            Body::membership(&postcard::to_stdvec(&Members::from(membership)).expect("plain data"))
                .into_bytes()
        }
    }
}

pub(super) fn decode_payload(bytes: Bytes) -> io::Result<EntryPayload<Body, u64, BasicNode>> {
    Ok(match Body::open(bytes)? {
        super::entry::Opened::Blank => EntryPayload::Blank,
        super::entry::Opened::Commands(body) => EntryPayload::Normal(body),
        super::entry::Opened::Membership(bytes) => {
            let members: Members = postcard::from_bytes(&bytes)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("membership: {e}")))?;
            EntryPayload::Membership(members.try_into()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn joint() -> Membership {
        let nodes = BTreeMap::from([
            (1, BasicNode::new("a:1")),
            (2, BasicNode::new("b:2")),
            (3, BasicNode::new("c:3")),
        ]);
        Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], nodes).unwrap()
    }

    #[test]
    fn the_bytes_of_a_log_id_never_change() {
        let id = raft_log_id(LogId { term: 3, index: 300 });
        assert_eq!(hex(&encode_log_id(id)), "0103ac02");
        assert_eq!(decode_log_id(&encode_log_id(id)).unwrap(), id);
    }

    #[test]
    fn the_bytes_of_a_vote_never_change() {
        let vote = Vote::new_committed(7, 2);
        assert_eq!(hex(&encode_vote(vote)), "01070201");
        assert_eq!(decode_vote(&encode_vote(vote)).unwrap(), vote);
    }

    #[test]
    fn the_bytes_of_a_membership_never_change() {
        let stored = StoredMembership::new(Some(raft_log_id(LogId { term: 1, index: 9 })), joint());
        let bytes = encode_stored_membership(&stored);
        assert_eq!(hex(&bytes), "01010109020101020102030103613a310203623a320303633a33");
        assert_eq!(decode_stored_membership(&bytes).unwrap(), stored);
        assert_eq!(decode_stored_membership(&[]).unwrap(), StoredMembership::default());
    }

    #[test]
    fn a_version_from_the_future_is_an_error_and_not_a_guess() {
        let error = decode_vote(&[2, 7, 2, 1]).unwrap_err();
        assert_eq!(error.to_string(), "vote: version 2 is unknown to this release");
    }

    #[test]
    fn an_entry_without_commands_begins_with_the_version_too() {
        assert_eq!(hex(&encode_payload(&EntryPayload::Blank)), "0100");
        let membership = encode_payload(&EntryPayload::Membership(joint()));
        assert_eq!(&membership[..2], &[1, 2]);
        assert_eq!(decode_payload(membership).unwrap(), EntryPayload::Membership(joint()));
    }
}
