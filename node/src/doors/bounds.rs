//! What requests may cost while they are under way: a number of requests, and bytes of bodies.
//!
//! Invariant: a request is admitted before its body is read, and a body is counted before memory is taken for it.

use super::error::DoorError;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests under way: above what a node can do in a second, so that only a stall reaches it.
const REQUESTS_MAX: usize = 8_192;

/// Requests that wait for a task, or for its end: they cost their connection only, and leave a quarter of those to others.
const WAITS_MAX: usize = 12_288;

/// Bodies of requests under way, in KiB: 42 values of the largest size at once.
const BODIES_KIB_MAX: usize = 64 << 10;

/// A body that has not arrived by then holds memory for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A body too large is read and thrown away up to here, so that its sender gets to read the refusal.
const DRAIN_BYTES_MAX: u64 = 8 << 20;

/// The bounds of one port.
pub(crate) struct Bounds {
    requests: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    bodies_kib: Arc<Semaphore>,
}

/// A body in memory, counted until it is dropped.
pub(crate) struct Counted {
    /// The body.
    pub(crate) bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Bounds {
    pub(crate) fn new() -> Bounds {
        let [requests, waits, bodies_kib] =
            [REQUESTS_MAX, WAITS_MAX, BODIES_KIB_MAX].map(|n| Arc::new(Semaphore::new(n)));
        Bounds { requests, waits, bodies_kib }
    }

    /// Admits a request until the permit is dropped, or refuses it: 429.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, DoorError> {
        self.requests.clone().try_acquire_owned().map_err(|_| busy("requests"))
    }

    /// A request that was admitted waits from now on, in place of being under way.
    pub(crate) fn wait(&self, admitted: OwnedSemaphorePermit) -> Result<OwnedSemaphorePermit, DoorError> {
        let waits = self.waits.clone().try_acquire_owned().map_err(|_| busy("requests that wait"));
        drop(admitted);
        waits
    }

    /// Reads a body of at most `bytes_max`: beyond that 413, too slow 408, too many at once 429.
    pub(crate) async fn body(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        bytes_max: usize,
        what: &str,
    ) -> Result<Counted, DoorError> {
        let declared = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
            .unwrap_or(bytes_max as u64);
        if declared > bytes_max as u64 {
            // With `Expect: 100-continue` the body is not under way yet.
            if !headers.contains_key(header::EXPECT) && declared <= DRAIN_BYTES_MAX {
                let _ = tokio::time::timeout(BODY_TIMEOUT, drain(&mut body)).await;
            }
            return Err(too_large(what, bytes_max));
        }
        if declared == 0 {
            return Ok(Counted { bytes: Bytes::new(), _permit: None });
        }
        let kib = u32::try_from(declared.div_ceil(1024)).expect("bodies are bounded by a few MiB");
        let Ok(permit) = self.bodies_kib.clone().try_acquire_many_owned(kib) else {
            let _ = tokio::time::timeout(BODY_TIMEOUT, drain(&mut body)).await;
            return Err(busy("bytes of requests"));
        };
        let read = tokio::time::timeout(BODY_TIMEOUT, collect(&mut body, declared as usize, bytes_max));
        match read.await {
            Ok(Ok(Some(bytes))) => Ok(Counted { bytes, _permit: Some(permit) }),
            Ok(Ok(None)) => {
                let _ = tokio::time::timeout(BODY_TIMEOUT, drain(&mut body)).await;
                Err(too_large(what, bytes_max))
            }
            Ok(Err(error)) => Err(DoorError::bad_request(format!("the body did not arrive whole: {error}"))),
            Err(_) => {
                let message = format!("the body did not arrive within {BODY_TIMEOUT:?}");
                Err(DoorError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
            }
        }
    }
}

/// The longest JSON body of a verb: a set of sixteen voters is a few hundred bytes.
const VERB_BYTES_MAX: usize = 64 << 10;

impl Bounds {
    /// Reads a JSON body: what is not as expected is a 400 that says where.
    pub(crate) async fn verb<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<T, DoorError> {
        parse_verb(&self.verb_bytes(headers, body).await?)
    }

    /// Reads the body of a verb, for whoever needs its bytes too. It is short: it counts only while it arrives.
    pub(crate) async fn verb_bytes(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, DoorError> {
        Ok(self.body(headers, body, VERB_BYTES_MAX, "a JSON body").await?.bytes)
    }
}

/// The JSON body of a verb; an empty one is `{}`.
pub(crate) fn parse_verb<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DoorError> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes)
        .map_err(|e| DoorError::bad_request(format!("the JSON body is not as expected: {e}")))
}

/// The whole body in one allocation of its own size, which does not pin the connection's buffer. `None`: too long.
async fn collect(body: &mut Body, expected: usize, bytes_max: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut bytes = Vec::with_capacity(expected.min(64 << 10));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    bytes.shrink_to_fit();
    Ok(Some(bytes.into()))
}

async fn drain(body: &mut Body) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len) as u64;
        if drained > DRAIN_BYTES_MAX {
            return;
        }
    }
}

fn too_large(what: &str, bytes_max: usize) -> DoorError {
    DoorError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("{what} has at most {bytes_max} bytes"),
    )
}

fn busy(what: &str) -> DoorError {
    let message = format!("too many {what} are under way on this node, try again later");
    DoorError::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
