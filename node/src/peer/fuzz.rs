//! Any bytes as what a peer sends: frames, and the bodies that need no shard.

use super::frame::{Codec, Frame, Kind};
use super::{FRAME_BYTES_MAX, Hello, HelloAnswer, Invite, InviteAnswer, Refused, encode};
use crate::fuzz::{Target, postcard_again};
use bytes::{Bytes, BytesMut};
use schedia_apps::{NodeId, ShardId};
use tokio_util::codec::{Decoder, Encoder};

pub(crate) const TARGETS: [Target; 2] = [
    Target { name: "peer-frame", memory: 64 << 10, run: frames, seeds: frame_seeds },
    Target { name: "peer-body", memory: 16 << 10, run: body, seeds: body_seeds },
];

/// Length and checksum.
const SEAL: usize = 8;

fn frames(input: &[u8]) {
    arrive(input);
    // As one frame: its length and its checksum are right.
    let mut sealed = [&[0; SEAL], input].concat();
    sealed[..4].copy_from_slice(&((input.len() + 4) as u32).to_be_bytes());
    sealed[4..SEAL].copy_from_slice(&crc32c::crc32c(input).to_be_bytes());
    arrive(&sealed);
}

/// Whole or a byte at a time, the same frames come out, and each is encoded to the bytes it came from.
fn arrive(bytes: &[u8]) {
    let (mut whole, mut left) = (Vec::new(), BytesMut::from(bytes));
    let end = loop {
        let before = left.clone();
        match Codec.decode(&mut left) {
            Ok(Some(frame)) => {
                let mut again = BytesMut::new();
                Codec.encode(frame.clone(), &mut again).expect("it was short enough to be taken");
                assert_eq!(again[..], before[..before.len() - left.len()]);
                whole.push(frame);
            }
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    let (mut torn, mut part) = (Vec::new(), BytesMut::new());
    for byte in bytes {
        part.extend_from_slice(&[*byte]);
        match Codec.decode(&mut part) {
            Ok(Some(frame)) => torn.push(frame),
            Ok(None) => {}
            Err(error) => {
                assert_eq!((torn, Some(error.to_string())), (whole, end));
                return;
            }
        }
    }
    assert_eq!((torn, None), (whole, end));
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let encode = |kind, cluster: Option<&str>, body| {
        let cluster = cluster.map(|id| id.parse().expect("an id"));
        let (shard, request, from, to) = (ShardId(2), 7, NodeId(1), NodeId(3));
        let mut out = BytesMut::new();
        Codec
            .encode(Frame { kind, shard, request, from, to, cluster, body }, &mut out)
            .expect("a short frame");
        out.to_vec()
    };
    let vote = encode(Kind::Vote, Some("c1"), Bytes::from_static(b"body"));
    let hello = encode(Kind::Hello, None, Bytes::new());
    let long = (FRAME_BYTES_MAX as u32).to_be_bytes().to_vec();
    vec![vote[SEAL..].to_vec(), hello[SEAL..].to_vec(), [vote, hello].concat(), long]
}

/// The first byte says which one.
fn body(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 5 {
        0 => postcard_again::<Hello>(bytes),
        1 => postcard_again::<HelloAnswer>(bytes),
        2 => postcard_again::<Refused>(bytes),
        3 => postcard_again::<Invite>(bytes),
        _ => postcard_again::<InviteAnswer>(bytes),
    }
}

fn body_seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| text.to_owned();
    let hello = Hello {
        name: text("n1"),
        store_id: "6e3c".parse().expect("an id"),
        address: text("n1:7000"),
        http_url: text("http://n1:8080"),
        seed: true,
    };
    let (cluster_id, node_id) = ("c1".parse().expect("an id"), NodeId(300));
    let member = HelloAnswer::Member { cluster_id, node_id, http_url: text("http://n1:8080") };
    let invite = Invite { name: text("n2"), http_url: text("http://n1:8080") };
    let (cluster_id, node_id) = ("c1".parse().expect("an id"), NodeId(1));
    let bodies = [
        (0, encode(&hello)),
        (1, encode(&HelloAnswer::Blank { seed: false })),
        (1, encode(&member)),
        (2, encode(&Refused::WrongCluster)),
        (2, encode(&Refused::WrongNode { node_id: NodeId(9) })),
        (2, encode(&Refused::Removed { index: 1 << 40 })),
        (2, encode(&Refused::Invalid { reason: text("why") })),
        (3, encode(&invite)),
        (4, encode(&InviteAnswer::Other { name: text("n3") })),
        (4, encode(&InviteAnswer::Member { cluster_id, node_id })),
    ];
    bodies.iter().map(|(which, bytes)| [&[*which], &bytes[..]].concat()).collect()
}
