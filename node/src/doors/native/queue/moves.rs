//! Many tasks of one queue at once: another try, or the end. Each request is one entry, bounded, and says whether there is more.

use super::*;
use crate::doors::bounds::parse_verb;
use axum::Json;
use schedia_api::{QueuePurge, QueuePurged, QueueRequeue, QueueRequeued};
use schedia_apps::queue::{Move, Purge, TaskId};

pub(super) async fn requeue(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let (parts, body) = request.into_parts();
        let tenant = caller(&door, &parts.headers, Who::Admin).await?.tenant;
        let command = command(&parts.uri)?;
        Params::parse(parts.uri.query())?.done()?;
        let QueueRequeue { from, ids, run_at, limit } =
            parse_verb(&door.bounds.verb_bytes(&parts.headers, body).await?)?;
        let order = Move {
            tenant: tenant.clone(),
            command: command.clone(),
            from: words::place(from),
            due_ms: run_at.map(|at| times::time_ms("runAt", &at)).transpose()?,
            ids: ids.map(task_ids).transpose()?,
            limit: rows(limit),
        };
        let change = queue_app::Command::Move(order);
        let done = door.node.queues().change_queue((&tenant, &command), change, deadline()).await;
        match door.told(done)? {
            queue_app::Reply::Moved { moved, more } => {
                Ok(Json(QueueRequeued { requeued: moved, more }).into_response())
            }
            other => Err(unexpected(&other)),
        }
    })
    .await
}

fn task_ids(ids: Vec<String>) -> Result<Vec<TaskId>, DoorError> {
    let wrong = |id: &str| DoorError::bad_request(format!("ids: not the id of a task: {id:?}"));
    ids.iter().map(|id| id.parse().map_err(|_| wrong(id))).collect()
}

pub(super) async fn purge(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let (parts, body) = request.into_parts();
        let tenant = caller(&door, &parts.headers, Who::Admin).await?.tenant;
        limited(&door, &parts.headers, Operation::Cleanup)?;
        let command = command(&parts.uri)?;
        Params::parse(parts.uri.query())?.done()?;
        let QueuePurge { place, ended_before, older_than, limit, after } =
            parse_verb(&door.bounds.verb_bytes(&parts.headers, body).await?)?;
        let now_ms = door.node.queues().time_ms(&tenant, &command).map_err(|error| door.refuse(error))?;
        let before_ms = match (ended_before, older_than) {
            (Some(_), Some(_)) => {
                return Err(DoorError::bad_request("endedBefore and olderThan exclude each other"));
            }
            (Some(time), None) => Some(times::time_ms("endedBefore", &time)?),
            (None, Some(age)) => Some(times::ago_ms("olderThan", &age, now_ms)?),
            (None, None) => None,
        };
        let order = Purge {
            tenant: tenant.clone(),
            command: command.clone(),
            place: words::place(place),
            before_ms,
            after: after.map(|after| token::place(&after)).transpose()?,
            limit: rows(limit),
        };
        let change = queue_app::Command::Purge(order);
        let done = door.node.queues().change_queue((&tenant, &command), change, deadline()).await;
        match door.told(done)? {
            queue_app::Reply::Removed { removed, next } => {
                let next = next.as_ref().map(token::of_place);
                Ok(Json(QueuePurged { removed, more: next.is_some(), next }).into_response())
            }
            other => Err(unexpected(&other)),
        }
    })
    .await
}
