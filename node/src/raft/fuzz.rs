//! Any bytes as one of raft's messages, and as the body of an entry.

use super::entry::{Body, Opened, Stamp};
use super::types::{
    Entry, Membership, RaftLogId, StoredMembership, Vote, decode_log_id, decode_payload,
    decode_stored_membership, decode_vote, encode_log_id, encode_payload, encode_stored_membership,
    encode_vote, raft_log_id,
};
use super::wire::*;
use crate::fuzz::{Target, again};
use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, EntryPayload};
use schedia_api::LogId;
use schedia_apps::{Epoch, Level};
use std::collections::{BTreeMap, BTreeSet};

/// A list of entries is begun with as much as serde gives one whose length it does not trust.
const MEMORY: u64 = 3 << 20;

pub(crate) const TARGETS: [Target; 2] = [
    Target { name: "raft-message", memory: MEMORY, run: message, seeds: message_seeds },
    Target { name: "log-entry", memory: 1 << 20, run: entry, seeds: entry_seeds },
];

/// The first byte says which one.
fn message(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 15 {
        0 => again(bytes, decode_append, encode_append),
        1 => again(bytes, decode_appended, |(answer, beside)| encode_appended(answer, *beside)),
        2 => again(bytes, decode_vote_request, encode_vote_request),
        3 => again(bytes, decode_vote_response, encode_vote_response),
        4 => again(bytes, decode_transfer, encode_transfer),
        5 => again(bytes, decode_transferred, encode_transferred),
        6 => again(bytes, decode_begin, |(vote, meta)| encode_begin(*vote, meta)),
        7 => again(bytes, decode_read_index, |index| encode_read_index(*index)),
        8 => again(bytes, decode_log_id, |id| encode_log_id(*id)),
        9 => again(bytes, decode_vote, |vote| encode_vote(*vote)),
        10 => again(bytes, decode_stored_membership, encode_stored_membership),
        12 => again(bytes, decode_position, encode_position),
        13 => again(bytes, decode_term, |term| encode_term(*term)),
        14 => again(bytes, decode_confirmed, |yes| encode_confirmed(*yes)),
        _ => {
            let index = bytes.first().map_or(0, |index| u64::from(*index));
            let mark = crate::storage::Mark { index, id: Bytes::copy_from_slice(bytes) };
            if let Ok(Some(id)) = super::log::unmark(&Some(mark)) {
                assert_eq!(decode_log_id(&encode_log_id(id)).ok(), Some(id));
            }
        }
    }
}

fn log_id(index: u64) -> RaftLogId {
    raft_log_id(LogId { term: 3, index })
}

fn membership() -> Membership {
    let nodes = BTreeMap::from([(1, BasicNode::new("a:1")), (2, BasicNode::new("b:2"))]);
    Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], nodes).expect("voters that are nodes")
}

fn commands() -> Body {
    let stamp = Stamp { level: Level(1), epoch: Epoch(2), time_ms: 0x19a_1234_5678 };
    Body::commands(stamp, &[Bytes::from_static(b"abc"), Bytes::new()])
}

fn message_seeds() -> Vec<Vec<u8>> {
    let payloads =
        [EntryPayload::Blank, EntryPayload::Normal(commands()), EntryPayload::Membership(membership())];
    let entries = payloads.into_iter().enumerate();
    let append = AppendEntriesRequest {
        vote: Vote::new_committed(3, 1),
        prev_log_id: Some(log_id(6)),
        entries: entries.map(|(n, payload)| Entry::new(log_id(7 + n as u64), payload)).collect(),
        leader_commit: Some(log_id(5)),
    };
    let vote = Vote::new(4, 2);
    let asked = VoteRequest { vote, last_log_id: Some(log_id(9)), leadership_transfer: true };
    let stored = StoredMembership::new(Some(log_id(8)), membership());
    let meta = super::types::SnapshotMeta { last_log_id: Some(log_id(9)), last_membership: stored.clone() };
    let higher = AppendEntriesResponse::HigherVote(vote);
    let partial = AppendEntriesResponse::PartialSuccess(Some(log_id(7)));
    let messages = [
        (0, encode_append(&append)),
        (1, encode_appended(&AppendEntriesResponse::Success, Beside { wall_ms: 300, promise_ms: 500 })),
        (1, encode_appended(&partial, Beside { wall_ms: 300, promise_ms: 0 })),
        (1, encode_appended(&higher, Beside { wall_ms: 1 << 60, promise_ms: 0 })),
        (2, encode_vote_request(&asked)),
        (3, encode_vote_response(&VoteResponse::new(vote, Some(log_id(9)), true))),
        (4, encode_transfer(&TransferLeaderRequest::new(vote, 3, None))),
        (5, encode_transferred(&Ok(()))),
        (6, encode_begin(vote, &meta)),
        (7, encode_read_index(Some(9))),
        (7, encode_read_index(None)),
        (8, encode_log_id(log_id(300))),
        (9, encode_vote(vote)),
        (10, encode_stored_membership(&stored)),
        (11, encode_log_id(log_id(1))),
        (12, encode_position(&None)),
        (12, Bytes::from_static(&[1, 1, 7, 2, 0xac, 2, 9, 1, b't', 2, b'k', b'1'])),
        (13, encode_term(300)),
        (14, encode_confirmed(true)),
    ];
    messages.iter().map(|(which, bytes)| [&[*which], &bytes[..]].concat()).collect()
}

fn entry(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    again(input, |bytes| decode_payload(Bytes::copy_from_slice(bytes)), encode_payload);
    if let Ok(Opened::Commands(body)) = Body::open(bytes.clone())
        && let Ok((stamp, commands)) = body.decode()
    {
        assert_eq!(Body::commands(stamp, &commands).into_bytes(), bytes);
    }
}

fn entry_seeds() -> Vec<Vec<u8>> {
    let payloads =
        [EntryPayload::Blank, EntryPayload::Normal(commands()), EntryPayload::Membership(membership())];
    payloads.iter().map(|payload| encode_payload(payload).to_vec()).collect()
}
