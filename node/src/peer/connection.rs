//! The one connection to a peer that everything but snapshots shares: many requests in flight, answers in any order.
//!
//! Invariants:
//! * A request that fails with [`CallError::NotSent`] or [`CallError::Refused`] had no effect.
//! * A peer that does not answer a ping is hung up on: no request waits for a dead connection.
//! * After a failed connect nobody connects for [`CONNECT_PAUSE`].

use super::frame::{Codec, Frame, Kind};
use super::{Counters, Member, Outgoing, Refused, WIRE_TIMEOUT};
use bytes::{Bytes, BytesMut};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt};
use schedia_apps::{NodeId, ShardId};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::codec::{Encoder, FramedRead};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Frames queued behind the socket. Appends wait for room; the bytes of proposals are bounded by `shards`.
const QUEUE_FRAMES: usize = 256;
/// How long a failed connect speaks for the next ones.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Frames are gathered into one write up to this length.
const WRITE_BYTES: usize = 256 << 10;
/// An idle connection is kept alive this often; the listener closes one that is silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It never left this node.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have arrived: the connection or the time was lost before the answer.
    #[error("no answer: {0}")]
    Lost(String),
    /// The peer refused it unread.
    #[error(transparent)]
    Refused(#[from] Refused),
}

type Waiter = oneshot::Sender<Result<Bytes, CallError>>;

/// A peer and the connection to it, made when first needed.
pub(super) struct Connection {
    me: Member,
    to: NodeId,
    counters: Arc<Counters>,
    /// The newest attempt to connect. A task of its own: callers that give up early must not stop it.
    attempt: Mutex<Option<Attempt>>,
}

type Attempt = Shared<BoxFuture<'static, Result<Link, Failed>>>;

#[derive(Clone)]
struct Failed {
    at: Instant,
    reason: String,
}

#[derive(Clone)]
struct Link {
    queue: mpsc::Sender<Frame>,
    /// Bytes that were queued and are not written yet.
    queued_bytes: Arc<AtomicUsize>,
    waiting: Arc<Waiting>,
    _close: Arc<DropGuard>,
}

impl Connection {
    pub(super) fn new(me: Member, to: NodeId, counters: Arc<Counters>) -> Self {
        Connection { me, to, counters, attempt: Mutex::new(None) }
    }

    /// What waits for the peer now.
    pub(super) fn outgoing(&self) -> Outgoing {
        let newest = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.as_ref().and_then(|attempt| attempt.peek()) {
            Some(Ok(link)) if !link.waiting.is_closed() => Outgoing {
                frames: link.queue.max_capacity() - link.queue.capacity(),
                bytes: link.queued_bytes.load(Relaxed),
                unanswered: link.waiting.count(),
            },
            _ => Outgoing::default(),
        }
    }

    /// Queues a request; the receiver gets its answer. Waits for the connection and for room in its queue only.
    pub(super) async fn send(
        &self,
        address: &str,
        kind: Kind,
        shard: ShardId,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        let link = self.attempt(address).await.map_err(|failed| CallError::NotSent(failed.reason))?;
        let (request, answer) = link.waiting.register();
        let answer = Answer { answer, request, waiting: link.waiting.clone() };
        let Ok(room) = link.queue.reserve().await else {
            return Err(CallError::NotSent("the connection was lost".into()));
        };
        let frame = self.me.frame(self.to, kind, shard, request, body);
        link.queued_bytes.fetch_add(frame.bytes(), Relaxed);
        room.send(frame);
        Ok(answer)
    }

    /// The connection there is, or a new one.
    fn attempt(&self, address: &str) -> Attempt {
        let mut newest = self.attempt.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attempt) = &*newest {
            let usable = match attempt.peek() {
                None => true,
                Some(Ok(link)) => !link.waiting.is_closed(),
                Some(Err(failed)) => failed.at.elapsed() < CONNECT_PAUSE,
            };
            if usable {
                return attempt.clone();
            }
        }
        let (me, to, address) = (self.me.clone(), self.to, address.to_owned());
        let counters = self.counters.clone();
        let connecting = tokio::spawn(async move {
            match connect(&address).await {
                Ok(stream) => Ok(open(stream, me, to, counters)),
                Err(error) => Err(format!("failed to connect to {address}: {error}")),
            }
        });
        let attempt = async move {
            let link = connecting.await.unwrap_or_else(|error| Err(error.to_string()));
            link.map_err(|reason| Failed { at: Instant::now(), reason })
        };
        newest.insert(attempt.boxed().shared()).clone()
    }
}

/// Resolves the name anew and connects.
pub(super) async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = timeout(WIRE_TIMEOUT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The answer to come. Dropped early, the request is forgotten here; the peer may still have handled it.
pub(crate) struct Answer {
    answer: oneshot::Receiver<Result<Bytes, CallError>>,
    request: u64,
    waiting: Arc<Waiting>,
}

impl Future for Answer {
    type Output = Result<Bytes, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lost = |_| Err(CallError::Lost("the connection was lost".into()));
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or_else(lost))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.waiting.take(self.request);
    }
}

/// The requests that wait for an answer on one connection.
struct Waiting(Mutex<Requests>);

