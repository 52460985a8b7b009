//! A signed token: three parts in base64url, as RFC 7515 and 7519 have it.
//!
//! Invariants:
//! * What a token says cannot be had before its signature was checked: only [`Unverified::verified`] gives it.
//! * The method is one of three that are signatures: `none` and those of a shared secret do not exist here. A key is of one method,
//!   and checks no other.

use super::keys::{Key, KeyName, Method};
use super::rejected::Rejected;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::time::Duration;

/// Longer than any real one; a header that is longer is not decoded.
const TOKEN_BYTES_MAX: usize = 16_384;

const NO_EXPIRY: &str = "token is missing required claim: exp claim is required";

/// A token that anybody may have written.
#[derive(Debug)]
pub(super) struct Unverified<'t> {
    key: KeyName,
    /// What the signature is of: header, dot, claims, still encoded.
    signed: &'t str,
    claims: &'t str,
    signature: Vec<u8>,
}

impl<'t> Unverified<'t> {
    pub(super) fn parse(token: &'t str) -> Result<Unverified<'t>, Rejected> {
        let segments = Rejected::Malformed("token contains an invalid number of segments");
        if token.len() > TOKEN_BYTES_MAX || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return Err(segments);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(segments.clone())?;
        let (header, claims) = signed.split_once('.').ok_or(segments)?;
        let header = base64(header, "could not base64 decode header")?;
        let header = object(&header, "could not JSON decode header")?;
        let signature = base64(signature, "could not base64 decode signature")?;
        Ok(Unverified { key: key_name(&header)?, signed, claims, signature })
    }

    /// By which key it says it is signed.
    pub(super) fn key(&self) -> &KeyName {
        &self.key
    }

    /// What it says, if this key signed it.
    pub(super) fn verified(&self, key: &Key) -> Result<Map<String, Value>, Rejected> {
        if key.method() != self.key.method || !key.signed(self.signed.as_bytes(), &self.signature) {
            return Err(Rejected::Signature);
        }
        object(&base64(self.claims, "could not base64 decode claim")?, "could not JSON decode claim")
    }
}

fn base64(text: &str, malformed: &'static str) -> Result<Vec<u8>, Rejected> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Rejected::Malformed(malformed))
}

fn object(json: &[u8], malformed: &'static str) -> Result<Map<String, Value>, Rejected> {
    serde_json::from_slice(json).map_err(|_| Rejected::Malformed(malformed))
}

fn key_name(header: &Map<String, Value>) -> Result<KeyName, Rejected> {
    let text = |name: &str| header.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let method = text("alg").ok_or(Rejected::Unverifiable("signing method (alg) is unspecified"))?;
    let method = Method::of(method).ok_or_else(|| Rejected::Method(method.to_owned()))?;
    // An extension that its reader must know; we know none.
    if header.contains_key("crit") {
        return Err(Rejected::Unverifiable("error while executing keyfunc: unknown crit in token header"));
    }
    match text("kid") {
        Some(id) => Ok(KeyName { id: id.to_owned(), method }),
        None => Err(Rejected::Unverifiable("error while executing keyfunc: missing kid in token header")),
    }
}

/// Refuses what is no longer or not yet valid: `exp` must be there, `nbf` may be. Both may be missed by `skew`.
pub(super) fn check_times(
    claims: &Map<String, Value>,
    now: Duration,
    skew: Duration,
) -> Result<(), Rejected> {
    let (now, skew) = (now.as_secs_f64(), skew.as_secs_f64());
    let seconds = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => {
            value.as_f64().map(Some).ok_or(Rejected::Time("token is malformed: a time is no number"))
        }
    };
    let expires = seconds("exp")?.ok_or(Rejected::Time(NO_EXPIRY))?;
    let begins = seconds("nbf")?;
    if now >= expires + skew {
        return Err(Rejected::Time("token is expired"));
    }
    if begins.is_some_and(|begins| now < begins - skew) {
        return Err(Rejected::Time("token is not valid yet"));
    }
    Ok(())
}

/// Refuses what another issuer signed, or for another audience.
pub(super) fn check_parties(
    claims: &Map<String, Value>,
    issuer: &str,
    audience: &str,
) -> Result<(), Rejected> {
    let issued_by = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    if issued_by != issuer {
        return Err(Rejected::Issuer(issued_by.to_owned()));
    }
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    if audiences.contains(&audience) {
        return Ok(());
    }
    Err(Rejected::Audience(audiences.into_iter().map(str::to_owned).collect()))
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
