//! The native routes of the queue, `/v1/queue`.

use crate::common::{PATIENCE, TestNode, exchange};
use crate::{node_with, play, post};
use schedia_node::auth::AuthConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

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

/// A stream of events, read as it comes.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(node: &TestNode, who: &str, query: &str) -> Events {
        let request = reqwest::Client::new().get(format!("{}/v1/queue/events{query}", node.http_url()));
        let response = request.bearer_auth(who).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = Events { response, text: String::new() };
        assert_eq!(events.until("retry: 1000\n\n").await, ": what happens from now on\nretry: 1000\n\n");
        events
    }

    /// Reads until something stands there; all up to it.
    async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.text.find(end) {
                let rest = self.text.split_off(at + end.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("no {end:?} in {:?}", self.text)).unwrap();
            self.text.push_str(
                std::str::from_utf8(&chunk.unwrap_or_else(|| panic!("ended: {:?}", self.text))).unwrap(),
            );
        }
    }

    /// What is told of a task, up to this change of it.
    async fn of(&mut self, id: &str, change: &str) -> Vec<String> {
        let text =
            self.until(&format!("{{\"type\":\"{change}\",\"id\":\"{id}\"")).await + &self.until("\n\n").await;
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = events.map(|data| serde_json::from_str::<serde_json::Value>(data).unwrap());
        events
            .filter(|event| event["id"] == id)
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect()
    }
}

async fn create(node: &TestNode, who: &str, task: &str) -> String {
    let created = post(node, who, "/tasks", task).await;
    assert_eq!(created.status, 202);
    created.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_of_the_tenants_tasks_on_all_shards_as_they_happen() {
    let node = node_with(|config| config.shards = Some(4)).await;
    let mut all = Events::open(&node, "worker", "").await;
    let mut one = Events::open(&node, "producer", "?command=Q3").await;
    let foreign = create(&node, "stranger", r#"{"command":"q3","payload":1}"#).await;
    let mut tasks = Vec::new();
    for queue in 0..8 {
        tasks.push(
            create(&node, "producer", &format!(r#"{{"command":"Q{queue}","payload":1,"maxAttempts":1}}"#))
                .await,
        );
    }
    for id in &tasks {
        assert_eq!(all.of(id, "created").await, ["created"]);
    }
    let claim = r#"{"commands":["Q3"]}"#;
    assert_eq!(post(&node, "worker", "/tasks/claim", claim).await.status, 200);
    assert_eq!(post(&node, "worker", &format!("/tasks/{}/abandon", tasks[3]), "").await.status, 200);
    assert_eq!(post(&node, "worker", "/tasks/claim", claim).await.status, 200);
    assert_eq!(post(&node, "worker", &format!("/tasks/{}/nack", tasks[3]), "{}").await.status, 200);
    let told = one.of(&tasks[3], "dead").await;
    assert_eq!(told, ["created", "claimed", "ready", "claimed", "dead"]);
    let later = create(&node, "producer", r#"{"command":"q3","payload":1,"delaySeconds":60}"#).await;
    let text = one.until("\n\n").await;
    assert_eq!(
        text,
        format!("data: {{\"type\":\"created\",\"id\":\"{later}\",\"command\":\"q3\",\"delayed\":true}}\n\n")
    );
    // Nothing happens: the stream shows that it lives.
    assert_eq!(one.until("\n\n").await, ": nothing new\n\n");
    // A node that ends says so, at once; nothing was ever said of another tenant.
    let ending = tokio::spawn(node.end());
    let rest = all.until("}}\n\n").await;
    assert!(
        rest.contains("event: end\ndata: {\"error\":{\"code\":\"shutting_down\"") && !rest.contains(&foreign),
        "{rest}"
    );
    ending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_is_refused_in_words() {
    let node = node_with(|_| {}).await;
    for (who, query, expected) in [
        ("nobody", "", "401 unauthorized: invalid token"),
        ("worker", "?command=", "400 bad_request: a command has 1 to 255 bytes, not 0"),
        ("worker", "?queue=a", "400 bad_request: unknown parameter: queue"),
    ] {
        let token = format!("Bearer {who}");
        let target = format!("/v1/queue/events{query}");
        let answer = exchange(node.at.http, "GET", &target, &[("Authorization", &token)], b"").await;
        assert_eq!(answer.error(), expected);
    }
    node.end().await;
}

/// More batches of entries than a node keeps for a reader that takes nothing, and more bytes than its connection holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_too_slow_is_told_of_a_gap() {
    let node = node_with(|_| {}).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut slow = socket.connect(node.at.http).await.unwrap();
    let request = "GET /v1/queue/events HTTP/1.1\r\nhost: test\r\nauthorization: Bearer worker\r\n\r\n";
    slow.write_all(request.as_bytes()).await.unwrap();
    let (mut text, mut seen) = (Vec::new(), 0);
    // Where something stands behind what was looked for before.
    let mut until = async |what: &str| {
        loop {
            let found = text[seen..].windows(what.len()).position(|found| found == what.as_bytes());
            seen = found.map_or(text.len().saturating_sub(what.len()).max(seen), |at| seen + at);
            if found.is_some() {
                return;
            }
            let read = tokio::time::timeout(PATIENCE, slow.read_buf(&mut text)).await;
            assert!(read.expect("more in time").unwrap() > 0, "it ended without {what:?}");
        }
    };
    until("retry: 1000").await;
    let mut brisk = Events::open(&node, "worker", "").await;
    // Each batch is 30 KiB of events: half of them are more than a socket holds.
    let tasks = vec![format!(r#"{{"command":"{}","payload":1}}"#, "M".repeat(250)); 100].join(",");
    let batch = format!(r#"{{"tasks":[{tasks}]}}"#);
    let mut last = String::new();
    for _ in 0..500 {
        let created = post(&node, "producer", "/tasks/batch", &batch).await.json();
        last = created["results"][99]["task"]["id"].as_str().unwrap().to_owned();
        brisk.until(&last).await;
    }
    until("event: gap\ndata: {\"shard\":0}\n\n").await;
    // What comes behind the gap is told.
    until(&last).await;
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
