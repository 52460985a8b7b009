//! Who is let in as what, and in which words the others are refused: codeQ's.

use super::testing::{Answer, Server, Signer, key_set};
use super::*;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// What codeQ's guide runs with.
const DEV: [(&str, &str); 4] = [
    ("PRODUCER_AUTH_PROVIDER", "static"),
    (
        "PRODUCER_AUTH_CONFIG",
        r#"{"token":"dev-token","subject":"producer-dev","email":"dev@codeq.local","raw":{"role":"ADMIN","tenantId":"dev-tenant"}}"#,
    ),
    ("WORKER_AUTH_PROVIDER", "static"),
    (
        "WORKER_AUTH_CONFIG",
        r#"{"token":"dev-token","subject":"worker-dev","scopes":["codeq:claim","codeq:heartbeat","codeq:abandon","codeq:nack","codeq:result","codeq:subscribe"],"eventTypes":["*"],"raw":{"tenantId":"dev-tenant"}}"#,
    ),
];

fn of(variables: &[(&str, &str)]) -> Auth {
    let environment =
        |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| value.into());
    Auth::new(&AuthConfig::load(None, environment).unwrap()).unwrap()
}

/// With these tokens on each side.
fn with(producers: Value, workers: Value, producer_as_worker: bool) -> Auth {
    let (producers, workers) = (producers.to_string(), workers.to_string());
    of(&[
        ("PRODUCER_AUTH_PROVIDER", "static"),
        ("PRODUCER_AUTH_CONFIG", &producers),
        ("WORKER_AUTH_PROVIDER", "static"),
        ("WORKER_AUTH_CONFIG", &workers),
        ("ALLOW_PRODUCER_AS_WORKER", if producer_as_worker { "true" } else { "false" }),
    ])
}

fn told(answer: Result<Principal, Denied>) -> (u16, String) {
    match answer {
        Ok(principal) => (200, format!("{} of {}", principal.subject, principal.tenant)),
        Err(denied) => (denied.status(), denied.to_string()),
    }
}

fn words(status: u16, text: &str) -> (u16, String) {
    (status, text.to_owned())
}

#[tokio::test]
async fn the_token_of_the_guide_is_a_producer_a_worker_and_an_admin() {
    let (auth, header) = (of(&DEV), Some("Bearer dev-token"));
    let producer = auth.producer(header).await.unwrap();
    assert_eq!(auth.admin(header).await.unwrap(), producer);
    assert_eq!(
        (producer.side, &producer.email[..], producer.admin),
        (Side::Producer, "dev@codeq.local", true)
    );
    assert_eq!((&producer.subject[..], &producer.tenant[..]), ("producer-dev", "dev-tenant"));
    let worker = auth.worker(header).await.unwrap();
    assert_eq!(
        (worker.side, worker.event_types.clone(), worker.admin),
        (Side::Worker, EventTypes::All, false)
    );
    assert_eq!((&worker.subject[..], &worker.tenant[..]), ("worker-dev", "dev-tenant"));
    for scope in scope::OF_A_WORKER {
        worker.require_scope(scope).unwrap();
    }
    assert_eq!(auth.any(header).await.unwrap(), worker);
    assert!(auth.is_configured(Side::Producer) && auth.is_configured(Side::Worker));
}

#[tokio::test]
async fn those_without_a_token_are_told_what_is_wrong() {
    let auth = of(&DEV);
    for (header, text) in [
        (None, "missing Authorization header"),
        (Some(" "), "missing Authorization header"),
        (Some("Basic x"), "invalid Authorization format"),
        (Some("dev-token"), "invalid Authorization format"),
        (Some("Bearer other"), "invalid token"),
        (Some("Bearer dev-tokens"), "invalid token"),
        (Some("Bearer "), "invalid token"),
    ] {
        assert_eq!(told(auth.producer(header).await), words(401, text), "{header:?}");
        assert_eq!(told(auth.worker(header).await), words(401, text), "{header:?}");
        assert_eq!(told(auth.admin(header).await), words(401, text), "{header:?}");
        assert_eq!(told(auth.any(header).await), words(401, "invalid token"), "{header:?}");
    }
}

