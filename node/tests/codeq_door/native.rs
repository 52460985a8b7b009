//! The native routes of the queue, `/v1/queue`.

use crate::common::{TestNode, exchange};
use crate::{node_with, play, post};
use schedia_node::auth::AuthConfig;

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_tasks_are_looked_at() {
    play("native_look", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_tasks_are_administered() {
    play("native_change", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_looks_or_administers_without_the_right() {
    play("native_rights", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_native_routes_are_the_same_on_several_shards() {
    for script in ["native_look", "native_change", "native_rights"] {
        play(script, |config| config.shards = Some(4)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_token_configured_nobody_is_let_in() {
    let node = TestNode::single().await;
    let answer =
        exchange(node.at.http, "GET", "/v1/queue/queues", &[("Authorization", "Bearer dev-token")], b"")
            .await;
    assert_eq!(answer.error(), "401 unauthorized: invalid token");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purging_counts_against_the_limit_of_administrators() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.toml");
    let settings = "[producer]\ntype = \"static\"\n\n[producer.config]\ntoken = \"admin\"\nraw = { role = \"ADMIN\", tenantId = \"dev-tenant\" }\n\n\
                    [rate-limits.admin]\nrequests-per-minute = 2\nburst = 1\n";
    std::fs::write(&file, settings).unwrap();
    let auth = AuthConfig::load(Some(&file), |_| None).unwrap();
    let node = node_with(|config| config.auth = auth).await;
    let purge = async || {
        let headers = [("Authorization", "Bearer admin")];
        exchange(node.at.http, "POST", "/v1/queue/queues/a/purge", &headers, b"{\"place\":\"dead\"}").await
    };
    assert_eq!(purge().await.status, 200);
    let limited = purge().await;
    assert_eq!(limited.error(), "429 rate_limited: rate limit exceeded");
    assert_eq!(
        (limited.header("retry-after"), &limited.json()["error"]["current"]),
        (Some("30"), &30.into())
    );
    node.end().await;
}

/// A page goes over queues on all shards, and every task comes once, however pages are cut.
#[tokio::test(flavor = "multi_thread")]
async fn pages_over_many_queues_tell_every_task_once() {
    let node = node_with(|config| config.shards = Some(4)).await;
    for queue in 0..25 {
        let tasks: Vec<_> =
            (0..queue % 4).map(|n| format!(r#"{{"command":"q{queue}","payload":{n}}}"#)).collect();
        if !tasks.is_empty() {
            let batch = format!(r#"{{"tasks":[{}]}}"#, tasks.join(","));
            assert_eq!(post(&node, "producer", "/tasks/batch", &batch).await.status, 200);
        }
    }
    let page = async |query: &str| {
        let target = format!("/v1/queue/tasks?{query}");
        exchange(node.at.http, "GET", &target, &[("Authorization", "Bearer worker")], b"").await.json()
    };
    let ids = |page: &serde_json::Value| {
        let tasks = page["tasks"].as_array().unwrap().iter();
        tasks.map(|task| (task["command"].to_string(), task["id"].to_string())).collect::<Vec<_>>()
    };
    let whole = ids(&page("").await);
    assert_eq!(whole.len(), 36);
    assert!(whole.is_sorted_by_key(|(command, _)| command.clone()), "by command: {whole:?}");
    for limit in [1, 2, 5, 36] {
        let (mut found, mut query) = (Vec::new(), format!("limit={limit}"));
        loop {
            let page = page(&query).await;
            found.extend(ids(&page));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("limit={limit}&after={next}");
        }
        assert_eq!(found, whole, "in pages of {limit}");
    }
    node.end().await;
}
