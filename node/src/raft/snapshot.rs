//! Snapshots on their way out and in: a checkpoint held open, streamed into a new file on the other side.
//!
//! A stream that breaks off goes on where it was. Both sides keep what they have for [`KEEP`]: the sender its checkpoint
//! (`outgoing`), the receiver its draft (`incoming`). openraft knows nothing of it: it asks for a snapshot again, and gets the one that is kept.
//! It must be that one, not another with the rest of it, for openraft takes the receiver to be as far as what it was handed.
//!
//! Invariants:
//! * Purging never overtakes a snapshot that is being sent or kept, nor for a while after it has arrived (`holds`): its receiver goes
//!   on with the entry behind it.
//! * One snapshot of a shard leaves this node at a time, and one arrives; one of each is kept. Each pins pages or fills a file.
//! * What is kept goes when nobody has made progress with it for [`KEEP`], and when the disk is nearly full.
//! * A received file that is not installed is deleted.

use super::incoming::Incoming;
use super::machine::Machine;
use super::outgoing::Outgoing;
use super::types::Types;
use crate::storage::{Position, Received, State};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long what a broken stream has left is kept: connections come back within seconds, and what is kept pins pages and the log.
pub(super) const KEEP: Duration = Duration::from_secs(60);
/// How often it is looked for what is kept no longer.
const INTERVAL: Duration = Duration::from_secs(1);
/// Chunks read ahead of the network, or of the disk.
pub(super) const CHUNKS_AHEAD: usize = 2;

pub(super) type Snapshot = openraft::alias::SnapshotOf<Types, SnapshotData>;

/// A snapshot's content.
pub(crate) enum SnapshotData {
    /// A checkpoint of this node.
    Out(Arc<Outgoing>),
    /// A received one, on disk and not in force.
    In(Received),
    /// Nothing: all that it covers is applied here.
    Applied,
}

/// The chunks of a snapshot, from its beginning or behind a position, read and compressed by a thread of their own, a
/// little ahead of who takes them.
pub(super) fn chunks(
    snapshot: crate::storage::Snapshot,
    behind: Option<Position>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin {
    let (queue, chunks) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        for chunk in snapshot.chunks(behind) {
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

/// A received file made of a snapshot that did not come over the network.
pub(super) async fn copy(snapshot: crate::storage::Snapshot, state: &State) -> io::Result<Received> {
    let (queue, writing) = super::incoming::writer(state.receive());
    let mut chunks = chunks(snapshot, None);
    while let Some(chunk) = chunks.next().await {
        if queue.send(chunk?).await.is_err() {
            break;
        }
    }
    drop(queue);
    super::incoming::finish(writing.await.map_err(io::Error::other)??).await
}

/// Lets go of what broken streams have left, when its time is over.
pub(super) async fn let_go(machine: Machine, incoming: Incoming, stop: CancellationToken) {
    let letting_go = async {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let (kept, metrics) = (machine.kept(), machine.metrics());
            if kept.is_some() || incoming.keeps() {
                let low = machine.state().is_disk_low().unwrap_or(false);
                let until = if low { None } else { Some(Instant::now()) };
                kept.let_go(until);
                incoming.let_go(until);
            }
            metrics.snapshot_kept.set(i64::from(kept.is_some()) + i64::from(incoming.keeps()));
        }
    };
    stop.run_until_cancelled(letting_go).await;
}