struct Requests {
    next: u64,
    /// `None` once the connection is lost.
    waiters: Option<HashMap<u64, Waiter>>,
}

impl Waiting {
    fn new() -> Self {
        Waiting(Mutex::new(Requests { next: 1, waiters: Some(HashMap::new()) }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On a lost connection the receiver finds its sender dropped.
    fn register(&self) -> (u64, oneshot::Receiver<Result<Bytes, CallError>>) {
        let (waiter, answer) = oneshot::channel();
        let mut requests = self.lock();
        let request = requests.next;
        requests.next += 1;
        if let Some(waiters) = &mut requests.waiters {
            waiters.insert(request, waiter);
        }
        (request, answer)
    }

    fn take(&self, request: u64) -> Option<Waiter> {
        self.lock().waiters.as_mut()?.remove(&request)
    }

    fn count(&self) -> usize {
        self.lock().waiters.as_ref().map_or(0, HashMap::len)
    }

    fn is_closed(&self) -> bool {
        self.lock().waiters.is_none()
    }

    fn close(&self, reason: &str) {
        for (_, waiter) in self.lock().waiters.take().into_iter().flatten() {
            let _ = waiter.send(Err(CallError::Lost(reason.to_owned())));
        }
    }
}

fn open(stream: TcpStream, me: Member, to: NodeId, counters: Arc<Counters>) -> Link {
    let (reader, writer) = stream.into_split();
    let (queue, frames) = mpsc::channel(QUEUE_FRAMES);
    let waiting = Arc::new(Waiting::new());
    let stop = CancellationToken::new();
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let link = Link {
        queue: queue.clone(),
        queued_bytes: queued_bytes.clone(),
        waiting: waiting.clone(),
        _close: Arc::new(stop.clone().drop_guard()),
    };
    tokio::spawn(async move {
        let ping = me.frame(to, Kind::Ping, ShardId(0), 0, Bytes::new());
        let lost = tokio::select! {
            error = write(writer, frames, &queued_bytes, &counters) => error,
            error = read(reader, &waiting, (&queue, &queued_bytes), ping, &counters) => error,
            () = stop.cancelled() => io::Error::other("closed"),
        };
        waiting.close(&format!("the connection was lost: {lost}"));
    });
    link
}

/// Writes frames as they come, as many as there are in one write. Returns why it ended.
async fn write(
    mut writer: OwnedWriteHalf,
    mut frames: mpsc::Receiver<Frame>,
    queued_bytes: &AtomicUsize,
    counters: &Counters,
) -> io::Error {
    let mut buffer = BytesMut::new();
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            if let Err(error) = Codec.encode(frame, &mut buffer) {
                return error;
            }
            next = if buffer.len() < WRITE_BYTES { frames.try_recv().ok() } else { None };
        }
        let bytes = buffer.len();
        if let Err(error) = writer.write_all_buf(&mut buffer).await {
            return error;
        }
        counters.sent(bytes);
        queued_bytes.fetch_sub(bytes, Relaxed);
        // A snapshot-sized burst must not stay allocated.
        if buffer.capacity() > 4 * WRITE_BYTES {
            buffer = BytesMut::new();
        }
    }
    io::ErrorKind::ConnectionAborted.into()
}

/// Hands answers to their waiters; pings when it is silent too long. Returns why it ended.
async fn read(
    reader: OwnedReadHalf,
    waiting: &Waiting,
    (queue, queued_bytes): (&mpsc::Sender<Frame>, &AtomicUsize),
    ping: Frame,
    counters: &Counters,
) -> io::Error {
    let mut frames = FramedRead::new(reader, Codec);
    let (mut heard, mut pinged) = (Instant::now(), false);
    loop {
        match timeout(WIRE_TIMEOUT, frames.next()).await {
            Ok(Some(Ok(frame))) => {
                (heard, pinged) = (Instant::now(), false);
                counters.received(frame.bytes());
                if let Err(error) = answer(waiting, frame, ping.to) {
                    return error;
                }
            }
            Ok(Some(Err(error))) => return error,
            Ok(None) => return io::ErrorKind::UnexpectedEof.into(),
            Err(_) if pinged => return io::ErrorKind::TimedOut.into(),
            Err(_) if waiting.count() == 0 && heard.elapsed() < KEEP_ALIVE => {}
            // A full queue means the writer is stuck: as good as a ping.
            Err(_) => {
                if let Ok(room) = queue.try_reserve() {
                    queued_bytes.fetch_add(ping.bytes(), Relaxed);
                    room.send(ping.clone());
                }
                pinged = true;
            }
        }
    }
}

fn answer(waiting: &Waiting, frame: Frame, peer: NodeId) -> io::Result<()> {
    let answer = match frame.kind {
        Kind::Answer if frame.from == peer => Ok(frame.body),
        Kind::Refused => Err(CallError::Refused(Refused::decode(&frame.body)?)),
        kind => return Err(io::Error::other(format!("{kind:?} from {} is no answer", frame.from))),
    };
    if let Some(waiter) = waiting.take(frame.request) {
        let _ = waiter.send(answer);
    }
    Ok(())
}
