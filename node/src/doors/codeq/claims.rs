//! Workers: claiming tasks, waiting for one.

use super::error::{CodeqError, answer};
use super::wire::{TaskJson, or_default};
use super::{Call, REQUEST_TIMEOUT, SMALL_BYTES_MAX, Side};
use crate::auth::{EventTypes, Operation, scope};
use crate::doors::native::Door;
use crate::queues::ClaimRequest;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schedia_apps::queue::{COMMANDS_MAX, Source, Task};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Whoever waits longer asks again.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The most tasks of one claim.
const COUNT_MAX: i64 = 10;
/// What a worker whose token allows everything is given if it names nothing: codeQ's own commands.
const COMMANDS: [&str; 2] = ["GENERATE_MASTER", "GENERATE_CREATIVE"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimJson {
    #[serde(default, deserialize_with = "or_default")]
    commands: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    lease_seconds: i64,
    #[serde(default, deserialize_with = "or_default")]
    wait_seconds: i64,
    #[serde(default, deserialize_with = "or_default")]
    count: i64,
}

pub(super) async fn claim(State(door): State<Arc<Door>>, request: Request) -> Response {
    super::handle_admitted(&door, async |admitted| {
        let call = Call::of(&door, request.headers(), Side::Worker(scope::CLAIM)).await?;
        call.limited(Operation::Claim)?;
        let (json, counted): (ClaimJson, _) =
            super::body(&door, request, SMALL_BYTES_MAX, "invalid body").await?;
        drop(counted);
        let wait = Duration::from_secs(u64::try_from(json.wait_seconds).unwrap_or(0)).min(WAIT_MAX);
        let _under_way = if wait.is_zero() { admitted } else { door.bounds.wait(admitted)? };
        let tasks = call.claim(json, 1, Instant::now() + wait).await?;
        Ok(match tasks.first() {
            Some(task) => answer(StatusCode::OK, &TaskJson::claimed(task)),
            None => StatusCode::NO_CONTENT.into_response(),
        })
    })
    .await
}

pub(super) async fn claim_batch(State(door): State<Arc<Door>>, request: Request) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Worker(scope::CLAIM)).await?;
        call.limited(Operation::Claim)?;
        let (json, _counted): (ClaimJson, _) =
            super::body(&door, request, SMALL_BYTES_MAX, "invalid body").await?;
        if json.count < 1 {
            return Err(CodeqError::bad_request("invalid body"));
        }
        if json.count > COUNT_MAX {
            return Err(CodeqError::bad_request("count exceeds maximum of 10"));
        }
        let count = json.count as u32;
        let tasks = call.claim(json, count, Instant::now()).await?;
        let tasks: Vec<_> = tasks.iter().map(TaskJson::claimed).collect();
        Ok(match tasks.is_empty() {
            false => answer(StatusCode::OK, &serde_json::json!({ "tasks": tasks })),
            true => StatusCode::NO_CONTENT.into_response(),
        })
    })
    .await
}

impl Call<'_> {
    async fn claim(&self, json: ClaimJson, count: u32, until: Instant) -> Result<Vec<Task>, CodeqError> {
        let settings = self.door.node.queue_settings();
        let lease_s = u64::try_from(json.lease_seconds).ok().filter(|lease_s| *lease_s > 0);
        let commands = self.allowed(json.commands)?;
        let sources = commands.into_iter().map(|command| {
            let policy = self.policy(&self.caller.tenant, &command)?;
            let in_progress_max = policy.map(|policy| policy.consumers_max).filter(|most| *most > 0);
            Ok(Source { command, in_progress_max })
        });
        let request = ClaimRequest {
            tenant: self.caller.tenant.clone(),
            from: sources.collect::<Result<_, CodeqError>>()?,
            worker: self.caller.subject.clone(),
            lease_ms: lease_s.unwrap_or(settings.lease_s).saturating_mul(1_000),
            count,
            until,
        };
        Ok(self.door.node.queues().claim(request, REQUEST_TIMEOUT).await?)
    }

    /// The commands to claim from: those asked for, if the token allows them, else all that it names.
    pub(super) fn allowed(&self, asked: Vec<String>) -> Result<Vec<String>, CodeqError> {
        if asked.len() > COMMANDS_MAX {
            return Err(CodeqError::bad_request(format!("commands: at most {COMMANDS_MAX}")));
        }
        let events = &self.caller.event_types;
        if asked.iter().any(|command| !events.allows(command)) {
            return Err(CodeqError::new(StatusCode::FORBIDDEN, "event type not allowed"));
        }
        Ok(match (asked.is_empty(), events) {
            (false, _) => asked,
            (true, EventTypes::All) => COMMANDS.map(str::to_owned).to_vec(),
            (true, EventTypes::Only(commands)) => commands.iter().cloned().collect(),
        })
    }
}
