//! Any bytes as a token, as what one says, and as the keys of an issuer.

use super::claims::Claims;
use super::jwt::{self, Unverified};
use super::{Denied, keys, tokens};
use crate::fuzz::Target;
use serde_json::{Map, Value};
use std::time::Duration;

pub(crate) const TARGETS: [Target; 1] = [Target { name: "token", memory: 64 << 10, run: any, seeds }];

/// RSA, P-256 and Ed25519, of RFC 7515 and 8037.
const KEYS: &str = r#"{"keys":[{"kty":"RSA","kid":"r","use":"sig","alg":"RS256","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},{"kty":"EC","kid":"p","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},{"kty":"OKP","kid":"e","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// `{"alg":"EdDSA","kid":"e"}`, `{}` and no signature of them.
const HEADER: &str = "Bearer eyJhbGciOiJFZERTQSIsImtpZCI6ImUifQ.e30.c2lnbmF0dXJl";

const CLAIMS: &str = r#"{"sub":"me","email":"me@example.com","iss":"i","aud":["a","b"],"exp":2000000000,"nbf":1.5,"scope":"codeq:claim codeq:admin","eventTypes":["A","*"],"tid":"acme","tenant_id":"acme","role":"ADMIN"}"#;

/// The first byte says as what.
fn any(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 3 {
        0 => header(bytes),
        1 => claims(bytes),
        _ => key_set(bytes),
    }
}

fn header(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let known = keys::parse(KEYS.as_bytes()).expect("a set of keys");
    let read = |token| Unverified::parse(token).map_err(Denied::from);
    match tokens::bearer(Some(text)).and_then(read) {
        Ok(unverified) => {
            assert!(known.values().all(|key| unverified.verified(key).is_err()), "nobody signed this");
        }
        Err(denied) => assert!(denied.status() == 401 && !denied.to_string().is_empty()),
    }
}

fn claims(bytes: &[u8]) {
    let Ok(said) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return };
    let claims = Claims::of_jwt(&said);
    if let Some(tenant) = &claims.tenant {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!((2..=63).contains(&tenant.len()) && tenant.bytes().all(plain) && !tenant.starts_with('-'));
    }
    let (now, skew) = (Duration::from_secs(1_900_000_000), Duration::from_secs(30));
    for refused in [jwt::check_times(&said, now, skew).err(), jwt::check_parties(&said, "i", "a").err()] {
        assert!(refused.is_none_or(|rejected| !rejected.to_string().is_empty()));
    }
}

fn key_set(bytes: &[u8]) {
    match keys::parse(bytes) {
        Ok(keys) => {
            for (name, key) in keys {
                assert!(!name.id.is_empty() && name.method == key.method());
                assert!(!key.signed(b"message", b"no signature"));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error without words"),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [(0, HEADER), (1, CLAIMS), (2, KEYS)].map(|(which, text)| [&[which], text.as_bytes()].concat()).into()
}
