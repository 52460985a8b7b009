//! Snapshots on their way out and in: a checkpoint held open, streamed into a new file on the other side.
//!
//! Invariants:
//! * Purging never overtakes a snapshot that is being sent, nor for [`GRACE`] after it was: its receiver goes on with
//!   the entry behind it.
//! * One snapshot of a shard leaves this node at a time, and one arrives: each pins pages or fills a file.
//! * A received file that is not installed is deleted.

use super::machine::Machine;
use super::types::Types;
use crate::peer::Parts;
use crate::storage::{Received, State};
use bytes::Bytes;
use futures::{Stream, stream};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long purging waits for the receiver of a snapshot to ask for the entries behind it.
const GRACE: Duration = Duration::from_secs(10);
/// Chunks read ahead of the network, or of the disk.
const CHUNKS_AHEAD: usize = 2;

pub(super) type Snapshot = openraft::alias::SnapshotOf<Types, SnapshotData>;

/// A snapshot's content.
pub(crate) enum SnapshotData {
    /// This node's last checkpoint.
    Out(crate::storage::Snapshot, Hold),
    /// A received one, on disk and not in force.
    In(Received),
}

/// The snapshots that leave a shard.
#[derive(Clone, Default)]
pub(crate) struct Holds(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    next: u64,
    /// Index covered, and when it was released.
    indexes: BTreeMap<u64, (u64, Option<Instant>)>,
}

/// Keeps the log behind one snapshot from being purged, while it lives and [`GRACE`] longer.
pub(crate) struct Hold {
    holds: Holds,
    number: u64,
}

impl Holds {
    pub(super) fn hold(&self, index: u64) -> Hold {
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.indexes.insert(number, (index, None));
        Hold { holds: self.clone(), number }
    }

    /// The last index that may be purged, as far as snapshots are concerned.
    pub(super) fn purgeable(&self, now: Instant) -> u64 {
        let mut held = self.lock();
        held.indexes.retain(|_, (_, released)| released.is_none_or(|at| now < at + GRACE));
        held.indexes.values().map(|(index, _)| *index).min().unwrap_or(u64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Forgets the hold at once: nothing was sent.
    fn cancel(&self) {
        self.holds.lock().indexes.remove(&self.number);
    }

    /// Grants the receiver its time.
    pub(super) fn sent(self) {
        if let Some((_, released)) = self.holds.lock().indexes.get_mut(&self.number) {
            *released = Some(Instant::now());
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let running =
            self.holds.lock().indexes.get(&self.number).is_some_and(|(_, released)| released.is_none());
        if running {
            self.cancel();
        }
    }
}

/// The chunks of a snapshot, read and compressed by a thread of their own, a little ahead of who takes them.
pub(super) fn chunks(
    snapshot: crate::storage::Snapshot,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin {
    let (queue, chunks) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        for chunk in snapshot.chunks() {
            let last = chunk.is_err();
            // Nobody listens any more, or an error ends it.
            if queue.blocking_send(chunk).is_err() || last {
                break;
            }
        }
    });
    Box::pin(stream::unfold(
        chunks,
        |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) },
    ))
}

/// Writes the parts of a snapshot into a new state file, beside the one in force.
pub(super) async fn receive(mut parts: Parts, machine: &Machine) -> io::Result<Received> {
    let (begun, metrics) = (Instant::now(), machine.metrics());
    let (queue, receiving) = receiver(machine.state())?;
    while let Some(part) = parts.next().await? {
        metrics.snapshot_received_bytes.inc_by(part.len() as u64);
        if queue.send(part).await.is_err() {
            break; // `receiving` knows why.
        }
    }
    drop(queue);
    let received = receiving.await.map_err(io::Error::other)??;
    metrics.snapshot_receive_seconds.observe(begun.elapsed().as_secs_f64());
    Ok(received)
}

/// A received file made of a snapshot that did not come over the network.
pub(super) async fn copy(snapshot: crate::storage::Snapshot, state: &State) -> io::Result<Received> {
    use futures::StreamExt;
    let (queue, receiving) = receiver(state)?;
    let mut chunks = chunks(snapshot);
    while let Some(chunk) = chunks.next().await {
        if queue.send(chunk?).await.is_err() {
            break;
        }
    }
    drop(queue);
    receiving.await.map_err(io::Error::other)?
}

type Receiving = tokio::task::JoinHandle<io::Result<Received>>;

/// A thread that writes what it is sent; the file is verified and synced when the sender is dropped.
///
/// A sender dropped early leaves an incomplete stream, which the verification refuses.
fn receiver(state: &State) -> io::Result<(mpsc::Sender<Bytes>, Receiving)> {
    let mut receiver = state.receive()?;
    let (queue, mut parts) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let receiving = tokio::task::spawn_blocking(move || {
        while let Some(part) = parts.blocking_recv() {
            receiver.push(&part)?;
        }
        receiver.finish()
    });
    Ok((queue, receiving))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purging_waits_for_snapshots_and_then_for_their_receivers() {
        let (holds, now) = (Holds::default(), Instant::now());
        assert_eq!(holds.purgeable(now), u64::MAX);
        let (old, new) = (holds.hold(5), holds.hold(9));
        assert_eq!(holds.purgeable(now), 5);
        drop(old);
        assert_eq!(holds.purgeable(now), 9, "a snapshot that was never sent holds nothing");
        new.sent();
        assert_eq!(holds.purgeable(now), 9);
        assert_eq!(holds.purgeable(now + GRACE * 2), u64::MAX);
    }
}
