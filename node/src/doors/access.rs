//! What every request of a port goes through: it has an id, is counted, and is told of when it was slow.
//!
//! `X-Request-Id` is taken if it is printable and short, else one is drawn; the answer carries it in any case. A request that is
//! slower than `--slow-request-ms` is one line of the log, with its route and never its key.
//!
//! Invariant: not more than `LINES_MAX` such lines are written in a second; the next one says how many were left out.

use crate::metrics::HttpMetrics;
use crate::request::{Request, RequestId, Spent};
use crate::telemetry::traces::TRACEPARENT;
use axum::http::header::HeaderName;
use axum::http::{HeaderValue, Method, Request as HttpRequest, StatusCode};
use axum::response::Response;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{Instrument, Span};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Enough to see what is slow; an election slows down everything that is under way.
const LINES_MAX: u32 = 10;

/// What the requests of one port have in common.
#[derive(Default)]
pub struct Access {
    /// None on a port whose requests are not counted.
    metrics: Option<HttpMetrics>,
    slow: Option<SlowLog>,
}

impl Access {
    /// Of the client port. `slow_after`: none is told of without it.
    pub fn of_clients(metrics: HttpMetrics, slow_after: Option<Duration>) -> Arc<Access> {
        Arc::new(Access { metrics: Some(metrics), slow: slow_after.map(SlowLog::new) })
    }

    /// Of the admin port: its callers wait on purpose, and scrapes should not be counted.
    pub fn of_operators() -> Arc<Access> {
        Arc::default()
    }

    /// What is known of a request before it is handled.
    pub(super) fn begin<B>(&self, request: &HttpRequest<B>) -> Begun {
        let brought = request.headers().get(&REQUEST_ID);
        let id = RequestId::of(brought.map(HeaderValue::as_bytes));
        let header = match (&id, brought) {
            (RequestId::Brought(_), Some(brought)) => brought.clone(),
            _ => HeaderValue::try_from(id.to_string()).expect("hexadecimal digits"),
        };
        let traceparent = request.headers().get(TRACEPARENT).and_then(|header| header.to_str().ok());
        let (at, request_under_way) = (Instant::now(), Request::new(id));
        let span = request_under_way.span(request.method().as_str(), traceparent);
        Begun { at, method: request.method().clone(), header, request: request_under_way, span }
    }

    /// Waits for the answer of a request.
    pub(super) async fn handle<E>(
        self: Arc<Self>,
        begun: Begun,
        answer: impl Future<Output = Result<Response, E>>,
    ) -> Result<Response, E> {
        let Begun { at, method, header, request, span } = begun;
        let _under_way = self.metrics.as_ref().map(HttpMetrics::begin);
        let (answer, id, route, spent) = request.run(answer.instrument(span.clone())).await;
        let mut response = answer?;
        response.headers_mut().insert(REQUEST_ID, header);
        // What was waited for on purpose is not slow.
        let (status, took) = (response.status(), at.elapsed().saturating_sub(spent.waited));
        span.record("route", route).record("status", status.as_u16());
        if let Some(metrics) = &self.metrics {
            metrics.answered(status.as_u16(), took);
        }
        span.in_scope(|| tracing::debug!(route, status = status.as_u16(), ms = ms(took), "answered"));
        if let Some(unlogged) = self.slow.as_ref().and_then(|slow| slow.tell(took, Instant::now())) {
            self.tell(Slow { id, method, route, status, took, spent, unlogged });
        }
        Ok(response)
    }

    fn tell(&self, slow: Slow) {
        let Slow { id, method, route, status, took, spent, unlogged } = slow;
        let Spent { leader, propose, index, apply, waited: _ } = spent;
        tracing::warn!(
            request = %id,
            %method,
            route,
            status = status.as_u16(),
            ms = ms(took),
            leader_ms = leader.map(ms),
            propose_ms = propose.map(ms),
            index_ms = index.map(ms),
            apply_ms = apply.map(ms),
            unlogged = Some(unlogged).filter(|count| *count > 0),
            "slow request"
        );
    }
}

/// Milliseconds, to the microsecond.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

/// A request that was taken.
pub(super) struct Begun {
    at: Instant,
    method: Method,
    /// The id as the answer carries it.
    header: HeaderValue,
    request: Request,
    span: Span,
}

struct Slow {
    id: RequestId,
    method: Method,
    route: &'static str,
    status: StatusCode,
    took: Duration,
    spent: Spent,
    unlogged: u64,
}

/// Which slow requests become a line.
struct SlowLog {
    after: Duration,
    /// std Mutex: never held across an await, and taken for slow requests only.
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    begun: Option<Instant>,
    lines: u32,
    unlogged: u64,
}

impl SlowLog {
    fn new(after: Duration) -> SlowLog {
        SlowLog { after, window: Mutex::default() }
    }

    /// Whether a request that took so long is told of, and how many before it were not.
    fn tell(&self, took: Duration, now: Instant) -> Option<u64> {
        if took < self.after {
            return None;
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.begun.is_none_or(|begun| now.duration_since(begun) >= Duration::from_secs(1)) {
            (window.begun, window.lines) = (Some(now), 0);
        }
        if window.lines >= LINES_MAX {
            window.unlogged += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_slow_requests_a_second_are_told_of_and_the_rest_is_counted() {
        let (slow, now) = (SlowLog::new(Duration::from_millis(100)), Instant::now());
        let long = Duration::from_millis(100);
        assert_eq!(slow.tell(Duration::from_millis(99), now), None, "not slow");
        for _ in 0..LINES_MAX {
            assert_eq!(slow.tell(long, now), Some(0));
        }
        assert_eq!((slow.tell(long, now), slow.tell(long, now)), (None, None));
        let later = now + Duration::from_secs(1);
        assert_eq!((slow.tell(long, later), slow.tell(long, later)), (Some(2), Some(0)));
    }

    #[tokio::test]
    async fn an_answer_carries_the_id_that_was_brought_or_one_of_ours() {
        let access = Access::of_operators();
        let ask = async |id: Option<&str>| {
            let mut request = HttpRequest::new(());
            if let Some(id) = id {
                request.headers_mut().insert(REQUEST_ID, id.parse().unwrap());
            }
            let answer = async { Ok::<_, ()>(Response::default()) };
            let response = access.clone().handle(access.begin(&request), answer).await.unwrap();
            response.headers()[&REQUEST_ID].to_str().unwrap().to_owned()
        };
        assert_eq!(ask(Some("order-17")).await, "order-17");
        let (none, unusable) = (ask(None).await, ask(Some("a b")).await);
        assert!(none.len() == 16 && unusable.len() == 16 && none != unusable, "{none} {unusable}");
    }
}
