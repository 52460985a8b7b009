//! Query strings and percent-encoding: bytes in, checked values out.
//!
//! Invariant: a parameter that is unknown, given twice, or not of its kind is a 400 that names it, never ignored.

use super::error::DoorError;
use bytes::Bytes;
use percent_encoding::percent_decode;
use schedia_apps::kv::KeyRange;
use std::str::FromStr;

/// The parameters of one request, decoded. Take what you know, then [`Params::done`].
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, Bytes)>);

impl Params {
    /// Splits a raw query string. Names are text, values any bytes; `+` is a plus, a space is `%20`.
    pub(crate) fn parse(query: Option<&str>) -> Result<Params, DoorError> {
        let mut params: Vec<(String, Bytes)> = Vec::new();
        for item in query.unwrap_or_default().split('&').filter(|item| !item.is_empty()) {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            if params.iter().any(|(known, _)| known == name) {
                return Err(DoorError::bad_request(format!("parameter given twice: {name}")));
            }
            let value = decode(value).ok_or_else(|| {
                DoorError::bad_request(format!("parameter {name} is not percent-encoded: {value}"))
            })?;
            params.push((name.to_owned(), value));
        }
        Ok(Params(params))
    }

    /// The bytes of a parameter, if given.
    pub(crate) fn bytes(&mut self, name: &str) -> Option<Bytes> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// The keys that `prefix`, `start` and `end` name together, if any of them is given.
    pub(crate) fn range(&mut self) -> Option<KeyRange> {
        let (prefix, start, end) = (self.bytes("prefix"), self.bytes("start"), self.bytes("end"));
        if prefix.is_none() && start.is_none() && end.is_none() {
            return None;
        }
        let range = prefix.map_or_else(KeyRange::all, KeyRange::prefix);
        Some(range.and(KeyRange { start: start.unwrap_or_default(), end }))
    }

    /// The value of a parameter that is text of some kind, if given.
    pub(crate) fn value<T: FromStr>(&mut self, name: &str, kind: &str) -> Result<Option<T>, DoorError> {
        let Some(bytes) = self.bytes(name) else { return Ok(None) };
        let value = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        match value {
            Some(value) => Ok(Some(value)),
            None => {
                let text = String::from_utf8_lossy(&bytes);
                Err(DoorError::bad_request(format!("parameter {name} must be {kind}: {text:?}")))
            }
        }
    }

    /// The number of a parameter, if given.
    pub(crate) fn number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, DoorError> {
        self.value(name, "a number from 0")
    }

    /// Whether a parameter is given as true (or without a value).
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, DoorError> {
        match self.bytes(name).as_deref() {
            None | Some(b"false") => Ok(false),
            Some(b"" | b"true") => Ok(true),
            Some(other) => {
                let text = String::from_utf8_lossy(other);
                Err(DoorError::bad_request(format!("parameter {name} must be true or false: {text:?}")))
            }
        }
    }

    /// Refuses what nobody took.
    pub(crate) fn done(self) -> Result<(), DoorError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(DoorError::bad_request(format!("unknown parameter: {name}"))),
        }
    }
}

/// Decodes percent-encoding into a fresh allocation; `None` if a `%` is not followed by two hexadecimal digits.
pub(crate) fn decode(text: &str) -> Option<Bytes> {
    let bytes = text.as_bytes();
    let mut place = 0;
    while let Some(found) = bytes[place..].iter().position(|&byte| byte == b'%') {
        let digits = bytes.get(place + found + 1..place + found + 3)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        place += found + 3;
    }
    Some(percent_decode(bytes).collect::<Vec<u8>>().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<impl std::fmt::Debug, DoorError>) -> String {
        let error = result.expect_err("refused");
        assert_eq!(error.status(), 400);
        error.message().to_owned()
    }

    #[test]
    fn any_bytes_travel_percent_encoded() {
        assert_eq!(decode("a%2Fb%00%ff+").as_deref(), Some(&b"a/b\0\xff+"[..]));
        for wrong in ["%", "%2", "a%zz", "%e2%8"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_unknown_or_twice_or_of_another_kind_is_named() {
        assert_eq!(message(Params::parse(Some("a=1&b=2&a=1"))), "parameter given twice: a");
        assert_eq!(message(Params::parse(Some("key=%zz"))), "parameter key is not percent-encoded: %zz");
        let mut params = Params::parse(Some("limit=-1&count-only=maybe&revison=3")).unwrap();
        assert_eq!(message(params.number::<u32>("limit")), "parameter limit must be a number from 0: \"-1\"");
        assert_eq!(
            message(params.flag("count-only")),
            "parameter count-only must be true or false: \"maybe\""
        );
        assert_eq!(message(params.done()), "unknown parameter: revison");
    }

    #[test]
    fn a_flag_without_a_value_is_set() {
        let mut params = Params::parse(Some("keys-only&count-only=false")).unwrap();
        assert!(params.flag("keys-only").unwrap());
        assert!(!params.flag("count-only").unwrap());
        assert!(!params.flag("stale").unwrap());
        params.done().unwrap();
    }
}
