//! Workers: what becomes of a task that they have claimed.

use super::error::{CodeqError, answer};
use super::wire::{FinishJson, ResultJson, UploadJson, compact, or_default, parse_token, seconds};
use super::{BATCH_BYTES_MAX, CREATE_BYTES_MAX, Call, SMALL_BYTES_MAX, Side, path};
use crate::auth::scope;
use crate::doors::native::Door;
use crate::queues::Follower;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use schedia_apps::queue::{self, Artifact, Finish, Nack, Outcome, Owner, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;

/// The most results of one batch.
const BATCH_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeartbeatJson {
    #[serde(default, deserialize_with = "or_default")]
    extend_seconds: i64,
    #[serde(default, deserialize_with = "or_default")]
    lease_token: String,
}

pub(super) async fn heartbeat(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Worker(scope::HEARTBEAT)).await?;
        let path = path(request.uri());
        let (json, _counted): (HeartbeatJson, _) =
            super::body(&door, request, SMALL_BYTES_MAX, "invalid body").await?;
        let task = task_id(&id)?;
        let owner = call.owner(&json.lease_token)?;
        let extend_s = u64::try_from(json.extend_seconds).ok().filter(|extend_s| *extend_s > 0);
        let extend_ms = extend_s.unwrap_or(door.node.queue_settings().lease_s).saturating_mul(1_000);
        let done = call.change(task, queue::Command::Heartbeat { task, owner, extend_ms }, &path).await;
        match done? {
            queue::Reply::Extended { until_ms } => {
                Ok(answer(StatusCode::OK, &json!({ "ok": true, "leaseUntil": seconds(until_ms) })))
            }
            other => Err(crate::queues::wrong(other).into()),
        }
    })
    .await
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AbandonJson {
    #[serde(default, deserialize_with = "or_default")]
    lease_token: String,
}

pub(super) async fn abandon(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Worker(scope::ABANDON)).await?;
        let path = path(request.uri());
        let AbandonJson { lease_token } = super::optional_body(&door, request).await?;
        let task = task_id(&id)?;
        let owner = call.owner(&lease_token)?;
        let done = call.change(task, queue::Command::Abandon { task, owner }, &path).await;
        match done? {
            queue::Reply::Abandoned => Ok(answer(StatusCode::OK, &json!({ "status": "requeued" }))),
            other => Err(crate::queues::wrong(other).into()),
        }
    })
    .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NackJson {
    #[serde(default, deserialize_with = "or_default")]
    delay_seconds: i64,
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
    #[serde(default, deserialize_with = "or_default")]
    lease_token: String,
}

pub(super) async fn nack(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Worker(scope::NACK)).await?;
        let path = path(request.uri());
        let (json, _counted): (NackJson, _) =
            super::body(&door, request, CREATE_BYTES_MAX, "invalid body").await?;
        let task = task_id(&id)?;
        let delay_s = u32::try_from(json.delay_seconds.max(0)).unwrap_or(u32::MAX);
        let nack = Nack {
            task,
            owner: call.owner(&json.lease_token)?,
            delay_s: Some(delay_s).filter(|delay_s| *delay_s > 0),
            reason: cut(json.reason),
        };
        let done = call.change(task, queue::Command::Nack(nack), &path).await;
        let (status, delay_s) = match done? {
            queue::Reply::Nacked { delay_s: Some(delay_s) } => ("requeued", delay_s),
            queue::Reply::Nacked { delay_s: None } => ("dlq", 0),
            other => return Err(crate::queues::wrong(other).into()),
        };
        Ok(answer(StatusCode::OK, &json!({ "status": status, "delaySeconds": delay_s })))
    })
    .await
}

pub(super) async fn finish(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Worker(scope::RESULT)).await?;
        let path = path(request.uri());
        let (json, _counted): (FinishJson, _) =
            super::body(&door, request, CREATE_BYTES_MAX, "invalid request body").await?;
        if json.status.is_empty() {
            return Err(CodeqError::bad_request("invalid request body"));
        }
        let task: TaskId = id.parse().map_err(|_| CodeqError::not_found("task not found"))?;
        call.stay(task, &path)?;
        let finish = call.finish(task, json)?;
        let finished = door.node.queues().finish(vec![finish.clone()], super::deadline()).await;
        let finished = finished.into_iter().next().ok_or_else(super::no_answer)??;
        Ok(answer(StatusCode::OK, &ResultJson::kept(&finish, finished)))
    })
    .await
}

