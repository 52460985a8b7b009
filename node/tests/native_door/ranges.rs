//! Transactions, ranges that are counted and deleted.

use super::common::{Answer, TestNode};
use super::text;
use base64::Engine;
use serde_json::{Value, json};

fn b64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

async fn txn(node: &TestNode, txn: Value) -> Answer {
    node.http("POST", "/v1/kv:txn", txn.to_string().as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_compares_then_does_one_branch_at_one_revision() {
    let node = TestNode::single().await;
    let create = json!({
        "compare": [{ "key": b64("a"), "target": "version", "operator": "=", "operand": 0 }],
        "success": [{ "put": { "key": b64("a"), "value": b64("1") } }, { "put": { "key": b64("b"), "value": "" } }],
        "failure": [{ "get": { "key": b64("a") } }, { "get": { "key": b64("none") } }],
    });
    let done = txn(&node, create.clone()).await;
    assert_eq!((done.status, done.header("content-type")), (200, Some("application/json")));
    let put = json!({ "put": { "create_revision": 2, "version": 1 } });
    assert_eq!(done.json(), json!({ "revision": 2, "succeeded": true, "results": [put, put] }));
    let row =
        json!({ "key": b64("a"), "value": b64("1"), "create_revision": 2, "mod_revision": 2, "version": 1 });
    let refused = json!({
        "revision": 2, "succeeded": false, "results": [{ "get": { "row": row } }, { "get": { "row": null } }],
    });
    assert_eq!(txn(&node, create).await.json(), refused);
    let change = json!({
        "compare": [
            { "key": b64("a"), "target": "value", "operator": "=", "operand": b64("1") },
            { "prefix": "", "target": "mod_revision", "operator": "<", "operand": 3 },
        ],
        "success": [
            { "delete": { "prefix": b64("b") } },
            { "put": { "key": b64("c"), "value": "" } },
            { "list": { "keys_only": true, "limit": 1 } },
        ],
    });
    let done = txn(&node, change).await.json();
    assert_eq!((done["revision"].as_u64(), done["succeeded"].as_bool()), (Some(3), Some(true)));
    assert_eq!(done["results"][0], json!({ "delete": { "deleted": 1 } }));
    let page = &done["results"][2]["list"];
    assert_eq!((page["count"].as_u64(), text(&page["rows"][0]["key"])), (Some(1), "a".to_owned()));
    assert!(page["continue"].is_string());
    // What only reads takes no revision, and no entry of the log.
    let applied = async || node.admin().status().await.unwrap().shards[0].applied;
    let before = applied().await;
    let read = txn(&node, json!({ "success": [{ "list": { "count_only": true } }] })).await.json();
    assert_eq!((read["revision"].as_u64(), read["results"][0]["list"]["count"].as_u64()), (Some(3), Some(2)));
    assert_eq!(applied().await, before);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_transaction_is_named_and_changes_nothing() {
    let node = TestNode::single().await;
    let put = |key: &str| json!({ "put": { "key": b64(key), "value": "" } });
    for (asked, expected) in [
        (json!({ "success": [put("a"), put("a")] }), "400 duplicate_key: "),
        (
            json!({ "success": [put("a")], "failure": [put("b"), { "delete": { "prefix": "" } }] }),
            "400 duplicate_key: ",
        ),
        (json!({ "success": vec![put("a"); 129] }), "400 bad_request: a transaction has at most 128 "),
        (json!({ "success": [put("")] }), "400 bad_request: a key has 1 to 4096 bytes, not 0"),
        (
            json!({ "success": [put("a"), { "get": { "key": b64("a"), "revision": 9 } }] }),
            "400 future_revision: ",
        ),
        (
            json!({ "success": [put("a"), { "frob": {} }] }),
            "400 bad_request: the JSON body is not as expected: unknown variant `frob`, expected one of `put`, `delete`, `get`, `list`",
        ),
        (json!({ "then": [] }), "400 bad_request: the JSON body is not as expected: unknown field `then`"),
        (
            json!({ "success": [{ "put": { "key": "a", "value": "" } }] }),
            "400 bad_request: success[0].put.key is not base64: ",
        ),
        (
            json!({ "compare": [{ "key": b64("a"), "target": "value", "operator": "~", "operand": "" }] }),
            "400 bad_request: the JSON body is not as expected: unknown variant `~`, expected one of `=`, `!=`, `>`, `<`",
        ),
    ] {
        let error = txn(&node, asked.clone()).await.error();
        assert!(error.starts_with(expected), "{asked}: {error}");
    }
    let empty = node.http("POST", "/v1/kv:txn", b"").await;
    assert!(empty.error().starts_with("400 bad_request: the JSON body is not as expected: "));
    let large = vec![b' '; (3 << 20) + 1];
    let large = node.http("POST", "/v1/kv:txn", &large).await;
    assert_eq!(large.error(), "413 too_large: a transaction has at most 3145728 bytes");
    assert_eq!(node.get("/v1/status").await.json()["revision"], 1);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_counted_whole_and_deleted_with_a_count() {
    let node = TestNode::single().await;
    let put = |n: u32| json!({ "put": { "key": b64(&format!("k/{n:06}")), "value": "" } });
    for first in (0..10_112).step_by(128) {
        let puts: Vec<Value> = (first..first + 128).map(put).collect();
        assert_eq!(txn(&node, json!({ "success": puts })).await.status, 200);
    }
    node.put("/v1/kv/other", "1").await;
    let count = async |target: &str| node.get(target).await.json()["count"].as_u64().unwrap();
    let counted = node.get("/v1/kv?prefix=k%2F&count-only").await.json();
    assert_eq!(
        (counted["count"].as_u64(), counted.get("continue")),
        (Some(10_112), None),
        "more than one page"
    );
    assert_eq!(count("/v1/kv?count-only&revision=2").await, 128);
    assert_eq!(count("/v1/kv?count-only&start=k%2F010000").await, 113);

    let delete = async |query: &str| node.http("DELETE", &format!("/v1/kv?{query}"), b"").await;
    let many = delete("prefix=k%2F").await.error();
    assert!(
        many.starts_with("413 too_large: one command deletes, compares or reads at most 10000 keys"),
        "{many}"
    );
    assert_eq!(
        delete("prefix=k%2F&limit=112").await.json(),
        json!({ "revision": 82, "deleted": 112, "more": true })
    );
    assert_eq!(
        delete("prefix=k%2F").await.json(),
        json!({ "revision": 83, "deleted": 10_000, "more": false })
    );
    assert_eq!(delete("prefix=k%2F").await.json(), json!({ "revision": 83, "deleted": 0, "more": false }));
    assert_eq!(count("/v1/kv?count-only").await, 1);
    for (query, expected) in [
        ("key=a&prefix=b", "400 bad_request: key excludes prefix, start and end"),
        (
            "limit=1",
            "400 bad_request: parameter key is missing; a range is named by prefix, start or end (an empty prefix: all keys)",
        ),
        ("prefix=a&if-mod-revision=1", "400 bad_request: unknown parameter: if-mod-revision"),
        ("start=a&limit=-1", "400 bad_request: parameter limit must be a number from 0: \"-1\""),
    ] {
        assert_eq!(delete(query).await.error(), expected, "{query}");
    }
    assert_eq!(delete("prefix=").await.json()["deleted"], 1);
    node.end().await;
}
