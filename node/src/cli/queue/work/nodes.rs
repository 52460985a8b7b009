//! The nodes as a worker sees them: whichever answers, and pauses while none does.
//!
//! Invariants:
//! * The node that answered last is asked first.
//! * That nodes are away is said once, and once that one is there again.

use super::say;
use crate::cli::CliError;
use crate::cli::queue::access::{encoded, part};
use crate::cli::queue::claim::{Asked, Claimed};
use reqwest::Method;
use schedia_api::{Answer, ClientError, QueueState, QueueTask, Transport};
use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Between two rounds of all nodes, growing from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long what became of a task is told again and again, if its lease is shorter.
const TELL_FOR: Duration = Duration::from_secs(60);
/// The same, once the worker is ending and waits no more.
const TELL_AT_LAST: Duration = Duration::from_secs(5);

/// The nodes, and what is asked of them.
pub(super) struct Nodes {
    /// std Mutex: never held across an await.
    known: Mutex<Known>,
    asked: Asked,
    wait: Duration,
    lease: Duration,
}

struct Known {
    /// The one that answered last is first.
    transport: Transport,
    away: bool,
}

/// What became of telling something.
pub(super) enum Told {
    /// It is known there.
    Yes,
    /// The lease is not ours any more; what the node said.
    Lost(ClientError),
    /// The node refuses what was said, whoever says it.
    Refused(ClientError),
    /// Nobody could be told in time.
    Nobody(ClientError),
}

impl Nodes {
    pub(super) fn new(transport: Transport, commands: Vec<String>, lease: Duration, wait: Duration) -> Nodes {
        let lease_seconds = Some(lease.as_secs());
        let asked = Asked { commands, lease_seconds, wait_seconds: wait.as_secs(), count: None };
        Nodes { known: Mutex::new(Known { transport, away: false }), asked, wait, lease }
    }

    /// A task, or none for now. An error is one that will be the same tomorrow.
    pub(super) async fn claim(&self) -> Result<Option<Claimed>, CliError> {
        let mut pause = PAUSE.0;
        loop {
            let transport = self.transport();
            let patient = transport.with_timeout(transport.timeout() + self.wait);
            let sent = patient.send(Method::POST, "/v1/codeq/tasks/claim", Some(encoded(&self.asked))).await;
            match sent.inspect(|answer| self.answered(answer)) {
                Ok(answer) if answer.body.is_empty() => return Ok(None),
                Ok(answer) => return Ok(Some(answer.json()?)),
                Err(error) if !is_temporary(&error) => return Err(error.into()),
                Err(error) => self.failed(&error),
            }
            sleep(pause).await;
            pause = (2 * pause).min(PAUSE.1);
        }
    }

    /// Extends a lease; how the node said that it is none any more. Takes `patience` at most.
    pub(super) async fn heartbeat(&self, task: &Claimed, patience: Duration) -> Result<(), ClientError> {
        let body =
            serde_json::json!({ "extendSeconds": self.lease.as_secs(), "leaseToken": task.lease_token });
        let transport = self.transport();
        let transport = transport.with_timeout(transport.timeout().min(patience));
        // Twice is as good as once.
        let sent = transport.write(Method::POST, &path(task, "heartbeat"), Some(encoded(&body))).await;
        sent.inspect(|answer| self.answered(answer)).inspect_err(|error| self.noted(error)).map(drop)
    }

    /// Says what became of a task, until that is known there, or the time for it is over: a short one, once the worker is ending.
    pub(super) async fn tell(
        &self,
        task: &Claimed,
        verb: &str,
        body: &impl Serialize,
        ending: &CancellationToken,
    ) -> Told {
        let (mut until, mut was_ending) = (Instant::now() + self.lease.max(TELL_FOR), false);
        let mut pause = PAUSE.0;
        loop {
            let sent = self.transport().write(Method::POST, &path(task, verb), Some(encoded(body))).await;
            let error = match sent.inspect(|answer| self.answered(answer)) {
                Ok(_) => return Told::Yes,
                Err(error) if is_lost(&error) => return Told::Lost(error),
                Err(error) if !is_temporary(&error) => return Told::Refused(error),
                Err(error) => error,
            };
            self.failed(&error);
            if ending.is_cancelled() && !std::mem::replace(&mut was_ending, true) {
                until = until.min(Instant::now() + TELL_AT_LAST);
            }
            if Instant::now() + pause >= until {
                return Told::Nobody(error);
            }
            sleep(pause).await;
            pause = (2 * pause).min(PAUSE.1);
        }
    }

