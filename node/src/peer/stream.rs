//! Connections for one purpose: a `hello`, or one snapshot.

use super::connection::{CallError, connect};
use super::frame::{Codec, Frame, Kind};
use super::{Counters, Member, Refused, Target, WIRE_TIMEOUT};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use schedia_apps::ShardId;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::codec::{Encoder, FramedRead};

/// A part of a snapshot that waits this long for its receiver, or for its sender, ends the transfer.
const PART_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a receiver may take to verify and install what it has received.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Snapshots are cut into frames of this length.
const PART_BYTES: usize = 1 << 20;

/// One frame and its answer, over a connection that is closed again.
pub(super) async fn exchange(address: &str, frame: Frame, counters: &Counters) -> Result<Bytes, CallError> {
    let mut stream = connect(address).await.map_err(|error| not_sent(address, error))?;
    let exchange = async {
        write(&mut stream, frame, counters).await?;
        answer(&mut FramedRead::new(&mut stream, Codec)).await
    };
    timeout(WIRE_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(CallError::Lost("no answer in time".into())))
}

/// Sends a snapshot, what `parts` makes of it once the receiver has said what it has, and waits until it is installed, or refused.
pub(super) async fn send<P>(
    target: Target<'_>,
    me: &Member,
    shard: ShardId,
    begin: Bytes,
    parts: impl FnOnce(Bytes) -> Result<P, CallError> + Send,
    counters: &Counters,
) -> Result<Bytes, CallError>
where
    P: Stream<Item = io::Result<Bytes>> + Send + Unpin,
{
    let stream = connect(target.address).await.map_err(|error| not_sent(target.address, error))?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = FramedRead::new(reader, Codec);
    let frame = |kind, body| me.frame(target.id, kind, shard, 0, body);
    write(&mut writer, frame(Kind::SnapshotBegin, begin), counters).await?;
    let late = |_| CallError::Lost("the peer did not say what it has of the snapshot".into());
    let mut parts = match timeout(PART_TIMEOUT, first(&mut reader)).await.map_err(late)?? {
        First::From(has) => parts(has)?,
        First::Answer(answer) => return Ok(answer),
    };
    let writing = async {
        while let Some(part) = parts.next().await {
            let mut part = part.map_err(|error| CallError::NotSent(error.to_string()))?;
            while !part.is_empty() {
                let cut = part.split_to(part.len().min(PART_BYTES));
                write(&mut writer, frame(Kind::SnapshotPart, cut), counters).await?;
            }
        }
        write(&mut writer, frame(Kind::SnapshotEnd, Bytes::new()), counters).await
    };
    tokio::select! {
        // An answer before the end is a refusal.
        early = answer(&mut reader) => return early,
        written = writing => written?,
    }
    let late = |_| CallError::Lost("the snapshot was sent, but not installed in time".into());
    timeout(INSTALL_TIMEOUT, answer(&mut reader)).await.map_err(late)?
}

async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    frame: Frame,
    counters: &Counters,
) -> Result<(), CallError> {
    let mut bytes = BytesMut::new();
    Codec.encode(frame, &mut bytes).map_err(|error| CallError::NotSent(error.to_string()))?;
    match timeout(PART_TIMEOUT, writer.write_all(&bytes)).await {
        Ok(written) => {
            counters.sent(bytes.len());
            written.map_err(lost)
        }
        Err(_) => Err(CallError::Lost("the peer stopped reading".into())),
    }
}

/// What a receiver says before it has received anything.
enum First {
    /// What it has already.
    From(Bytes),
    /// It needs nothing.
    Answer(Bytes),
}

async fn answer<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut FramedRead<R, Codec>,
) -> Result<Bytes, CallError> {
    match first(reader).await? {
        First::Answer(body) => Ok(body),
        First::From(_) => Err(CallError::Lost("SnapshotFrom is no answer".into())),
    }
}

async fn first<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut FramedRead<R, Codec>,
) -> Result<First, CallError> {
    match reader.next().await {
        Some(Ok(Frame { kind: Kind::Answer, body, .. })) => Ok(First::Answer(body)),
        Some(Ok(Frame { kind: Kind::SnapshotFrom, body, .. })) => Ok(First::From(body)),
        Some(Ok(Frame { kind: Kind::Refused, body, .. })) => {
            Err(Refused::decode(&body).map_err(lost)?.into())
        }
        Some(Ok(frame)) => Err(CallError::Lost(format!("{:?} is no answer", frame.kind))),
        Some(Err(error)) => Err(lost(error)),
        None => Err(CallError::Lost("the peer closed the connection".into())),
    }
}

fn not_sent(address: &str, error: io::Error) -> CallError {
    CallError::NotSent(format!("failed to connect to {address}: {error}"))
}

fn lost(error: io::Error) -> CallError {
    CallError::Lost(error.to_string())
}

/// The parts of a snapshot as they arrive. The sender waits while nobody reads.
pub struct Parts {
    frames: FramedRead<OwnedReadHalf, Codec>,
    /// Takes what the receiver has already. `None` once that is said.
    from: Option<oneshot::Sender<Bytes>>,
    counters: Arc<Counters>,
}

impl Parts {
    /// What is said by [`Parts::begin`] comes out of the receiver.
    pub(super) fn new(
        frames: FramedRead<OwnedReadHalf, Codec>,
        counters: Arc<Counters>,
    ) -> (Self, oneshot::Receiver<Bytes>) {
        let (from, said) = oneshot::channel();
        (Parts { frames, from: Some(from), counters }, said)
    }

    /// Tells the sender what is here already: it waits for that, and then sends the parts. Once.
    pub fn begin(&mut self, has: Bytes) {
        if let Some(from) = self.from.take() {
            // Nobody takes it if the connection is being closed.
            let _ = from.send(has);
        }
    }

    /// The next part, after [`Parts::begin`]; `None` after the last. An error if the stream ends early.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let frame = timeout(PART_TIMEOUT, self.frames.next()).await?;
        if let Some(Ok(frame)) = &frame {
            self.counters.received(frame.bytes());
        }
        match frame {
            Some(Ok(Frame { kind: Kind::SnapshotPart, body, .. })) => Ok(Some(body)),
            Some(Ok(Frame { kind: Kind::SnapshotEnd, .. })) => Ok(None),
            Some(Ok(frame)) => Err(io::Error::other(format!("{:?} inside a snapshot", frame.kind))),
            Some(Err(error)) => Err(error),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// For the listener: both halves, ready to read frames.
pub(super) fn split(
    stream: TcpStream,
) -> (FramedRead<OwnedReadHalf, Codec>, tokio::net::tcp::OwnedWriteHalf) {
    let (reader, writer) = stream.into_split();
    (FramedRead::new(reader, Codec), writer)
}
