//! What happens to the tasks of a tenant, as server-sent events.
//!
//! A stream tells what this node applies from the moment on in which it began. Nothing is kept for it: where something was missed, by
//! a slow reader or by a snapshot that took the place of the state, it says `gap`, and whoever must know looks again.
//!
//! Invariant: a stream names no task and no queue of another tenant.

use super::*;
use crate::doors::native::streams::{End, PROGRESS_EVERY, Reader};
use crate::queues::Told;
use futures::{Stream, StreamExt};
use schedia_api::{QueueChange, QueueEvent};
use schedia_apps::queue::{Change, Event, QueueName};
use tokio::time::timeout_at;

/// What a stream begins with.
const HELLO: &[u8] = b": what happens from now on\nretry: 1000\n\n";
/// What shows that a quiet one lives.
const ALIVE: &[u8] = b": nothing new\n\n";

pub(super) async fn events(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let tenant = caller(&door, &parts.headers, Who::Any).await?.tenant;
        let mut params = Params::parse(parts.uri.query())?;
        let command = params.value::<String>("command", "a command")?.map(checked_command).transpose()?;
        params.done()?;
        door.node.ready()?;
        let room = door.streams.room()?;
        let of = Of { queue: command.map(|command| QueueName::of(&tenant, &command)), tenant };
        let news = door.node.queues().listen().map_err(|error| door.refuse(error))?;
        let (reader, headers, body) = door.streams.open(room);
        let told = door.clone();
        tokio::spawn(async move { reader.serve(send_all(&told, &of, &reader, news)).await });
        Ok((headers, body).into_response())
    })
    .await
}

/// Whose events a stream tells.
struct Of {
    tenant: String,
    /// Only those of this queue.
    queue: Option<QueueName>,
}

impl Of {
    fn takes(&self, event: &Event) -> bool {
        match &self.queue {
            Some(queue) => *event.queue == *queue,
            None => event.queue.tenant == self.tenant,
        }
    }
}

async fn send_all(
    door: &Door,
    of: &Of,
    reader: &Reader,
    mut news: impl Stream<Item = (ShardId, Told)> + Unpin,
) -> End {
    if let Err(end) = reader.send(HELLO.to_vec()).await {
        return end;
    }
    let mut show_at = Instant::now() + PROGRESS_EVERY;
    loop {
        let text = match timeout_at(show_at, news.next()).await {
            Ok(Some((_, Told::Happened(events)))) => lines(of, &events),
            Ok(Some((shard, Told::Gap))) => gap(shard),
            Ok(Some((_, Told::Ended)) | None) => {
                let stopped = ShardError::unavailable("a shard has stopped on this node");
                return End::Told(door.refuse(stopped));
            }
            Err(_) => Vec::new(),
        };
        let text = match text.is_empty() {
            false => text,
            true if Instant::now() < show_at => continue,
            // Cut off from the others this node would say nothing for ever: another one may know more.
            true => match door.node.ready() {
                Ok(()) => ALIVE.to_vec(),
                Err(unready) => return End::Told(unready.into()),
            },
        };
        if let Err(end) = reader.send(text).await {
            return end;
        }
        show_at = Instant::now() + PROGRESS_EVERY;
    }
}

/// Those that the stream takes, one event each.
fn lines(of: &Of, events: &[Event]) -> Vec<u8> {
    let mut text = Vec::new();
    for Event { queue, task, change } in events.iter().filter(|event| of.takes(event)) {
        let (change, delayed) = self::change(*change);
        let told = QueueEvent { change, id: task.to_string(), command: queue.command.clone(), delayed };
        text.extend_from_slice(b"data: ");
        serde_json::to_writer(&mut text, &told).expect("texts");
        text.extend_from_slice(b"\n\n");
    }
    text
}

fn gap(shard: ShardId) -> Vec<u8> {
    format!("event: gap\ndata: {{\"shard\":{shard}}}\n\n").into_bytes()
}

fn change(change: Change) -> (QueueChange, bool) {
    let change = match change {
        Change::CreatedDelayed => return (QueueChange::Created, true),
        Change::Created => QueueChange::Created,
        Change::Ready => QueueChange::Ready,
        Change::Delayed => QueueChange::Delayed,
        Change::Claimed => QueueChange::Claimed,
        Change::Expired => QueueChange::Expired,
        Change::Completed => QueueChange::Completed,
        Change::Failed => QueueChange::Failed,
        Change::Dead => QueueChange::Dead,
        Change::Cancelled => QueueChange::Cancelled,
        Change::Removed => QueueChange::Removed,
    };
    (change, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schedia_apps::queue::TaskId;

    fn told(tenant: &str, command: Option<&str>) -> String {
        let event = |tenant: &str, command: &str, change| Event {
            queue: Arc::new(QueueName::of(tenant, command)),
            task: TaskId([7; 16]),
            change,
        };
        let events = [
            event("t", "A", Change::CreatedDelayed),
            event("other", "A", Change::Ready),
            event("t", "b", Change::Dead),
        ];
        let queue = command.map(|command| QueueName::of(tenant, command));
        String::from_utf8(lines(&Of { tenant: tenant.to_owned(), queue }, &events)).unwrap()
    }

    #[test]
    fn a_stream_tells_of_its_tenant_or_of_one_queue_only() {
        let id = "07070707-0707-0707-0707-070707070707";
        let a =
            format!("data: {{\"type\":\"created\",\"id\":\"{id}\",\"command\":\"a\",\"delayed\":true}}\n\n");
        let b = format!("data: {{\"type\":\"dead\",\"id\":\"{id}\",\"command\":\"b\"}}\n\n");
        assert_eq!(told("t", None), format!("{a}{b}"));
        assert_eq!((told("t", Some("B")), told("t", Some("c"))), (b, String::new()));
        assert_eq!(told("other", Some("b")), "");
        assert_eq!(gap(ShardId(3)), b"event: gap\ndata: {\"shard\":3}\n\n");
    }
}
