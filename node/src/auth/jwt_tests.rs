//! Signed tokens: the vectors of the RFCs, what is refused and in which words.

use super::super::keys;
use super::super::testing::{Signer, b64, key_set};
use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

fn key_of(signer: &Signer) -> Arc<Key> {
    keys::parse(json!({"keys": [signer.jwk()]}).to_string().as_bytes()).unwrap().into_values().next().unwrap()
}

fn refusal(token: &str) -> String {
    Unverified::parse(token).expect_err(token).to_string()
}

fn with_header(header: Value) -> String {
    format!("{}.{}.{}", b64(header.to_string()), b64("{}"), b64("signature"))
}

/// RFC 7515 A.2 (RS256) and A.3 (ES256), RFC 8037 A.4 (EdDSA).
#[test]
fn the_signatures_of_the_rfcs_are_right() {
    let claims =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let vectors = [
        (
            Signer::rsa("k").jwk(),
            format!("eyJhbGciOiJSUzI1NiJ9.{claims}"),
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            json!({
                "kty": "EC", "kid": "k", "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            }),
            format!("eyJhbGciOiJFUzI1NiJ9.{claims}"),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            json!({"kty": "OKP", "kid": "k", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ];
    for (jwk, message, signature) in vectors {
        let keys = keys::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
        let (name, key) = keys.into_iter().next().unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.signed(message.as_bytes(), &signature), "{name:?}");
        assert!(!key.signed(&message.as_bytes()[1..], &signature), "{name:?}");
    }
}

#[test]
fn what_is_no_token_is_malformed() {
    let segments = "token is malformed: token contains an invalid number of segments";
    let header = b64(r#"{"alg":"EdDSA","kid":"k"}"#);
    for token in [
        "",
        "dev-token",
        "a.b",
        "a.b.c.d",
        &"a".repeat(100_000),
        &format!("{header}.e30.{}", "A".repeat(16_384)),
    ] {
        assert_eq!(refusal(token), segments);
    }
    assert_eq!(refusal("%.e30.c2ln"), "token is malformed: could not base64 decode header");
    assert_eq!(refusal("e30=.e30.c2ln"), "token is malformed: could not base64 decode header");
    assert_eq!(
        refusal(&format!("{}.e30.c2ln", b64("[]"))),
        "token is malformed: could not JSON decode header"
    );
    assert_eq!(refusal(&format!("{header}.e30.%")), "token is malformed: could not base64 decode signature");
}

#[test]
fn only_signatures_by_a_named_key_are_looked_at() {
    let keyfunc = "token is unverifiable: error while executing keyfunc";
    for alg in ["none", "None", "HS256", "HS512", "RS384", "PS256", "ES384", "eddsa"] {
        let words = format!("{keyfunc}: unexpected signing method: {alg}");
        assert_eq!(refusal(&with_header(json!({"alg": alg, "kid": "k"}))), words);
    }
    for header in [json!({"kid": "k"}), json!({"alg": 1, "kid": "k"}), json!({"alg": "", "kid": "k"})] {
        assert_eq!(
            refusal(&with_header(header)),
            "token is unverifiable: signing method (alg) is unspecified"
        );
    }
    for header in
        [json!({"alg": "RS256"}), json!({"alg": "RS256", "kid": ""}), json!({"alg": "RS256", "kid": 1})]
    {
        assert_eq!(refusal(&with_header(header)), format!("{keyfunc}: missing kid in token header"));
    }
    let critical = json!({"alg": "RS256", "kid": "k", "crit": ["b64"], "b64": false});
    assert_eq!(refusal(&with_header(critical)), format!("{keyfunc}: unknown crit in token header"));
}

#[test]
fn a_key_checks_tokens_of_its_own_method_only() {
    let signers = [Signer::rsa("k"), Signer::p256("k"), Signer::ed25519("k")];
    let said = json!({"sub": "me"});
    for signer in &signers {
        let token = signer.token(&said);
        for other in &signers {
            let claims = Unverified::parse(&token).unwrap().verified(&key_of(other));
            let right = other.method() == signer.method();
            assert_eq!(claims.is_ok_and(|claims| Value::from(claims) == said), right);
        }
    }
    // The right signature under a wrong name of its method.
    let lying = signers[2].token_with(&json!({"alg": "ES256", "kid": "k"}), &said);
    for signer in &signers {
        assert_eq!(Unverified::parse(&lying).unwrap().verified(&key_of(signer)), Err(Rejected::Signature));
    }
    assert_eq!(keys::parse(key_set(&signers).as_bytes()).unwrap().len(), 3);
}

#[test]
fn claims_that_are_no_object_are_malformed_even_if_they_are_signed() {
    let signer = Signer::ed25519("k");
    let token = signer.token(&json!([1]));
    let refused = Unverified::parse(&token).unwrap().verified(&key_of(&signer)).unwrap_err();
    assert_eq!(refused.to_string(), "token is malformed: could not JSON decode claim");
}

#[test]
fn times_may_be_missed_by_the_skew_and_no_more() {
    let at = |claims: Value, now_ms: u64, skew_s: u64| {
        let claims = claims.as_object().unwrap().clone();
        check_times(&claims, Duration::from_millis(now_ms), Duration::from_secs(skew_s))
    };
    let (expired, early) =
        (Err(Rejected::Time("token is expired")), Err(Rejected::Time("token is not valid yet")));
    for (claims, now_ms, skew_s, wanted) in [
        (json!({"exp": 100}), 99_999, 0, Ok(())),
        (json!({"exp": 100}), 100_000, 0, expired.clone()),
        (json!({"exp": 100}), 129_999, 30, Ok(())),
        (json!({"exp": 100}), 130_000, 30, expired.clone()),
        (json!({"exp": 100.5}), 100_499, 0, Ok(())),
        (json!({"exp": 100, "nbf": 50}), 50_000, 0, Ok(())),
        (json!({"exp": 100, "nbf": 50}), 49_999, 0, early.clone()),
        (json!({"exp": 100, "nbf": 50}), 20_000, 30, Ok(())),
        (json!({"exp": 100, "nbf": 50}), 19_999, 30, early),
        (json!({"exp": -1}), 0, 0, expired),
        (json!({"exp": 1e300}), 4_000_000_000_000, 0, Ok(())),
    ] {
        assert_eq!(at(claims.clone(), now_ms, skew_s), wanted, "{claims} at {now_ms} ms with {skew_s} s");
    }
    let missing = "token has invalid claims: token is missing required claim: exp claim is required";
    assert_eq!(at(json!({}), 0, 0).unwrap_err().to_string(), missing);
    for claims in [json!({"exp": "100"}), json!({"exp": null}), json!({"exp": 100, "nbf": "50"})] {
        let words = at(claims, 60_000, 0).unwrap_err().to_string();
        assert_eq!(words, "token has invalid claims: token is malformed: a time is no number");
    }
}

#[test]
fn issuer_and_audience_are_exact() {
    let check =
        |claims: Value| check_parties(claims.as_object().unwrap(), "me", "queue").map_err(|e| e.to_string());
    assert_eq!(check(json!({"iss": "me", "aud": "queue"})), Ok(()));
    assert_eq!(check(json!({"iss": "me", "aud": ["other", 7, "queue"]})), Ok(()));
    let refused = |words: &str| Err(words.to_owned());
    assert_eq!(check(json!({"iss": "me/", "aud": "queue"})), refused("invalid issuer: me/"));
    assert_eq!(check(json!({"aud": "queue"})), refused("invalid issuer: "));
    assert_eq!(check(json!({"iss": ["me"], "aud": "queue"})), refused("invalid issuer: "));
    assert_eq!(check(json!({"iss": "me", "aud": "Queue"})), refused("invalid audience: [Queue]"));
    assert_eq!(check(json!({"iss": "me", "aud": ["a", "b"]})), refused("invalid audience: [a b]"));
    assert_eq!(check(json!({"iss": "me"})), refused("invalid audience: []"));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(token in "[A-Za-z0-9_.-]{0,60}|\\PC{0,20}") {
        let _ = Unverified::parse(&token);
    }

    #[test]
    fn a_token_with_another_character_anywhere_is_refused(at in any::<prop::sample::Index>(), other in "[A-Za-z0-9_.-]") {
        let signer = Signer::ed25519("k");
        let token = signer.token(&json!({"sub": "me", "exp": 1}));
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != other);
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        let read = Unverified::parse(&changed).and_then(|unverified| unverified.verified(&key_of(&signer)));
        prop_assert!(read.is_err(), "{}", changed);
    }
}
