//! Any bytes as what members say about commands and members: forwarded commands, and answers.

use super::ShardError;
use super::forward::{self, Forwarded};
use super::membership::standing;
use crate::fuzz::{Target, again, postcard_again};
use bytes::Bytes;
use schedia_apps::{At, Command, Epoch, Level, Refusal, Reply, kv};
use serde::Serialize;

pub(crate) const TARGETS: [Target; 1] = [Target { name: "forward", memory: 3 << 20, run: forward, seeds }];

/// The first byte says which one.
fn forward(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 3 {
        0 => {
            again(bytes, forward::read_body, |(forwarded, origin)| {
                forward::frame_body(forwarded, origin.clone())
            });
            if let Ok((Forwarded { wait_ms: _, command }, _)) = forward::read_body(bytes) {
                let _ = Command::decode(Level::MAX, &command);
            }
        }
        1 => {
            postcard_again::<forward::Answer>(bytes);
            let answer = forward::decode(bytes);
            let is_read = postcard::from_bytes::<forward::Answer>(bytes).is_ok();
            // What cannot be read may have been done.
            assert!(is_read || matches!(answer, Err(ShardError::OutcomeUnknown { .. })));
        }
        _ => postcard_again::<standing::Answer>(bytes),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    use forward::Answer;
    fn encode(value: &impl Serialize) -> Vec<u8> {
        postcard::to_stdvec(value).expect("plain data")
    }
    let put =
        kv::Put { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"v"), if_mod_revision: Some(3) };
    let command = Command::Kv(kv::Command::Put(put)).encode().into();
    let at = At { epoch: Epoch(0), index: 9, position: 1, time_ms: 1_763_000_000_000 };
    let reply = Reply::Kv(kv::Reply::Put { revision: 4, create_revision: 4, version: 1 });
    let text = |text: &str| text.to_owned();
    let said = [
        (0, encode(&Forwarded { wait_ms: 5_000, command })),
        (1, encode(&Answer::Applied(at, reply))),
        (1, encode(&Answer::Refused(Refusal::Kv(kv::Refusal::KeyNotFound)))),
        (1, encode(&Answer::Unavailable(text("why")))),
        (1, encode(&Answer::OutcomeUnknown(text("why")))),
        (1, encode(&Answer::DiskFull)),
        (2, encode(&standing::Answer::Gone(7))),
        (2, encode(&standing::Answer::Not(text("no")))),
    ];
    said.iter().map(|(which, bytes)| [&[*which], &bytes[..]].concat()).collect()
}
