//! Raft's messages as they travel: plain data of ours behind a version byte, not openraft's own serialization.

use super::entry::Body;
use super::types::{
    Ballot, Entry, SnapshotMeta, StoredMembers, Types, Vote, decode, decode_payload, encode, encode_payload,
    log_id, raft_log_id,
};
use crate::storage::Position;
use bytes::Bytes;
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use schedia_api::LogId;
use serde::{Deserialize, Serialize};
use std::io;

#[derive(Serialize, Deserialize)]
struct Append {
    vote: Ballot,
    prev: Option<LogId>,
    commit: Option<LogId>,
    entries: Vec<(LogId, Bytes)>,
}

pub(super) fn encode_append(request: &AppendEntriesRequest<Types>) -> Bytes {
    let AppendEntriesRequest { vote, prev_log_id, entries, leader_commit } = request;
    encode(&Append {
        vote: (*vote).into(),
        prev: prev_log_id.map(log_id),
        commit: leader_commit.map(log_id),
        entries: entries.iter().map(|entry| (log_id(entry.log_id), encode_payload(&entry.payload))).collect(),
    })
}

pub(super) fn decode_append(bytes: &[u8]) -> io::Result<AppendEntriesRequest<Types>> {
    let Append { vote, prev, commit, entries } = decode("append", bytes)?;
    let entries = entries.into_iter().map(|(id, body)| {
        let payload: EntryPayload<Body, _, _> = decode_payload(body)?;
        Ok(Entry::new(raft_log_id(id), payload))
    });
    Ok(AppendEntriesRequest {
        vote: vote.into(),
        prev_log_id: prev.map(raft_log_id),
        leader_commit: commit.map(raft_log_id),
        entries: entries.collect::<io::Result<_>>()?,
    })
}

#[derive(Serialize, Deserialize)]
enum Appended {
    Success,
    Partial(Option<LogId>),
    Conflict,
    HigherVote(Ballot),
}

/// What a member tells of itself with its answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beside {
    /// What its wall clock shows.
    pub(super) wall_ms: u64,
    /// For how long, from when it took the append, it grants no vote, started again or not. 0: it promises nothing.
    pub(super) promise_ms: u64,
}

pub(super) fn encode_appended(response: &AppendEntriesResponse<Types>, beside: Beside) -> Bytes {
    let appended = match response {
        AppendEntriesResponse::Success => Appended::Success,
        AppendEntriesResponse::PartialSuccess(upto) => Appended::Partial(upto.map(log_id)),
        AppendEntriesResponse::Conflict => Appended::Conflict,
        AppendEntriesResponse::HigherVote(vote) => Appended::HigherVote((*vote).into()),
    };
    encode(&(appended, beside))
}

pub(super) fn decode_appended(bytes: &[u8]) -> io::Result<(AppendEntriesResponse<Types>, Beside)> {
    let (appended, beside) = decode("answer to append", bytes)?;
    let response = match appended {
        Appended::Success => AppendEntriesResponse::Success,
        Appended::Partial(upto) => AppendEntriesResponse::PartialSuccess(upto.map(raft_log_id)),
        Appended::Conflict => AppendEntriesResponse::Conflict,
        Appended::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote.into()),
    };
    Ok((response, beside))
}

#[derive(Serialize, Deserialize)]
struct AskVote {
    vote: Ballot,
    last: Option<LogId>,
    transfer: bool,
}

pub(super) fn encode_vote_request(request: &VoteRequest<Types>) -> Bytes {
    let VoteRequest { vote, last_log_id, leadership_transfer } = request;
    encode(&AskVote { vote: (*vote).into(), last: last_log_id.map(log_id), transfer: *leadership_transfer })
}

pub(super) fn decode_vote_request(bytes: &[u8]) -> io::Result<VoteRequest<Types>> {
    let AskVote { vote, last, transfer } = decode("vote request", bytes)?;
    Ok(VoteRequest { vote: vote.into(), last_log_id: last.map(raft_log_id), leadership_transfer: transfer })
}

#[derive(Serialize, Deserialize)]
struct Voted {
    vote: Ballot,
    granted: bool,
    last: Option<LogId>,
}

pub(super) fn encode_vote_response(response: &VoteResponse<Types>) -> Bytes {
    let VoteResponse { vote, vote_granted, last_log_id } = response;
    encode(&Voted { vote: (*vote).into(), granted: *vote_granted, last: last_log_id.map(log_id) })
}

pub(super) fn decode_vote_response(bytes: &[u8]) -> io::Result<VoteResponse<Types>> {
    let Voted { vote, granted, last } = decode("answer to vote request", bytes)?;
    Ok(VoteResponse::new(Vote::from(vote), last.map(raft_log_id), granted))
}

#[derive(Serialize, Deserialize)]
struct Transfer {
    from: Ballot,
    to: u64,
    last: Option<LogId>,
}

