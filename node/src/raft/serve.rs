//! Raft's frames from peers: decoded, handed to openraft, answered.

use super::confirm::has_voted_in_none_after;
use super::group::Group;
use super::incoming::From;
use super::snapshot;
use super::snapshot::SnapshotData;
use super::types::{Vote, encode_vote, log_id};
use super::wire::{self, Beside};
use crate::peer::{Kind, Parts, Refused, Request};
use bytes::Bytes;
use openraft::raft::VoteResponse;
use std::io;
use std::sync::Arc;
use tokio::time::Instant;

impl Group {
    /// Answers one frame. The first poll hands it to raft's core, so appends keep their order.
    pub(crate) async fn serve(self: Arc<Self>, request: Request) -> Result<Bytes, Refused> {
        let Request { kind, body, .. } = request;
        let raft = &self.raft;
        match kind {
            Kind::Append => {
                let request = wire::decode_append(&body).map_err(invalid)?;
                let term = request.vote.leader_id.term;
                self.hear();
                let answer = raft.append_entries(request).await;
                answer.map(|answer| wire::encode_appended(&answer, self.beside(term))).map_err(|_| ())
            }
            Kind::Vote => {
                let request = wire::decode_vote_request(&body).map_err(invalid)?;
                if self.may_have_promised() {
                    return Ok(no_vote());
                }
                // Nobody reads by a lease any more when raft grants it. Who asks makes a leader of an earlier term step down in any case.
                self.lease.end(request.vote.leader_id.term.saturating_sub(1));
                raft.vote(request).await.map(|answer| wire::encode_vote_response(&answer)).map_err(|_| ())
            }
            Kind::PreVote => {
                let request = wire::decode_vote_request(&body).map_err(invalid)?;
                if self.may_have_promised() {
                    return Ok(no_vote());
                }
                raft.pre_vote(request).await.map(|answer| wire::encode_vote_response(&answer)).map_err(|_| ())
            }
            Kind::TransferLeader => {
                let request = wire::decode_transfer(&body).map_err(invalid)?;
                self.lease.end(request.from_leader().leader_id.term);
                let answer = raft.handle_transfer_leader(request).await;
                answer.map(|answer| wire::encode_transferred(&answer)).map_err(|_| ())
            }
            Kind::Confirm => {
                let term = wire::decode_term(&body).map_err(invalid)?;
                Ok(wire::encode_confirmed(has_voted_in_none_after(&self.log, term)))
            }
            other => return Err(Refused::Invalid { reason: format!("{other:?} is not raft's") }),
        }
        // The core has stopped on this node.
        .map_err(|()| Refused::NoShard { shard: self.shard })
    }

    /// What goes with an answer to the leader of this term.
    fn beside(&self, term: u64) -> Beside {
        let promises = self.promises.given && self.lease.is_open(term);
        let promise_ms = if promises { self.timings.election_max_ms } else { 0 };
        Beside { wall_ms: self.wall.now_ms(), promise_ms }
    }

    /// Whether a promise from before the start of this process may hold.
    pub(super) fn may_have_promised(&self) -> bool {
        Instant::now() < self.promises.old_end
    }

    /// Receives a snapshot beside the state in force, and has it installed.
    pub(crate) async fn receive(self: Arc<Self>, request: Request, parts: Parts) -> Result<Bytes, Refused> {
        let (vote, meta) = wire::decode_begin(&request.body).map_err(invalid)?;
        let from = From { node: request.from, term: vote.leader_id.term };
        let turn = self.incoming.turn(from).await.map_err(invalid)?;
        let applied = *self.machine.applied().borrow();
        let content = if meta.last_log_id.is_some_and(|covered| applied >= Some(log_id(covered))) {
            // Its answer was lost, or the log was faster.
            turn.forget();
            SnapshotData::Applied
        } else {
            tracing::info!(shard = %self.shard, from = %request.from, covers = ?meta.last_log_id, "receiving a snapshot");
            let (state, metrics) = (self.machine.state(), self.machine.metrics());
            let say = |has| wire::encode_position(&has);
            let received = turn.receive(parts, state, metrics, say).await.map_err(invalid)?;
            let covered = super::log::unmark(&received.checkpoint().mark).map_err(invalid)?;
            if covered != meta.last_log_id {
                return Err(invalid(io::Error::other(format!(
                    "the snapshot covers {covered:?}, not what was announced"
                ))));
            }
            SnapshotData::In(received)
        };
        let snapshot = snapshot::Snapshot { meta, snapshot: content };
        match self.raft.install_full_snapshot(vote, snapshot).await {
            Ok(response) => Ok(encode_vote(response.vote)),
            Err(_) => Err(Refused::NoShard { shard: self.shard }),
        }
    }
}

/// No vote, and nothing else.
fn no_vote() -> Bytes {
    wire::encode_vote_response(&VoteResponse::new(Vote::new(0, 0), None, false))
}

fn invalid(error: impl ToString) -> Refused {
    Refused::Invalid { reason: error.to_string() }
}
