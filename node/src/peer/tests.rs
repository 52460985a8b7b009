//! Two listeners and their frames: who is let in, what is refused, what a lost connection costs.

use super::*;
use crate::peer::listener::Service;
use bytes::BytesMut;
use futures::future::BoxFuture;
use futures::{FutureExt, stream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::codec::Encoder;

/// Answers a request with its own body; a body `wait` is answered when a second one comes.
#[derive(Default)]
struct Echo {
    calls: AtomicUsize,
    second: Arc<tokio::sync::Notify>,
    lost: Mutex<Vec<NodeId>>,
}

impl Service for Echo {
    fn call(&self, request: Request) -> BoxFuture<'static, Result<Bytes, Refused>> {
        self.calls.fetch_add(1, Relaxed);
        let second = self.second.clone();
        async move {
            match &request.body[..] {
                b"wait" => second.notified().await,
                b"never" => std::future::pending().await,
                _ => second.notify_one(),
            }
            Ok(request.body)
        }
        .boxed()
    }

    fn snapshot(&self, request: Request, mut parts: Parts) -> BoxFuture<'static, Result<Bytes, Refused>> {
        async move {
            let mut whole = BytesMut::new();
            if request.body == b"known"[..] {
                return Ok(request.body);
            }
            parts.begin(Bytes::from_static(b"has"));
            while let Some(part) =
                parts.next().await.map_err(|e| Refused::Invalid { reason: e.to_string() })?
            {
                whole.extend_from_slice(&part);
            }
            Ok(Bytes::from(whole.len().to_string()))
        }
        .boxed()
    }

    fn lost(&self, peer: NodeId) {
        self.lost.lock().unwrap().push(peer);
    }

    fn removed(&self, _: ShardId, id: NodeId) -> Option<u64> {
        (id == NodeId(66)).then_some(7)
    }
}

