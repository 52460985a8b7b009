//! The checksum at the end of every value on disk: CRC-32C of its key and itself.
//!
//! redb checks pages when it repairs a file, not when it reads one: a bit flipped at rest would be served, and sent
//! to other nodes in a snapshot, without this.

const CRC_BYTES: usize = 4;

/// Appends the checksum of `key` and `value` to `value`.
pub(super) fn seal(key: &[u8], value: &mut Vec<u8>) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), value);
    value.extend_from_slice(&crc.to_le_bytes());
}

/// The value without its checksum, if it is the right one.
pub(super) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (value, crc) = sealed.split_at_checked(sealed.len().checked_sub(CRC_BYTES)?)?;
    (crc32c::crc32c_append(crc32c::crc32c(key), value).to_le_bytes() == crc).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_of_key_value_or_checksum_is_noticed() {
        let mut sealed = b"value".to_vec();
        seal(b"key", &mut sealed);
        assert_eq!(unseal(b"key", &sealed), Some(&b"value"[..]));
        assert_eq!(unseal(b"kez", &sealed), None);
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(b"key", &flipped), None, "bit {bit}");
        }
        assert_eq!(unseal(b"key", b"abc"), None);
    }
}
