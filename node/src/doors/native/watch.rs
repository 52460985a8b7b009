//! Watches as server-sent events: each event is the changes of one revision, its `id` that revision.
//!
//! Every stream begins with the `id` it stands at and repeats it while nothing happens, so that whoever is cut off goes on
//! behind the last `id` it saw (`Last-Event-ID`, or `from-revision` one above): nothing is missed, nothing comes twice.
//!
//! Invariants:
//! * An `id` is sent only behind every change up to it.
//! * A stream holds one page of changes, and nothing while there is none.
//!
//! Not here: what all streams have in common (`super::streams`).

use super::kv::REVISION;
use super::list::row;
use super::streams::{End, PROGRESS_EVERY, Reader};
use super::*;
use crate::shards::Watch;
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schedia_api::{KvChange, KvChanges};
use schedia_apps::kv::{self, Change, Changed, KeyRange, Revision};

/// What a request asks for.
pub(super) struct Asked {
    range: KeyRange,
    /// The first revision; `None` = what happens from now on.
    from: Option<u64>,
    prev: bool,
}

pub(super) async fn watch(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let Asked { range, from, prev } = asked(Params::parse(parts.uri.query())?, &parts.headers)?;
        door.node.ready()?;
        let room = door.streams.room()?;
        let consistency = if from.is_none() { Consistency::Linearizable } else { Consistency::Stale };
        let revision = match door.read(kv::Query::Revisions, consistency).await? {
            kv::Reply::Revisions { revision, .. } => revision,
            other => return Err(unexpected(&other)),
        };
        let from = from.unwrap_or(revision + 1);
        let shard = door.node.shard(ShardId(0)).map_err(|error| door.refuse(error))?;
        let mut watch = shard.watch(range, from, prev);
        // Compacted already: a status says so better than an event.
        let _reading = door.streams.reading().await;
        let first = watch.take().map_err(|error| door.refuse(error))?;
        let (reader, mut headers, body) = door.streams.open(room);
        headers.insert(REVISION, revision.into());
        tokio::spawn(Stream { door: door.clone(), watch, reader }.run(from, first));
        Ok((headers, body).into_response())
    })
    .await
}

pub(super) fn asked(mut params: Params, headers: &HeaderMap) -> Result<Asked, DoorError> {
    let range = match (params.bytes("key"), params.range()) {
        (Some(_), Some(_)) => return Err(DoorError::bad_request("key excludes prefix, start and end")),
        (Some(key), None) => {
            let end = [&key[..], b"\0"].concat().into();
            KeyRange { start: key, end: Some(end) }
        }
        (None, range) => range.unwrap_or_else(KeyRange::all),
    };
    let from = params.number::<u64>("from-revision")?;
    let prev = params.flag("prev")?;
    params.done()?;
    // What a reader has seen takes precedence: it comes with the URL that it began with.
    let seen =
        match headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| id.parse::<u64>().ok())) {
            Some(None) => {
                return Err(DoorError::bad_request("the header Last-Event-ID is not an id of this stream"));
            }
            seen => seen.flatten(),
        };
    let from = seen.map(|seen| seen.saturating_add(1)).or(from).filter(|from| *from > 0);
    if from.is_some_and(|from| from > i64::MAX as u64) {
        return Err(DoorError::bad_request("no revision is that large"));
    }
    Ok(Asked { range, from, prev })
}

/// One stream: takes changes, hands them to the connection as it takes them.
struct Stream {
    door: Arc<Door>,
    watch: Watch,
    reader: Reader,
}

impl Stream {
    async fn run(mut self, from: u64, first: Vec<Changed>) {
        let reader = self.reader.clone();
        reader.serve(self.send_all(from, first)).await;
    }

    async fn send_all(&mut self, from: u64, first: Vec<Changed>) -> End {
        let hello = format!(": changes from revision {from}\nretry: 1000\nid: {}\n\n", from - 1);
        if let Err(end) = self.reader.send(hello.into_bytes()).await {
            return end;
        }
        let mut changes = first;
        loop {
            if !changes.is_empty()
                && let Err(end) = self.reader.send(events(changes, self.watch.place())).await
            {
                return end;
            }
            match self.next().await {
                Ok(next) => changes = next,
                Err(end) => return end,
            }
        }
    }

