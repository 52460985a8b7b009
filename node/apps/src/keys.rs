//! How parts of a table's key become bytes whose order is the order of the parts.
//!
//! ```text
//! number   8 (or 4) bytes, most significant first
//! text     its bytes with 00 written as 00 ff, then 00 00
//! ```
//! A text is ended by `00 00`, which is less than anything a longer text can have there, so a text sorts before every
//! longer one that begins with it, and what follows the text in the key does not disturb that.

use crate::tables::RowKey;
use bytes::Bytes;

const END: [u8; 2] = [0x00, 0x00];
const ZERO: [u8; 2] = [0x00, 0xff];

/// Appends a text.
pub(crate) fn put_text(out: &mut RowKey, text: &[u8]) {
    let mut parts = text.split(|&byte| byte == 0);
    out.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        out.extend_from_slice(&ZERO);
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&END);
}

/// A text at the beginning of a key, and what follows it; `None` if it is not one.
pub(crate) fn take_text(key: &Bytes) -> Option<(Bytes, Bytes)> {
    let mut text = Vec::with_capacity(key.len());
    let mut rest = &key[..];
    loop {
        let zero = rest.iter().position(|&byte| byte == 0)?;
        text.extend_from_slice(&rest[..zero]);
        let (mark, behind) = rest[zero..].split_first_chunk::<2>()?;
        rest = behind;
        match *mark {
            END => return Some((text.into(), key.slice_ref(rest))),
            ZERO => text.push(0),
            _ => return None,
        }
    }
}

/// A number at the beginning of a key or row, and what follows it.
pub(crate) fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

/// A number at the beginning of a key or row, and what follows it.
pub(crate) fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(text: &[u8], number: u64) -> Bytes {
        let mut out = RowKey::new();
        put_text(&mut out, text);
        out.extend_from_slice(&number.to_be_bytes());
        Bytes::copy_from_slice(&out)
    }

    /// Texts of few letters, so that prefixes and zeros are common.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..6)
    }

    proptest! {
        #[test]
        fn keys_order_like_their_parts(a in text(), b in text(), m: u64, n: u64) {
            prop_assert_eq!(key(&a, m).cmp(&key(&b, n)), (a, m).cmp(&(b, n)));
        }

        #[test]
        fn a_key_gives_back_its_parts(a in text(), n: u64) {
            let (text, rest) = take_text(&key(&a, n)).expect("a text was put");
            prop_assert_eq!(&text[..], &a[..]);
            prop_assert_eq!(take_u64(&rest), Some((n, &[][..])));
        }
    }
}
