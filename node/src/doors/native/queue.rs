//! The native routes of the queue, `/v1/queue`: looking at queues and tasks, and administering them.
//!
//! Tokens are those of codeQ's door, and so is the tenant: whoever asks sees its own tenant's queues only. Creating tasks and working
//! at them has its routes there.
//!
//! Not here: what becomes of a task (`schedia_apps::queue`), pages over several shards (`crate::queues`).

mod events;
mod moves;
mod queues;
mod subscriptions;
pub(super) mod tasks;
mod times;
pub(super) mod token;
mod topics;
mod words;

use super::*;
use crate::auth::{Operation, Principal};
use crate::doors::params::decode;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};
use schedia_apps::queue as queue_app;
use schedia_apps::queue::{COMMAND_BYTES_MAX, ROWS_MAX};

/// The routes below `/v1/queue`.
pub(super) fn routes(routes: Routes<Arc<Door>>) -> Routes<Arc<Door>> {
    routes
        .get("/v1/queue/queues", queues::list)
        .get("/v1/queue/queues/{command}", queues::get)
        .post("/v1/queue/queues/{command}/pause", queues::pause)
        .post("/v1/queue/queues/{command}/resume", queues::resume)
        .post("/v1/queue/queues/{command}/requeue", moves::requeue)
        .post("/v1/queue/queues/{command}/purge", moves::purge)
        .get("/v1/queue/tasks", tasks::list)
        .get("/v1/queue/tasks/{id}", tasks::get)
        .post("/v1/queue/tasks/{id}/cancel", tasks::cancel)
        .get("/v1/queue/subscriptions", subscriptions::list)
        .delete("/v1/queue/subscriptions/{id}", subscriptions::delete)
        .get("/v1/queue/topics", topics::list)
        .get("/v1/queue/events", events::events)
}

/// Whose tokens a route takes.
#[derive(Clone, Copy)]
enum Who {
    /// Those of producers and of workers.
    Any,
    /// Those of producers.
    Producer,
    /// Those of producers who are administrators.
    Admin,
}

/// Who asks.
async fn caller(door: &Door, headers: &HeaderMap, who: Who) -> Result<Principal, DoorError> {
    let (auth, token) = (door.node.auth(), authorization(headers));
    Ok(match who {
        Who::Any => auth.any(token).await?,
        Who::Producer => auth.producer(token).await?,
        Who::Admin => auth.admin(token).await?,
    })
}

/// Counts against the limit of the caller's token.
fn limited(door: &Door, headers: &HeaderMap, operation: Operation) -> Result<(), DoorError> {
    Ok(door.node.auth().limit(operation, authorization(headers), std::time::Instant::now())?)
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok())
}

/// The command or id that a path names: its fifth part, `/v1/queue/tasks/{id}`.
fn named(uri: &Uri) -> Result<String, DoorError> {
    let raw = uri.path().split('/').nth(4).unwrap_or_default();
    let text = decode(raw).and_then(|bytes| String::from_utf8(bytes.into()).ok());
    text.ok_or_else(|| DoorError::bad_request(format!("the path is not percent-encoded UTF-8: {raw}")))
}

/// The command that a path names.
fn command(uri: &Uri) -> Result<String, DoorError> {
    checked_command(named(uri)?)
}

fn checked_command(command: String) -> Result<String, DoorError> {
    match command.len() {
        1..=COMMAND_BYTES_MAX => Ok(command),
        bytes => {
            Err(DoorError::bad_request(format!("a command has 1 to {COMMAND_BYTES_MAX} bytes, not {bytes}")))
        }
    }
}

/// Rows of a page, or of a step: as many as were asked for, or as one holds.
fn rows(limit: Option<u32>) -> u32 {
    let most = ROWS_MAX as u32;
    limit.filter(|limit| *limit > 0).unwrap_or(most).min(most)
}

fn deadline() -> Instant {
    Instant::now() + REQUEST_TIMEOUT
}

impl Door {
    /// What a shard answered, or its refusal.
    fn told(&self, answer: Result<queue_app::Reply, ShardError>) -> Result<queue_app::Reply, DoorError> {
        answer.map_err(|error| self.refuse(error))
    }
}
