//! `GET /v1/codeq/raft/status`: codeQ's JSON, and the members that its guide promises.

use super::error::{CodeqError, answer};
use super::{Call, Side};
use crate::doors::native::Door;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use schedia_api::{ShardStatus, Status};
use schedia_apps::NodeId;
use schedia_apps::cluster::Record;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusJson {
    enabled: bool,
    num_groups: usize,
    groups: Vec<Group>,
    /// The name of the member that leads shard 0.
    #[serde(rename = "leaderID")]
    leader_id: String,
    peers: Vec<Peer>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    shard_idx: u32,
    is_leader: bool,
    self_id: String,
    self_addr: String,
    leader_id: String,
    leader_addr: String,
    #[serde(rename = "leaderHTTPAddr", skip_serializing_if = "String::is_empty")]
    leader_http_addr: String,
    has_leader: bool,
    term: u64,
    commit_index: u64,
    applied_index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Peer {
    id: String,
    bind_addr: String,
    http_addr: String,
}

pub(super) async fn status(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    super::handle(&door, async {
        Call::of(&door, &headers, Side::Any).await?;
        let status = door.node.status().await;
        let record = status.record.clone();
        let record = record.ok_or_else(|| {
            CodeqError::new(StatusCode::SERVICE_UNAVAILABLE, "this node is no member of a cluster yet")
        })?;
        Ok(answer(StatusCode::OK, &of(status, record)))
    })
    .await
}

fn of(status: Status, record: Record) -> StatusJson {
    let groups: Vec<Group> = status.shards.iter().map(|shard| group(&status, &record, shard)).collect();
    let leader_id = groups.first().map(|group| group.leader_id.clone()).unwrap_or_default();
    let peers = record.members.into_values().map(|member| Peer {
        id: member.name,
        bind_addr: member.address,
        http_addr: member.http_url.unwrap_or_default(),
    });
    StatusJson { enabled: true, num_groups: groups.len(), leader_id, peers: peers.collect(), groups }
}

fn group(status: &Status, record: &Record, shard: &ShardStatus) -> Group {
    let leader = shard.leader.and_then(|leader: NodeId| record.members.get(&leader));
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    Group {
        shard_idx: shard.shard.0,
        is_leader: shard.leader.is_some() && shard.leader == status.node_id,
        self_id: status.name.clone(),
        self_addr: status.address.clone(),
        leader_id: text(leader.map(|leader| &leader.name)),
        leader_addr: text(leader.map(|leader| &leader.address)),
        leader_http_addr: text(leader.and_then(|leader| leader.http_url.as_ref())),
        has_leader: leader.is_some(),
        term: shard.term,
        commit_index: shard.committed.map_or(0, |committed| committed.index),
        applied_index: shard.applied.map_or(0, |applied| applied.index),
    }
}