#[tokio::test]
async fn with_nothing_configured_nobody_is_let_in() {
    let auth = of(&[]);
    for header in ["Bearer dev-token", "Bearer ", "Bearer static"] {
        assert_eq!(told(auth.producer(Some(header)).await), words(401, "invalid token"));
        assert_eq!(told(auth.worker(Some(header)).await), words(401, "invalid token"));
        assert_eq!(told(auth.any(Some(header)).await), words(401, "invalid token"));
    }
    assert!(!auth.is_configured(Side::Producer) && !auth.is_configured(Side::Worker));
    let producer_only = of(&[DEV[0], DEV[1]]);
    assert!(producer_only.is_configured(Side::Producer) && !producer_only.is_configured(Side::Worker));
    let both = of(&[DEV[0], DEV[1], ("ALLOW_PRODUCER_AS_WORKER", "true")]);
    assert!(both.is_configured(Side::Worker));
    assert_eq!(told(both.worker(Some("Bearer dev-token")).await), words(200, "producer-dev of dev-tenant"));
}

#[tokio::test]
async fn a_worker_needs_commands_and_scopes() {
    let workers = json!([
        {"token": "no-types", "subject": "w1", "scopes": ["codeq:claim"]},
        {"token": "no-scope", "subject": "w2", "eventTypes": ["A"]},
        {"token": "some", "subject": "w3", "scopes": ["codeq:claim", "codeq:admin"], "eventTypes": ["A", "B"]},
    ]);
    let auth = with(json!({"token": "p", "subject": "producer"}), workers, false);
    assert_eq!(told(auth.worker(Some("Bearer no-types")).await), words(401, "missing eventTypes"));
    assert_eq!(told(auth.worker(Some("Bearer no-scope")).await), words(401, "missing scope"));
    let some = auth.worker(Some("Bearer some")).await.unwrap();
    assert_eq!(some.require_scope(scope::CLAIM), Ok(()));
    let lacking = some.require_scope(scope::NACK).unwrap_err();
    assert_eq!((lacking.status(), lacking.to_string()), words(403, "missing scope"));
    assert!(some.event_types.allows("A") && !some.event_types.allows("C"));
    assert!(!some.admin, "a worker is no admin, whatever its token says");
    assert_eq!(told(auth.admin(Some("Bearer some")).await), words(401, "invalid token"));
    // Those who only read need no scope.
    assert_eq!(told(auth.any(Some("Bearer no-scope")).await), words(200, "w2 of w2"));
    assert_eq!(told(auth.any(Some("Bearer no-types")).await), words(401, "invalid token"));
    assert_eq!(auth.any(Some("Bearer p")).await.unwrap().side, Side::Producer);
}

#[tokio::test]
async fn a_producer_may_stand_in_for_a_worker_where_it_is_allowed() {
    let producers = json!([
        {"token": "p", "subject": "producer", "scopes": ["codeq:admin"]},
        {"token": "w", "subject": "both"},
    ]);
    let workers = json!({"token": "w", "subject": "half-a-worker", "scopes": ["codeq:claim"]});
    let strict = with(producers.clone(), workers.clone(), false);
    assert_eq!(told(strict.worker(Some("Bearer p")).await), words(401, "invalid token"));
    assert_eq!(told(strict.worker(Some("Bearer w")).await), words(401, "missing eventTypes"));
    let lenient = with(producers, workers, true);
    let stand_in = lenient.worker(Some("Bearer p")).await.unwrap();
    assert_eq!((stand_in.side, stand_in.event_types, stand_in.admin), (Side::Worker, EventTypes::All, false));
    assert_eq!(stand_in.scopes, scope::OF_A_WORKER.map(str::to_owned).into());
    assert_eq!(told(lenient.worker(Some("Bearer w")).await), words(200, "both of both"));
    assert_eq!(told(lenient.worker(Some("Bearer x")).await), words(401, "invalid token"));
    assert_eq!(told(lenient.worker(None).await), words(401, "missing Authorization header"));
}