pub(super) fn encode_transfer(request: &TransferLeaderRequest<Types>) -> Bytes {
    let last = request.last_log_id().copied().map(log_id);
    encode(&Transfer { from: (*request.from_leader()).into(), to: *request.to_node_id(), last })
}

pub(super) fn decode_transfer(bytes: &[u8]) -> io::Result<TransferLeaderRequest<Types>> {
    let Transfer { from, to, last } = decode("leadership transfer", bytes)?;
    Ok(TransferLeaderRequest::new(from.into(), to, last.map(raft_log_id)))
}

#[derive(Serialize, Deserialize)]
enum Transferred {
    Taken,
    VoteChanged { expected: Ballot, actual: Ballot },
    LogNotFlushed { expected: Option<LogId>, actual: Option<LogId> },
}

pub(super) fn encode_transferred(response: &TransferLeaderResponse<Types>) -> Bytes {
    encode(&match response {
        Ok(()) => Transferred::Taken,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            Transferred::VoteChanged { expected: (*expected).into(), actual: (*actual).into() }
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            Transferred::LogNotFlushed { expected: expected.map(log_id), actual: actual.map(log_id) }
        }
    })
}

pub(super) fn decode_transferred(bytes: &[u8]) -> io::Result<TransferLeaderResponse<Types>> {
    Ok(match decode("answer to leadership transfer", bytes)? {
        Transferred::Taken => Ok(()),
        Transferred::VoteChanged { expected, actual } => {
            Err(TransferLeaderError::VoteChanged { expected: expected.into(), actual: actual.into() })
        }
        Transferred::LogNotFlushed { expected, actual } => Err(TransferLeaderError::LogNotFlushed {
            expected: expected.map(raft_log_id),
            actual: actual.map(raft_log_id),
        }),
    })
}

#[derive(Serialize, Deserialize)]
struct Begin {
    vote: Ballot,
    last: Option<LogId>,
    membership: StoredMembers,
}

/// What announces a snapshot: whose it is and what it covers.
pub(super) fn encode_begin(vote: Vote, meta: &SnapshotMeta) -> Bytes {
    let SnapshotMeta { last_log_id, last_membership } = meta;
    encode(&Begin { vote: vote.into(), last: last_log_id.map(log_id), membership: last_membership.into() })
}

pub(super) fn decode_begin(bytes: &[u8]) -> io::Result<(Vote, SnapshotMeta)> {
    let Begin { vote, last, membership } = decode("snapshot", bytes)?;
    let meta = SnapshotMeta { last_log_id: last.map(raft_log_id), last_membership: membership.try_into()? };
    Ok((vote.into(), meta))
}

/// What a receiver has of a snapshot already.
pub(super) fn encode_position(position: &Option<Position>) -> Bytes {
    encode(position)
}

pub(super) fn decode_position(bytes: &[u8]) -> io::Result<Option<Position>> {
    decode("position in a snapshot", bytes)
}

/// The index a linearizable read must see; `None` from a node that does not lead.
pub(crate) fn encode_read_index(index: Option<u64>) -> Bytes {
    encode(&index)
}

pub(crate) fn decode_read_index(bytes: &[u8]) -> io::Result<Option<u64>> {
    decode("read index", bytes)
}

/// The term that a voter is asked about.
pub(super) fn encode_term(term: u64) -> Bytes {
    encode(&term)
}

pub(super) fn decode_term(bytes: &[u8]) -> io::Result<u64> {
    decode("term", bytes)
}

/// Whether it has voted in no later one.
pub(super) fn encode_confirmed(yes: bool) -> Bytes {
    encode(&yes)
}

pub(super) fn decode_confirmed(bytes: &[u8]) -> io::Result<bool> {
    decode("confirmation", bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_an_append_carries_the_clock_of_who_gives_it_and_its_promise() {
        let beside = Beside { wall_ms: 300, promise_ms: 500 };
        let bytes = encode_appended(&AppendEntriesResponse::Success, beside);
        assert_eq!(bytes[..], [1, 0, 0xac, 2, 0xf4, 3]);
        let decoded = decode_appended(&bytes);
        assert!(matches!(decoded, Ok((AppendEntriesResponse::Success, told)) if told == beside));
        decode_appended(&bytes[..4]).unwrap_err();
    }

    #[test]
    fn what_a_receiver_has_of_a_snapshot_begins_with_the_version_too() {
        assert_eq!(encode_position(&None)[..], [1, 0]);
        let sent: &[u8] = &[1, 1, 7, 2, 0xac, 2, 9, 1, b't', 2, b'k', b'1'];
        let position = decode_position(sent).unwrap();
        assert_eq!(position.as_ref().map(Position::blocks), Some(2));
        assert_eq!(encode_position(&position)[..], *sent);
    }
}
