//! codeQ's door, `/v1/codeq`: its paths, statuses, texts and JSON, on queues that keep their promises.
//!
//! Any node takes any request. What a follower cannot do it has the leader do, or, with `--queue-follower redirect`, it answers 307
//! where codeQ does.
//!
//! Not here: what a task may do next (`schedia_apps::queue`), where it is (`crate::queues`), who may ask (`crate::auth`).

mod admin;
mod claims;
mod error;
mod status;
mod subscriptions;
mod tasks;
mod topics;
mod wire;
mod work;

use super::bounds::Counted;
use super::native::Door;
use super::routes::Routes;
use crate::auth::{Operation, Principal};
use crate::queues::Follower;
use crate::shards::ShardError;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use error::CodeqError;
use schedia_apps::{Refusal, queue};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
pub(super) use topics::name_of as topic_of;

/// A request that is not answered by then is given up: an election and a retry of ours fit in. What is waited for on purpose comes
/// on top.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A task, its name and its texts.
const CREATE_BYTES_MAX: usize = queue::TASK_BYTES_MAX + (64 << 10);
/// What one entry of the log takes.
const BATCH_BYTES_MAX: usize = 2 << 20;
/// Everything else.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// The routes of this door.
pub(super) fn routes() -> Routes<Arc<Door>> {
    Routes::new()
        .post("/v1/codeq/tasks", tasks::create)
        .post("/v1/codeq/tasks/batch", tasks::create_batch)
        .post("/v1/codeq/tasks/claim", claims::claim)
        .post("/v1/codeq/tasks/claim/batch", claims::claim_batch)
        .post("/v1/codeq/tasks/{id}/heartbeat", work::heartbeat)
        .post("/v1/codeq/tasks/{id}/abandon", work::abandon)
        .post("/v1/codeq/tasks/{id}/nack", work::nack)
        .post("/v1/codeq/tasks/{id}/result", work::finish)
        .post("/v1/codeq/tasks/batch/results", work::finish_batch)
        .get("/v1/codeq/tasks/{id}", tasks::get)
        .get("/v1/codeq/tasks/{id}/result", tasks::get_result)
        .post("/v1/codeq/workers/subscriptions", subscriptions::create)
        .post("/v1/codeq/workers/subscriptions/{id}/heartbeat", subscriptions::heartbeat)
        .get("/v1/codeq/raft/status", status::status)
        .get("/v1/codeq/admin/queues", admin::queues)
        .get("/v1/codeq/admin/queues/{command}", admin::queue)
        .post("/v1/codeq/admin/tasks/cleanup", admin::cleanup)
        .get("/v1/codeq/admin/topics/{name}", topics::get)
        .put("/v1/codeq/admin/topics/{name}", topics::put)
        .delete("/v1/codeq/admin/topics/{name}", topics::delete)
}

/// Runs one request: admitted, its error in codeQ's shape.
async fn handle<F>(door: &Door, handler: F) -> Response
where
    F: Future<Output = Result<Response, CodeqError>>,
{
    handle_admitted(door, async |_admitted| handler.await).await
}

/// The same, of one that may wait: then it is not under way any more ([`Bounds::wait`](super::bounds::Bounds::wait)).
async fn handle_admitted(
    door: &Door,
    handler: impl AsyncFnOnce(OwnedSemaphorePermit) -> Result<Response, CodeqError>,
) -> Response {
    match door.bounds.admit() {
        Ok(admitted) => handler(admitted).await.unwrap_or_else(IntoResponse::into_response),
        Err(busy) => CodeqError::from(busy).into_response(),
    }
}

/// Which tokens a route takes.
#[derive(Clone, Copy)]
enum Side {
    /// Those of producers.
    Producer,
    /// Those of producers who are administrators.
    Admin,
    /// Those of workers that have this scope.
    Worker(&'static str),
    /// Any.
    Any,
}

/// Who asks, and what goes with it.
struct Call<'a> {
    door: &'a Door,
    caller: Principal,
    /// The header `Authorization`.
    token: Option<String>,
    /// `traceparent` and `tracestate`.
    traces: (Option<String>, Option<String>),
}

