//! The native door: kv over plain HTTP, the queues as their administrators see them, the state of the cluster, and joining it.
//!
//! Values travel as raw bytes, a key's numbers in headers `X-Schedia-…`; only lists are JSON. Keys are percent-encoded, and
//! decoded here from the raw path: no router and no library in between folds `.`, `..` or `//`.
//!
//! Not here: errors' status and code (`super::error`), what a request may cost (`super::bounds`).

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod kv;
mod list;
mod once;
mod queue;
mod status;
mod streams;
mod txn;
mod watch;

pub(super) use kv::{OCTETS, consistency};

use super::bounds::Bounds;
use super::error::DoorError;
use super::openapi;
use super::params::Params;
use super::routes::{Route, Routes};
use crate::config::{Doors, Manner};
use crate::node::Node;
use crate::shards::{Consistency, ShardError};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use schedia_apps::{Command, Query, Reply, ShardId, kv as kv_app};
use std::sync::Arc;
use std::time::Duration;
use streams::Streams;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A request that is not answered by then is given up: an election and a retry of ours fit in.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Joining is a few writes, one after another.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What every handler of this door needs.
pub(super) struct Door {
    pub(super) node: Arc<Node>,
    pub(super) bounds: Bounds,
    streams: Streams,
}

/// The routes of this door, by name.
pub fn routes() -> Vec<Route> {
    listed().listed()
}

fn listed() -> Routes<Arc<Door>> {
    let routes = Routes::new()
        .get("/v1/kv/{*key}", kv::get)
        .put("/v1/kv/{*key}", kv::put)
        .delete("/v1/kv/{*key}", kv::delete)
        .get("/v1/kv", kv::get_or_list)
        .put("/v1/kv", kv::put)
        .delete("/v1/kv", kv::delete_or_range)
        .post("/v1/kv:txn", txn::txn)
        .get("/v1/kv:watch", watch::watch)
        .post("/v1/kv:compact", kv::compact)
        .get("/v1/status", status::status)
        .post("/v1/cluster/join", status::join)
        .get("/v1/openapi.json", openapi::clients);
    queue::routes(routes)
}

/// The routes of the doors that share the port, whichever are open, by name.
pub fn shared_routes() -> Vec<Route> {
    let [raftd, balsa] =
        [Manner::Raftd, Manner::Balsa].map(|manner| Doors { balsa: true, join: Some(manner) });
    let [raftd, balsa, codeq] =
        [super::raftd::routes(raftd), super::balsa::routes(balsa), super::codeq::routes()];
    [raftd.listed(), balsa.listed(), codeq.listed()].concat()
}

/// The router of the client port: this door, and those that share it. `stop` ends its watches.
pub fn router(node: Arc<Node>, doors: Doors, stop: CancellationToken) -> Router {
    let door = Arc::new(Door { node, bounds: Bounds::new(), streams: Streams::new(stop) });
    listed()
        // The empty key, refused in words.
        .unlisted("/v1/kv/", get(kv::get).put(kv::put).delete(kv::delete))
        .router()
        .merge(super::raftd::routes(doors).router())
        .merge(super::balsa::routes(doors).router())
        .merge(super::codeq::routes().router())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(door)
}

/// The answer to a path that leads nowhere.
pub(crate) async fn no_route(request: Request) -> DoorError {
    DoorError::new(StatusCode::NOT_FOUND, "no_such_route", format!("no such route: {}", request.uri().path()))
}

/// The answer to a method that a path does not take.
pub(crate) async fn no_method(method: Method, request: Request) -> DoorError {
    let message = format!("{} does not take {method}", request.uri().path());
    DoorError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

impl Door {
    /// Runs one request: admitted, its error in this door's shape.
    async fn handle<F>(&self, handler: F) -> Response
    where
        F: Future<Output = Result<Response, DoorError>>,
    {
        self.answer(handler, IntoResponse::into_response).await
    }

    /// The same, its error in the shape of another door.
    pub(super) async fn answer<F>(&self, handler: F, shape: impl FnOnce(DoorError) -> Response) -> Response
    where
        F: Future<Output = Result<Response, DoorError>>,
    {
        let answer = match self.bounds.admit() {
            Ok(_permit) => handler.await,
            Err(busy) => Err(busy),
        };
        answer.unwrap_or_else(shape)
    }

    /// A write to kv, which lives on shard 0.
    pub(super) async fn propose(&self, command: kv_app::Command) -> Result<kv_app::Reply, DoorError> {
        kv_reply(self.propose_any(Command::Kv(command)).await?)
    }

    /// A write to shard 0.
    async fn propose_any(&self, command: Command) -> Result<Reply, DoorError> {
        let shard = self.node.shard(ShardId(0)).map_err(|error| self.refuse(error))?;
        let answer = shard.propose(command, Instant::now() + REQUEST_TIMEOUT).await;
        Ok(answer.map_err(|error| self.refuse(error))?.value)
    }

    /// A read of kv.
    pub(super) async fn read(
        &self,
        query: kv_app::Query,
        consistency: Consistency,
    ) -> Result<kv_app::Reply, DoorError> {
        let shard = self.node.shard(ShardId(0)).map_err(|error| self.refuse(error))?;
        let answer = shard.read(Query::Kv(query), consistency, Instant::now() + REQUEST_TIMEOUT).await;
        kv_reply(answer.map_err(|error| self.refuse(error))?.value)
    }

    pub(super) fn refuse(&self, error: ShardError) -> DoorError {
        DoorError::from(error).with_leader(self.node.leader_url())
    }
}

fn kv_reply(reply: Reply) -> Result<kv_app::Reply, DoorError> {
    match reply {
        Reply::Kv(reply) => Ok(reply),
        other => Err(unexpected(&other)),
    }
}

/// A reply of another kind than the command: a defect of ours.
pub(super) fn unexpected(reply: &impl std::fmt::Debug) -> DoorError {
    tracing::error!(?reply, "a reply of the wrong kind");
    DoorError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "a reply of the wrong kind: please report this",
    )
}
