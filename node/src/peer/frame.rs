//! One frame: what it says and its bytes.
//!
//! ```text
//! u32  length of all that follows
//! u32  crc32c of all that follows
//! u8   format, 1
//! u8   kind
//! u32  shard
//! u64  request: chosen by who asks, repeated by who answers
//! u64  from: node id, 0 while it has none
//! u64  to: node id, 0 where the asker cannot know it (hello)
//! u8   length of the cluster id, 0 while there is none
//! ...  cluster id
//! ...  body
//! ```
//! Numbers are big endian.

use super::FRAME_BYTES_MAX;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use schedia_apps::{ClusterId, NodeId, ShardId};
use std::io;
use tokio_util::codec::{Decoder, Encoder};

const FORMAT: u8 = 1;
/// Format, kind, shard, request, from, to, length of the cluster id.
const HEAD: usize = 1 + 1 + 4 + 8 + 8 + 8 + 1;

/// Room for a frame that has begun to arrive.
const RESERVE_MIN: usize = 16 << 10;

/// What a frame asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Who are you? Needs no cluster id.
    Hello = 1,
    /// Are you there?
    Ping = 2,
    /// Raft's vote.
    Vote = 3,
    /// Raft's pre-vote.
    PreVote = 4,
    /// Raft's append, heartbeats included.
    Append = 5,
    /// Raft's leadership transfer.
    TransferLeader = 6,
    /// A follower asks the leader which index a linearizable read must see.
    ReadIndex = 7,
    /// A follower hands a command to the leader.
    Propose = 8,
    /// A snapshot begins: the connection carries nothing else from here on.
    SnapshotBegin = 9,
    /// A part of the snapshot.
    SnapshotPart = 10,
    /// The snapshot is complete: the answer follows when it is installed.
    SnapshotEnd = 11,
    /// A node that was removed asks the leader whether it is in any shard still.
    Standing = 12,
    /// Come into our cluster: a member asks a node that waits for it. Needs no cluster id of the other side.
    Invite = 13,
    /// What a receiver has of a snapshot already: its sender waits for this, then sends the parts behind it.
    SnapshotFrom = 14,
    /// A leader asks a voter whether it has voted in a later term.
    Confirm = 15,
    /// The answer to the request of the same number.
    Answer = 128,
    /// The request of the same number was refused, unread.
    Refused = 129,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        use Kind::*;
        let all = [
            Hello,
            Ping,
            Vote,
            PreVote,
            Append,
            TransferLeader,
            ReadIndex,
            Propose,
            SnapshotBegin,
            SnapshotPart,
            SnapshotEnd,
            Standing,
            Invite,
            SnapshotFrom,
            Confirm,
            Answer,
            Refused,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }

    pub(super) fn is_answer(self) -> bool {
        matches!(self, Kind::Answer | Kind::Refused | Kind::SnapshotFrom)
    }
}

/// One message between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) shard: ShardId,
    pub(super) request: u64,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) cluster: Option<ClusterId>,
    pub(super) body: Bytes,
}

impl Frame {
    /// Its length on the wire.
    pub(super) fn bytes(&self) -> usize {
        4 + self.length()
    }

    /// What its length field says: the length of all that follows.
    fn length(&self) -> usize {
        4 + HEAD + self.cluster.as_ref().map_or(0, |cluster| cluster.as_str().len()) + self.body.len()
    }

    /// The answer to this frame, from the node it was meant for.
    pub(super) fn answer(&self, kind: Kind, from: NodeId, cluster: Option<ClusterId>, body: Bytes) -> Frame {
        Frame { kind, shard: self.shard, request: self.request, from, to: self.from, cluster, body }
    }
}

/// Turns frames into bytes and back; refuses what is too long, torn or of another format.
pub(super) struct Codec;