    /// Where a task is, as far as a node can be asked.
    pub(super) async fn state(&self, task: &Claimed) -> Option<QueueState> {
        let path = format!("/v1/queue/tasks/{}", part(&task.id));
        let answer = self.transport().send(Method::GET, &path, None).await.ok()?;
        Some(answer.json::<QueueTask>().ok()?.state)
    }

    fn transport(&self) -> Transport {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).transport.clone()
    }

    /// It goes first from now on.
    fn answered(&self, answer: &Answer) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known.transport.endpoints().iter().position(|known| known.as_str() == answer.endpoint());
        // A leader that a node named may be none of ours: then the order stays.
        let place = place.unwrap_or(0);
        if place > 0 || known.away {
            say(&format!("going on with {}", answer.endpoint()));
        }
        known.put_first(place);
        known.away = false;
    }

    /// Nobody answered as it should: another one goes first the next time.
    fn failed(&self, error: &ClientError) {
        self.noted(error);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).put_first(1);
    }

    fn noted(&self, error: &ClientError) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if is_temporary(error) && !std::mem::replace(&mut known.away, true) {
            say(&format!("trying again, until somebody answers: {error}"));
        }
    }
}

impl Known {
    /// Those before it go behind all others.
    fn put_first(&mut self, place: usize) {
        if place == 0 {
            return;
        }
        let mut endpoints: Vec<String> = self.transport.endpoints().iter().map(ToString::to_string).collect();
        let count = endpoints.len().max(1);
        endpoints.rotate_left(place % count);
        if let Ok(transport) = self.transport.to(&endpoints) {
            self.transport = transport;
        }
    }
}

fn path(task: &Claimed, verb: &str) -> String {
    format!("/v1/codeq/tasks/{}/{verb}", part(&task.id))
}

/// Whether another node, or a later moment, may do better.
pub(super) fn is_temporary(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { status, .. } => matches!(status, 307 | 408 | 421 | 429 | 500..),
        ClientError::Unreachable(_) | ClientError::OutcomeUnknown { .. } => true,
        // A proxy in between says what it likes while what is behind it is away.
        ClientError::NotUnderstood { status, .. } => *status >= 500,
        ClientError::InvalidEndpoint(_) | ClientError::InvalidToken => false,
    }
}

/// Whether the task is not this lease's, or not in progress, any more.
pub(super) fn is_lost(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { status: 404 | 409, .. } => true,
        // Not for want of a right.
        ClientError::Refused { status: 403, info } => info.message == "not-owner",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_answered_goes_first_and_the_order_stays_a_circle() {
        let endpoints = ["http://a/", "http://b/", "http://c/"].map(str::to_owned);
        let transport = Transport::new(&endpoints, Duration::from_secs(1)).unwrap();
        let mut known = Known { transport, away: false };
        let order = |known: &Known| {
            known.transport.endpoints().iter().map(|url| url.as_str().to_owned()).collect::<Vec<_>>()
        };
        known.put_first(2);
        assert_eq!(order(&known), ["http://c/", "http://a/", "http://b/"]);
        known.put_first(1);
        assert_eq!(order(&known), endpoints);
        let transport = Transport::new(&endpoints[..1], Duration::from_secs(1)).unwrap();
        let mut one = Known { transport, away: false };
        one.put_first(1);
        assert_eq!(order(&one), endpoints[..1]);
    }

    #[test]
    fn a_lost_lease_is_told_from_a_missing_right() {
        let refused = |status, message: &str| {
            let info = schedia_api::ErrorInfo {
                code: String::new(),
                message: message.to_owned(),
                leader: None,
                current: None,
            };
            ClientError::Refused { status, info }
        };
        assert!(is_lost(&refused(403, "not-owner")) && is_lost(&refused(409, "not-in-progress")));
        assert!(!is_lost(&refused(403, "missing scope")) && !is_temporary(&refused(403, "missing scope")));
        assert!(is_temporary(&refused(503, "no leader")) && !is_lost(&refused(503, "no leader")));
    }
}
