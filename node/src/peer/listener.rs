//! The answering side: checks who a frame is from and for, hands it on, writes the answers.

use super::frame::{Codec, Frame, Kind};
use super::stream::Parts;
use super::{Hello, HelloAnswer, Member, Peers, Refused, encode};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use schedia_apps::{NodeId, ShardId};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::{Encoder, FramedRead};
use tokio_util::sync::CancellationToken;

/// Connections of peers, and of whoever else knocks. A cluster of 16 needs 15, and one per snapshot.
const CONNECTIONS_MAX: usize = 256;
/// Peers keep their connections alive more often than this.
const SILENCE: Duration = Duration::from_secs(60);

/// Requests of one connection that are being handled. Beyond this its next frame is not read.
const REQUESTS_MAX: usize = 4_096;

/// A request from a member of this node's cluster, meant for this node.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub from: NodeId,
    /// Of which shard.
    pub shard: ShardId,
    /// What.
    pub kind: Kind,
    /// With what.
    pub body: Bytes,
}

/// What handles the frames of shards.
pub trait Service: Send + Sync + 'static {
    /// Handles a request. The future is polled once before the next request of the connection is looked at:
    /// what must happen in the order of arrival happens in that poll.
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Bytes, Refused>>;

    /// Receives and installs a snapshot.
    fn snapshot(&self, request: Request, parts: Parts) -> BoxFuture<'static, Result<Bytes, Refused>>;

    /// A connection ended over which a member had sent frames of shards: it may be gone, or make a new one.
    fn lost(&self, peer: NodeId);

    /// The entry that removed a member of a shard, if one did.
    fn removed(&self, shard: ShardId, id: NodeId) -> Option<u64>;
}

pub(super) async fn serve(
    peers: &Peers,
    listener: TcpListener,
    service: Arc<impl Service>,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: others must end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let (peers, service) = (peers.clone(), service.clone());
        connections.spawn(async move {
            let _permit = permit;
            let incoming = Incoming { peers, service, from: OnceLock::new() };
            if let Err(error) = incoming.run(stream).await {
                tracing::debug!(%error, "connection of a peer ended");
            }
            if let Some(peer) = incoming.from.get() {
                incoming.service.lost(*peer);
            }
        });
    }
    connections.shutdown().await;
}

struct Incoming<S> {
    peers: Peers,
    service: Arc<S>,
    /// The member whose frames of shards came first.
    from: OnceLock<NodeId>,
}

type Answers = FuturesUnordered<BoxFuture<'static, Frame>>;