#[tokio::test]
async fn a_tenant_that_is_none_is_forbidden_on_both_sides() {
    let bad = json!([
        {"token": "mail", "subject": "me@example.com", "scopes": ["codeq:claim"], "eventTypes": ["*"]},
        {"token": "two", "subject": "me", "scopes": ["codeq:claim"], "eventTypes": ["*"], "raw": {"tid": "aa", "tenantId": "bb"}},
    ]);
    let auth = with(bad.clone(), bad, true);
    for header in ["Bearer mail", "Bearer two"] {
        let forbidden = words(403, "invalid tenant claims");
        assert_eq!(told(auth.producer(Some(header)).await), forbidden);
        assert_eq!(told(auth.worker(Some(header)).await), forbidden);
        assert_eq!(told(auth.any(Some(header)).await), forbidden);
        assert_eq!(told(auth.admin(Some(header)).await), forbidden);
    }
}

#[tokio::test]
async fn only_a_scope_or_a_role_of_a_producer_makes_an_admin() {
    let producers = json!([
        {"token": "plain", "subject": "plain"},
        {"token": "scope", "subject": "by-scope", "scopes": ["codeq:admin"]},
        {"token": "role", "subject": "by-role", "raw": {"role": "admin"}},
    ]);
    let auth = with(producers, json!("w"), false);
    assert_eq!(told(auth.admin(Some("Bearer plain")).await), words(401, "unauthorized. Admin only"));
    assert_eq!(told(auth.admin(Some("Bearer scope")).await), words(200, "by-scope of by-scope"));
    assert_eq!(told(auth.admin(Some("Bearer role")).await), words(200, "by-role of by-role"));
}

#[tokio::test]
async fn of_several_providers_the_first_that_accepts_says_who_it_is() {
    let signer = Signer::p256("k");
    let server = Server::start(Answer::Body(key_set(std::slice::from_ref(&signer)))).await;
    let config = json!({"providers": [
        {"type": "jwks", "config": {"jwksUrl": server.url(), "issuer": "i", "audience": "a"}},
        {"type": "static", "config": {"token": "t", "subject": "first"}},
        {"type": "static", "config": {"token": "t", "subject": "second"}},
    ]});
    let config = config.to_string();
    let auth = of(&[("PRODUCER_AUTH_PROVIDER", "multi"), ("PRODUCER_AUTH_CONFIG", &config)]);
    assert_eq!(told(auth.producer(Some("Bearer t")).await), words(200, "first of first"));
    assert_eq!(server.asked(), 0, "what is no JWT does not bother the issuer");
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims =
        json!({"sub": "someone@example.com", "tid": "acme", "iss": "i", "aud": "a", "exp": now_s + 60});
    let token = format!("Bearer {}", signer.token(&claims));
    assert_eq!(told(auth.producer(Some(&token)).await), words(200, "someone@example.com of acme"));
    let text = "multi auth: token rejected by every provider: token is malformed: token contains an invalid number of \
        segments\ninvalid token\ninvalid token";
    assert_eq!(told(auth.producer(Some("Bearer x")).await), words(401, text));
}

#[test]
fn too_many_of_one_token_are_refused_with_the_time_to_wait() {
    let rate = Some(Rate { per_minute: 60, burst: 2 });
    let config = AuthConfig { rates: Rates { producer: rate, ..Rates::default() }, ..AuthConfig::default() };
    let (auth, start) = (Auth::new(&config).unwrap(), Instant::now());
    let create =
        |header, ms| auth.limit(Operation::CreateTask, Some(header), start + Duration::from_millis(ms));
    assert_eq!([create("Bearer a", 0), create("bearer  a", 0)], [Ok(()), Ok(())]);
    let limited = create("Bearer a", 1).unwrap_err();
    assert_eq!((limited.status(), limited.to_string()), words(429, "rate limit exceeded"));
    let expected = RateLimited { scope: "producer", operation: "create_task", retry_after_s: 1 };
    assert_eq!(limited, Denied::RateLimited(expected));
    assert_eq!([create("Bearer b", 1), create("Bearer a", 1_000)], [Ok(()), Ok(())]);
    assert_eq!(auth.limit(Operation::Claim, Some("Bearer a"), start), Ok(()));
}
