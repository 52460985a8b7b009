//! Ids of tasks and subscriptions, and the shard that an id or a queue belongs to.
//!
//! An id is drawn so that its hash names the shard of its task's queue: so whoever knows the id alone finds the task.

use super::fnv1a;
use crate::ShardId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in lower case (8-4-4-4-12 hexadecimal digits)")]
pub struct InvalidUuid;

macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// An id of this time (48 bits, most significant first, so that ids of one time lie together in tables) and
            /// of these random bits, in the form of a UUID of version 4.
            pub fn new(time_ms: u64, random: u128) -> $name {
                $name(uuid_bytes(time_ms, random))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(&uuid_text(self.0)).map_err(|_| fmt::Error)?)
            }
        }
        impl FromStr for $name {
            type Err = InvalidUuid;
            fn from_str(text: &str) -> Result<$name, InvalidUuid> {
                parse_uuid(text).map($name).ok_or(InvalidUuid)
            }
        }
    };
}

uuid!(
    /// Names one task for ever. As text a UUID in lower case.
    TaskId
);
uuid!(
    /// Names one subscription for ever. As text a UUID in lower case.
    SubscriptionId
);

impl TaskId {
    /// The first id made of these random numbers that belongs to a shard. One of `shards` numbers does.
    pub fn draw(
        time_ms: u64,
        shard: ShardId,
        shards: u32,
        random: impl IntoIterator<Item = u128>,
    ) -> Option<TaskId> {
        let ids = random.into_iter().map(|random| TaskId::new(time_ms, random));
        ids.into_iter().find(|id| shard_of_task(*id, shards) == shard)
    }
}

/// The shard of a queue: that of all its tasks. Commands are compared in lower case.
pub fn shard_of_queue(tenant: &str, command: &str, shards: u32) -> ShardId {
    let command = super::lower(command);
    shard(fnv1a(&[tenant.as_bytes(), &[0], command.as_bytes()]), shards)
}

/// The shard that an id belongs to.
pub fn shard_of_task(id: TaskId, shards: u32) -> ShardId {
    shard(fnv1a(&[&uuid_text(id.0)]), shards)
}

fn shard(hash: u64, shards: u32) -> ShardId {
    ShardId((hash % u64::from(shards.max(1))) as u32)
}

/// Where the dashes of a UUID stand.
const DASHES: [usize; 4] = [8, 13, 18, 23];

fn uuid_bytes(time_ms: u64, random: u128) -> [u8; 16] {
    let mut bytes = random.to_be_bytes();
    bytes[..6].copy_from_slice(&time_ms.to_be_bytes()[2..]);
    bytes[6] = 0x40 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    bytes
}

fn uuid_text(bytes: [u8; 16]) -> [u8; 36] {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut places = (0..36).filter(|place| !DASHES.contains(place));
    let mut text = [b'-'; 36];
    for (place, digit) in places.by_ref().zip(digits) {
        text[place] = b"0123456789abcdef"[usize::from(digit)];
    }
    text
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    let mut digits = 0;
    for (place, &byte) in text.iter().enumerate() {
        if DASHES.contains(&place) {
            (byte == b'-').then_some(())?;
            continue;
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_is_a_uuid_of_version_4_and_its_text_gives_it_back(time_ms in 0u64..1 << 48, random: u128) {
            let id = TaskId::new(time_ms, random);
            let text = id.to_string();
            prop_assert_eq!(text.parse(), Ok(id));
            prop_assert_eq!((text.len(), &text[14..15]), (36, "4"));
            prop_assert!("89ab".contains(&text[19..20]));
            prop_assert!(id.0.as_slice() < TaskId::new(time_ms + 1, !random).0.as_slice());
        }

        #[test]
        fn any_other_text_is_refused(text in "[0-9a-fA-Fg-]{30,40}") {
            if let Ok(id) = text.parse::<TaskId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        #[test]
        fn a_drawn_id_belongs_to_the_shard_of_its_queue(shards in 1u32..20, seed: u128) {
            let shard = shard_of_queue("t", "A", shards);
            let random = (0..10_000u128).map(|n| seed.wrapping_add(n));
            let id = TaskId::draw(7, shard, shards, random).expect("10,000 numbers");
            prop_assert_eq!(shard_of_task(id, shards), shard);
        }
    }

    /// The hashes are a contract: tasks would be looked for on another shard.
    #[test]
    fn shards_are_named_by_fnv_1a() {
        assert_eq!(fnv1a(&[b"foobar"]), 0x8594_4171_f739_67e8);
        assert_eq!(fnv1a(&[b"foo", b"bar"]), 0x8594_4171_f739_67e8);
        assert_eq!(
            shard_of_queue("t", "PROCESS_ORDER", 1 << 31),
            shard_of_queue("t", "process_order", 1 << 31)
        );
        let id: TaskId = "00000000-0001-4000-8000-000000000000".parse().expect("an id");
        assert_eq!(
            shard_of_task(id, 1 << 31),
            ShardId((fnv1a(&[id.to_string().as_bytes()]) % (1 << 31)) as u32)
        );
    }
}
