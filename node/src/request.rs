//! One request of a client while it is handled: its id, its route, where its time goes.
//!
//! It lives in a task-local of the task that serves its connection: doors and shards note things about it, and no signature between
//! them names it. What runs in another task, a proposer for one, is not part of it.
//!
//! Costs: an id of our own is a number until somebody reads it, and its span is of level `debug`. A request that brings its id
//! is meant to be followed: its span is of level `info`, so that every line about it carries the id.
//!
//! Invariant: a route is a template. Nothing here holds a key, a value or a query.

use crate::telemetry::traces;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing::Span;

/// Longer ids are not taken: a client's id is in a header, on lines of the log and in a frame.
pub(crate) const ID_BYTES_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: Request;
}

/// How a request is named in answers and in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestId {
    /// As the client named it: printable ASCII without blanks, [`ID_BYTES_MAX`] at most.
    Brought(Box<str>),
    /// Drawn here.
    Own(u64),
}

impl RequestId {
    /// The id that a client brought, or one of our own if it brought none that can be taken.
    pub(crate) fn of(brought: Option<&[u8]>) -> RequestId {
        match brought.and_then(taken) {
            Some(id) => RequestId::Brought(id.into()),
            None => RequestId::Own(draw()),
        }
    }
}

/// A client's id, if it is one.
fn taken(bytes: &[u8]) -> Option<&str> {
    let plain = (1..=ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(bytes).ok().filter(|_| plain)
}

/// Different for each request of this process, and hardly ever that of another process.
fn draw() -> u64 {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(uuid::Uuid::new_v4().as_u64_pair().0));
    // An odd factor: no two numbers become the same, and neighbours look different.
    NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Brought(id) => f.write_str(id),
            RequestId::Own(id) => write!(f, "{id:016x}"),
        }
    }
}

/// Where the time of a request went, as far as it was waited for in the request itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Waiting for somebody to lead.
    pub(crate) leader: Option<Duration>,
    /// From proposing to the reply: queue, log, majority, apply; on a follower the way to the leader and back too.
    pub(crate) propose: Option<Duration>,
    /// Waiting for the index of a linearizable read.
    pub(crate) index: Option<Duration>,
    /// Waiting until this node had applied that far.
    pub(crate) apply: Option<Duration>,
    /// Waiting for a task or its end, because that was asked for.
    pub(crate) waited: Duration,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    route: Cell<&'static str>,
    spent: Cell<Spent>,
}

impl Request {
    pub(crate) fn new(id: RequestId) -> Request {
        Request { id, route: Cell::new("-"), spent: Cell::default() }
    }

    /// The span of this request, of a level that says whether its client wants it to be followed. `traceparent` is what its
    /// caller said of the trace it belongs to.
    pub(crate) fn span(&self, method: &str, traceparent: Option<&str>) -> Span {
        let id = &self.id;
        let empty = tracing::field::Empty;
        let span = match id {
            RequestId::Brought(_) => {
                tracing::info_span!("request", %id, method, route = empty, status = empty)
            }
            RequestId::Own(_) => tracing::debug_span!("request", %id, method, route = empty, status = empty),
        };
        if let Some(traceparent) = traceparent {
            traces::continue_trace(&span, traceparent);
        }
        span
    }

    /// Runs a future as this request, and gives back what was noted meanwhile.
    pub(crate) async fn run<F: Future>(self, future: F) -> (F::Output, RequestId, &'static str, Spent) {
        CURRENT
            .scope(self, async {
                let output = future.await;
                CURRENT.with(|request| (output, request.id.clone(), request.route.get(), request.spent.get()))
            })
            .await
    }
}

/// The span of a proposal.
pub(crate) fn propose_span(shard: u32) -> Span {
    tracing::debug_span!("propose", shard)
}

/// The span of handing a command to the leader.
pub(crate) fn forward_span(to: u64) -> Span {
    tracing::debug_span!("forward", to)
}

/// Notes which route the request takes.
pub(crate) fn note_route(route: &'static str) {
    let _ = CURRENT.try_with(|request| request.route.set(route));
}

/// Notes where time went, if this task handles a request.
pub(crate) fn note_spent(note: impl FnOnce(&mut Spent)) {
    let _ = CURRENT.try_with(|request| {
        let mut spent = request.spent.get();
        note(&mut spent);
        request.spent.set(spent);
    });
}

/// What goes with a command to the leader, so that its lines and spans are those of the request too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The request's id.
    pub(crate) id: String,
    /// Its trace, if it has one.
    pub(crate) traceparent: Option<String>,
}

impl Origin {
    /// That of the request that this task handles; none if nobody looks at its span.
    pub(crate) fn current() -> Option<Origin> {
        let span = Span::current();
        if span.is_disabled() {
            return None;
        }
        let traceparent = traces::traceparent(&span);
        CURRENT.try_with(|request| Origin { id: request.id.to_string(), traceparent }).ok()
    }

    /// The span in which the leader handles a command that another node took.
    pub(crate) fn span(&self, from: u64) -> Span {
        let id = taken(self.id.as_bytes()).unwrap_or_default();
        let span = tracing::info_span!("forwarded", id, from);
        if let Some(traceparent) = &self.traceparent {
            traces::continue_trace(&span, traceparent);
        }
        span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_if_it_is_short_and_printable() {
        let long = [b'x'; ID_BYTES_MAX + 1];
        for (brought, is_taken) in [
            (&b"a-1/b:C"[..], true),
            (&long[1..], true),
            (&long, false),
            (b"", false),
            (b"a b", false),
            (b"a\x1b[31m", false),
            ("é".as_bytes(), false),
        ] {
            let id = RequestId::of(Some(brought));
            assert_eq!(matches!(id, RequestId::Brought(_)), is_taken, "{brought:?}");
        }
    }

    #[test]
    fn ids_of_our_own_differ_and_have_one_length() {
        let ids: std::collections::BTreeSet<_> =
            (0..1_000).map(|_| RequestId::of(None).to_string()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.len() == 16));
    }

    #[tokio::test]
    async fn what_is_noted_on_the_way_is_given_back() {
        note_route("/nobody");
        let request = Request::new(RequestId::Own(7));
        let work = async {
            note_route("/v1/kv");
            note_spent(|spent| spent.leader = Some(Duration::from_millis(3)));
            tokio::task::yield_now().await;
            note_spent(|spent| spent.propose = Some(Duration::from_millis(4)));
        };
        let ((), id, route, spent) = request.run(work).await;
        assert_eq!((id, route), (RequestId::Own(7), "/v1/kv"));
        let [leader, propose] = [3, 4].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(spent, Spent { leader, propose, ..Spent::default() });
    }
}
