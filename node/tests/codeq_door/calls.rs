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
