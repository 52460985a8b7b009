//! Tasks: pages of them, one with its result, ending one that nobody wants any more.

use super::times::Spans;
use super::*;
use crate::queues::TasksRequest;
use axum::Json;
use schedia_api::{QueueCancelled, QueueState, QueueTasks};
use schedia_apps::queue::{Place, QueueName, TaskId};

/// What a request for a page asks for, but for whose tasks and from when ages count.
pub(in crate::doors::native) struct Asked {
    command: Option<String>,
    place: Option<Place>,
    spans: Spans,
    limit: u32,
    after: Option<crate::queues::Mark>,
    payloads: bool,
}

pub(super) async fn list(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let tenant = caller(&door, &parts.headers, Who::Any).await?.tenant;
        let Asked { command, place, spans, limit, after, payloads } =
            asked(Params::parse(parts.uri.query())?)?;
        let queues = door.node.queues();
        // Of all queues ages count from one moment: the shards' times are as good as the same.
        let now_ms = queues.time_ms(&tenant, command.as_deref().unwrap_or_default());
        let (created, ended) = spans.at(now_ms.map_err(|error| door.refuse(error))?, place);
        let request = TasksRequest { tenant, command, place, created, ended, after, limit, payloads };
        let page = queues.tasks(&request, deadline()).await;
        let (tasks, next) = page.map_err(|error| door.refuse(error))?;
        let tasks = tasks.into_iter().map(words::task).collect();
        Ok(Json(QueueTasks { tasks, next: next.as_ref().map(token::of_mark) }).into_response())
    })
    .await
}

pub(in crate::doors::native) fn asked(mut params: Params) -> Result<Asked, DoorError> {
    let command = params.value::<String>("command", "a command")?.map(checked_command).transpose()?;
    let state = params.value::<QueueState>("state", "the state of a task")?;
    let spans = Spans::take(&mut params)?;
    let limit = rows(params.number("limit")?);
    let after = params.bytes("after").map(|after| token::mark(&after)).transpose()?;
    let payloads = params.flag("payloads")?;
    params.done()?;
    let same = |command: &str| {
        after.as_ref().is_none_or(|mark| QueueName::of("", command) == QueueName::of("", &mark.command))
    };
    if command.as_deref().is_some_and(|command| !same(command)) {
        return Err(DoorError::bad_request("parameter command is not that of the page before"));
    }
    Ok(Asked { command, place: state.map(words::place), spans, limit, after, payloads })
}

pub(super) async fn get(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let tenant = caller(&door, &parts.headers, Who::Any).await?.tenant;
        Params::parse(parts.uri.query())?.done()?;
        let id = task_id(&parts.uri)?;
        let query = queue_app::Query::Result { tenant: Some(tenant), id };
        let asked = door.node.queues().ask_of_task(id, query, deadline()).await;
        match door.told(asked)? {
            queue_app::Reply::Result { task, result } => {
                Ok(Json(words::task_with_result(*task, result)).into_response())
            }
            other => Err(unexpected(&other)),
        }
    })
    .await
}

pub(super) async fn cancel(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let tenant = caller(&door, &parts.headers, Who::Producer).await?.tenant;
        Params::parse(parts.uri.query())?.done()?;
        let task = task_id(&parts.uri)?;
        let cancel = queue_app::Command::Cancel { tenant, task };
        let done = door.node.queues().change(task, cancel, deadline()).await;
        match door.told(done)? {
            queue_app::Reply::Cancelled => {
                let cancelled = QueueCancelled { id: task.to_string(), state: QueueState::Cancelled };
                Ok(Json(cancelled).into_response())
            }
            other => Err(unexpected(&other)),
        }
    })
    .await
}

/// The task that a path names. What is no id is no task.
fn task_id(uri: &Uri) -> Result<TaskId, DoorError> {
    named(uri)?.parse().map_err(|_| queue_app::Refusal::UnknownTask.into())
}
