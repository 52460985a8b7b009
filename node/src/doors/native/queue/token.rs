//! Where a page of tasks or a purge ended, as an opaque text.
//!
//! ```text
//! of a page    base64 of the command's length (2 bytes), the command, and the place in its queue; without a place: behind all of it
//! of a purge   base64 of the place
//! ```

use crate::doors::error::DoorError;
use crate::queues::Mark;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

/// Of a page of tasks.
pub(in crate::doors::native) fn of_mark(mark: &Mark) -> String {
    let Mark { command, after } = mark;
    // A command has 255 bytes at most.
    let length = (command.len() as u16).to_be_bytes();
    URL_SAFE_NO_PAD.encode([&length, command.as_bytes(), after.as_deref().unwrap_or_default()].concat())
}

/// What [`of_mark`] made.
pub(in crate::doors::native) fn mark(token: &[u8]) -> Result<Mark, DoorError> {
    let parsed = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| {
        let (length, rest) = bytes.split_first_chunk()?;
        let (command, after) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let after = Some(Bytes::copy_from_slice(after)).filter(|after| !after.is_empty());
        Some(Mark { command: String::from_utf8(command.to_vec()).ok()?, after })
    });
    parsed.ok_or_else(|| DoorError::bad_request("parameter after is not what an earlier page gave"))
}

/// Of a purge.
pub(super) fn of_place(place: &Bytes) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

/// What [`of_place`] made.
pub(super) fn place(token: &str) -> Result<Bytes, DoorError> {
    let decoded = URL_SAFE_NO_PAD.decode(token);
    decoded.map(Bytes::from).map_err(|_| DoorError::bad_request("after is not what an earlier purge gave"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_its_token() {
        for command in ["a", "mail.send", "with\0zero", &"c".repeat(255)] {
            for after in [None, Some(Bytes::from_static(b"\x01\xff\x00"))] {
                let known = Mark { command: command.to_owned(), after };
                assert_eq!(mark(of_mark(&known).as_bytes()).unwrap(), known);
            }
        }
        for wrong in ["", "AA", "AAJh", "%%%", "AAH_"] {
            let message = mark(wrong.as_bytes()).unwrap_err().message().to_owned();
            assert_eq!(message, "parameter after is not what an earlier page gave", "{wrong}");
        }
    }
}
