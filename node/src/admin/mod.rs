//! The admin port: probes, metrics, what a node tells of itself, and the verbs that change its cluster.
//!
//! Served for as long as the process lives, whatever happened to the shards: it is where a node says what is wrong.
//!
//! Not here: what a verb does (`crate::join`, `crate::shards`), errors' status and code (`crate::doors::error`).

mod probes;
mod status;
mod verbs;

use crate::doors::bounds::Bounds;
use crate::doors::native::{no_method, no_route};
use crate::node::Node;
use axum::Router;
use axum::routing::{get, post};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Callers that wait for a change of the status: the operator's replicas, and people.
const WAITERS_MAX: usize = 16;

/// What every handler of this port needs.
struct Admin {
    node: Arc<Node>,
    bounds: Bounds,
    waiters: Semaphore,
}

/// The routes of this port.
pub fn router(node: Arc<Node>) -> Router {
    let admin = Arc::new(Admin { node, bounds: Bounds::new(), waiters: Semaphore::new(WAITERS_MAX) });
    Router::new()
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
        .route("/admin/v1/status", get(status::status))
        .route("/admin/v1/record", get(status::record))
        .route("/admin/v1/initialize", post(verbs::initialize))
        .route("/admin/v1/node-ids", post(verbs::node_ids))
        .route("/admin/v1/assign", post(verbs::assign))
        .route("/admin/v1/learners", post(verbs::learners))
        .route("/admin/v1/learners/remove", post(verbs::remove_learner))
        .route("/admin/v1/membership", post(verbs::membership))
        .route("/admin/v1/transfer-leader", post(verbs::transfer_leader))
        .route("/admin/v1/snapshot", post(verbs::snapshot))
        .route("/admin/v1/reset", post(verbs::reset))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(admin)
}