#[derive(Deserialize)]
struct BatchJson {
    /// Each is read twice, for its task and for its result: JSON as it was sent does not go through serde's `flatten`.
    #[serde(default, deserialize_with = "or_default")]
    results: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfTask {
    #[serde(default, deserialize_with = "or_default")]
    task_id: String,
}

/// What became of a batch.
#[derive(Serialize)]
struct DoneBatchJson<'a> {
    results: Vec<DoneJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DoneJson<'a> {
    task_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// One result of a batch, and its task.
struct OfBatch {
    task_id: String,
    finish: FinishJson,
}

impl OfBatch {
    fn parse(json: &RawValue) -> Option<OfBatch> {
        let OfTask { task_id } = serde_json::from_str(json.get()).ok()?;
        let finish: FinishJson = serde_json::from_str(json.get()).ok()?;
        (!task_id.is_empty() && !finish.status.is_empty()).then_some(OfBatch { task_id, finish })
    }
}

pub(super) async fn finish_batch(State(door): State<Arc<Door>>, request: Request) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Worker(scope::RESULT)).await?;
        let (BatchJson { results }, _counted) =
            super::body(&door, request, BATCH_BYTES_MAX, "invalid body").await?;
        let results: Option<Vec<OfBatch>> = results.iter().map(|result| OfBatch::parse(result)).collect();
        let Some(results) = results.filter(|results| !results.is_empty()) else {
            return Err(CodeqError::bad_request("invalid body"));
        };
        if results.len() > BATCH_MAX {
            return Err(CodeqError::bad_request("batch size exceeds maximum of 100"));
        }
        let asked = results.into_iter().map(|result| (result.task_id.clone(), call.one_of_batch(result)));
        let asked: Vec<_> = asked.collect();
        let taken: Vec<Finish> =
            asked.iter().filter_map(|(_, finish)| finish.as_ref().ok().cloned()).collect();
        let finished = door.node.queues().finish(taken, super::deadline()).await;
        if let Some(failure) = super::nothing_done(&finished) {
            return Err(failure.into());
        }
        let mut finished = finished.into_iter();
        let mut results = Vec::with_capacity(asked.len());
        for (task_id, finish) in &asked {
            let finish = finish.as_ref().map_err(CodeqError::text);
            let done = finish.and_then(|finish| match finished.next() {
                Some(Ok(ended)) => Ok(ResultJson::kept(finish, ended)),
                Some(Err(error)) => Err(CodeqError::from(error).text()),
                None => Err(super::no_answer().text()),
            });
            let (result, error) =
                done.map_or_else(|error| (None, Some(error)), |result| (Some(result), None));
            results.push(DoneJson { task_id, result, error });
        }
        Ok(answer(StatusCode::OK, &DoneBatchJson { results }))
    })
    .await
}

impl Call<'_> {
    /// Who says it: by the token of the lease, if it is told.
    fn owner(&self, token: &str) -> Result<Owner, CodeqError> {
        let token = match token {
            "" if self.door.node.queue_settings().lease_tokens_required => {
                return Err(CodeqError::bad_request("leaseToken is required: send back that of the claim"));
            }
            "" => None,
            text => {
                Some(parse_token(text).ok_or_else(|| CodeqError::new(StatusCode::FORBIDDEN, "not-owner"))?)
            }
        };
        Ok(Owner { tenant: self.caller.tenant.clone(), worker: self.caller.subject.clone(), token })
    }

    fn stay(&self, task: TaskId, path: &str) -> Result<(), CodeqError> {
        match self.door.node.queue_settings().follower {
            Follower::Forward => Ok(()),
            Follower::Redirect => super::redirect(self.door, self.door.node.queues().leads_task(task)?, path),
        }
    }

    /// Something done with a task that its worker has.
    async fn change(
        &self,
        task: TaskId,
        command: queue::Command,
        path: &str,
    ) -> Result<queue::Reply, CodeqError> {
        self.stay(task, path)?;
        let done = self.door.node.queues().change(task, command, super::deadline()).await;
        done.map_err(|error| match error {
            error if super::is_unknown(&error) => CodeqError::not_found("not-found"),
            error => error.into(),
        })
    }

    fn one_of_batch(&self, OfBatch { task_id, finish }: OfBatch) -> Result<Finish, CodeqError> {
        self.finish(task_id.parse().map_err(|_| CodeqError::not_found("task not found"))?, finish)
    }

    fn finish(&self, task: TaskId, json: FinishJson) -> Result<Finish, CodeqError> {
        let FinishJson { status, result, error, artifacts, lease_token } = json;
        let result = match result {
            Some(result) if !result.get().starts_with('{') => {
                return Err(CodeqError::bad_request("invalid request body"));
            }
            result => result.map(|result| compact(&result).into()),
        };
        let outcome = match (status.as_str(), result) {
            ("COMPLETED", Some(result)) => Outcome::Completed { result },
            ("COMPLETED", None) => {
                return Err(CodeqError::bad_request("result required when status=COMPLETED"));
            }
            ("FAILED", _) if error.trim().is_empty() => {
                return Err(CodeqError::bad_request("error required when status=FAILED"));
            }
            ("FAILED", result) => Outcome::Failed { error: cut(error), result },
            _ => return Err(CodeqError::bad_request("invalid status")),
        };
        let artifacts = artifacts.into_iter().map(artifact).collect::<Result<_, _>>()?;
        Ok(Finish { task, owner: self.owner(&lease_token)?, outcome, artifacts })
    }
}

/// A file that a worker made, told by its URL. Its bytes are not kept: they would be on one node, where nobody else has them.
fn artifact(UploadJson { name, url, content_base64 }: UploadJson) -> Result<Artifact, CodeqError> {
    match url.is_empty() && !content_base64.is_empty() {
        true => Err(CodeqError::bad_request(format!(
            "artifact {name} upload: files are not kept here, send a url"
        ))),
        false => Ok(Artifact { name, url }),
    }
}

fn task_id(id: &str) -> Result<TaskId, CodeqError> {
    id.parse().map_err(|_| CodeqError::not_found("not-found"))
}

/// What is kept of a reason or an error.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(queue::ERROR_BYTES_MAX));
    text
}
