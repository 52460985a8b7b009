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
use crate::doors::openapi;
use crate::doors::routes::{Route, Routes};
use crate::node::Node;
use axum::Router;
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

/// The routes of this port, by name.
pub fn routes() -> Vec<Route> {
    listed().listed()
}

fn listed() -> Routes<Arc<Admin>> {
    Routes::new()
        .get("/livez", probes::livez)
        .get("/readyz", probes::readyz)
        .get("/metrics", probes::metrics)
        .get("/admin/v1/status", status::status)
        .get("/admin/v1/record", status::record)
        .post("/admin/v1/initialize", verbs::initialize)
        .post("/admin/v1/node-ids", verbs::node_ids)
        .post("/admin/v1/assign", verbs::assign)
        .post("/admin/v1/learners", verbs::learners)
        .post("/admin/v1/learners/remove", verbs::remove_learner)
        .post("/admin/v1/membership", verbs::membership)
        .post("/admin/v1/transfer-leader", verbs::transfer_leader)
        .post("/admin/v1/snapshot", verbs::snapshot)
        .post("/admin/v1/defragment", verbs::defragment)
        .post("/admin/v1/reset", verbs::reset)
        .get("/v1/openapi.json", openapi::admin)
}

/// The router of this port.
pub fn router(node: Arc<Node>) -> Router {
    let admin = Arc::new(Admin { node, bounds: Bounds::new(), waiters: Semaphore::new(WAITERS_MAX) });
    listed().router().fallback(no_route).method_not_allowed_fallback(no_method).with_state(admin)
}
