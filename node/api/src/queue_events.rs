//! Events of tasks, over broken connections and from node to node. What may have been missed meanwhile is said.

use crate::stream::{Heard, Stream};
use crate::{ClientError, QueueEvent, Transport};

/// What a stream of events has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueHeard {
    /// Something happened to a task.
    Happened(QueueEvent),
    /// Something may have happened that nobody tells: whoever must know looks again.
    Gap,
}

/// Events of tasks. Begin with [`Transport::queue_events`].
pub struct QueueEvents {
    stream: Stream,
    connected: bool,
}

impl Transport {
    /// The events of `path` (`/v1/queue/events?...`, percent-encoded). Nothing is sent before [`QueueEvents::next`].
    pub fn queue_events(&self, path: &str) -> QueueEvents {
        QueueEvents { stream: Stream::new(self, path), connected: false }
    }
}

impl QueueEvents {
    /// What comes next, however long that takes.
    pub async fn next(&mut self) -> Result<QueueHeard, ClientError> {
        loop {
            match self.stream.next(None).await? {
                Heard::Connected if std::mem::replace(&mut self.connected, true) => {
                    return Ok(QueueHeard::Gap);
                }
                Heard::Connected => {}
                Heard::Event(event) if event.name == "gap" => return Ok(QueueHeard::Gap),
                Heard::Event(event) if event.data.is_empty() => {}
                Heard::Event(event) => {
                    let told = serde_json::from_str(&event.data);
                    return told
                        .map(QueueHeard::Happened)
                        .map_err(|error| self.stream.not_understood(&error));
                }
            }
        }
    }
}
