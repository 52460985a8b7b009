//! Writes that are sent again under the same `Idempotency-Key`.

use crate::common::{Answer, TestNode, exchange};

async fn keyed(node: &TestNode, key: &str, method: &str, target: &str, body: &[u8]) -> Answer {
    exchange(node.at.http, method, target, &[("Idempotency-Key", key)], body).await
}

fn replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

/// What a client may look at: all but when it was.
fn shown(answer: &Answer) -> (u16, Vec<Option<&str>>, &[u8]) {
    let names = ["revision", "mod-revision", "create-revision", "version"];
    let numbers = names.map(|name| answer.header(&format!("x-schedia-{name}"))).to_vec();
    (answer.status, numbers, &answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_native_write_is_done_once_and_each_copy_has_the_same_answer() {
    let node = TestNode::single().await;
    let txn = br#"{"compare":[{"key":"Yg==","target":"version","operator":"=","operand":0}],
                   "success":[{"put":{"key":"Yg==","value":"MQ=="}}]}"#;
    let only_reads = br#"{"success":[{"get":{"key":"Yg=="}}]}"#;
    let writes: [(&str, &str, &str, &[u8], u16); 10] = [
        ("k1", "PUT", "/v1/kv/a", b"1", 200),
        ("k2", "PUT", "/v1/kv?key=a&if-mod-revision=2", b"2", 200),
        ("k3", "PUT", "/v1/kv/a?if-mod-revision=2", b"3", 412),
        ("k4", "DELETE", "/v1/kv/a", b"", 200),
        ("k5", "DELETE", "/v1/kv/a", b"", 404),
        ("k6", "POST", "/v1/kv:txn", txn, 200),
        ("k7", "POST", "/v1/kv:txn", only_reads, 200),
        ("k8", "DELETE", "/v1/kv?prefix=b", b"", 200),
        ("k9", "POST", "/v1/kv:compact", br#"{"revision":3}"#, 200),
        ("k10", "POST", "/v1/kv:compact", br#"{"revision":3}"#, 410),
    ];
    for (key, method, target, body, status) in writes {
        let first = keyed(&node, key, method, target, body).await;
        assert_eq!((first.status, replayed(&first)), (status, false), "{key}: {first:?}");
        for _ in 0..2 {
            let again = keyed(&node, key, method, target, body).await;
            assert!(replayed(&again), "{key}: {again:?}");
            assert_eq!(shown(&again), shown(&first), "{key}");
        }
    }
    // a, a, a gone, b, b gone; neither a refusal nor a copy took a revision.
    assert_eq!(node.get("/v1/kv?count-only").await.json()["revision"], 6);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_another_request_is_refused_whichever_part_differs() {
    let node = TestNode::single().await;
    assert_eq!(keyed(&node, "k", "PUT", "/v1/kv/a", b"1").await.status, 200);
    let words = "422 idempotency_key_reused: the idempotency key was used for another request: take a new key for a \
                 new request";
    for (method, target, body) in [
        ("PUT", "/v1/kv/a", &b"2"[..]),
        ("PUT", "/v1/kv/b", b"1"),
        ("PUT", "/v1/kv/a?if-mod-revision=0", b"1"),
        ("DELETE", "/v1/kv/a", b""),
    ] {
        assert_eq!(keyed(&node, "k", method, target, body).await.error(), words, "{method} {target}");
    }
    assert_eq!(node.get("/v1/kv/a").await.number("x-schedia-version"), 1);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_refused_in_words_and_nothing_is_written() {
    let node = TestNode::single().await;
    for (key, words) in [
        ("", "header Idempotency-Key has 1 to 255 bytes, not 0"),
        (&*"k".repeat(256), "header Idempotency-Key has 1 to 255 bytes, not 256"),
        ("two words", "header Idempotency-Key must be visible ASCII without spaces: two words"),
    ] {
        for (method, target, body) in [
            ("PUT", "/v1/kv/a", &b"1"[..]),
            ("DELETE", "/v1/kv/a", b""),
            ("POST", "/v1/kv:compact", br#"{"revision":1}"#),
            ("POST", "/v1/kv:txn", br#"{"success":[{"put":{"key":"YQ==","value":"MQ=="}}]}"#),
        ] {
            let refused = keyed(&node, key, method, target, body).await;
            assert_eq!(refused.error(), format!("400 bad_request: {words}"), "{method}");
        }
    }
    assert_eq!(node.get("/v1/kv/a").await.status, 404);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_answer_what_was_done_is_repeated_and_not_what_was_read() {
    let node = TestNode::single().await;
    assert_eq!(node.put("/v1/kv/large", vec![b'v'; 5_000]).await.status, 200);
    let txn = br#"{"success":[{"get":{"key":"bGFyZ2U="}},{"put":{"key":"YQ==","value":"MQ=="}}]}"#;
    let first = keyed(&node, "k", "POST", "/v1/kv:txn", txn).await.json();
    assert_eq!(first["results"].as_array().unwrap().len(), 2);
    let again = keyed(&node, "k", "POST", "/v1/kv:txn", txn).await;
    assert!(replayed(&again));
    let expected = serde_json::json!({
        "revision": first["revision"], "succeeded": true, "results": [], "results_omitted": true,
    });
    assert_eq!(again.json(), expected);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_kept_over_a_restart() {
    let mut node = TestNode::single().await;
    let first = keyed(&node, "k", "PUT", "/v1/kv/a", b"1").await;
    assert_eq!(node.put("/v1/kv/a", "2").await.status, 200);
    node = node.restart().await;
    node.until("it is ready", |status| status.ready).await;
    let again = keyed(&node, "k", "PUT", "/v1/kv/a", b"1").await;
    assert!(replayed(&again));
    assert_eq!(shown(&again), shown(&first));
    assert_eq!(node.get("/v1/kv/a").await.body, b"2");
    node.end().await;
}
