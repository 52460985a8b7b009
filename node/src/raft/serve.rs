//! Raft's frames from peers: decoded, handed to openraft, answered.

use super::group::Group;
use super::snapshot::{SnapshotData, receive};
use super::types::encode_vote;
use super::{snapshot, wire};
use crate::peer::{Kind, Parts, Refused, Request};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

impl Group {
    /// Answers one frame. The first poll hands it to raft's core, so appends keep their order.
    pub(crate) async fn serve(self: Arc<Self>, request: Request) -> Result<Bytes, Refused> {
        let Request { kind, body, .. } = request;
        let raft = &self.raft;
        match kind {
            Kind::Append => {
                let request = wire::decode_append(&body).map_err(invalid)?;
                self.hear();
                raft.append_entries(request)
                    .await
                    .map(|answer| wire::encode_appended(&answer, self.wall.now_ms()))
                    .map_err(|_| ())
            }
            Kind::Vote => {
                let request = wire::decode_vote_request(&body).map_err(invalid)?;
                raft.vote(request).await.map(|answer| wire::encode_vote_response(&answer)).map_err(|_| ())
            }
            Kind::PreVote => {
                let request = wire::decode_vote_request(&body).map_err(invalid)?;
                raft.pre_vote(request).await.map(|answer| wire::encode_vote_response(&answer)).map_err(|_| ())
            }
            Kind::TransferLeader => {
                let request = wire::decode_transfer(&body).map_err(invalid)?;
                let answer = raft.handle_transfer_leader(request).await;
                answer.map(|answer| wire::encode_transferred(&answer)).map_err(|_| ())
            }
            other => return Err(Refused::Invalid { reason: format!("{other:?} is not raft's") }),
        }
        // The core has stopped on this node.
        .map_err(|()| Refused::NoShard { shard: self.shard })
    }

    /// Receives a snapshot beside the state in force, and has it installed.
    pub(crate) async fn receive(self: Arc<Self>, request: Request, parts: Parts) -> Result<Bytes, Refused> {
        let (vote, meta) = wire::decode_begin(&request.body).map_err(invalid)?;
        let _permit = self.receiving.try_acquire().map_err(|_| invalid("another snapshot is arriving"))?;
        tracing::info!(shard = %self.shard, from = %request.from, covers = ?meta.last_log_id, "receiving a snapshot");
        let received = receive(parts, &self.machine).await.map_err(invalid)?;
        let covered = super::log::unmark(&received.checkpoint().mark).map_err(invalid)?;
        if covered != meta.last_log_id {
            return Err(invalid(io::Error::other(format!(
                "the snapshot covers {covered:?}, not what was announced"
            ))));
        }
        let snapshot = snapshot::Snapshot { meta, snapshot: SnapshotData::In(received) };
        match self.raft.install_full_snapshot(vote, snapshot).await {
            Ok(response) => Ok(encode_vote(response.vote)),
            Err(_) => Err(Refused::NoShard { shard: self.shard }),
        }
    }
}

fn invalid(error: impl ToString) -> Refused {
    Refused::Invalid { reason: error.to_string() }
}
