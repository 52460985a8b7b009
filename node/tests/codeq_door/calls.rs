//! Webhooks and notices, received by a server of the test's own.

use crate::{PATIENCE, TestNode, node_with, post};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// What was received: when, with which headers, what.
type Received = Vec<(Instant, HeaderMap, Value)>;

/// A receiver that answers 500 to the first calls.
struct Sink {
    url: String,
    received: Arc<Mutex<Received>>,
}

impl Sink {
    async fn failing(times: usize) -> Sink {
        let received = Arc::new(Mutex::new(Received::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let take = move |State(received): State<Arc<Mutex<Received>>>, headers: HeaderMap, body: Bytes| async move {
            let mut received = received.lock().unwrap();
            received.push((Instant::now(), headers, serde_json::from_slice(&body).unwrap()));
            if received.len() > times { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }
        };
        let router = Router::new().fallback(take).with_state(received.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Sink { url, received }
    }

    async fn has(&self, count: usize) -> Received {
        let begun = Instant::now();
        loop {
            let received = self.received.lock().unwrap().clone();
            if received.len() >= count {
                return received;
            }
            assert!(begun.elapsed() < PATIENCE, "{} of {count} calls", received.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn local_node() -> TestNode {
    node_with(|config| {
        config.queue.webhooks_local = true;
        config.queue.webhook_secret = Some("dev-cluster-secret".to_owned());
    })
    .await
}

/// A task that a worker has done.
async fn done(node: &TestNode, webhook: &str) -> String {
    let create = json!({ "command": "A", "payload": 1, "webhook": webhook }).to_string();
    let task = post(node, "producer", "/tasks", &create).await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(post(node, "worker", "/tasks/claim", r#"{"commands":["A"]}"#).await.status, 200);
    let result = r#"{"status":"COMPLETED","result":{"ok":true}}"#;
    assert_eq!(post(node, "worker", &format!("/tasks/{task}/result"), result).await.status, 200);
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_the_result_signed_and_again_until_it_has_taken_it() {
    let (node, sink) = (local_node().await, Sink::failing(2).await);
    let task = done(&node, &sink.url).await;
    let received = sink.has(3).await;
    for (_, headers, body) in &received {
        let known = json!({
            "taskId": task, "eventType": "A", "status": "COMPLETED", "result": { "ok": true }, "error": "",
            "artifacts": null, "completedAt": body["completedAt"],
        });
        assert_eq!(body, &known);
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (at, signature) = (header("x-codeq-timestamp"), header("x-codeq-signature"));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"dev-cluster-secret");
        let expected = ring::hmac::sign(&key, format!("{at}.{body}").as_bytes());
        let expected: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(signature, expected, "of {at}.{body}");
    }
    let [first, second, third] = [0, 1, 2].map(|call| received[call].0);
    assert!(second - first >= Duration::from_millis(1_800) && third - second >= Duration::from_millis(3_600));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_pending_is_called_after_a_restart() {
    let (node, sink) = (local_node().await, Sink::failing(1).await);
    done(&node, &sink.url).await;
    sink.has(1).await;
    let http = node.at.http;
    let node = node.restart_with(http, |config| {
        config.queue.webhooks_local = true;
    });
    let node = node.await;
    assert_eq!(sink.has(2).await[1].2["status"], "COMPLETED");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_not_called_unless_that_is_allowed() {
    let (node, sink) = (node_with(|_| {}).await, Sink::failing(0).await);
    done(&node, &sink.url).await;
    // Another one that is allowed has been called long since.
    let allowed = local_node().await;
    let marker = Sink::failing(0).await;
    done(&allowed, &marker.url).await;
    marker.has(1).await;
    assert!(sink.received.lock().unwrap().is_empty());
    node.end().await;
    allowed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_told_of_ready_tasks_of_their_tenant_and_not_too_often() {
    let (node, sink) = (local_node().await, Sink::failing(0).await);
    let subscribe =
        json!({ "callbackUrl": sink.url, "eventTypes": ["Mail"], "minIntervalSeconds": 60 }).to_string();
    assert_eq!(post(&node, "worker", "/workers/subscriptions", &subscribe).await.status, 200);
    let create = async |who: &str, command: &str| {
        let create = json!({ "command": command, "payload": 1 }).to_string();
        assert_eq!(post(&node, who, "/tasks", &create).await.status, 202);
    };
    // A notice is a hint: of what became ready in the moment in which a node began to serve there is none.
    let begun = Instant::now();
    while sink.received.lock().unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "no notice");
        create("stranger", "MAIL").await;
        create("producer", "OTHER").await;
        create("producer", "MAIL").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    create("producer", "mail").await;
    // Another subscription is told of the next task, after whatever that one brought.
    let marker = Sink::failing(0).await;
    let subscribe = json!({ "callbackUrl": marker.url, "eventTypes": ["MARK"] }).to_string();
    assert_eq!(post(&node, "worker", "/workers/subscriptions", &subscribe).await.status, 200);
    while marker.received.lock().unwrap().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "no notice of the marker");
        create("producer", "MARK").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let received = sink.has(1).await;
    assert_eq!(received.len(), 1, "within a minute once");
    let (_, _, body) = &received[0];
    assert_eq!((body["eventType"].as_str(), body["available"].as_bool()), (Some("Mail"), Some(true)));
    assert_eq!(body["claimUrl"], "/v1/codeq/tasks/claim");
    node.end().await;
}

/// Takes calls and never answers.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hang = || std::future::pending::<StatusCode>();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(hang)).await });
    format!("http://127.0.0.1:{port}/")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_keeps_none_from_the_others() {
    let (node, slow) = (local_node().await, silent().await);
    let task = |webhook: &str| json!({ "command": "SLOW", "payload": 1, "webhook": webhook });
    // More than one look at what is due sees of it.
    for _ in 0..3 {
        let tasks: Vec<_> = (0..100).map(|_| task(&slow)).collect();
        assert_eq!(
            post(&node, "producer", "/tasks/batch", &json!({ "tasks": tasks }).to_string()).await.status,
            200
        );
    }
    let mut ended = 0;
    while ended < 300 {
        let claim = r#"{"commands":["SLOW"],"count":10}"#;
        let claimed = post(&node, "worker", "/tasks/claim/batch", claim).await.json();
        let ids = claimed["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone());
        let done: Vec<_> =
            ids.map(|id| json!({ "taskId": id, "status": "COMPLETED", "result": {} })).collect();
        ended += done.len();
        let done = json!({ "results": done }).to_string();
        assert_eq!(post(&node, "worker", "/tasks/batch/results", &done).await.status, 200);
    }
    let sink = Sink::failing(0).await;
    // Another host, as it is written.
    done(&node, &sink.url.replace("127.0.0.1", "localhost")).await;
    sink.has(1).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_does_not_reach_the_ports_of_a_node() {
    let node = local_node().await;
    let key = format!("http://{}/key", node.at.http);
    // What a webhook sends would be keys to this route.
    let header = [("X-Schedia-Webhook", "1")];
    let refused = crate::exchange(node.at.http, "POST", "/key", &header, br#"{"taskId":"x"}"#).await;
    assert_eq!(refused.status, 403, "{}", refused.error());
    done(&node, &key).await;
    let sink = Sink::failing(0).await;
    done(&node, &sink.url.replace("127.0.0.1", "localhost")).await;
    sink.has(1).await;
    assert_eq!(node.get("/v1/kv/taskId").await.status, 404);
    node.end().await;
}
