//! What a node tells of itself and of its cluster.

use super::Admin;
use crate::doors::error::DoorError;
use crate::doors::params::Params;
use crate::shards::Consistency;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use schedia_api::Status;
use schedia_apps::cluster::{Record, Refusal};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest a caller may wait for a change.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A majority that does not answer by then is not there.
const RECORD_TIMEOUT: Duration = Duration::from_secs(3);

/// `GET /admin/v1/status[?after=<revision>&wait=30s]`
pub(super) async fn status(
    State(admin): State<Arc<Admin>>,
    request: Request,
) -> Result<Json<Status>, DoorError> {
    let mut params = Params::parse(request.uri().query())?;
    let after = params.value::<String>("after", "a revision")?;
    let wait = params.bytes("wait").map(|text| duration(&text)).transpose()?;
    params.done()?;
    let now = admin.node.status().await;
    let (Some(after), Some(wait)) = (after, wait) else { return Ok(Json(now)) };
    if now.revision != after {
        return Ok(Json(now));
    }
    let Ok(_waiter) = admin.waiters.try_acquire() else {
        let message = format!("{} callers wait for this status already", super::WAITERS_MAX);
        return Err(DoorError::new(StatusCode::TOO_MANY_REQUESTS, "busy", message));
    };
    match tokio::time::timeout(wait, admin.node.status_after(&after)).await {
        Ok(changed) => Ok(Json(changed)),
        Err(_) => Ok(Json(admin.node.status().await)),
    }
}

/// `GET /admin/v1/record`: a linearizable read, so that an answer proves a majority.
pub(super) async fn record(
    State(admin): State<Arc<Admin>>,
    request: Request,
) -> Result<Json<Record>, DoorError> {
    Params::parse(request.uri().query())?.done()?;
    let read = admin.node.record(Consistency::Linearizable, Instant::now() + RECORD_TIMEOUT).await;
    let read = read.map_err(|error| DoorError::from(error).with_leader(admin.node.leader_url()))?;
    Ok(Json(read.ok_or(Refusal::NotInitialized)?))
}

/// A number and `s` or `ms`.
fn duration(text: &[u8]) -> Result<Duration, DoorError> {
    let parse = |text: &str| {
        let (number, unit) = match text.strip_suffix("ms") {
            Some(number) => (number, 1),
            None => (text.strip_suffix('s')?, 1_000),
        };
        Some(Duration::from_millis(number.parse::<u32>().ok()?.checked_mul(unit)?.into()))
    };
    let parsed = std::str::from_utf8(text).ok().and_then(parse).filter(|wait| *wait <= WAIT_MAX);
    parsed.ok_or_else(|| {
        let text = String::from_utf8_lossy(text);
        DoorError::bad_request(format!("parameter wait must be a number and s or ms, at most 60s: {text:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_number_with_a_unit_of_at_most_a_minute() {
        assert_eq!(duration(b"30s").unwrap(), Duration::from_secs(30));
        assert_eq!(duration(b"250ms").unwrap(), Duration::from_millis(250));
        for wrong in ["", "s", "30", "61s", "-1s", "60001ms", "4294967295s", "1m", "\u{661}s"] {
            assert!(duration(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
