//! The snapshot that arrives at a shard, and the draft of one whose stream broke off.
//!
//! Invariants:
//! * One stream is read at a time. It gives way to another one of the same sender, which sends one at a time and so has given it up,
//!   and to that of a newer leader.
//! * A draft is kept only if its stream broke off, what does not belong there ends it; and only while it grows.

use super::snapshot::{CHUNKS_AHEAD, KEEP};
use crate::metrics::ShardMetrics;
use crate::peer::Parts;
use crate::storage::{Position, Received, Receiver, State};
use bytes::Bytes;
use schedia_apps::NodeId;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long a stream that gives way may take for the chunks it has in hand.
const GIVE_WAY: Duration = Duration::from_secs(10);

/// What arrives at one shard. Clones are the same.
#[derive(Clone)]
pub(super) struct Incoming(Arc<Shared>);

struct Shared {
    turn: Arc<Semaphore>,
    /// std Mutex: never held across an await.
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    /// The stream that is read.
    stream: Option<(From, CancellationToken)>,
    /// The draft of one that broke off, and until when it is kept.
    draft: Option<(Receiver, Instant)>,
}

/// Whose stream it is.
#[derive(Clone, Copy)]
pub(super) struct From {
    pub(super) node: NodeId,
    pub(super) term: u64,
}

/// The right to receive.
pub(super) struct Turn {
    incoming: Incoming,
    give_way: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Incoming {
    pub(super) fn new() -> Incoming {
        Incoming(Arc::new(Shared { turn: Arc::new(Semaphore::new(1)), now: Mutex::default() }))
    }

    /// Waits for another stream to give way, if it must.
    pub(super) async fn turn(&self, from: From) -> io::Result<Turn> {
        let busy = || io::Error::other("another snapshot is arriving");
        if let Some((other, give_way)) = &self.lock().stream {
            match other.node == from.node || other.term < from.term {
                true => give_way.cancel(),
                false => return Err(busy()),
            }
        }
        let permit = timeout(GIVE_WAY, self.0.turn.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| busy())?.map_err(io::Error::other)?;
        let give_way = CancellationToken::new();
        self.lock().stream = Some((from, give_way.clone()));
        Ok(Turn { incoming: self.clone(), give_way, _permit: permit })
    }

    pub(super) fn keeps(&self) -> bool {
        self.lock().draft.is_some()
    }

    /// Deletes a draft that was kept long enough at `now`, or any.
    pub(super) fn let_go(&self, now: Option<Instant>) {
        let gone = self.lock().draft.take_if(|(_, until)| now.is_none_or(|now| *until <= now));
        delete(gone);
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Deletes what a broken stream has left: it is not needed.
    pub(super) fn forget(&self) {
        self.incoming.let_go(None);
    }

    /// Writes the parts of a snapshot into a new state file, beside the one in force, behind what is there of it. If the stream
    /// breaks off, what came of it is kept. `say` puts into bytes what is here already.
    pub(super) async fn receive(
        &self,
        mut parts: Parts,
        state: &State,
        metrics: &ShardMetrics,
        say: impl FnOnce(Option<Position>) -> Bytes,
    ) -> io::Result<Received> {
        let begun = Instant::now();
        let draft = self.incoming.lock().draft.take();
        let (receiver, until) =
            draft.map_or_else(|| (state.receive(), begun), |(receiver, until)| (receiver, until));
        let had = blocks(&receiver);
        parts.begin(say(receiver.position()));
        let (queue, writing) = writer(receiver);
        let broken = tokio::select! {
            read = read(&mut parts, queue, metrics) => read.err(),
            () = self.give_way.cancelled() => Some(io::Error::other("another stream takes its place")),
        };
        let receiver = writing.await.map_err(io::Error::other)??;
        if let Some(error) = broken {
            if let Some(draft) = receiver.broken_off() {
                let has = blocks(&draft);
                tracing::info!(%error, blocks = has, "a snapshot broke off");
                let until = if has > had { Instant::now() + KEEP } else { until };
                self.incoming.lock().draft = Some((draft, until));
            }
            return Err(error);
        }
        let received = finish(receiver).await?;
        metrics.snapshot_receive_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(received)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.incoming.lock().stream = None;
    }
}

fn blocks(receiver: &Receiver) -> u64 {
    receiver.position().map_or(0, |position| position.blocks())
}

/// Hands on all parts. An error if they break off.
async fn read(parts: &mut Parts, queue: mpsc::Sender<Bytes>, metrics: &ShardMetrics) -> io::Result<()> {
    while let Some(part) = parts.next().await? {
        metrics.snapshot_received_bytes.inc_by(part.len() as u64);
        if queue.send(part).await.is_err() {
            break; // The writer knows why.
        }
    }
    Ok(())
}

/// A thread that writes what it is sent, until the sender is dropped.
pub(super) fn writer(mut receiver: Receiver) -> (mpsc::Sender<Bytes>, JoinHandle<io::Result<Receiver>>) {
    let (queue, mut parts) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(part) = parts.blocking_recv() {
            receiver.push(&part)?;
        }
        Ok(receiver)
    });
    (queue, writing)
}

/// Verifies and syncs the file. A stream that ended early is refused.
pub(super) async fn finish(receiver: Receiver) -> io::Result<Received> {
    tokio::task::spawn_blocking(|| receiver.finish()).await.map_err(io::Error::other)?
}

/// Deleting a large file takes a while.
fn delete(draft: Option<(Receiver, Instant)>) {
    if draft.is_some() {
        tokio::task::spawn_blocking(move || drop(draft));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(node: u64, term: u64) -> From {
        From { node: NodeId(node), term }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_gives_way_to_the_next_of_its_sender_and_to_that_of_a_newer_leader() {
        let incoming = Incoming::new();
        let first = incoming.turn(from(1, 5)).await.unwrap();
        let refused = incoming.turn(from(2, 5)).await.err().unwrap();
        assert_eq!(refused.to_string(), "another snapshot is arriving");
        assert!(!first.give_way.is_cancelled(), "one of two leaders of a term is none");
        let (again, ()) = tokio::join!(incoming.turn(from(1, 5)), async {
            first.give_way.cancelled().await;
            drop(first);
        });
        let (newer, ()) = tokio::join!(incoming.turn(from(2, 6)), async {
            let again = again.unwrap();
            again.give_way.cancelled().await;
        });
        // What is being installed does not give way, and nobody waits for it for ever.
        incoming.turn(from(2, 7)).await.err().unwrap();
        drop(newer);
        incoming.turn(from(1, 1)).await.unwrap();
    }
}
