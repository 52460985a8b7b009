//! codeQ's door of a real node, as text: requests, and what is answered to each.
//!
//! A script is a list of steps. The first line of one says who sends what; the next one what is answered:
//!
//! ```text
//! producer POST /tasks {"command":"A","payload":1}
//! 202 {"id":"$a","status":"PENDING",...}
//! ```
//! Paths are those below `/v1/codeq`, or whole ones that begin with `/v1/`. In an answer `"$a"` is any text, and the same one from then on, in requests too; `"*"` is any
//! value; a `"...": "*"` in an object allows more members than are named. `until` before a step sends it again and again until it is
//! answered so. A line that begins with `#` is a remark.
#![allow(clippy::unwrap_used)] // helpers of a test, too: its panic is the message

#[path = "codeq_door/calls.rs"]
mod calls;
mod common;
#[path = "codeq_door/native.rs"]
mod native;

use common::{Answer, PATIENCE, TestNode, config, exchange};
use schedia_node::auth::AuthConfig;
use schedia_node::config::{Config, Start};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The tokens of codeQ's own compose file, and some more.
fn tokens(name: &str) -> Option<OsString> {
    let scopes =
        r#"["codeq:claim","codeq:heartbeat","codeq:abandon","codeq:nack","codeq:result","codeq:subscribe"]"#;
    let worker = |token: &str, tenant: &str, events: &str| {
        format!(
            r#"{{"token":"{token}","subject":"{token}-dev","scopes":{scopes},"eventTypes":{events},"raw":{{"tenantId":"{tenant}"}}}}"#
        )
    };
    let producer = |token: &str, tenant: &str, role: &str| {
        format!(
            r#"{{"token":"{token}","subject":"{token}-dev","email":"dev@codeq.local","raw":{{"role":"{role}","tenantId":"{tenant}"}}}}"#
        )
    };
    let several = |providers: &[String]| {
        let providers: Vec<_> =
            providers.iter().map(|config| format!(r#"{{"type":"static","config":{config}}}"#)).collect();
        format!(r#"{{"providers":[{}]}}"#, providers.join(","))
    };
    let text = match name {
        "PRODUCER_AUTH_PROVIDER" | "WORKER_AUTH_PROVIDER" => "multi".to_owned(),
        "PRODUCER_AUTH_CONFIG" => several(&[
            producer("producer", "dev-tenant", "USER"),
            producer("admin", "dev-tenant", "ADMIN"),
            producer("stranger", "other-tenant", "USER"),
        ]),
        "WORKER_AUTH_CONFIG" => several(&[
            worker("worker", "dev-tenant", r#"["*"]"#),
            worker("second", "dev-tenant", r#"["*"]"#),
            worker("foreign", "other-tenant", r#"["*"]"#),
            worker("narrow", "dev-tenant", r#"["ONLY"]"#),
        ]),
        _ => return None,
    };
    Some(text.into())
}

/// One request and its answer.
struct Step {
    line: usize,
    until: bool,
    who: String,
    method: String,
    target: String,
    body: String,
    status: u16,
    answer: Option<Value>,
}

fn steps(text: &str) -> Vec<Step> {
    let lines =
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len() % 2, 0, "a request without its answer");
    lines.chunks(2).map(|pair| step(pair[0].0 + 1, pair[0].1, pair[1].1)).collect()
}

fn step(line: usize, request: &str, answer: &str) -> Step {
    let (until, request) = match request.strip_prefix("until ") {
        Some(request) => (true, request),
        None => (false, request),
    };
    let mut words = request.splitn(4, ' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let (who, method, target, body) = (word(), word(), word(), word());
    let (status, answer) = answer.split_once(' ').unwrap_or((answer, ""));
    let json = (!answer.is_empty())
        .then(|| serde_json::from_str(answer).unwrap_or_else(|e| panic!("line {line}: {e}")));
    Step { line, until, who, method, target, body, status: status.parse().unwrap(), answer: json }
}

type Names = BTreeMap<String, String>;

impl Step {
    async fn send(&self, node: &TestNode, names: &Names) -> Answer {
        // Longer names first: one may begin with another.
        let fill = |text: &str| {
            names
                .iter()
                .rev()
                .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
        };
        let token = format!("Bearer {}", self.who);
        let headers = [("Authorization", token.as_str()), ("Content-Type", "application/json")];
        let headers = match self.who.as_str() {
            "nobody" => &headers[1..],
            "basic" => &[("Authorization", "Basic x")],
            _ => &headers[..],
        };
        let target = fill(&self.target);
        let target = if target.starts_with("/v1/") { target } else { format!("/v1/codeq{target}") };
        exchange(node.at.http, &self.method, &target, headers, fill(&self.body).as_bytes()).await
    }

    /// Whether this is the answer, and in words why not.
    fn check(&self, answer: &Answer, names: &mut Names) -> Result<(), String> {
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let told = format!("line {}: {} {body}", self.line, answer.status);
        if answer.status != self.status {
            return Err(told);
        }
        match &self.answer {
            None if body.is_empty() => Ok(()),
            None => Err(told),
            Some(expected) => {
                let found: Value = serde_json::from_str(&body).map_err(|_| told.clone())?;
                like(expected, &found, names).map_err(|why| format!("{told}\n  {why}"))
            }
        }
    }
}

fn like(expected: &Value, found: &Value, names: &mut Names) -> Result<(), String> {
    match (expected, found) {
        (Value::String(any), _) if any == "*" => Ok(()),
        (Value::String(name), Value::String(text)) if name.starts_with('$') => {
            let known = names.entry(name[1..].to_owned()).or_insert_with(|| text.clone());
            if known == text { Ok(()) } else { Err(format!("{name} is {known}, not {text}")) }
        }
        (Value::Object(expected), Value::Object(found)) => {
            let open = expected.contains_key("...");
            for (name, expected) in expected.iter().filter(|(name, _)| *name != "...") {
                let found = found.get(name).ok_or_else(|| format!("{name} is missing"))?;
                like(expected, found, names).map_err(|why| format!("{name}: {why}"))?;
            }
            match found.keys().find(|name| !expected.contains_key(*name)) {
                Some(more) if !open => Err(format!("{more} is not expected")),
                _ => Ok(()),
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            expected.iter().zip(found).try_for_each(|(expected, found)| like(expected, found, names))
        }
        _ if expected == found => Ok(()),
        _ => Err(format!("{found}, not {expected}")),
    }
}

/// A cluster of one whose door lets these tokens in.
async fn node_with(change: impl FnOnce(&mut Config)) -> TestNode {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("n1", dir.path(), Start::Bootstrap);
    config.auth = AuthConfig::load(None, tokens).unwrap();
    change(&mut config);
    let node = TestNode::start_with(config, dir);
    node.until("it is ready", |status| status.ready).await;
    node
}

/// Something posted to the door.
async fn post(node: &TestNode, who: &str, path: &str, body: &str) -> Answer {
    let (token, target) = (format!("Bearer {who}"), format!("/v1/codeq{path}"));
    exchange(node.at.http, "POST", &target, &[("Authorization", &token)], body.as_bytes()).await
}

async fn play(name: &str, change: impl FnOnce(&mut Config)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/codeq_door").join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).unwrap();
    let node = node_with(change).await;
    let mut names = Names::new();
    for step in steps(&text) {
        let begun = Instant::now();
        while let Err(why) = step.check(&step.send(&node, &names).await, &mut names) {
            assert!(step.until && begun.elapsed() < PATIENCE, "{}: {why}", path.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_create_tasks_and_look_at_them() {
    play("create", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_claim_tasks_and_end_them() {
    play("work", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_tasks_are_tried_again_and_then_dead() {
    play("retry", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_answered_each() {
    play("batch", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_or_does_what_is_not_theirs() {
    play("rights", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_count_clean_and_write_topics() {
    play("admin", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_all_the_same_on_several_shards() {
    for script in ["create", "work", "retry", "batch", "rights", "admin"] {
        play(script, |config| config.shards = Some(4)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_claim_has_a_task_as_soon_as_there_is_one() {
    let node = Arc::new(node_with(|_| {}).await);
    let (begun, other) = (Instant::now(), node.clone());
    let waiting = tokio::spawn(async move {
        post(&other, "worker", "/tasks/claim", r#"{"commands":["SOON"],"waitSeconds":30}"#).await
    });
    let nothing = post(&node, "worker", "/tasks/claim", r#"{"commands":["NEVER"],"waitSeconds":1}"#).await;
    assert_eq!((nothing.status, nothing.body.len()), (204, 0));
    assert!(begun.elapsed() >= Duration::from_secs(1), "it has waited");
    assert!(!waiting.is_finished());
    assert_eq!(post(&node, "producer", "/tasks", r#"{"command":"soon","payload":1}"#).await.status, 202);
    let claimed = waiting.await.unwrap();
    assert_eq!((claimed.status, claimed.json()["command"].as_str()), (200, Some("soon")));
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "it was woken: by itself it looks again after five seconds"
    );
    Arc::into_inner(node).unwrap().end().await;
}
