//! What Kubernetes and Prometheus ask.

use super::Admin;
use crate::doors::error::DoorError;
use crate::metrics::CONTENT_TYPE;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use std::sync::Arc;

/// The process answers: nothing else is asked of it. A failed disk is no reason to restart in a circle.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether this node takes requests; if not, why.
pub(super) async fn readyz(State(admin): State<Arc<Admin>>) -> Result<&'static str, DoorError> {
    admin.node.ready()?;
    Ok("ok\n")
}

/// Everything counted, as OpenMetrics text.
pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], admin.node.scrape())
}
