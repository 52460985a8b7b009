//! Elects one operator of several by a Lease: read, decide, write with the resource version that was read.
//!
//! The decision ([`evaluate`]) is pure and goes by the local monotonic clock: a Lease has expired when this process has seen the same
//! holder and renewal for a whole duration, whatever the clocks of the machines say.
//!
//! Invariants:
//! * Two processes never write the Lease from the same version: the second gets a conflict and has lost.
//! * Whoever could not renew in time ends its process, before another one may take over.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a holder keeps the Lease without renewing it.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed, and how often others look.
const RENEW: Duration = Duration::from_secs(5);
/// A holder that could not renew for this long stops: five seconds before anybody else may begin.
const DEADLINE: Duration = Duration::from_secs(10);
/// How soon a failed renewal is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// One request must leave time for another before the deadline.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// A version of the Lease and when this process first saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Holder and renewal, as they stand in the Lease.
    pub seen: (Option<String>, Option<Timestamp>),
    /// By the monotonic clock of this process.
    pub since: Instant,
}

/// What to do with the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none: create it.
    Create,
    /// It is ours: renew it.
    Renew,
    /// It is nobody's, or its holder has been silent for too long: take it.
    Take,
    /// Somebody holds it.
    Wait,
}

/// Decides about a Lease that was just read.
pub fn evaluate(lease: Option<&Lease>, me: &str, sighting: Option<&Sighting>, now: Instant) -> Verdict {
    let Some(lease) = lease else { return Verdict::Create };
    let spec = lease.spec.clone().unwrap_or_default();
    match spec.holder_identity.as_deref() {
        None | Some("") => Verdict::Take,
        Some(holder) if holder == me => Verdict::Renew,
        Some(_) => {
            let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let duration = seconds.map_or(DURATION, Duration::from_secs);
            match sighting.filter(|sighting| sighting.seen == seen(lease)) {
                Some(sighting) if now.duration_since(sighting.since) > duration => Verdict::Take,
                _ => Verdict::Wait,
            }
        }
    }
}

fn seen(lease: &Lease) -> (Option<String>, Option<Timestamp>) {
    let spec = lease.spec.as_ref();
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
    (spec.and_then(|spec| spec.holder_identity.clone()), renewed)
}

/// The Lease as it should be written after a verdict.
fn written(lease: Option<&Lease>, name: &str, me: &str, now: Timestamp) -> Lease {
    let before = lease.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let mine = before.holder_identity.as_deref() == Some(me);
    let transitions = before.lease_transitions.unwrap_or(0);
    let spec = LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: if mine { before.acquire_time } else { Some(MicroTime(now)) },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(if mine { transitions } else { transitions.saturating_add(1) }),
        ..LeaseSpec::default()
    };
    let metadata = lease.map_or_else(
        || ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        |lease| lease.metadata.clone(),
    );
    Lease { metadata, spec: Some(spec) }
}

/// Holds, or wants to hold, one Lease.
#[derive(Clone, Debug)]
pub struct Elector {
    api: Api<Lease>,
    name: String,
    me: String,
}

/// Why this process no longer holds the Lease.
#[derive(Debug, thiserror::Error)]
#[error("the lease could not be renewed in time: {0}")]
pub struct Lost(String);

impl Elector {
    /// For the Lease of that name; `me` is unique to this process.
    pub fn new(client: Client, namespace: &str, name: &str, me: String) -> Elector {
        Elector { api: Api::namespaced(client, namespace), name: name.to_owned(), me }
    }

