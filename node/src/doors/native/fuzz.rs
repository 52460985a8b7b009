//! Any bytes as what a request to a door carries: its query, its path, its headers, its JSON.

use super::{kv, list, once, queue, txn, watch};
use crate::doors::bounds::parse_verb;
use crate::doors::error::DoorError;
use crate::doors::params::{Params, decode};
use crate::doors::{balsa, raftd};
use crate::fuzz::{Target, again};
use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Request, Uri};
use schedia_apps::Command;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) const TARGETS: [Target; 3] = [
    Target { name: "http-request", memory: 64 << 10, run: request, seeds: request_seeds },
    Target { name: "http-txn", memory: 256 << 10, run: transaction, seeds: transaction_seeds },
    Target { name: "http-verb", memory: 64 << 10, run: verb, seeds: verb_seeds },
];

/// A refusal is the caller's, and says why.
fn checked<T>(result: Result<T, DoorError>) -> Option<T> {
    result
        .map_err(|error| {
            assert!(error.status().is_client_error() && !error.message().is_empty(), "{error:?}");
        })
        .ok()
}

/// A path with a query, then the values of headers, each on a line of its own.
fn request(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else { return };
    let mut headers = HeaderMap::new();
    for (name, value) in ["idempotency-key", "last-event-id", "idempotency-key"].into_iter().zip(lines) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let Ok(mut made) = Request::builder().uri(uri.clone()).body(()) else { return };
    *made.headers_mut() = headers;
    let (parts, ()) = made.into_parts();
    if let Some(key) = checked(once::key(&parts.headers)).flatten() {
        assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    paths(&parts);
    let Some(params) = checked(Params::parse(uri.query())) else { return };
    checked(watch::asked(params, &parts.headers));
    if let Ok(mut params) = Params::parse(uri.query()) {
        checked(kv::consistency(&mut params));
        if let Some(token) = params.bytes("continue")
            && let Some(next) = checked(list::continuation(&token))
        {
            assert_eq!(list::token(next).as_bytes(), token, "a token is opaque, and has one form");
        }
        if let Some(token) = params.bytes("after")
            && let Some(mark) = checked(queue::token::mark(&token))
        {
            assert_eq!(queue::token::of_mark(&mark).as_bytes(), token, "and so is this one");
        }
        checked(params.number::<u64>("if-mod-revision"));
        checked(params.done());
    }
    checked(Params::parse(uri.query()).and_then(queue::tasks::asked));
    if let Some(list) = checked(Params::parse(uri.query()).and_then(list::query)) {
        assert!(
            list.after.is_none_or(|after| list.revision.is_none_or(|revision| revision == after.revision))
        );
    }
}

fn paths(parts: &Parts) {
    if let Some(raw) = parts.uri.path().strip_prefix("/v1/kv/")
        && let Some(key) = decode(raw)
    {
        assert!(key.len() <= raw.len());
    }
    checked(kv::key(parts).map(|(_, params)| params.done()));
    if let Some((key, _)) = checked(raftd::key(parts)) {
        assert!(key.starts_with(b"db/") && key.len() > 3);
    }
    if let Some(mut params) = checked(balsa::params(&parts.uri)) {
        if let Some(key) = checked(balsa::key(&mut params)) {
            assert!(key.starts_with(b"balsa/") && key.len() > 6);
        }
        checked(params.value::<u16>("raftPort", "a port from 1 to 65535"));
    }
}

fn request_seeds() -> Vec<Vec<u8>> {
    let requests = [
        "/v1/kv/a%2Fb%00%ff?if-mod-revision=7\nretry-1",
        "/v1/kv?key=a&consistency=stale&revision=3",
        "/v1/kv?prefix=a%2F&start=b&end=c&limit=5&continue=AAAAAAAAAAlr&keys-only",
        "/v1/kv?count-only=true&prefix=&revision=9&continue=AAAAAAAAAAlr",
        "/v1/kv:watch?prefix=k&from-revision=4&prev\nk\n17",
        "/v1/queue/tasks?command=a&state=dead&olderThan=90s&createdAfter=2026-11-23T10:00:00Z&limit=5&after=AAFhAQI&payloads",
        "/db/foo?consistency=linearizable",
        "/set?key=a+b&value=%2B",
        "/join?nodeId=n2&raftPort=7001",
    ];
    requests.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// What is read as a transaction is a command like any other.
fn transaction(input: &[u8]) {
    let Some(asked) = checked(txn::asked(input)) else { return };
    let Some(parsed) = checked(txn::parse(asked)) else { return };
    let command = Command::Kv(schedia_apps::kv::Command::Txn(parsed));
    let decoded = Command::decode(schedia_apps::Level::MAX, &command.encode());
    assert_eq!(decoded, Ok(command));
}

fn transaction_seeds() -> Vec<Vec<u8>> {
    let txns = [
        r#"{"compare":[{"key":"aw==","target":"version","operator":"greater","operand":0}]}"#,
        r#"{"compare":[{"prefix":"aw==","target":"value","operator":"not_equal","operand":"dg=="}],"success":[]}"#,
        r#"{"success":[{"put":{"key":"aw==","value":"dg=="}},{"delete":{"start":"YQ==","end":"Yg=="}}]}"#,
        r#"{"failure":[{"get":{"key":"aw==","revision":3}},{"list":{"prefix":"","limit":2,"keys_only":true}}]}"#,
    ];
    txns.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// The bodies of verbs and of their answers; the first byte says which one.
fn verb(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    match which % 16 {
        0 => json_again::<schedia_api::Initialize>(bytes),
        1 => json_again::<schedia_api::Assign>(bytes),
        2 => json_again::<schedia_api::AddLearner>(bytes),
        3 => json_again::<schedia_api::SetVoters>(bytes),
        4 => json_again::<schedia_api::RemoveLearner>(bytes),
        5 => json_again::<schedia_api::TransferLeader>(bytes),
        6 => json_again::<schedia_api::Reset>(bytes),
        7 => json_again::<schedia_api::Join>(bytes),
        8 => json_again::<schedia_api::Done>(bytes),
        9 => json_again::<schedia_api::Status>(bytes),
        10 => json_again::<schedia_api::Overview>(bytes),
        11 => json_again::<schedia_api::ErrorBody>(bytes),
        12 => json_again::<schedia_api::KvChanges>(bytes),
        13 => json_again::<schedia_api::KvPage>(bytes),
        14 => drop(checked(parse_verb::<kv::Compact>(bytes))),
        _ => drop(checked(parse_verb::<raftd::Join>(bytes))),
    }
}

fn json_again<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let decode = |bytes: &[u8]| parse_verb::<T>(bytes).map_err(|error| error.message().to_owned());
    again(bytes, decode, |value| serde_json::to_vec(value).expect("plain data"));
}

fn verb_seeds() -> Vec<Vec<u8>> {
    let verbs = [
        (0, r#"{"cluster_id":"c1","name":"n1","address":"n1:7000","shards":1,"managed_by":"me"}"#),
        (1, r#"{"cluster_id":"c1","node_id":7}"#),
        (2, r#"{"node_id":7,"name":"n7","address":"n7:7000","expected":3}"#),
        (3, r#"{"voters":[1,7],"expected":3}"#),
        (4, r#"{"node_id":7,"expected":3}"#),
        (5, r#"{"to":7}"#),
        (6, r#"{"cluster_id":"c1","node_id":7,"store_id":"s7"}"#),
        (7, r#"{"name":"n7","address":"n7:7000","http_url":"http://n7:8080","store_id":"s7"}"#),
        (8, "{}"),
        (11, r#"{"error":{"code":"busy","message":"why","leader":"http://n1:8080","current":3}}"#),
        (12, r#"{"revision":4,"changes":[{"type":"delete","key":"YQ=="}],"more":true}"#),
        (13, r#"{"revision":4,"at_revision":4,"count":0,"rows":[],"next":"AAAAAAAAAAlr"}"#),
        (14, r#"{"revision":4}"#),
        (15, r#"{"name":"n7","connectionString":"http://n7:8080"}"#),
    ];
    verbs.iter().map(|(which, text)| [&[*which], text.as_bytes()].concat()).collect()
}