struct Peer {
    peers: Peers,
    echo: Arc<Echo>,
    address: String,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

fn peers(name: &str) -> Peers {
    let http_url = format!("http://{name}:8080");
    let store_id = name.parse().unwrap();
    Peers::new(Hello { name: name.into(), store_id, address: "nowhere:1".into(), http_url, seed: true })
}

fn member(cluster: &str, id: u64) -> Peers {
    let peers = peers(&format!("n{id}"));
    peers.assign(cluster.parse().unwrap(), NodeId(id));
    peers
}

async fn serve(peers: Peers, address: &str) -> Peer {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (echo, stop) = (Arc::new(Echo::default()), CancellationToken::new());
    let serving = tokio::spawn({
        let (peers, echo, stop) = (peers.clone(), echo.clone(), stop.clone());
        async move { peers.serve(listener, echo, stop).await }
    });
    Peer { peers, echo, address, stop, serving }
}

/// What a node counted, but for bytes.
fn refusals(peers: &Peers) -> Counts {
    Counts { sent_bytes: 0, received_bytes: 0, ..peers.counts() }
}

async fn call(from: &Peers, to: u64, address: &str, body: &'static [u8]) -> Result<Bytes, CallError> {
    let target = Target { id: NodeId(to), address };
    let deadline = Instant::now() + Duration::from_secs(10);
    from.call(target, Kind::Propose, ShardId(0), Bytes::from_static(body), deadline).await
}

#[tokio::test]
async fn answers_come_in_any_order_over_one_connection() {
    let (one, two) = (member("c", 1), serve(member("c", 2), "127.0.0.1:0").await);
    let waits = call(&one, 2, &two.address, b"wait");
    let quick = call(&one, 2, &two.address, b"quick");
    let (waits, quick) = tokio::join!(waits, quick);
    assert_eq!((waits.unwrap(), quick.unwrap()), (Bytes::from_static(b"wait"), Bytes::from_static(b"quick")));
    let (asked, answered) = (one.counts(), two.peers.counts());
    assert_eq!(asked.sent_bytes, answered.received_bytes, "every byte of a frame is counted on both sides");
    assert_eq!(asked.received_bytes, answered.sent_bytes);
    assert_eq!(one.outgoing(), [(NodeId(2), Outgoing::default())], "nothing waits");
}

#[tokio::test]
async fn a_frame_of_another_cluster_is_refused_and_counted() {
    let (stranger, two) = (member("other", 1), serve(member("c", 2), "127.0.0.1:0").await);
    assert_eq!(call(&stranger, 2, &two.address, b"x").await, Err(Refused::WrongCluster.into()));
    assert_eq!(refusals(&two.peers), Counts { refused_cluster: 1, ..Counts::default() });
    assert_eq!(two.echo.calls.load(Relaxed), 0, "it reached no shard");
}

#[tokio::test]
async fn a_frame_for_another_node_is_refused_and_counted() {
    let (one, two) = (member("c", 1), serve(member("c", 2), "127.0.0.1:0").await);
    let refused = Refused::WrongNode { node_id: NodeId(2) };
    assert_eq!(call(&one, 3, &two.address, b"x").await, Err(refused.into()));
    assert_eq!(refusals(&two.peers), Counts { refused_node: 1, ..Counts::default() });
    assert_eq!(two.echo.calls.load(Relaxed), 0, "it reached no shard");
}

#[tokio::test]
async fn a_removed_node_learns_it_from_any_peer() {
    let (gone, two) = (member("c", 66), serve(member("c", 2), "127.0.0.1:0").await);
    assert_eq!(gone.removed(), None);
    assert_eq!(call(&gone, 2, &two.address, b"x").await, Err(Refused::Removed { index: 7 }.into()));
    assert_eq!((gone.removed(), two.peers.counts().refused_removed), (Some(7), 1));
    let gone = member("c", 66);
    assert_eq!(gone.hello(&two.address).await, Err(Refused::Removed { index: 7 }.into()));
    assert_eq!(gone.removed(), Some(7), "asking who the peer is tells it too");
}

#[tokio::test]
async fn hello_needs_no_cluster_and_tells_blank_from_member() {
    let (blank, two) =
        (serve(peers("blank"), "127.0.0.1:0").await, serve(member("c", 2), "127.0.0.1:0").await);
    assert_eq!(two.peers.hello(&blank.address).await, Ok(HelloAnswer::Blank { seed: true }));
    let (cluster_id, http_url) = ("c".parse().unwrap(), "http://n2:8080".to_owned());
    let member = HelloAnswer::Member { cluster_id, node_id: NodeId(2), http_url };
    assert_eq!(blank.peers.hello(&two.address).await, Ok(member.clone()));
    let stranger = self::member("other", 9);
    assert_eq!(stranger.hello(&two.address).await, Ok(member), "also to a member of another cluster");
    assert_eq!(call(&two.peers, 1, &blank.address, b"x").await, Err(Refused::Blank.into()));
}

#[tokio::test]
async fn a_request_that_never_left_is_told_from_one_whose_answer_was_lost() {
    let one = member("c", 1);
    let two = serve(member("c", 2), "127.0.0.1:0").await;
    let lost = call(&one, 2, &two.address, b"never");
    let closing = async {
        while two.echo.calls.load(Relaxed) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        two.stop.cancel();
    };
    let (lost, ()) = tokio::join!(lost, closing);
    assert!(matches!(lost, Err(CallError::Lost(_))), "{lost:?}");
    two.serving.await.unwrap();
    let not_sent = call(&one, 2, &two.address, b"x").await;
    assert!(matches!(not_sent, Err(CallError::NotSent(_))), "{not_sent:?}");
    // It is found again under the same address.
    let again = serve(member("c", 2), &two.address).await;
    let until = Instant::now() + Duration::from_secs(10);
    while call(&one, 2, &again.address, b"x").await.is_err() {
        assert!(Instant::now() < until);
        sleep(CONNECT_AGAIN).await;
    }
}

const CONNECT_AGAIN: Duration = Duration::from_millis(20);

#[tokio::test]
async fn the_end_of_a_members_connection_is_told_and_that_of_a_stranger_is_not() {
    let (one, two) = (member("c", 1), serve(member("c", 2), "127.0.0.1:0").await);
    let stranger = member("other", 3);
    assert_eq!(call(&stranger, 2, &two.address, b"x").await, Err(Refused::WrongCluster.into()));
    call(&one, 2, &two.address, b"x").await.unwrap();
    drop((one, stranger));
    let until = Instant::now() + Duration::from_secs(10);
    while two.echo.lost.lock().unwrap().is_empty() {
        assert!(Instant::now() < until);
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(*two.echo.lost.lock().unwrap(), [NodeId(1)]);
}

#[tokio::test]
async fn a_peer_that_hangs_is_hung_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let one = member("c", 1);
    // Accepts and never answers, as a stopped process does.
    let (answer, accepted) = tokio::join!(call(&one, 2, &address, b"x"), listener.accept());
    assert_eq!(answer, Err(CallError::Lost("the connection was lost: timed out".into())));
    drop(accepted);
}

#[tokio::test]
async fn a_snapshot_of_many_parts_arrives_whole() {
    let (one, two) = (member("c", 1), serve(member("c", 2), "127.0.0.1:0").await);
    let parts = |has: Bytes| {
        assert_eq!(has, b"has"[..], "what the receiver has is known before the first part");
        Ok(stream::iter((0..5).map(|_| Ok(Bytes::from(vec![1; 1_500_000])))))
    };
    let target = Target { id: NodeId(2), address: &two.address };
    let answer = one.stream(target, ShardId(0), Bytes::new(), parts).await.unwrap();
    assert_eq!(answer, Bytes::from_static(b"7500000"));
    let stranger = member("other", 1);
    let refused = stranger.stream(target, ShardId(0), Bytes::new(), parts).await;
    assert!(
        matches!(refused, Err(CallError::Refused(Refused::WrongCluster) | CallError::Lost(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn nothing_is_sent_to_a_receiver_that_needs_nothing() {
    let (one, two) = (member("c", 1), serve(member("c", 2), "127.0.0.1:0").await);
    let parts = |_| -> Result<stream::Empty<_>, _> { panic!("parts of a snapshot that nobody needs") };
    let target = Target { id: NodeId(2), address: &two.address };
    let answer = one.stream(target, ShardId(0), Bytes::from_static(b"known"), parts).await.unwrap();
    assert_eq!(answer, Bytes::from_static(b"known"));
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_the_connection_and_are_counted() {
    let two = serve(member("c", 2), "127.0.0.1:0").await;
    let mut stream = TcpStream::connect(&two.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    // Closed with our bytes unread: the system may report that as a reset.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert_eq!(refusals(&two.peers), Counts { malformed: 1, ..Counts::default() });
    let mut answer = BytesMut::new();
    let me = Member { cluster_id: "c".parse().unwrap(), node_id: NodeId(1) };
    frame::Codec.encode(me.frame(NodeId(2), Kind::Answer, ShardId(0), 1, Bytes::new()), &mut answer).unwrap();
    let mut stream = TcpStream::connect(&two.address).await.unwrap();
    stream.write_all(&answer).await.unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.unwrap();
    assert_eq!(two.echo.calls.load(Relaxed), 0, "an answer nobody asked for reaches no shard");
}

#[tokio::test]
async fn an_invitation_reaches_the_node_that_is_meant_and_waits_for_one() {
    let one = member("c", 1);
    let invite = |name: &str| Invite { name: name.into(), http_url: "http://n1:8080".into() };
    let blank = serve(peers("n2"), "127.0.0.1:0").await;
    assert_eq!(one.invite(&blank.address, &invite("n2")).await, Ok(InviteAnswer::Declines));
    blank.peers.take_invitations();
    let other = InviteAnswer::Other { name: "n2".into() };
    assert_eq!(one.invite(&blank.address, &invite("n3")).await, Ok(other));
    assert_eq!(one.invite(&blank.address, &invite("n2")).await, Ok(InviteAnswer::Comes));
    assert_eq!(blank.peers.invitation().await, "http://n1:8080");
    // Who belongs to a cluster says so, whichever it is.
    blank.peers.assign("d".parse().unwrap(), NodeId(7));
    let member = InviteAnswer::Member { cluster_id: "d".parse().unwrap(), node_id: NodeId(7) };
    assert_eq!(one.invite(&blank.address, &invite("n2")).await, Ok(member));
    let nobody = peers("n3").invite(&blank.address, &invite("n2")).await;
    assert!(matches!(nobody, Err(CallError::NotSent(_))), "{nobody:?}");
}
