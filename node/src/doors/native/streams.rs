//! What all streams of server-sent events share: their bounds, the way to a reader, and how they end.
//!
//! Invariants:
//! * A stream holds one text on its way. All of them together hold [`UNSENT_KIB_MAX`] at most; a reader that takes nothing for
//!   [`READER_TIMEOUT`] is cut off.
//! * A stream that ends by itself says why in an event `end`.
//! * A stream holds no permit for requests: it was admitted as one, and is none any more once its head is answered.
//!
//! Not here: what is told (`super::watch`, `super::queue::events`).

use crate::doors::error::DoorError;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use futures::stream;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

/// Streams of one node: each is a connection and a task.
const STREAMS_MAX: usize = 4_096;

/// Events under way to all readers, in KiB.
const UNSENT_KIB_MAX: usize = 64 << 10;

/// Pages being read and encoded at once, of a few MiB at most.
const READING_MAX: usize = 8;

/// A reader that takes nothing for this long is cut off.
const READER_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a quiet stream shows that it lives.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What the streams of a node share.
pub(super) struct Streams {
    streams: Arc<Semaphore>,
    unsent_kib: Arc<Semaphore>,
    reading: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Room for one more stream, until it is dropped.
pub(super) struct Room {
    _permit: OwnedSemaphorePermit,
}

impl Streams {
    /// Until `stop`, which ends them all.
    pub(super) fn new(stop: CancellationToken) -> Streams {
        let [streams, unsent_kib, reading] =
            [STREAMS_MAX, UNSENT_KIB_MAX, READING_MAX].map(|n| Arc::new(Semaphore::new(n)));
        Streams { streams, unsent_kib, reading, stop }
    }

    /// Room for one more stream, or 429.
    pub(super) fn room(&self) -> Result<Room, DoorError> {
        self.streams.clone().try_acquire_owned().map(|permit| Room { _permit: permit }).map_err(|_| {
            let message = format!("{STREAMS_MAX} streams are under way on this node: try another one");
            DoorError::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
        })
    }

    /// Waits for a turn to read a page, which lasts until it is dropped.
    pub(super) async fn reading(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.reading.acquire().await.ok()
    }

    /// A reader, and the head and body of its answer.
    pub(super) fn open(&self, room: Room) -> (Reader, HeaderMap, Body) {
        let (chunks_to, chunks) = mpsc::channel(1);
        let body = Body::from_stream(stream::unfold(chunks, |mut chunks| async {
            chunks.recv().await.map(|chunk| (Ok::<Bytes, Infallible>(chunk), chunks))
        }));
        let value = HeaderValue::from_static;
        let headers: [(HeaderName, HeaderValue); 2] =
            [(CONTENT_TYPE, value("text/event-stream")), (CACHE_CONTROL, value("no-store"))];
        let (unsent_kib, stop) = (self.unsent_kib.clone(), self.stop.clone());
        (Reader { chunks_to, unsent_kib, stop, _room: Arc::new(room) }, HeaderMap::from_iter(headers), body)
    }
}

/// The way to one reader. Its clones lead to the same one.
#[derive(Clone)]
pub(super) struct Reader {
    chunks_to: mpsc::Sender<Bytes>,
    unsent_kib: Arc<Semaphore>,
    stop: CancellationToken,
    _room: Arc<Room>,
}

/// Why a stream ends.
pub(super) enum End {
    /// The reader went away, or took nothing for too long.
    Reader,
    /// The reader is told.
    Told(DoorError),
}

impl Reader {
    /// Lets something be sent until it ends, the reader has gone, or the node stops; the reader is told why.
    pub(super) async fn serve(&self, sending: impl Future<Output = End>) {
        let end = tokio::select! {
            end = sending => end,
            () = self.chunks_to.closed() => End::Reader,
            () = self.stop.cancelled() => End::Told(crate::health::Unready::ShuttingDown.into()),
        };
        if let End::Told(error) = end {
            let text = format!("event: end\ndata: {}\n\n", error.json());
            // It is on its way out: who does not take it now will see the connection end.
            let _ = self.chunks_to.try_send(text.into());
        }
    }

    /// Hands text to the connection, counted until it is written.
    pub(super) async fn send(&self, text: Vec<u8>) -> Result<(), End> {
        let kib = u32::try_from(text.len().div_ceil(1024)).unwrap_or(u32::MAX).min(UNSENT_KIB_MAX as u32);
        let permit = self.unsent_kib.clone().acquire_many_owned(kib).await;
        let counted = Bytes::from_owner(Counted { text, _permit: permit.map_err(|_| End::Reader)? });
        self.chunks_to.send_timeout(counted, READER_TIMEOUT).await.map_err(|_| End::Reader)
    }
}

/// Text on its way to a reader.
struct Counted {
    text: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}
