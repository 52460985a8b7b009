//! The verbs: JSON in, JSON out. Each is idempotent but `node-ids`.

use super::Admin;
use crate::doors::error::DoorError;
use crate::storage;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use schedia_api::{
    AddLearner, Assign, Changed, Defragmented, DefragmentedShard, Done, Initialize, Joined, NewNodeId,
    RemoveLearner, Reset, ResetDone, SetVoters, TransferLeader,
};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A verb that is one write, or few.
const VERB_TIMEOUT: Duration = Duration::from_secs(5);

/// A change of members copies nothing, but hands leadership over and waits for a removed node to see it. After that: 202,
/// and the call resumes.
const MEMBERSHIP_TIMEOUT: Duration = Duration::from_secs(15);

type Answer<T> = Result<Json<T>, DoorError>;

/// 200 when settled, 202 while the change is under way.
type ChangeAnswer = Result<(StatusCode, Json<Changed>), DoorError>;

pub(super) async fn initialize(State(admin): State<Arc<Admin>>, request: Request) -> Answer<Joined> {
    let verb: Initialize = admin.verb(request).await?;
    admin.done(admin.node.admission().initialize(verb, soon()).await)
}

pub(super) async fn node_ids(State(admin): State<Arc<Admin>>, request: Request) -> Answer<NewNodeId> {
    let Done {} = admin.verb(request).await?;
    let made = admin.node.member()?.new_node_id(soon()).await;
    admin.done(made.map(|node_id| NewNodeId { node_id }))
}

pub(super) async fn assign(State(admin): State<Arc<Admin>>, request: Request) -> Answer<Joined> {
    let verb: Assign = admin.verb(request).await?;
    admin.done(admin.node.admission().assign(verb).await)
}

pub(super) async fn learners(State(admin): State<Arc<Admin>>, request: Request) -> ChangeAnswer {
    let verb: AddLearner = admin.verb(request).await?;
    admin.changed(admin.node.member()?.add_learner(verb, soon()).await)
}

pub(super) async fn membership(State(admin): State<Arc<Admin>>, request: Request) -> ChangeAnswer {
    let verb: SetVoters = admin.verb(request).await?;
    admin.changed(admin.node.member()?.set_voters(verb, Instant::now() + MEMBERSHIP_TIMEOUT).await)
}

pub(super) async fn remove_learner(State(admin): State<Arc<Admin>>, request: Request) -> ChangeAnswer {
    let verb: RemoveLearner = admin.verb(request).await?;
    admin.changed(admin.node.member()?.remove_learner(verb, Instant::now() + MEMBERSHIP_TIMEOUT).await)
}

pub(super) async fn transfer_leader(State(admin): State<Arc<Admin>>, request: Request) -> Answer<Done> {
    let TransferLeader { to } = admin.verb(request).await?;
    let transferred = admin.node.member()?.transfer_leader(to, soon()).await;
    admin.done(transferred.map(|()| Done {}))
}

pub(super) async fn snapshot(State(admin): State<Arc<Admin>>, request: Request) -> Answer<Done> {
    let Done {} = admin.verb(request).await?;
    for shard in admin.node.member()?.iter() {
        shard.snapshot().await?;
    }
    Ok(Json(Done {}))
}

pub(super) async fn defragment(State(admin): State<Arc<Admin>>, request: Request) -> Answer<Defragmented> {
    let Done {} = admin.verb(request).await?;
    let mut shards = Vec::new();
    for shard in admin.node.member()?.iter() {
        let storage::Defragmented { before_bytes, after_bytes } = shard.defragment().await?;
        shards.push(DefragmentedShard { shard: shard.id(), before_bytes, after_bytes });
    }
    Ok(Json(Defragmented { shards }))
}

pub(super) async fn reset(State(admin): State<Arc<Admin>>, request: Request) -> Answer<ResetDone> {
    let verb: Reset = admin.verb(request).await?;
    admin.done(admin.node.admission().reset(verb, soon()).await)
}

impl Admin {
    async fn verb<T: DeserializeOwned>(&self, request: Request) -> Result<T, DoorError> {
        let (parts, body) = request.into_parts();
        self.bounds.verb(&parts.headers, body).await
    }

    fn done<T, E: Into<DoorError>>(&self, result: Result<T, E>) -> Answer<T> {
        result.map(Json).map_err(|error| error.into().with_leader(self.node.leader_url()))
    }

    fn changed<E: Into<DoorError>>(&self, result: Result<Changed, E>) -> ChangeAnswer {
        let changed = self.done(result)?;
        let status = if changed.settled { StatusCode::OK } else { StatusCode::ACCEPTED };
        Ok((status, changed))
    }
}

fn soon() -> Instant {
    Instant::now() + VERB_TIMEOUT
}
