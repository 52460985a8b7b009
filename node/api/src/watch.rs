//! A watch of keys that goes on by itself: over broken connections, and from node to node.
//!
//! Invariants:
//! * Every change comes once, in order, all those of a revision together: what was cut off in the middle of a revision comes
//!   again whole, and is shown then.
//! * It gives up when nobody has served it for [`GIVE_UP_AFTER`], and before its first event when nobody answers.

use crate::{ClientError, ErrorBody, KvChanges, Transport};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The server shows every 5 s that it lives: a connection quiet for this long is dead.
const QUIET_MAX: Duration = Duration::from_secs(20);

/// An outage that lasts longer is for a person to look at.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);

/// Between two rounds of all endpoints, growing from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The largest revision read: a server sends at most some ten MiB.
const REVISION_BYTES_MAX: usize = 256 << 20;

/// What a watch has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The changes of one revision.
    Changes(KvChanges),
    /// No changes up to this revision.
    Progress(u64),
}

/// A watch. Begin with [`Transport::watch`].
pub struct Watch {
    transport: Transport,
    path: String,
    last: Option<u64>,
    connection: Option<Connection>,
    attempts: usize,
    served_once: bool,
}

struct Connection {
    endpoint: String,
    response: reqwest::Response,
    lines: Lines,
    event: Event,
    /// The parts of a revision that were read so far.
    parts: Option<KvChanges>,
}

impl Transport {
    /// Watches `path` (`/v1/kv:watch?...`, percent-encoded). Nothing is sent before [`Watch::next`].
    pub fn watch(&self, path: &str) -> Watch {
        Watch {
            transport: self.clone(),
            path: path.to_owned(),
            last: None,
            connection: None,
            attempts: 0,
            served_once: false,
        }
    }
}

impl Watch {
    /// What comes next, however long that takes. Refused with `compacted` when the history it would go on in is gone.
    pub async fn next(&mut self) -> Result<Watched, ClientError> {
        let mut begun = Instant::now();
        let mut pause = PAUSE.0;
        loop {
            match self.step().await {
                Ok(Some(watched)) => return Ok(watched),
                // It was served just now: a later outage is a new one.
                Ok(None) => (begun, pause) = (Instant::now(), PAUSE.0),
                Err(error) => {
                    self.connection = None;
                    self.attempts += 1;
                    let temporary = error.is_certainly_not_applied()
                        || matches!(error, ClientError::OutcomeUnknown { .. });
                    let round = self.attempts.is_multiple_of(self.transport.endpoints().len());
                    let hopeless = !self.served_once && round || begun.elapsed() > GIVE_UP_AFTER;
                    if !temporary || hopeless {
                        return Err(error);
                    }
                    if round {
                        sleep(pause).await;
                        pause = (2 * pause).min(PAUSE.1);
                    }
                }
            }
        }
    }

    /// The id behind which it goes on after a broken connection.
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// Connects, or reads one line.
    async fn step(&mut self) -> Result<Option<Watched>, ClientError> {
        let Some(connection) = &mut self.connection else {
            let nth = self.attempts % self.transport.endpoints().len();
            let (endpoint, response) = self.transport.open(nth, &self.path, self.last).await?;
            self.connection = Some(Connection {
                endpoint,
                response,
                lines: Lines::default(),
                event: Event::default(),
                parts: None,
            });
            return Ok(None);
        };
        let line = connection.line().await?;
        self.served_once = true;
        match connection.event.take(&line) {
            None => Ok(None),
            Some(event) => connection.watched(event, &mut self.last),
        }
    }
}

impl Connection {
    fn lost(&self, reason: impl ToString) -> ClientError {
        ClientError::OutcomeUnknown { endpoint: self.endpoint.clone(), reason: reason.to_string() }
    }

    async fn line(&mut self) -> Result<String, ClientError> {
        loop {
            if let Some(line) = self.lines.next() {
                return String::from_utf8(line).map_err(|e| self.lost(e));
            }
            match timeout(QUIET_MAX, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) if self.lines.0.len() + chunk.len() <= REVISION_BYTES_MAX => {
                    self.lines.0.extend_from_slice(&chunk);
                }
                Ok(Ok(Some(_))) => return Err(self.lost("an event is too long")),
                Ok(Ok(None)) => return Err(self.lost("the connection was closed")),
                Ok(Err(error)) => return Err(self.lost(crate::transport::reason(error))),
                Err(_) => return Err(self.lost(format!("nothing was heard for {QUIET_MAX:?}"))),
            }
        }
    }

    fn watched(&mut self, event: Event, last: &mut Option<u64>) -> Result<Option<Watched>, ClientError> {
        let Event { id, name, data } = event;
        let not_understood = |e: serde_json::Error| ClientError::NotUnderstood {
            endpoint: self.endpoint.clone(),
            status: 200,
            reason: e.to_string(),
        };
        if name == "end" {
            let ErrorBody { error: info } = serde_json::from_str(&data).map_err(not_understood)?;
            let status = if info.code == "compacted" { 410 } else { 503 };
            return Err(ClientError::Refused { status, info });
        }
        if data.is_empty() {
            *last = id.or(*last);
            return Ok(id.map(Watched::Progress));
        }
        let mut changes: KvChanges = serde_json::from_str(&data).map_err(not_understood)?;
        if let Some(mut before) = self.parts.take() {
            before.changes.append(&mut changes.changes);
            changes = KvChanges { changes: before.changes, ..changes };
        }
        if changes.more {
            self.parts = Some(changes);
            return Ok(None);
        }
        *last = id.or(*last);
        Ok(Some(Watched::Changes(changes)))
    }
}

/// Bytes that become lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn next(&mut self) -> Option<Vec<u8>> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let rest = self.0.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.0, rest);
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }
}

/// An event of a stream, as far as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    id: Option<u64>,
    name: String,
    data: String,
}

impl Event {
    /// Adds a line; the whole event once an empty line ends it.
    fn take(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            return Some(std::mem::take(self)).filter(|event| *event != Event::default());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = value.parse().ok(),
            "event" => self.name = value.to_owned(),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // A comment, or what later releases may add.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut_into_chunks() {
        let stream = ": changes from revision 8\nretry: 1000\nid: 7\n\nid: 8\r\ndata: {\"a\":\ndata: 1}\n\nevent: end\ndata: {}\n\n\n";
        let event = |id, name: &str, data: &str| Event { id, name: name.to_owned(), data: data.to_owned() };
        let expected = [event(Some(7), "", ""), event(Some(8), "", "{\"a\":\n1}"), event(None, "end", "{}")];
        for size in [1, 2, 7, stream.len()] {
            let (mut lines, mut event, mut found) = (Lines::default(), Event::default(), Vec::new());
            for chunk in stream.as_bytes().chunks(size) {
                lines.0.extend_from_slice(chunk);
                while let Some(line) = lines.next() {
                    found.extend(event.take(std::str::from_utf8(&line).unwrap()));
                }
            }
            assert_eq!(found, expected, "in chunks of {size}");
        }
    }
}
