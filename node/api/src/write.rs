//! Writes that are sent until their outcome is known.
//!
//! Each write has a key of its own (`Idempotency-Key`), under which a cluster does it once however often it is sent. So a
//! lost answer is no end: the same request asks for it again, from whichever endpoint has it.
//!
//! Invariant: once an outcome was in doubt, only an answer that decides it ends the doubt. That another copy was refused
//! before it was proposed says nothing about the one before.

use crate::transport::{Answer, ClientError, Transport};
use bytes::Bytes;
use reqwest::Method;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Between two rounds of all endpoints, growing from the first to the second: an election takes about a second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// One attempt may take half of the time that is left, and at least this: a node that hangs must leave time for another.
const ATTEMPT_MIN: Duration = Duration::from_secs(1);

impl Transport {
    /// Sends a write to kv (`PUT`, `DELETE`, `/v1/kv:txn`, `/v1/kv:compact`), again where its outcome is unknown, for as
    /// long as a request may take. `path` as for [`Transport::send`].
    ///
    /// What was certainly not applied is tried at each endpoint once, as [`Transport::send`] does.
    pub async fn write(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Answer, ClientError> {
        let key = uuid::Uuid::new_v4().to_string();
        let deadline = Instant::now() + self.timeout();
        let (mut doubt, mut refused, mut unreachable) = (None, None, Vec::new());
        let mut pause = PAUSE.0;
        loop {
            for endpoint in self.endpoints() {
                let left = deadline.saturating_duration_since(Instant::now());
                let attempt = self.with_timeout(left.min(ATTEMPT_MIN.max(left / 2)));
                let sent = attempt.send_to(endpoint, method.clone(), path, body.clone(), Some(&key)).await;
                match sent {
                    Ok(answer) => return Ok(answer),
                    Err(error) if is_in_doubt(&error) => doubt = doubt.or(Some(error)),
                    Err(error) if decides(&error) => return Err(error),
                    Err(ClientError::Unreachable(reason)) => unreachable.push(reason),
                    Err(error) if error.is_certainly_not_applied() || doubt.is_some() => {
                        refused = Some(error)
                    }
                    Err(error) => return Err(error),
                }
            }
            let Some(unknown) = doubt.take() else {
                return Err(refused.unwrap_or_else(|| ClientError::Unreachable(unreachable.join("; "))));
            };
            if Instant::now() + pause >= deadline {
                return Err(unknown);
            }
            doubt = Some(unknown);
            unreachable.clear();
            sleep(pause).await;
            pause = (2 * pause).min(PAUSE.1);
        }
    }
}

/// Whether the write may have been applied, or may be later.
fn is_in_doubt(error: &ClientError) -> bool {
    match error {
        ClientError::OutcomeUnknown { .. } | ClientError::NotUnderstood { .. } => true,
        ClientError::Refused { status, .. } => *status == 504,
        ClientError::Unreachable(_) | ClientError::InvalidEndpoint(_) | ClientError::InvalidToken => false,
    }
}

/// Whether every copy of the write is refused like this: by the state, which keeps its answer, or as it makes no sense.
fn decides(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 400 | 404 | 409 | 410 | 412 | 413 | 422, .. })
}