impl<'a> Call<'a> {
    async fn of(door: &'a Door, headers: &HeaderMap, side: Side) -> Result<Call<'a>, CodeqError> {
        let auth = door.node.auth();
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let caller = match side {
            Side::Producer => auth.producer(token).await?,
            Side::Admin => auth.admin(token).await?,
            Side::Worker(scope) => {
                let caller = auth.worker(token).await?;
                caller.require_scope(scope)?;
                caller
            }
            Side::Any => auth.any(token).await?,
        };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let token = token.map(str::to_owned);
        Ok(Call { door, caller, token, traces: (text("traceparent"), text("tracestate")) })
    }

    /// Counts against the limit of the caller's token.
    fn limited(&self, operation: Operation) -> Result<(), CodeqError> {
        Ok(self.door.node.auth().limit(operation, self.token.as_deref(), std::time::Instant::now())?)
    }

    /// What the topic of a command asks for.
    fn policy(&self, tenant: &str, command: &str) -> Result<Option<queue::Policy>, CodeqError> {
        let topic = self.door.node.queues().topic(tenant, &topics::name_of(command))?;
        Ok(topic.map(|topic| topic.policy))
    }
}

fn deadline() -> Instant {
    Instant::now() + REQUEST_TIMEOUT
}

/// The JSON body of a request, which counts against the bound on bodies until the second part is dropped; anything else is refused
/// with this text.
async fn body<T: DeserializeOwned>(
    door: &Door,
    request: Request,
    bytes_max: usize,
    refusal: &'static str,
) -> Result<(T, Counted), CodeqError> {
    let (parts, body) = request.into_parts();
    let counted = read(door, &parts.headers, body, bytes_max).await?;
    let json = serde_json::from_slice(&counted.bytes).map_err(|_| CodeqError::bad_request(refusal))?;
    Ok((json, counted))
}

/// The JSON body of a request that needs none.
async fn optional_body<T: DeserializeOwned + Default>(
    door: &Door,
    request: Request,
) -> Result<T, CodeqError> {
    let (parts, body) = request.into_parts();
    let counted = read(door, &parts.headers, body, SMALL_BYTES_MAX).await?;
    match counted.bytes.is_empty() {
        true => Ok(T::default()),
        false => serde_json::from_slice(&counted.bytes).map_err(|_| CodeqError::bad_request("invalid body")),
    }
}

async fn read(door: &Door, headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Counted, CodeqError> {
    Ok(door.bounds.body(headers, body, bytes_max, "a request").await?)
}

/// Why nothing at all of a batch was done, if that is not for each item to say: nobody led, or there was no room. Doubt comes first.
fn nothing_done<T>(answers: &[Result<T, ShardError>]) -> Option<ShardError> {
    let failed = |answer: &Result<T, ShardError>| match answer {
        Err(error) if !matches!(error, ShardError::Refused(_)) => Some(error.clone()),
        _ => None,
    };
    let failures: Vec<ShardError> = answers.iter().map(failed).collect::<Option<_>>()?;
    // None of an empty batch: then there is nothing to say either.
    let doubt = failures.iter().find(|error| matches!(error, ShardError::OutcomeUnknown { .. }));
    doubt.or(failures.first()).cloned()
}

/// With `--queue-follower redirect` a request about a queue is the leader's to answer.
fn stay(door: &Door, tenant: &str, command: &str, path: &str) -> Result<(), CodeqError> {
    match door.node.queue_settings().follower {
        Follower::Forward => Ok(()),
        Follower::Redirect => redirect(door, door.node.queues().leads_queue(tenant, command)?, path),
    }
}

fn stay_on_shard_0(door: &Door, path: &str) -> Result<(), CodeqError> {
    match door.node.queue_settings().follower {
        Follower::Forward => Ok(()),
        Follower::Redirect => redirect(door, door.node.queues().leads_topics()?, path),
    }
}

fn redirect(
    door: &Door,
    led: Result<(), Option<schedia_apps::NodeId>>,
    path: &str,
) -> Result<(), CodeqError> {
    let Err(leader) = led else { return Ok(()) };
    let url = leader.and_then(|leader| door.node.member_url(leader));
    let url = url.ok_or_else(|| CodeqError::from(ShardError::NoLeader))?;
    Err(CodeqError::elsewhere(&url, path))
}

/// Path and query of a request.
fn path(uri: &Uri) -> String {
    uri.path_and_query().map_or_else(|| uri.path().to_owned(), |path| path.as_str().to_owned())
}

fn is_http_url(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn is_unknown(error: &ShardError) -> bool {
    matches!(error, ShardError::Refused(Refusal::Queue(queue::Refusal::UnknownTask)))
}

/// A batch of one without an answer: a defect of ours.
fn no_answer() -> CodeqError {
    ShardError::unknown("a reply is missing").into()
}
