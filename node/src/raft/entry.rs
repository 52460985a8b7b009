//! The body of a log entry: what stands in the log, in memory and on the wire, encoded once.
//!
//! ```text
//! u8   version, 1
//! u8   what: 0 blank, 1 commands, 2 membership
//! -- commands:
//! u32  level
//! u64  epoch
//! u64  time_ms
//! ...  one or more commands, each a u32 length and its bytes
//! -- membership:
//! ...  as encoded by `types`
//! ```
//! Numbers are big endian. Bodies of every level are kept as golden bytes and must decode for ever.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use schedia_apps::{Epoch, Level};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;

/// The most commands in one entry.
pub(crate) const COMMANDS_MAX: usize = 1_024;
/// The most bytes of commands in one entry; one command alone may be this long.
pub(crate) const COMMANDS_BYTES_MAX: usize = 2 << 20;

const VERSION: u8 = 1;
const BLANK: u8 = 0;
const COMMANDS: u8 = 1;
const MEMBERSHIP: u8 = 2;
/// Version, what, level, epoch, time.
const HEAD: usize = 2 + 4 + 8 + 8;

/// What the leader writes on an entry when it proposes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The cluster's level of commands.
    pub(crate) level: Level,
    /// Restores and recoveries so far.
    pub(crate) epoch: Epoch,
    /// Log time.
    pub(crate) time_ms: u64,
}

/// The encoded body of an entry with commands. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Body(Bytes);

/// An entry's body, told apart.
pub(super) enum Opened {
    Blank,
    Commands(Body),
    Membership(Bytes),
}

impl Body {
    /// The commands must be within [`COMMANDS_MAX`] and [`COMMANDS_BYTES_MAX`], and at least one.
    pub(crate) fn commands<'a>(stamp: Stamp, commands: impl IntoIterator<Item = &'a Bytes>) -> Body {
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        bytes.put_u8(COMMANDS);
        bytes.put_u32(stamp.level.0);
        bytes.put_u64(stamp.epoch.0);
        bytes.put_u64(stamp.time_ms);
        for command in commands {
            bytes.put_u32(command.len() as u32);
            bytes.put_slice(command);
        }
        // An allocation of its own length: it stays in memory for long.
        Body(Bytes::from(bytes.to_vec()))
    }

    pub(super) fn blank() -> Body {
        Body(Bytes::from_static(&[VERSION, BLANK]))
    }

    pub(super) fn membership(encoded: &[u8]) -> Body {
        Body([&[VERSION, MEMBERSHIP], encoded].concat().into())
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.0
    }

    pub(super) fn open(mut bytes: Bytes) -> io::Result<Opened> {
        match bytes.first_chunk::<2>() {
            Some([VERSION, BLANK]) => Ok(Opened::Blank),
            Some([VERSION, COMMANDS]) => Ok(Opened::Commands(Body(bytes))),
            Some([VERSION, MEMBERSHIP]) => {
                bytes.advance(2);
                Ok(Opened::Membership(bytes))
            }
            Some([version, what]) => {
                Err(invalid(format!("version {version} of entry {what} is unknown to this release")))
            }
            None => Err(invalid("it ends before its head".into())),
        }
    }

    /// The stamp and the commands. An error means that the log is broken, or from a later release.
    pub(super) fn decode(&self) -> io::Result<(Stamp, Vec<Bytes>)> {
        let mut bytes = self.0.clone();
        if bytes.len() < HEAD || bytes[..2] != [VERSION, COMMANDS] {
            return Err(invalid("it is no entry with commands".into()));
        }
        bytes.advance(2);
        let level = Level(bytes.get_u32());
        let epoch = Epoch(bytes.get_u64());
        let time_ms = bytes.get_u64();
        let mut commands = Vec::new();
        while !bytes.is_empty() {
            let length = bytes.try_get_u32().map_err(|_| invalid("it ends inside a length".into()))? as usize;
            if length > bytes.len() {
                return Err(invalid("it ends inside a command".into()));
            }
            commands.push(bytes.split_to(length));
        }
        if commands.is_empty() {
            return Err(invalid("it holds no command".into()));
        }
        Ok((Stamp { level, epoch, time_ms }, commands))
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("log entry: {reason}"))
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commands of {} bytes", self.0.len())
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Level 1, as written since the first release: decoded for ever.
    const GOLDEN_1: &str =
        "01 01 00000001 0000000000000002 0000019a12345678 00000003 616263 00000000 00000001 7a";

    fn golden(text: &str) -> Bytes {
        let text: String = text.split(' ').collect();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn stamp() -> Stamp {
        Stamp { level: Level(1), epoch: Epoch(2), time_ms: 0x19a_1234_5678 }
    }

    #[test]
    fn the_bytes_of_an_entry_of_level_1_never_change() {
        let commands = ["abc", "", "z"].map(|text| Bytes::from_static(text.as_bytes()));
        assert_eq!(Body::commands(stamp(), &commands).into_bytes(), golden(GOLDEN_1));
        let Opened::Commands(body) = Body::open(golden(GOLDEN_1)).unwrap() else { panic!("commands") };
        assert_eq!(body.decode().unwrap(), (stamp(), commands.to_vec()));
    }

    #[test]
    fn an_entry_cut_short_is_an_error_wherever_it_is_cut() {
        let whole = golden(GOLDEN_1);
        // Behind a whole command it is another, shorter entry: the log's own checksum tells those apart.
        let whole_commands = [HEAD + 7, HEAD + 11, whole.len()];
        for end in (0..whole.len()).filter(|end| !whole_commands.contains(end)) {
            Body(whole.slice(..end)).decode().unwrap_err();
        }
    }

    #[test]
    fn an_entry_from_the_future_is_an_error() {
        let error = Body::open(Bytes::from_static(&[1, 3])).err().unwrap();
        assert_eq!(error.to_string(), "log entry: version 1 of entry 3 is unknown to this release");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            commands in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..20),
            level: u32, epoch: u64, time_ms: u64,
        ) {
            let stamp = Stamp { level: Level(level), epoch: Epoch(epoch), time_ms };
            let commands: Vec<Bytes> = commands.into_iter().map(Bytes::from).collect();
            prop_assert_eq!(Body::commands(stamp, &commands).decode().unwrap(), (stamp, commands));
        }

        #[test]
        fn whatever_stands_in_a_log_is_decoded_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(Opened::Commands(body)) = Body::open(bytes.into()) {
                let _ = body.decode();
            }
        }
    }
}