impl Encoder<Frame> for Codec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> io::Result<()> {
        let length = frame.length();
        let cluster = frame.cluster.as_ref().map_or("", ClusterId::as_str).as_bytes();
        if length > FRAME_BYTES_MAX {
            return Err(invalid(format!("frame of {length} bytes is longer than {FRAME_BYTES_MAX}")));
        }
        out.reserve(4 + length);
        out.put_u32(length as u32);
        let begin = out.len();
        out.put_u32(0);
        out.put_u8(FORMAT);
        out.put_u8(frame.kind as u8);
        out.put_u32(frame.shard.0);
        out.put_u64(frame.request);
        out.put_u64(frame.from.0);
        out.put_u64(frame.to.0);
        out.put_u8(cluster.len() as u8);
        out.put_slice(cluster);
        out.put_slice(&frame.body);
        let crc = crc32c::crc32c(&out[begin + 4..]);
        out[begin..begin + 4].copy_from_slice(&crc.to_be_bytes());
        Ok(())
    }
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, input: &mut BytesMut) -> io::Result<Option<Frame>> {
        let Some(length) = input.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) as usize) else {
            return Ok(None);
        };
        if !(4 + HEAD..=FRAME_BYTES_MAX).contains(&length) {
            return Err(invalid(format!("frame of {length} bytes: not a peer of ours")));
        }
        if input.len() < 4 + length {
            // As much again as has arrived: what is only claimed takes no memory.
            let missing = 4 + length - input.len();
            input.reserve(missing.min(input.len().max(RESERVE_MIN)));
            return Ok(None);
        }
        let mut frame = input.split_to(4 + length).freeze();
        frame.advance(4);
        parse(frame).map(Some)
    }
}

fn parse(mut bytes: Bytes) -> io::Result<Frame> {
    let crc = bytes.get_u32();
    if crc != crc32c::crc32c(&bytes) {
        return Err(invalid("frame checksum does not match".into()));
    }
    let format = bytes.get_u8();
    if format != FORMAT {
        return Err(invalid(format!("frame format {format} is not {FORMAT}")));
    }
    let kind = bytes.get_u8();
    let kind = Kind::of(kind).ok_or_else(|| invalid(format!("unknown frame kind: {kind}")))?;
    let shard = ShardId(bytes.get_u32());
    let request = bytes.get_u64();
    let from = NodeId(bytes.get_u64());
    let to = NodeId(bytes.get_u64());
    let cluster_len = bytes.get_u8() as usize;
    if cluster_len > bytes.len() {
        return Err(invalid("frame ends inside its cluster id".into()));
    }
    let cluster = bytes.split_to(cluster_len);
    let cluster = match cluster_len {
        0 => None,
        _ => Some(cluster_id(&cluster)?),
    };
    Ok(Frame { kind, shard, request, from, to, cluster, body: bytes })
}

fn cluster_id(bytes: &[u8]) -> io::Result<ClusterId> {
    let text = std::str::from_utf8(bytes).map_err(|e| invalid(format!("cluster id in a frame: {e}")))?;
    text.parse().map_err(|e| invalid(format!("cluster id in a frame: {e}")))
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame() -> Frame {
        Frame {
            kind: Kind::Vote,
            shard: ShardId(2),
            request: 7,
            from: NodeId(1),
            to: NodeId(3),
            cluster: Some("c1".parse().unwrap()),
            body: Bytes::from_static(b"body"),
        }
    }

    fn encode(frame: Frame) -> BytesMut {
        let mut out = BytesMut::new();
        Codec.encode(frame, &mut out).unwrap();
        out
    }

    #[test]
    fn the_bytes_of_a_frame_never_change() {
        let expected = "00000029\
                        1d084266\
                        0103\
                        00000002\
                        0000000000000007\
                        0000000000000001\
                        0000000000000003\
                        026331\
                        626f6479";
        let hex: String = encode(frame()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_torn_frame_waits_and_a_changed_one_is_refused() {
        let whole = encode(frame());
        for end in 0..whole.len() {
            assert_eq!(Codec.decode(&mut BytesMut::from(&whole[..end])).unwrap(), None);
        }
        for at in 4..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            Codec.decode(&mut changed).unwrap_err();
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_neither_sent_nor_taken() {
        let body = Bytes::from(vec![0; FRAME_BYTES_MAX]);
        Codec.encode(Frame { body, ..frame() }, &mut BytesMut::new()).unwrap_err();
        let mut long = BytesMut::from(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes()[..]);
        Codec.decode(&mut long).unwrap_err();
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Codec.decode(&mut input) {}
        }

        #[test]
        fn what_is_encoded_is_decoded(request: u64, from: u64, to: u64, shard: u32, body in prop::collection::vec(any::<u8>(), 0..300), named: bool) {
            let cluster = named.then(|| "a-cluster".parse().unwrap());
            let frame = Frame { kind: Kind::Append, shard: ShardId(shard), request, from: NodeId(from), to: NodeId(to), cluster, body: body.into() };
            let decoded = Codec.decode(&mut encode(frame.clone())).unwrap();
            prop_assert_eq!(decoded, Some(frame));
        }
    }
}
