//! An issuer's tokens against a real server: keys kept, changed, taken back, and not to be had.

use super::super::config::AuthConfig;
use super::super::fetch::ANSWER_BYTES_MAX;
use super::super::testing::{Answer, Server, Signer, key_set};
use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

/// Of all tests, in seconds since 1970.
const NOW_S: u64 = 2_000_000_000;

fn config(url: &str, more: Value) -> IssuerConfig {
    let mut config =
        json!({"jwksUrl": url, "issuer": "https://issuer.test/", "audience": "queue", "httpTimeout": "2s"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let variables = |name: &str| match name {
        "PRODUCER_AUTH_PROVIDER" => Some("jwks".into()),
        "PRODUCER_AUTH_CONFIG" => Some(config.to_string().into()),
        _ => None,
    };
    let mut providers = AuthConfig::load(None, variables).unwrap().producer.providers;
    match providers.remove(0) {
        super::super::config::ProviderConfig::Jwks(config) => config,
        other => panic!("{other:?}"),
    }
}

/// A verifier, and a clock that goes on when it is told to.
struct Verifier {
    jwks: Jwks,
    now: Moment,
}

impl Verifier {
    fn new(url: &str) -> Verifier {
        Verifier::with(url, json!({}))
    }

    fn with(url: &str, more: Value) -> Verifier {
        let now = Moment { unix: Duration::from_secs(NOW_S), instant: Instant::now() };
        Verifier { jwks: Jwks::new(&config(url, more)).unwrap(), now }
    }

    fn after(&mut self, s: u64) {
        self.now.instant += Duration::from_secs(s);
    }

    /// The subject that the token is let in as, or why not.
    async fn ask(&self, token: &str) -> Result<String, String> {
        let claims = self.jwks.verify(token, self.now).await;
        claims.map(|claims| claims.subject).map_err(|rejected| rejected.to_string())
    }
}

fn claims() -> Value {
    json!({"sub": "me", "iss": "https://issuer.test/", "aud": "queue", "exp": NOW_S + 60})
}

fn with(field: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[field] = value;
    claims
}

fn me() -> Result<String, String> {
    Ok("me".to_owned())
}

fn no_key(id: &str) -> Result<String, String> {
    Err(format!("token is unverifiable: error while executing keyfunc: key {id} not found in JWKS"))
}

fn no_keys() -> Result<String, String> {
    Err("token is unverifiable: error while executing keyfunc: failed to fetch JWKS".to_owned())
}

#[tokio::test]
async fn tokens_of_all_kinds_are_let_in_after_one_look_at_the_keys() {
    let signers = [Signer::rsa("r"), Signer::p256("p"), Signer::ed25519("e")];
    let server = Server::start(Answer::Body(key_set(&signers))).await;
    let mut verifier = Verifier::new(&server.url());
    for signer in &signers {
        assert_eq!(verifier.ask(&signer.token(&claims())).await, me());
    }
    verifier.after(299);
    assert_eq!(verifier.ask(&signers[0].token(&claims())).await, me());
    assert_eq!(server.asked(), 1);
    let forged = Signer::ed25519("e").token(&claims());
    assert_eq!(verifier.ask(&forged).await, Err("token signature is invalid".to_owned()));
}

#[tokio::test]
async fn the_claims_are_checked_and_the_skew_is_applied() {
    let signer = Signer::p256("k");
    let server = Server::start(Answer::Body(key_set(std::slice::from_ref(&signer)))).await;
    let (exact, lenient) =
        (Verifier::new(&server.url()), Verifier::with(&server.url(), json!({"clockSkew": "30s"})));
    let time = |words: &str| Err(format!("token has invalid claims: {words}"));
    for (claims, exactly, leniently) in [
        (with("exp", json!(NOW_S)), time("token is expired"), me()),
        (with("exp", json!(NOW_S - 29)), time("token is expired"), me()),
        (with("exp", json!(NOW_S - 30)), time("token is expired"), time("token is expired")),
        (with("nbf", json!(NOW_S + 30)), time("token is not valid yet"), me()),
        (with("nbf", json!(NOW_S + 31)), time("token is not valid yet"), time("token is not valid yet")),
        (with("iss", json!("x")), Err("invalid issuer: x".to_owned()), Err("invalid issuer: x".to_owned())),
        (
            with("aud", json!(["x"])),
            Err("invalid audience: [x]".to_owned()),
            Err("invalid audience: [x]".to_owned()),
        ),
    ] {
        let token = signer.token(&claims);
        assert_eq!((exact.ask(&token).await, lenient.ask(&token).await), (exactly, leniently), "{claims}");
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it_but_not_for_every_token() {
    let (old, new) = (Signer::ed25519("old"), Signer::ed25519("new"));
    let server = Server::start(Answer::Body(key_set(std::slice::from_ref(&old)))).await;
    let mut verifier = Verifier::new(&server.url());
    assert_eq!(verifier.ask(&old.token(&claims())).await, me());
    server.answers(Answer::Body(key_set(&[old, Signer::ed25519("other")])));
    verifier.after(9);
    assert_eq!(verifier.ask(&new.token(&claims())).await, no_key("new"));
    assert_eq!(server.asked(), 1, "the issuer was asked 9 s ago");
    verifier.after(1);
    for _ in 0..3 {
        assert_eq!(verifier.ask(&new.token(&claims())).await, no_key("new"));
    }
    assert_eq!(server.asked(), 2, "it does not have that key");
    server.answers(Answer::Body(key_set(std::slice::from_ref(&new))));
    verifier.after(10);
    assert_eq!(verifier.ask(&new.token(&claims())).await, me());
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn a_key_that_was_taken_back_is_refused_once_the_keys_are_old() {
    let (old, new) = (Signer::ed25519("old"), Signer::ed25519("new"));
    let server = Server::start(Answer::Body(key_set(std::slice::from_ref(&old)))).await;
    let mut verifier = Verifier::new(&server.url());
    assert_eq!(verifier.ask(&old.token(&claims())).await, me());
    server.answers(Answer::Body(key_set(&[new])));
    verifier.after(299);
    assert_eq!(verifier.ask(&old.token(&claims())).await, me());
    verifier.after(1);
    assert_eq!(verifier.ask(&old.token(&claims())).await, no_key("old"));
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn requests_at_the_same_time_share_one_fetch_that_outlives_them() {
    let signer = Signer::ed25519("k");
    let slow = Answer::After(Duration::from_millis(200), key_set(std::slice::from_ref(&signer)));
    let server = Server::start(slow).await;
    let (verifier, token) = (Verifier::new(&server.url()), signer.token(&claims()));
    let short = tokio::time::timeout(Duration::from_millis(20), verifier.ask(&token)).await;
    assert!(short.is_err(), "the first one goes away before the answer");
    let all = futures::future::join_all((0..50).map(|_| verifier.ask(&token))).await;
    assert!(all.into_iter().all(|answer| answer == me()));
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn the_last_keys_are_used_while_the_issuer_is_away() {
    let signer = Signer::ed25519("k");
    let keys = || key_set(std::slice::from_ref(&signer));
    let server = Server::start(Answer::Body(keys())).await;
    let (mut verifier, token) = (Verifier::new(&server.url()), signer.token(&claims()));
    assert_eq!(verifier.ask(&token).await, me());
    let at = server.stop().await;
    for pause in [300, 5, 10, 86_400] {
        verifier.after(pause);
        assert_eq!(verifier.ask(&token).await, me(), "after {pause} s more");
    }
    settled(&verifier).await;
    assert!(verifier.jwks.cache.state().failing);
    assert_eq!(verifier.ask(&Signer::ed25519("new").token(&claims())).await, no_key("new"));
    let server = Server::start_at(at, Answer::Body(keys()), None).await;
    verifier.after(10);
    assert_eq!(verifier.ask(&token).await, me());
    settled(&verifier).await;
    assert_eq!((server.asked(), verifier.jwks.cache.state().failing), (1, false));
}

/// Until no fetch is under way.
async fn settled(verifier: &Verifier) {
    let fetch = verifier.jwks.cache.state().under_way.clone();
    if let Some(fetch) = fetch {
        fetch.await;
    }
}

#[tokio::test]
async fn an_issuer_that_hangs_holds_up_one_request_and_then_none() {
    let signer = Signer::ed25519("k");
    let server = Server::start(Answer::Body(key_set(std::slice::from_ref(&signer)))).await;
    let mut verifier = Verifier::with(&server.url(), json!({"httpTimeout": "300ms"}));
    let token = signer.token(&claims());
    assert_eq!(verifier.ask(&token).await, me());
    server.answers(Answer::Never);
    verifier.after(300);
    let begun = Instant::now();
    assert_eq!(verifier.ask(&token).await, me());
    assert!(begun.elapsed() >= Duration::from_millis(300));
    verifier.after(10);
    assert_eq!(verifier.ask(&token).await, me());
    assert!(verifier.jwks.cache.state().under_way.is_some(), "asked beside the request");
    settled(&verifier).await;
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn nobody_is_let_in_before_the_issuer_was_heard() {
    let signer = Signer::ed25519("k");
    let keys = key_set(std::slice::from_ref(&signer));
    let server = Server::start(Answer::Status(500)).await;
    let (mut verifier, token) = (Verifier::new(&server.url()), signer.token(&claims()));
    let padded = |bytes: usize| format!("{}{keys}", " ".repeat(bytes - keys.len()));
    let elsewhere = Server::start(Answer::Body(keys.clone())).await;
    for answer in [
        Answer::Status(500),
        Answer::Status(404),
        Answer::Redirect(elsewhere.url()),
        Answer::Body("<html>".to_owned()),
        Answer::Body(padded(ANSWER_BYTES_MAX + 1)),
    ] {
        server.answers(answer);
        assert_eq!(verifier.ask(&token).await, no_keys());
        verifier.after(10);
    }
    assert_eq!((server.asked(), elsewhere.asked()), (5, 0), "a redirect is not followed");
    server.answers(Answer::Body(padded(ANSWER_BYTES_MAX)));
    assert_eq!(verifier.ask(&token).await, me());
}

#[tokio::test]
async fn an_issuer_with_no_key_for_us_lets_nobody_in() {
    let signer = Signer::ed25519("k");
    let server =
        Server::start(Answer::Body(r#"{"keys":[{"kty":"oct","kid":"k","k":"c2VjcmV0"}]}"#.to_owned())).await;
    let verifier = Verifier::new(&server.url());
    assert_eq!(verifier.ask(&signer.token(&claims())).await, no_key("k"));
    let none = signer.token_with(&json!({"alg": "none", "kid": "k"}), &claims());
    assert!(verifier.ask(&none).await.unwrap_err().ends_with("unexpected signing method: none"));
}

#[tokio::test]
async fn https_is_trusted_by_the_named_authority_and_no_other() {
    let authority = Authority::new();
    let signer = Signer::ed25519("k");
    let keys = Answer::Body(key_set(std::slice::from_ref(&signer)));
    let server = Server::start_at("127.0.0.1:0".parse().unwrap(), keys, Some(authority.acceptor())).await;
    let url = format!("https://localhost:{}/keys", server.at.port());
    let dir = tempfile::tempdir().unwrap();
    let ca_file = |name: &str, authority: &Authority| {
        let path = dir.path().join(name);
        std::fs::write(&path, authority.certificate.pem()).unwrap();
        json!({"caFile": path})
    };
    let trusting = Verifier::with(&url, ca_file("right.pem", &authority));
    assert_eq!(trusting.ask(&signer.token(&claims())).await, me());
    let other = Verifier::with(&url, ca_file("wrong.pem", &Authority::new()));
    assert_eq!(other.ask(&signer.token(&claims())).await, no_keys());
    assert_eq!(server.asked(), 1);
}

/// A certificate authority, and what its server shows.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