    /// Returns once this process holds the Lease.
    pub async fn acquire(&self) {
        let mut sighting = None;
        loop {
            match self.turn(&mut sighting).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, lease = self.name, "cannot read or write the lease"),
            }
            tokio::time::sleep(RENEW).await;
        }
    }

    /// Renews until `stop` says so; then gives the Lease back. `Err`: it is lost, and the process must end at once.
    pub async fn hold(&self, mut stop: watch::Receiver<bool>) -> Result<(), Lost> {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(RENEW) => {}
            }
            let asked = Instant::now();
            let in_time = tokio::time::timeout_at((renewed + DEADLINE).into(), self.renew());
            in_time.await.map_err(|_| Lost("the API server did not take it".to_owned()))??;
            renewed = asked;
        }
        self.release().await;
        Ok(())
    }

    async fn renew(&self) -> Result<(), Lost> {
        loop {
            match self.turn(&mut None).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Lost("another operator holds it".to_owned())),
                Err(error) => tracing::warn!(%error, lease = self.name, "cannot renew the lease"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// One look and at most one write. `Ok(true)`: held.
    async fn turn(&self, sighting: &mut Option<Sighting>) -> Result<bool, String> {
        let turn = async {
            let lease = self.api.get_opt(&self.name).await?;
            let now = Instant::now();
            let verdict = evaluate(lease.as_ref(), &self.me, sighting.as_ref(), now);
            if let Some(lease) = &lease {
                let seen = seen(lease);
                if sighting.as_ref().is_none_or(|sighting| sighting.seen != seen) {
                    *sighting = Some(Sighting { seen, since: now });
                }
            }
            self.write(verdict, lease).await
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, turn).await {
            Ok(result) => result.map_err(|e| e.to_string()),
            Err(_) => Err("the API server did not answer".to_owned()),
        }
    }

    async fn write(&self, verdict: Verdict, lease: Option<Lease>) -> kube::Result<bool> {
        let wanted = written(lease.as_ref(), &self.name, &self.me, Timestamp::now());
        let params = PostParams::default();
        let result = match verdict {
            Verdict::Wait => return Ok(false),
            Verdict::Create => self.api.create(&params, &wanted).await,
            // With the resource version that was read: of two that try, one gets a conflict.
            Verdict::Renew | Verdict::Take => self.api.replace(&self.name, &params, &wanted).await,
        };
        // A conflict is an error like others: the next look tells who holds the Lease.
        result.map(|_| true)
    }

    /// Lets the next operator begin at once. A failure costs it the rest of the duration.
    async fn release(&self) {
        let release = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            match &mut lease.spec {
                Some(spec) if spec.holder_identity.as_deref() == Some(&self.me) => {
                    spec.holder_identity = None
                }
                _ => return Ok(()),
            }
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be given back"),
            Err(_) => tracing::warn!("the lease could not be given back: the API server did not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>, renewed: i64, seconds: i32) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            lease_duration_seconds: Some(seconds),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        };
        Lease { metadata: ObjectMeta::default(), spec: Some(spec) }
    }

    #[test]
    fn a_lease_is_judged_by_holder_and_by_how_long_it_was_seen_unchanged() {
        let start = Instant::now();
        let sighted = |lease: &Lease, ago: u64| {
            (Some(Sighting { seen: seen(lease), since: start }), start + Duration::from_secs(ago))
        };
        let other = lease(Some("other"), 100, 15);
        let renewed_since = lease(Some("other"), 105, 15);
        let table = [
            ("none", None, (None, start), Verdict::Create),
            ("mine", Some(&lease(Some("me"), 100, 15)), (None, start), Verdict::Renew),
            ("released", Some(&lease(None, 100, 15)), (None, start), Verdict::Take),
            ("released as text", Some(&lease(Some(""), 100, 15)), (None, start), Verdict::Take),
            ("first seen now, however old", Some(&other), (None, start), Verdict::Wait),
            ("unchanged for 15 s", Some(&other), sighted(&other, 15), Verdict::Wait),
            ("unchanged for 16 s", Some(&other), sighted(&other, 16), Verdict::Take),
            ("renewed meanwhile", Some(&renewed_since), sighted(&other, 16), Verdict::Wait),
        ];
        for (name, lease, (sighting, now), verdict) in table {
            assert_eq!(evaluate(lease, "me", sighting.as_ref(), now), verdict, "{name}");
        }
    }

    #[test]
    fn taking_counts_a_transition_and_renewing_does_not() {
        let now = Timestamp::from_second(200).unwrap();
        let taken = written(Some(&lease(Some("other"), 100, 15)), "l", "me", now).spec.unwrap();
        assert_eq!((taken.lease_transitions, taken.acquire_time), (Some(5), Some(MicroTime(now))));
        let renewed = written(Some(&lease(Some("me"), 100, 15)), "l", "me", now).spec.unwrap();
        assert_eq!((renewed.lease_transitions, renewed.renew_time), (Some(4), Some(MicroTime(now))));
        assert_eq!(renewed.acquire_time, None);
    }

    #[test]
    fn a_holder_stops_before_another_may_begin() {
        const { assert!(DEADLINE.as_secs() < DURATION.as_secs()) };
        const { assert!(RENEW.as_secs() + REQUEST_TIMEOUT.as_secs() < DEADLINE.as_secs()) };
    }
}