    /// The next changes; none when it is time to show progress, which is done here.
    async fn next(&mut self) -> Result<Vec<Changed>, End> {
        let told = |error: ShardError| End::Told(self.door.refuse(error));
        let deadline = Instant::now() + PROGRESS_EVERY;
        loop {
            self.watch.wait(deadline).await;
            let reading = self.door.streams.reading().await;
            let changes = self.watch.take().map_err(told)?;
            drop(reading);
            if !changes.is_empty() {
                return Ok(changes);
            }
            if Instant::now() >= deadline {
                break;
            }
            tokio::task::yield_now().await;
        }
        // Cut off from the others this node would say nothing for ever: another one may know more.
        self.door.node.ready().map_err(|unready| End::Told(unready.into()))?;
        let Revision { main, sub } = self.watch.place();
        if sub == 0 {
            self.reader.send(format!(": progress\nid: {}\n\n", main - 1).into_bytes()).await?;
        }
        Ok(Vec::new())
    }
}

/// One event for each revision. The last one may go on in the next page, if that is where `next` stands.
fn events(changes: Vec<Changed>, next: Revision) -> Vec<u8> {
    let mut text = Vec::new();
    let mut changes = changes.into_iter().peekable();
    while let Some(first) = changes.peek() {
        let revision = first.revision.main;
        let mut these = Vec::new();
        while let Some(changed) = changes.next_if(|changed| changed.revision.main == revision) {
            these.push(json(changed));
        }
        let more = changes.peek().is_none() && next.main == revision;
        if !more {
            text.extend_from_slice(format!("id: {revision}\n").as_bytes());
        }
        text.extend_from_slice(b"data: ");
        let data = KvChanges { revision, changes: these, more };
        serde_json::to_writer(&mut text, &data).expect("texts and numbers");
        text.extend_from_slice(b"\n\n");
    }
    text
}

fn json(changed: Changed) -> KvChange {
    let prev = changed.previous.map(row);
    match changed.change {
        Change::Put(put) => KvChange::Put { row: row(put), prev },
        Change::Delete { key } => KvChange::Delete { key: STANDARD.encode(key), prev },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn delete(main: u64, sub: u32, key: &'static str) -> Changed {
        let change = Change::Delete { key: Bytes::from(key) };
        Changed { revision: Revision { main, sub }, change, previous: None }
    }

    #[test]
    fn an_event_is_a_revision_and_only_a_whole_one_has_an_id() {
        let changes = vec![delete(4, 0, "a"), delete(4, 1, "b"), delete(6, 0, "c")];
        let text = |next| String::from_utf8(events(changes.clone(), next)).unwrap();
        let first = "id: 4\ndata: {\"revision\":4,\"changes\":[{\"type\":\"delete\",\"key\":\"YQ==\"},\
                     {\"type\":\"delete\",\"key\":\"Yg==\"}]}\n\n";
        let last = "{\"revision\":6,\"changes\":[{\"type\":\"delete\",\"key\":\"Yw==\"}]";
        assert_eq!(text(Revision { main: 7, sub: 0 }), format!("{first}id: 6\ndata: {last}}}\n\n"));
        assert_eq!(text(Revision { main: 6, sub: 1 }), format!("{first}data: {last},\"more\":true}}\n\n"));
    }

    #[test]
    fn a_stream_goes_on_behind_the_last_id() {
        let from = |query: &str, id: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(id) = id {
                headers.insert("last-event-id", id.parse().unwrap());
            }
            asked(Params::parse(Some(query)).unwrap(), &headers).map(|asked| asked.from)
        };
        assert_eq!(from("", None).unwrap(), None);
        assert_eq!(from("from-revision=0", None).unwrap(), None);
        assert_eq!(from("from-revision=3", None).unwrap(), Some(3));
        assert_eq!(from("from-revision=3", Some("7")).unwrap(), Some(8));
        assert_eq!(from("", Some("0")).unwrap(), Some(1));
        assert!(from("", Some("x")).is_err());
        assert!(from("from-revision=18446744073709551615", None).is_err());
        assert!(from("key=a&prefix=b", None).is_err());
    }
}
