//! Writes that may be sent again: the header `Idempotency-Key`, and the answer that each copy gets.
//!
//! A key is visible ASCII, taken as it is, quotes included. What a request asks is its method, its path with the
//! query, and its body, byte by byte.
//!
//! Not here: what is kept and for how long (`schedia_apps::once`).

use super::{Door, unexpected};
use crate::doors::error::DoorError;
use axum::http::header::HeaderMap;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use schedia_apps::once::{self, Fingerprint, KEY_BYTES_MAX, Outcome, Write};
use schedia_apps::{Command, Reply, kv};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Says that the answer is that of an earlier copy: this one has done nothing.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What a write came to, now or before.
pub(super) struct Written(once::Reply);

impl Written {
    /// The response: of what was done as `answer` makes it, of what was refused the refusal.
    pub(super) fn respond(
        self,
        answer: impl FnOnce(Outcome) -> Result<Response, DoorError>,
    ) -> Result<Response, DoorError> {
        let once::Reply { replayed, outcome } = self.0;
        let mut response = match outcome {
            Outcome::Refused(refusal) => DoorError::from(refusal).into_response(),
            outcome => answer(outcome)?,
        };
        if replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        Ok(response)
    }
}

impl Door {
    /// A write to kv: once however often it is sent, if the request has a key.
    pub(super) async fn write(
        &self,
        parts: &Parts,
        body: &[u8],
        command: kv::Command,
    ) -> Result<Written, DoorError> {
        let Some(key) = key(&parts.headers)? else {
            let outcome = Outcome::Kv(self.propose(command).await?);
            return Ok(Written(once::Reply { replayed: false, outcome }));
        };
        let asked = parts.uri.path_and_query().map_or("", |asked| asked.as_str());
        let fingerprint = Fingerprint::of(&[parts.method.as_str().as_bytes(), asked.as_bytes(), body]);
        // Whose key it is: nobody is authenticated yet.
        let command = once::Command { principal: String::new(), key, fingerprint, write: Write::Kv(command) };
        match self.propose_any(Command::Once(command)).await? {
            Reply::Once(reply) => Ok(Written(reply)),
            other => Err(unexpected(&other)),
        }
    }
}

/// Whether a request may be sent again.
pub(super) fn has_key(headers: &HeaderMap) -> bool {
    headers.contains_key(IDEMPOTENCY_KEY)
}

pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, DoorError> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(DoorError::bad_request("header given twice: Idempotency-Key"));
    }
    let bytes = value.as_bytes();
    if !(1..=KEY_BYTES_MAX).contains(&bytes.len()) {
        let message = format!("header Idempotency-Key has 1 to {KEY_BYTES_MAX} bytes, not {}", bytes.len());
        return Err(DoorError::bad_request(message));
    }
    match std::str::from_utf8(bytes) {
        Ok(key) if bytes.iter().all(u8::is_ascii_graphic) => Ok(Some(key.to_owned())),
        _ => Err(DoorError::bad_request(format!(
            "header Idempotency-Key must be visible ASCII without spaces: {}",
            bytes.escape_ascii()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(values: &[&[u8]]) -> Result<Option<String>, String> {
        let value = |value: &&[u8]| (IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
        let mut headers = HeaderMap::new();
        values.iter().map(value).for_each(|(name, value)| _ = headers.append(name, value));
        key(&headers).map_err(|error| {
            assert_eq!(error.status(), 400);
            error.message().to_owned()
        })
    }

    #[test]
    fn a_key_is_visible_ascii_and_taken_as_it_is() {
        assert_eq!(parsed(&[]), Ok(None));
        for key in ["a", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", &"k".repeat(255)] {
            assert_eq!(parsed(&[key.as_bytes()]), Ok(Some(key.to_owned())));
        }
        let length = |bytes| Err(format!("header Idempotency-Key has 1 to 255 bytes, not {bytes}"));
        assert_eq!(parsed(&[b""]), length(0));
        assert_eq!(parsed(&["k".repeat(256).as_bytes()]), length(256));
        for (key, shown) in [(&b"a b"[..], "a b"), (b"a\tb", "a\\tb"), (b"\xc3\xa9", "\\xc3\\xa9")] {
            let words = format!("header Idempotency-Key must be visible ASCII without spaces: {shown}");
            assert_eq!(parsed(&[key]), Err(words));
        }
        assert_eq!(parsed(&[b"a", b"a"]), Err("header given twice: Idempotency-Key".to_owned()));
    }
}
