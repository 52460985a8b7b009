//! A stream of server-sent events that goes on by itself: over broken connections, and from node to node.
//!
//! Bytes become lines, lines become events. What an event means, and whether anything was missed, is for the caller.
//!
//! Invariant: it gives up when nobody has served it for [`GIVE_UP_AFTER`], and before its first line when nobody answers.

use crate::{ClientError, ErrorBody, Transport};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The server shows every 5 s that it lives: a connection quiet for this long is dead.
const QUIET_MAX: Duration = Duration::from_secs(20);

/// An outage that lasts longer is for a person to look at.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);

/// Between two rounds of all endpoints, growing from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The longest event read: a server sends at most some ten MiB.
const EVENT_BYTES_MAX: usize = 256 << 20;

/// A stream of events.
pub(crate) struct Stream {
    transport: Transport,
    path: String,
    connection: Option<Connection>,
    attempts: usize,
    served_once: bool,
}

/// What a stream has to say.
pub(crate) enum Heard {
    /// Here a connection begins: the first one, or another one.
    Connected,
    /// An event.
    Event(Event),
}

impl Stream {
    /// Of `path`, percent-encoded. Nothing is sent before [`Stream::next`].
    pub(crate) fn new(transport: &Transport, path: &str) -> Stream {
        let (transport, path) = (transport.clone(), path.to_owned());
        Stream { transport, path, connection: None, attempts: 0, served_once: false }
    }

    /// What comes next, however long that takes. A new connection asks for what is behind `last`. An event `end` that says that no
    /// other node does better is an error.
    pub(crate) async fn next(&mut self, last: Option<u64>) -> Result<Heard, ClientError> {
        let mut begun = Instant::now();
        let mut pause = PAUSE.0;
        loop {
            match self.step(last).await {
                Ok(Some(heard)) => return Ok(heard),
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

    /// Connects, or reads one line.
    async fn step(&mut self, last: Option<u64>) -> Result<Option<Heard>, ClientError> {
        let Some(connection) = &mut self.connection else {
            let nth = self.attempts % self.transport.endpoints().len();
            let (endpoint, response) = self.transport.open(nth, &self.path, last).await?;
            let (lines, event) = (Lines::default(), Event::default());
            self.connection = Some(Connection { endpoint, response, lines, event });
            return Ok(Some(Heard::Connected));
        };
        let line = connection.line().await?;
        self.served_once = true;
        match connection.event.take(&line) {
            None => Ok(None),
            Some(event) if event.name == "end" => Err(connection.ended(&event)),
            Some(event) => Ok(Some(Heard::Event(event))),
        }
    }

    /// The error that says what is wrong with the data of an event. The connection is given up.
    pub(crate) fn not_understood(&mut self, error: &serde_json::Error) -> ClientError {
        let endpoint = self.connection.take().map_or_else(String::new, |connection| connection.endpoint);
        ClientError::NotUnderstood { endpoint, status: 200, reason: error.to_string() }
    }
}

/// A connection on which events come.
struct Connection {
    endpoint: String,
    response: reqwest::Response,
    lines: Lines,
    event: Event,
}

impl Connection {
    async fn line(&mut self) -> Result<String, ClientError> {
        loop {
            if let Some(line) = self.lines.next() {
                return String::from_utf8(line).map_err(|e| self.lost(e));
            }
            match timeout(QUIET_MAX, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) if self.lines.0.len() + chunk.len() <= EVENT_BYTES_MAX => {
                    self.lines.0.extend_from_slice(&chunk);
                }
                Ok(Ok(Some(_))) => return Err(self.lost("an event is too long")),
                Ok(Ok(None)) => return Err(self.lost("the connection was closed")),
                Ok(Err(error)) => return Err(self.lost(crate::transport::reason(error))),
                Err(_) => return Err(self.lost(format!("nothing was heard for {QUIET_MAX:?}"))),
            }
        }
    }

    fn lost(&self, reason: impl ToString) -> ClientError {
        ClientError::OutcomeUnknown { endpoint: self.endpoint.clone(), reason: reason.to_string() }
    }

    /// Why the server has ended the stream.
    fn ended(&self, event: &Event) -> ClientError {
        match serde_json::from_str(&event.data) {
            Ok(ErrorBody { error: info }) => {
                let status = if info.code == "compacted" { 410 } else { 503 };
                ClientError::Refused { status, info }
            }
            Err(error) => {
                let endpoint = self.endpoint.clone();
                ClientError::NotUnderstood { endpoint, status: 200, reason: error.to_string() }
            }
        }
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
pub(crate) struct Event {
    /// Its `id`.
    pub(crate) id: Option<u64>,
    /// Its `event`; empty for the usual ones.
    pub(crate) name: String,
    /// Its `data`.
    pub(crate) data: String,
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
