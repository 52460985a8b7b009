//! A watch of keys that goes on by itself: over broken connections, and from node to node.
//!
//! Invariants:
//! * Every change comes once, in order, all those of a revision together: what was cut off in the middle of a revision comes
//!   again whole, and is shown then.
//! * It gives up when a stream does (`stream.rs`).

use crate::stream::{Event, Heard, Stream};
use crate::{ClientError, KvChanges, Transport};

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
    stream: Stream,
    last: Option<u64>,
    /// The parts of a revision that were read so far.
    parts: Option<KvChanges>,
}

impl Transport {
    /// Watches `path` (`/v1/kv:watch?...`, percent-encoded). Nothing is sent before [`Watch::next`].
    pub fn watch(&self, path: &str) -> Watch {
        Watch { stream: Stream::new(self, path), last: None, parts: None }
    }
}

impl Watch {
    /// What comes next, however long that takes. Refused with `compacted` when the history it would go on in is gone.
    pub async fn next(&mut self) -> Result<Watched, ClientError> {
        loop {
            match self.stream.next(self.last).await? {
                // A revision that was cut off comes again whole.
                Heard::Connected => self.parts = None,
                Heard::Event(event) => {
                    let watched = self.watched(event);
                    if let Some(watched) = watched.map_err(|error| self.stream.not_understood(&error))? {
                        return Ok(watched);
                    }
                }
            }
        }
    }

    /// The id behind which it goes on after a broken connection.
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    fn watched(&mut self, event: Event) -> Result<Option<Watched>, serde_json::Error> {
        let Event { id, name: _, data } = event;
        if data.is_empty() {
            self.last = id.or(self.last);
            return Ok(id.map(Watched::Progress));
        }
        let mut changes: KvChanges = serde_json::from_str(&data)?;
        if let Some(mut before) = self.parts.take() {
            before.changes.append(&mut changes.changes);
            changes = KvChanges { changes: before.changes, ..changes };
        }
        if changes.more {
            self.parts = Some(changes);
            return Ok(None);
        }
        self.last = id.or(self.last);
        Ok(Some(Watched::Changes(changes)))
    }
}
