//! The public keys of an issuer, as it publishes them (RFC 7517): RSA, P-256 and Ed25519.
//!
//! What is no key for signatures of these kinds is passed over: an issuer may publish others too.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Method {
    /// RSASSA-PKCS1-v1_5 with SHA-256, of 2048 to 8192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Method {
    /// That of an `alg`, if it is one of ours.
    pub(super) fn of(alg: &str) -> Option<Method> {
        match alg {
            "RS256" => Some(Method::Rs256),
            "ES256" => Some(Method::Es256),
            "EdDSA" => Some(Method::EdDsa),
            _ => None,
        }
    }
}

/// By what a token names the key that signed it. Ids are unique for one method only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct KeyName {
    pub(super) id: String,
    pub(super) method: Method,
}

/// A public key.
#[derive(Debug)]
pub(super) enum Key {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    P256(UnparsedPublicKey<Vec<u8>>),
    Ed25519(UnparsedPublicKey<Vec<u8>>),
}

impl Key {
    /// The only method that it checks.
    pub(super) fn method(&self) -> Method {
        match self {
            Key::Rsa(_) => Method::Rs256,
            Key::P256(_) => Method::Es256,
            Key::Ed25519(_) => Method::EdDsa,
        }
    }

    /// Whether this is its signature of the message.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Key::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
            Key::P256(key) | Key::Ed25519(key) => key.verify(message, signature).is_ok(),
        }
    }
}

/// The keys of an issuer.
pub(super) type Keys = HashMap<KeyName, Arc<Key>>;

/// An answer of an issuer that is no set of keys.
#[derive(Debug, thiserror::Error)]
#[error("no set of keys: {0}")]
pub(super) struct NoKeySet(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys in this JSON that we can use.
pub(super) fn parse(json: &[u8]) -> Result<Keys, NoKeySet> {
    let published: Published = serde_json::from_slice(json)?;
    let usable = |value| {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let key = key(&jwk)?;
        Some((KeyName { id: jwk.kid, method: key.method() }, Arc::new(key)))
    };
    Ok(published.keys.into_iter().filter_map(usable).collect())
}

fn key(jwk: &Jwk) -> Option<Key> {
    if jwk.kid.is_empty() || jwk.purpose.as_ref().is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Key::Rsa(RsaPublicKeyComponents { n: whole(&jwk.n)?, e: whole(&jwk.e)? }),
        ("EC", Some("P-256")) => {
            // The point uncompressed: 4, x, y.
            let point = [vec![4], field(&jwk.x)?, field(&jwk.y)?].concat();
            Key::P256(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point))
        }
        ("OKP", Some("Ed25519")) => Key::Ed25519(UnparsedPublicKey::new(&ED25519, field(&jwk.x)?)),
        _ => return None,
    };
    let named = jwk.alg.as_deref().is_none_or(|alg| Method::of(alg) == Some(key.method()));
    named.then_some(key)
}

/// A number without zeros before it.
fn whole(text: &Option<String>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text.as_ref()?).ok()?;
    let begin = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[begin..].to_vec())
}

/// 32 bytes.
fn field(text: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_ref()?).ok().filter(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Signer, key_set};
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_of_key_checks_its_own_signatures_and_no_others() {
        let signers = [Signer::rsa("a"), Signer::p256("a"), Signer::ed25519("a")];
        let keys = parse(key_set(&signers).as_bytes()).unwrap();
        assert_eq!(keys.len(), 3, "one id may be of three keys, if their methods differ");
        for signer in &signers {
            let signature = signer.sign(b"message");
            for (name, key) in &keys {
                assert_eq!(key.signed(b"message", &signature), name.method == signer.method(), "{name:?}");
                assert!(!key.signed(b"massage", &signature));
            }
        }
    }

    #[test]
    fn what_is_no_key_of_ours_is_passed_over() {
        let good = Signer::ed25519("good").jwk();
        let without = |field: &str| {
            let mut jwk = good.clone();
            jwk.as_object_mut().unwrap().remove(field);
            jwk
        };
        let with = |field: &str, value: Value| {
            let mut jwk = good.clone();
            jwk[field] = value;
            jwk
        };
        let odd = [
            without("kid"),
            without("kty"),
            without("x"),
            with("kid", json!("")),
            with("kid", json!(7)),
            with("use", json!("enc")),
            with("alg", json!("RS256")),
            with("alg", json!("HS256")),
            with("crv", json!("X25519")),
            with("kty", json!("oct")),
            with("x", json!("AA")),
            with("x", json!("%")),
            json!({"kty": "RSA", "kid": "r", "n": "AAAA", "e": "AQAB"}),
            json!("good"),
        ];
        let names = |keys: &[Value]| {
            let keys = parse(json!({"keys": keys}).to_string().as_bytes()).unwrap();
            keys.into_keys().map(|name| name.id).collect::<Vec<_>>()
        };
        for jwk in &odd {
            assert_eq!(names(&[jwk.clone(), good.clone()]), ["good"], "beside {jwk}");
            assert_eq!(names(std::slice::from_ref(jwk)).len(), 0, "{jwk}");
        }
        assert_eq!(names(&[with("use", json!("sig")), with("alg", json!("EdDSA"))]), ["good"]);
    }

    #[test]
    fn an_answer_that_is_no_set_of_keys_is_an_error() {
        for answer in ["", "{}", "[]", r#"{"keys":{}}"#, "<html>"] {
            assert!(parse(answer.as_bytes()).is_err(), "{answer:?}");
        }
        assert_eq!(parse(br#"{"keys":[]}"#).unwrap().len(), 0);
    }
}
