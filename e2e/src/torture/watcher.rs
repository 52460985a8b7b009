//! A watcher: reads the changes of a round through one node after another, and remembers all of it.
//!
//! The stream is read by hand: the product's own client is not trusted to test the product. It goes on behind the last `id`
//! after every broken connection, and breaks healthy ones itself now and then.

use super::history::{Change, Event, Watched};
use super::wire::{number_of_base64, place_of_base64};
use reqwest::Response;
use schedia_api::{KvChange, KvChanges};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// A stream shows every 5 s that it lives.
const QUIET_MAX: Duration = Duration::from_secs(8);
/// A healthy connection is broken after up to so long.
const KEPT_MAX_MS: u64 = 6_000;
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(50);

/// A watcher of all keys of a round.
pub struct Watcher {
    /// The client URLs of all nodes.
    pub urls: Vec<String>,
    /// The keys.
    pub prefix: String,
    /// Where it begins.
    pub from: u64,
    /// Draws nodes, and when to break a connection.
    pub random: fastrand::Rng,
}

impl Watcher {
    /// Watches until it has come to `goal` (none: not decided yet), or until `deadline` has passed since there was one.
    pub async fn run(mut self, mut goal: watch::Receiver<Option<u64>>, grace: Duration) -> Watched {
        let http = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(1)).build();
        let http = http.expect("a client without TLS needs nothing that could fail");
        let mut watched = Watched { from: self.from, upto: self.from - 1, ..Watched::default() };
        let mut deadline = None;
        loop {
            if let Some(goal) = *goal.borrow_and_update() {
                let end = *deadline.get_or_insert_with(|| Instant::now() + grace);
                if watched.upto >= goal || Instant::now() > end {
                    return watched;
                }
            }
            let url = &self.urls[self.random.usize(..self.urls.len())];
            let request =
                http.get(format!("{url}/v1/kv:watch?prefix={}/&from-revision={}", self.prefix, self.from));
            let request = match watched.upto >= self.from {
                true => request.header("Last-Event-ID", watched.upto),
                false => request,
            };
            let keep = Instant::now() + Duration::from_millis(self.random.u64(200..KEPT_MAX_MS));
            if let Ok(Ok(response)) = timeout(QUIET_MAX, request.send()).await {
                match response.status().as_u16() {
                    200 => {
                        watched.connections += 1;
                        let mut stream = Stream { response, bytes: Vec::new() };
                        let reading = stream.read(&mut watched, keep);
                        tokio::select! {
                            () = reading => {}
                            // A goal that is reached while it reads is noticed at the next connection.
                            _ = goal.changed() => {}
                        }
                    }
                    421 | 429 | 503 | 504 => {}
                    other => watched.wrong.push(format!("{url} answered {other}")),
                }
            }
            sleep(PAUSE).await;
        }
    }
}

struct Stream {
    response: Response,
    bytes: Vec<u8>,
}

impl Stream {
    /// Reads until the stream breaks, or until it is kept no longer.
    async fn read(&mut self, watched: &mut Watched, keep: Instant) {
        loop {
            while let Some(end) = self.bytes.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
                take(&String::from_utf8_lossy(&block), watched);
            }
            match timeout_at(keep, timeout(QUIET_MAX, self.response.chunk())).await {
                Ok(Ok(Ok(Some(chunk)))) => self.bytes.extend_from_slice(&chunk),
                _ => return,
            }
        }
    }
}

/// One block of lines: an id, data, both, or something said at the end.
fn take(block: &str, watched: &mut Watched) {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let id = field("id:").and_then(|id| id.parse().ok());
    if field("event:") == Some("end") {
        // Another node may do better, except where the history is gone: nobody gives up that of a round.
        if block.contains("compacted") {
            watched.wrong.push(format!("it was ended: {block}"));
        }
        return;
    }
    if let Some(data) = field("data:") {
        match event(data) {
            Some(event) => {
                if id != Some(event.revision) {
                    watched.wrong.push(format!("revision {} has the id {id:?}", event.revision));
                }
                watched.events.push(event);
            }
            None => watched.wrong.push(format!("not understood: {data}")),
        }
    }
    match id {
        Some(id) if id < watched.upto => {
            watched.wrong.push(format!("the stream stood at {} and now says {id}", watched.upto));
        }
        Some(id) => watched.upto = id,
        None => {}
    }
}

fn event(data: &str) -> Option<Event> {
    let KvChanges { revision, changes, more: false } = serde_json::from_str(data).ok()? else { return None };
    let changes = changes.iter().map(|change| {
        let (key, value) = match change {
            KvChange::Put { row, .. } if row.mod_revision != revision => return None,
            KvChange::Put { row, .. } => (&row.key, Some(number_of_base64(&row.value)?)),
            KvChange::Delete { key, .. } => (key, None),
        };
        let (group, key) = place_of_base64(key)?;
        Some(Change { group, key, value })
    });
    Some(Event { revision, changes: changes.collect::<Option<_>>()? })
}
