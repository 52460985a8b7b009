//! Administrators: how many tasks are where, and removing what has ended.

use super::error::{CodeqError, answer};
use super::wire::{or_default, seconds};
use super::{Call, Side};
use crate::auth::Operation;
use crate::doors::native::Door;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use schedia_apps::queue::{self, Counts, Queue, QueueName};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What a cleanup removes if it is not told how much.
const CLEANUP: u32 = 1_000;

/// All queues of all tenants, in one flat map.
pub(super) async fn queues(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    super::handle(&door, async {
        Call::of(&door, &headers, Side::Admin).await?;
        let mut told = Map::new();
        for queue in door.node.queues().all(None, super::deadline()).await? {
            tell(&mut told, queue);
        }
        Ok(answer(StatusCode::OK, &told))
    })
    .await
}

fn tell(told: &mut Map<String, Value>, Queue { name: QueueName { tenant, command }, counts, .. }: Queue) {
    let Counts { ready, delayed, in_progress, dead, .. } = counts;
    let mut count = |what: String, count: u64| {
        if count > 0 {
            told.insert(format!("codeq:q:{command}:{tenant}:{what}"), count.into());
        }
    };
    for (priority, ready) in ready.into_iter().enumerate() {
        count(format!("pending:{priority}"), ready);
    }
    for (what, number) in [("delayed", delayed), ("inprog", in_progress), ("dlq", dead)] {
        count(what.to_owned(), number);
    }
}

/// One queue of the caller's tenant.
pub(super) async fn queue(
    State(door): State<Arc<Door>>,
    Path(command): Path<String>,
    headers: HeaderMap,
) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, &headers, Side::Admin).await?;
        let (tenant, command) = (call.caller.tenant, command.trim());
        if command.is_empty() {
            return Err(CodeqError::bad_request("command is required"));
        }
        let query = queue::Query::Queue { tenant: tenant.clone(), command: command.to_owned() };
        let counts = match door.node.queues().ask_of_queue((&tenant, command), query, super::deadline()).await? {
            queue::Reply::Queue(queue) => queue.map(|queue| queue.counts).unwrap_or_default(),
            other => return Err(crate::queues::wrong(other).into()),
        };
        let Counts { ready, delayed, in_progress, dead, .. } = counts;
        let ready: u64 = ready.iter().sum();
        Ok(answer(
            StatusCode::OK,
            &json!({ "command": command, "ready": ready, "delayed": delayed, "inProgress": in_progress, "dlq": dead }),
        ))
    })
    .await
}

#[derive(Default, Deserialize)]
struct CleanupJson {
    #[serde(default, deserialize_with = "or_default")]
    limit: i64,
    #[serde(default, deserialize_with = "or_default")]
    before: String,
}

/// Removes what will not be kept any longer by a time: never a task that has not ended.
pub(super) async fn cleanup(State(door): State<Arc<Door>>, request: Request) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Admin).await?;
        call.limited(Operation::Cleanup)?;
        let CleanupJson { limit, before } = super::optional_body(&door, request).await?;
        let before = match before.as_str() {
            "" => Timestamp::now(),
            text => text.parse().map_err(|_| CodeqError::bad_request("invalid 'before' (use RFC3339)"))?,
        };
        let before_ms = u64::try_from(before.as_millisecond()).unwrap_or(0);
        let most = u32::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(CLEANUP);
        let deleted = door.node.queues().cleanup(before_ms, most, super::deadline()).await?;
        Ok(answer(
            StatusCode::OK,
            &json!({ "deleted": deleted, "before": seconds(before_ms), "limit": limit }),
        ))
    })
    .await
}