impl<S: Service> Incoming<S> {
    async fn run(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut frames, mut writer) = super::stream::split(stream);
        let mut answers = Answers::new();
        let mut out = BytesMut::new();
        loop {
            tokio::select! {
                frame = timeout(SILENCE, frames.next()), if answers.len() < REQUESTS_MAX => match frame {
                    Ok(Some(Ok(frame))) if frame.kind == Kind::SnapshotBegin => {
                        return self.snapshot(frame, frames, writer).await;
                    }
                    Ok(Some(Ok(frame))) => {
                        self.peers.0.counters.received(frame.bytes());
                        self.begin(frame, &mut answers).await;
                    }
                    Ok(Some(Err(error))) => {
                        if error.kind() == io::ErrorKind::InvalidData {
                            self.peers.0.counters.malformed();
                        }
                        return Err(error);
                    }
                    Ok(None) => return Ok(()),
                    Err(_) if answers.is_empty() => return Err(io::ErrorKind::TimedOut.into()),
                    Err(_) => {}
                },
                Some(answer) = answers.next(), if !answers.is_empty() => Codec.encode(answer, &mut out)?,
            }
            while let Some(Some(answer)) = answers.next().now_or_never() {
                Codec.encode(answer, &mut out)?;
            }
            if !out.is_empty() {
                self.peers.0.counters.sent(out.len());
                writer.write_all_buf(&mut out).await?;
            }
        }
    }

    /// Polls the handling of a request once, so that requests begin in the order they came in.
    async fn begin(&self, frame: Frame, answers: &mut Answers) {
        let mut handling = match self.check(&frame) {
            Ok(None) => {
                let _ = self.from.set(frame.from);
                self.service.call(request(&frame))
            }
            Ok(Some(answer)) => std::future::ready(Ok(answer)).boxed(),
            Err(refused) => std::future::ready(Err(refused)).boxed(),
        };
        let begun = futures::poll!(&mut handling);
        let peers = self.peers.clone();
        let handling = match begun {
            std::task::Poll::Ready(answer) => std::future::ready(answer).boxed(),
            std::task::Poll::Pending => handling,
        };
        let head = Frame { body: Bytes::new(), ..frame };
        answers.push(handling.map(move |result| answer(&head, &peers, result)).boxed());
    }

    async fn snapshot(
        &self,
        frame: Frame,
        frames: FramedRead<tokio::net::tcp::OwnedReadHalf, Codec>,
        mut writer: OwnedWriteHalf,
    ) -> io::Result<()> {
        let result = match self.check(&frame) {
            Ok(_) => {
                let (parts, from) = Parts::new(frames, self.peers.0.counters.clone());
                let mut receiving = self.service.snapshot(request(&frame), parts);
                let early = tokio::select! {
                    result = &mut receiving => Some(result),
                    Ok(has) = from => {
                        self.write(&mut writer, reply(&frame, &self.peers, Kind::SnapshotFrom, has)).await?;
                        None
                    }
                };
                match early {
                    Some(result) => result,
                    None => receiving.await,
                }
            }
            Err(refused) => Err(refused),
        };
        self.write(&mut writer, answer(&frame, &self.peers, result)).await
    }

    async fn write(&self, writer: &mut OwnedWriteHalf, frame: Frame) -> io::Result<()> {
        let mut out = BytesMut::new();
        Codec.encode(frame, &mut out)?;
        self.peers.0.counters.sent(out.len());
        writer.write_all(&out).await
    }

    /// Whether a frame may be handled; the answer, if it needs no shard.
    fn check(&self, frame: &Frame) -> Result<Option<Bytes>, Refused> {
        let me = self.peers.0.me.get();
        let ours = me.is_some_and(|me| frame.cluster.as_ref() == Some(&me.cluster_id));
        if frame.kind == Kind::Hello && !ours {
            return Ok(Some(encode(&self.hello(me))));
        }
        if frame.kind == Kind::Invite {
            return self.peers.invited(&frame.body).map(Some);
        }
        let Some(me) = me else { return Err(Refused::Blank) };
        if !ours {
            return Err(Refused::WrongCluster);
        }
        if frame.kind != Kind::Hello && frame.to != me.node_id {
            return Err(Refused::WrongNode { node_id: me.node_id });
        }
        if let Some(index) = self.removed(frame) {
            return Err(Refused::Removed { index });
        }
        match frame.kind {
            Kind::Hello => Ok(Some(encode(&self.hello(Some(me))))),
            Kind::Ping => Ok(Some(Bytes::new())),
            kind if kind.is_answer() => {
                Err(Refused::Invalid { reason: format!("{kind:?} without a request") })
            }
            _ => Ok(None),
        }
    }

    /// Who this node is.
    fn hello(&self, me: Option<&Member>) -> HelloAnswer {
        let Hello { http_url, seed, .. } = self.peers.0.hello.clone();
        match me.cloned() {
            None => HelloAnswer::Blank { seed },
            Some(Member { cluster_id, node_id }) => HelloAnswer::Member { cluster_id, node_id, http_url },
        }
    }

    /// A leader that removed itself still replicates that entry and hands over: those frames are taken. So is the
    /// question of who was removed whether that is all done.
    fn removed(&self, frame: &Frame) -> Option<u64> {
        match frame.kind {
            Kind::Append | Kind::TransferLeader | Kind::SnapshotBegin | Kind::Standing => None,
            _ => self.service.removed(frame.shard, frame.from),
        }
    }
}

fn request(frame: &Frame) -> Request {
    let Frame { kind, shard, from, body, .. } = frame;
    Request { from: *from, shard: *shard, kind: *kind, body: body.clone() }
}

fn answer(head: &Frame, peers: &Peers, result: Result<Bytes, Refused>) -> Frame {
    let (kind, body) = match result {
        Ok(body) => (Kind::Answer, body),
        Err(refused) => {
            peers.0.counters.refused(&refused);
            (Kind::Refused, refused.encode())
        }
    };
    reply(head, peers, kind, body)
}

fn reply(head: &Frame, peers: &Peers, kind: Kind, body: Bytes) -> Frame {
    let (from, cluster) = match peers.0.me.get() {
        Some(Member { cluster_id, node_id }) => (*node_id, Some(cluster_id.clone())),
        None => (NodeId(0), None),
    };
    head.answer(kind, from, cluster, body)
}
