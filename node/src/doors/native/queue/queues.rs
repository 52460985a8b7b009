//! Queues: how many tasks are where, and whether claims pass them over.

use super::*;
use axum::Json;
use schedia_api::{QueueInfo, QueuePage, QueuePaused};
use schedia_apps::queue::{Queue, QueueName};

pub(super) async fn list(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let tenant = caller(&door, &parts.headers, Who::Any).await?.tenant;
        let mut params = Params::parse(parts.uri.query())?;
        let limit = rows(params.number("limit")?);
        let after = params.value::<String>("after", "a command")?.map(checked_command).transpose()?;
        params.done()?;
        let page = door.node.queues().page(&tenant, after.as_deref(), limit, deadline()).await;
        let (queues, more) = page.map_err(|error| door.refuse(error))?;
        let next = queues.last().filter(|_| more).map(|queue| queue.name.command.clone());
        let queues = queues.into_iter().map(|queue| door.queue(queue)).collect::<Result<_, _>>()?;
        Ok(Json(QueuePage { queues, next }).into_response())
    })
    .await
}

pub(super) async fn get(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let tenant = caller(&door, &parts.headers, Who::Any).await?.tenant;
        let command = command(&parts.uri)?;
        Params::parse(parts.uri.query())?.done()?;
        let query = queue_app::Query::Queue { tenant: tenant.clone(), command: command.clone() };
        let asked = door.node.queues().ask_of_queue((&tenant, &command), query, deadline()).await;
        match door.told(asked)? {
            queue_app::Reply::Queue(Some(queue)) => Ok(Json(door.queue(*queue)?).into_response()),
            queue_app::Reply::Queue(None) => Err(DoorError::new(
                StatusCode::NOT_FOUND,
                "queue_not_found",
                format!("no task was ever created for this command: {command}"),
            )),
            other => Err(unexpected(&other)),
        }
    })
    .await
}

pub(super) async fn pause(State(door): State<Arc<Door>>, request: Request) -> Response {
    set_paused(&door, request, true).await
}

pub(super) async fn resume(State(door): State<Arc<Door>>, request: Request) -> Response {
    set_paused(&door, request, false).await
}

async fn set_paused(door: &Door, request: Request, paused: bool) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let tenant = caller(door, &parts.headers, Who::Admin).await?.tenant;
        let command = command(&parts.uri)?;
        Params::parse(parts.uri.query())?.done()?;
        let QueueName { command, .. } = QueueName::of(&tenant, &command);
        let change = queue_app::Command::Pause { tenant: tenant.clone(), command: command.clone(), paused };
        let done = door.node.queues().change_queue((&tenant, &command), change, deadline()).await;
        match door.told(done)? {
            queue_app::Reply::Paused { changed } => {
                Ok(Json(QueuePaused { command, paused, changed }).into_response())
            }
            other => Err(unexpected(&other)),
        }
    })
    .await
}

impl Door {
    /// A queue as it is told, with its topic as this node knows it.
    fn queue(&self, queue: Queue) -> Result<QueueInfo, DoorError> {
        let queues = self.node.queues();
        let QueueName { tenant, command } = &queue.name;
        let now_ms = queues.time_ms(tenant, command).map_err(|error| self.refuse(error))?;
        let topic = queues.topic(tenant, &crate::doors::codeq::topic_of(command));
        let topic = topic.map_err(|error| self.refuse(error))?;
        Ok(words::queue(queue, topic, now_ms))
    }
}
