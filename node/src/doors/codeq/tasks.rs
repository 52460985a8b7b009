//! Producers: creating tasks, one or many, and looking at them.

use super::error::{CodeqError, answer};
use super::wire::{CreateJson, ResultJson, TaskJson, compact, or_default};
use super::{BATCH_BYTES_MAX, CREATE_BYTES_MAX, Call, Side};
use crate::auth::Operation;
use crate::doors::native::Door;
use crate::doors::params::Params;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use jiff::Timestamp;
use schedia_apps::queue::{self, Create, Created, Due, Key, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most tasks of one batch.
const BATCH_MAX: usize = 100;
/// Whoever waits for a result longer asks again.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) async fn create(State(door): State<Arc<Door>>, request: Request) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Producer).await?;
        call.limited(Operation::CreateTask)?;
        let path = request.uri().path().to_owned();
        let (json, _counted): (CreateJson, _) =
            super::body(&door, request, CREATE_BYTES_MAX, "invalid body").await?;
        if json.command.is_empty() || json.payload.is_none() {
            return Err(CodeqError::bad_request("invalid body"));
        }
        let create = call.create(json)?;
        super::stay(&door, &create.tenant, &create.command, &path)?;
        let created = door.node.queues().create(vec![create], super::deadline()).await;
        let created = created.into_iter().next().ok_or_else(super::no_answer)?.map_err(CodeqError::from)?;
        Ok(answer(StatusCode::ACCEPTED, &TaskJson::from(&created.task)))
    })
    .await
}

#[derive(Deserialize)]
struct BatchJson {
    #[serde(default, deserialize_with = "or_default")]
    tasks: Vec<CreateJson>,
}

pub(super) async fn create_batch(State(door): State<Arc<Door>>, request: Request) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Producer).await?;
        call.limited(Operation::CreateTask)?;
        let (BatchJson { tasks }, _counted) =
            super::body(&door, request, BATCH_BYTES_MAX, "invalid body").await?;
        if tasks.is_empty() {
            return Err(CodeqError::bad_request("invalid body"));
        }
        if tasks.len() > BATCH_MAX {
            return Err(CodeqError::bad_request("batch size exceeds maximum of 100"));
        }
        let asked: Vec<_> = tasks.into_iter().map(|task| call.create(task)).collect();
        if let Some(failed) = asked.iter().position(|asked| asked.as_ref().is_err_and(CodeqError::is_failure))
        {
            return Err(asked.into_iter().nth(failed).and_then(Result::err).unwrap_or_else(super::no_answer));
        }
        let taken: Vec<Create> = asked.iter().filter_map(|create| create.as_ref().ok().cloned()).collect();
        let created = door.node.queues().create(taken, super::deadline()).await;
        if let Some(failure) = super::nothing_done(&created) {
            return Err(failure.into());
        }
        let mut created = created.into_iter();
        let each = asked.into_iter().map(|asked| match asked {
            Ok(_) => created.next().ok_or_else(super::no_answer)?.map_err(CodeqError::from),
            Err(error) => Err(error),
        });
        let told: Vec<_> = each.map(told).collect();
        Ok(answer(StatusCode::OK, &json!({ "results": told })))
    })
    .await
}

/// One of a batch: a task, or why there is none.
fn told(created: Result<Created, CodeqError>) -> Value {
    match created {
        Ok(created) => json!({ "task": TaskJson::from(&created.task) }),
        Err(error) => json!({ "error": error.text() }),
    }
}

impl Call<'_> {
    /// What is asked, checked in codeQ's order.
    fn create(&self, json: CreateJson) -> Result<Create, CodeqError> {
        let CreateJson {
            command,
            payload,
            priority,
            webhook,
            max_attempts,
            idempotency_key,
            run_at,
            delay_seconds,
        } = json;
        let at = match run_at.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| CodeqError::bad_request("invalid 'runAt' (use RFC3339)"))?),
        };
        let delay_s = u64::try_from(delay_seconds)
            .map_err(|_| CodeqError::bad_request("invalid 'delaySeconds' (must be >= 0)"))?;
        if command.trim().is_empty() {
            return Err(CodeqError::bad_request("invalid command"));
        }
        let webhook = Some(webhook).filter(|url| !url.is_empty());
        if webhook.as_deref().is_some_and(|url| !super::is_http_url(url)) {
            return Err(CodeqError::bad_request("invalid webhook url"));
        }
        let tenant = self.caller.tenant.clone();
        let policy = self.policy(&tenant, &command)?;
        let settings = self.door.node.queue_settings();
        let keep_ms = settings.keys_ms();
        Ok(Create {
            id: self.door.node.queues().draw(&tenant, &command)?,
            tenant,
            command,
            payload: payload.map_or_else(|| "null".to_owned(), |payload| compact(&payload)).into(),
            priority: priority.clamp(0, queue::PRIORITIES as i64 - 1) as u8,
            webhook,
            max_attempts: settings.attempts(max_attempts, policy.as_ref()),
            key: Some(idempotency_key).filter(|key| !key.is_empty()).map(|text| Key { text, keep_ms }),
            due: due(at, delay_s),
            retry: settings.retry,
            retention_ms: settings.retention_ms(policy.as_ref()),
            trace_parent: self.traces.0.clone(),
            trace_state: self.traces.1.clone(),
        })
    }
}

/// A time that was given wins over a delay.
fn due(at: Option<Timestamp>, delay_s: u64) -> Due {
    match (at, delay_s) {
        (Some(at), _) => Due::At(u64::try_from(at.as_millisecond()).unwrap_or(0)),
        (None, 0) => Due::Now,
        (None, delay_s) => Due::After(delay_s.saturating_mul(1_000)),
    }
}

pub(super) async fn get(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, &headers, Side::Any).await?;
        let not_found = || CodeqError::not_found("not found");
        let id: TaskId = id.parse().map_err(|_| not_found())?;
        let query = queue::Query::Task { tenant: Some(call.caller.tenant), id };
        match door.node.queues().ask_of_task(id, query, super::deadline()).await {
            Ok(queue::Reply::Task(task)) => Ok(answer(StatusCode::OK, &TaskJson::from(&*task))),
            Ok(other) => Err(crate::queues::wrong(other).into()),
            Err(error) if super::is_unknown(&error) => Err(not_found()),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

#[derive(Serialize)]
struct ResultOfTask<'a> {
    task: TaskJson<'a>,
    result: ResultJson<'a>,
}

pub(super) async fn get_result(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    super::handle_admitted(&door, async |admitted| {
        let call = Call::of(&door, &headers, Side::Any).await?;
        let mut params = Params::parse(uri.query())?;
        let wait = params.bytes("waitSeconds");
        let wait = wait.and_then(|wait| std::str::from_utf8(&wait).ok()?.parse::<u64>().ok()).unwrap_or(0);
        let wait = Duration::from_secs(wait).min(WAIT_MAX);
        let _under_way = if wait.is_zero() { admitted } else { door.bounds.wait(admitted)? };
        let until = Instant::now() + wait;
        let id: TaskId = id.parse().map_err(|_| CodeqError::not_found("task not found"))?;
        let queues = door.node.queues();
        let (task, result) = queues.ended((&call.caller.tenant, id), until, super::deadline()).await?;
        let Some(result) = ResultJson::of(&task, &result) else {
            return Err(CodeqError::not_found("result not found"));
        };
        Ok(answer(StatusCode::OK, &ResultOfTask { task: TaskJson::from(&task), result }))
    })
    .await
}
