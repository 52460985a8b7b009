//! codeQ's door on real processes: what codeQ itself loses when its leader dies, or all of its nodes, is there here.

use super::PATIENCE;
use reqwest::{Method, StatusCode};
use schedia_e2e::process::{Cluster, TOKEN, auth_config};
use schedia_e2e::wait::eventually;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// Three nodes with tokens.
pub(super) struct Queues {
    pub(super) cluster: Cluster,
    settings: Vec<String>,
    http: reqwest::Client,
    _auth: NamedTempFile,
}

impl Queues {
    pub(super) async fn start(more: &[&str]) -> Queues {
        let mut auth = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        auth.write_all(auth_config(TOKEN).as_bytes()).unwrap();
        let path = auth.path().display().to_string();
        let settings: Vec<&str> = ["--auth-config", &path].into_iter().chain(more.iter().copied()).collect();
        let cluster = Cluster::joined_with(3, &settings).await;
        let none = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().redirect(none).timeout(PATIENCE).build().unwrap();
        Queues { cluster, settings: settings.into_iter().map(str::to_owned).collect(), http, _auth: auth }
    }

    fn restart(&mut self, place: usize) {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        self.cluster.nodes[place].start(&settings);
    }

    fn kill_all(&mut self) {
        self.cluster.nodes.iter_mut().for_each(|node| node.kill());
    }

    /// What a node answers: status and JSON, if there is some.
    async fn ask(&self, place: usize, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let (status, body) = self.try_ask(place, method, path, body).await.unwrap();
        (status, body)
    }

    async fn try_ask(
        &self,
        place: usize,
        method: Method,
        path: &str,
        body: &Value,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let url = format!("{}/v1/codeq{path}", self.cluster.nodes[place].http_url());
        let request = self.http.request(method, url).bearer_auth(TOKEN);
        let request = if body.is_null() { request } else { request.json(body) };
        let response = request.send().await?;
        let status = response.status();
        let bytes = response.bytes().await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    async fn post(&self, place: usize, path: &str, body: &Value) -> (StatusCode, Value) {
        self.ask(place, Method::POST, path, body).await
    }

    pub(super) async fn create(&self, place: usize, task: &Value) -> String {
        let (status, created) = self.post(place, "/tasks", task).await;
        assert_eq!(status, 202, "{created}");
        created["id"].as_str().unwrap().to_owned()
    }

    /// Creates as many tasks of a queue as there are numbers, in batches.
    async fn create_many(&self, place: usize, command: &str, numbers: std::ops::Range<usize>) {
        for first in numbers.clone().step_by(100) {
            let batch = first..numbers.end.min(first + 100);
            let tasks: Vec<_> = batch.map(|n| json!({ "command": command, "payload": n })).collect();
            let count = tasks.len();
            let (status, created) = self.post(place, "/tasks/batch", &json!({ "tasks": tasks })).await;
            let done = created["results"]
                .as_array()
                .map(|all| all.iter().filter(|one| one["task"].is_object()).count());
            assert_eq!((status, done), (StatusCode::OK, Some(count)), "{created}");
        }
    }

    /// A task of a queue, if there is one.
    async fn claim(&self, place: usize, command: &str, lease_s: u64) -> Option<Value> {
        let claim = json!({ "commands": [command], "leaseSeconds": lease_s });
        let (status, task) = self.post(place, "/tasks/claim", &claim).await;
        assert!(status == 200 || status == 204, "{status} {task}");
        (status == 200).then_some(task)
    }

    /// Waits until a node accepts a write; how long that took.
    async fn accepts(&self, place: usize) -> Duration {
        let begun = Instant::now();
        eventually("a create is accepted", PATIENCE, || async {
            let task = json!({ "command": "PROBE", "payload": 1 });
            match self.try_ask(place, Method::POST, "/tasks", &task).await {
                Ok((StatusCode::ACCEPTED, _)) => Ok(()),
                // While a leader is elected nobody is to think that it was the caller's mistake.
                Ok((StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, body)) => {
                    Err(body.to_string())
                }
                Ok((status, body)) => panic!("{status} {body}"),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        begun.elapsed()
    }

    /// Waits until every running node says so of a queue: ready, delayed, in progress.
    async fn counts(&self, command: &str, wanted: [u64; 3]) {
        eventually(&format!("{command} has {wanted:?}"), PATIENCE, || async {
            for (place, _) in self.cluster.nodes.iter().enumerate().filter(|(_, node)| node.is_running()) {
                let path = format!("/admin/queues/{command}");
                let asked = self.try_ask(place, Method::GET, &path, &Value::Null).await;
                let (_, counts) = asked.map_err(|e| e.to_string())?;
                let found = ["ready", "delayed", "inProgress"]
                    .map(|count| counts[count].as_u64().unwrap_or(u64::MAX));
                if found != wanted {
                    return Err(counts.to_string());
                }
            }
            Ok(())
        })
        .await;
    }
}

fn payload(task: &Value) -> usize {
    task["payload"].as_str().unwrap().parse().unwrap()
}

/// A follower answers 307 where codeQ does, and does what codeQ answers with nothing or with errors.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_names_the_leader_where_codeq_does_and_does_the_rest() {
    let queues = Queues::start(&["--queue-follower", "redirect"]).await;
    let leader = queues.cluster.leader().await;
    let follower = (leader + 1) % 3;
    let leader_url = queues.cluster.nodes[leader].http_url();
    let mut leaders = BTreeSet::new();
    let mut leading = 0;
    for place in 0..3 {
        let (status, told) = queues.ask(place, Method::GET, "/raft/status", &Value::Null).await;
        assert_eq!(
            (status, told["enabled"].as_bool(), told["numGroups"].as_u64()),
            (StatusCode::OK, Some(true), Some(1))
        );
        leaders.insert(told["leaderID"].as_str().unwrap().to_owned());
        assert_eq!(told["groups"][0]["leaderHTTPAddr"], leader_url);
        leading += usize::from(told["groups"][0]["isLeader"].as_bool().unwrap());
    }
    assert_eq!((leaders, leading), (BTreeSet::from([queues.cluster.nodes[leader].name.clone()]), 1));

    let task = json!({ "command": "A", "payload": 1 });
    let url = format!("{}/v1/codeq/tasks", queues.cluster.nodes[follower].http_url());
    let sent = queues.http.post(&url).bearer_auth(TOKEN).json(&task).send().await.unwrap();
    assert_eq!(sent.status(), 307);
    assert_eq!(sent.headers()["location"], format!("{leader_url}/v1/codeq/tasks"));
    let told: Value = sent.json().await.unwrap();
    assert_eq!(told, json!({ "error": "not leader", "leader": leader_url }));
    let following = reqwest::Client::builder().no_proxy().build().unwrap();
    let sent = following.post(&url).bearer_auth(TOKEN).json(&task).send().await.unwrap();
    // To another port is to another host: a client takes no token there, as curl does not.
    assert_eq!(sent.status(), 401);
    queues.create(leader, &task).await;

    queues.create_many(follower, "A", 2..3).await;
    let claimed = queues.claim(follower, "A", 60).await.unwrap();
    let result = json!({ "taskId": claimed["id"], "status": "COMPLETED", "result": {} });
    let (status, done) = queues.post(follower, "/tasks/batch/results", &json!({ "results": [result] })).await;
    assert_eq!(
        (status, done["results"][0]["result"]["status"].as_str()),
        (StatusCode::OK, Some("COMPLETED")),
        "{done}"
    );
}

/// codeQ after the same: none of the tasks can be claimed, no lease ends, no delayed task becomes due.
async fn what_was_promised_holds_after_the_leader_was_killed(shards: &str) {
    let mut queues = Queues::start(&["--shards", shards]).await;
    for n in 0..20 {
        let priority = [0, 9, 5, 9, 0][n % 5];
        queues.create(n % 3, &json!({ "command": "WORK", "payload": n, "priority": priority })).await;
    }
    for n in 0..5 {
        queues.create(0, &json!({ "command": "HELD", "payload": n })).await;
        queues.create(1, &json!({ "command": "LATER", "payload": n, "delaySeconds": 3 })).await;
    }
    let created = Instant::now();
    for _ in 0..5 {
        queues.claim(2, "HELD", 5).await.unwrap();
    }
    let keyed = json!({ "command": "WORK2", "payload": 1, "idempotencyKey": "order-17" });
    let first = queues.create(0, &keyed).await;

    let leader = queues.cluster.leader().await;
    let left: Vec<usize> = (0..3).filter(|place| *place != leader).collect();
    queues.cluster.nodes[leader].kill();
    let took = queues.accepts(left[0]).await;
    println!("{shards} shards: a create was accepted {} ms after the leader was killed", took.as_millis());

    assert_eq!(queues.create(left[1], &keyed).await, first, "a key is known to the next leader");
    let mut claimed = Vec::new();
    while let Some(task) = queues.claim(left[claimed.len() % 2], "WORK", 600).await {
        claimed.push(payload(&task));
    }
    let of_priority = |priority| (0..20).filter(move |n| [0, 9, 5, 9, 0][n % 5] == priority);
    let expected: Vec<usize> = [9, 5, 0].into_iter().flat_map(of_priority).collect();
    assert_eq!(claimed, expected, "all, once, in their order");
    queues.counts("LATER", [5, 0, 0]).await;
    assert!(created.elapsed() >= Duration::from_secs(3), "not before they are due");
    // Their leases end, and each is tried again after its backoff.
    let back = Mutex::new(BTreeSet::new());
    eventually("leases end on the new leader", PATIENCE, || async {
        while let Some(task) = queues.claim(left[0], "HELD", 600).await {
            assert_eq!(task["attempts"], 2);
            back.lock().unwrap().insert(payload(&task));
        }
        let back = back.lock().unwrap();
        if back.len() == 5 { Ok(()) } else { Err(format!("{back:?}")) }
    })
    .await;
    queues.restart(leader);
    queues.cluster.settled(3).await;
    queues.counts("WORK", [0, 0, 20]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_holds_after_the_leader_of_one_shard_was_killed() {
    what_was_promised_holds_after_the_leader_was_killed("1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_holds_after_a_leader_of_four_shards_was_killed() {
    what_was_promised_holds_after_the_leader_was_killed("4").await;
}

/// codeQ after the same: some are gone, none of what was pending can be claimed; with a queue this long it does not start.
#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_task_is_missing_after_all_nodes_were_killed() {
    const MANY: usize = 100_000;
    let mut queues = Queues::start(&[]).await;
    let each = MANY / 4;
    let create = |part: usize| queues.create_many(part % 3, "LONG", part * each..(part + 1) * each);
    tokio::join!(create(0), create(1), create(2), create(3));
    for node in &queues.cluster.nodes {
        node.checkpoint().await;
    }
    queues.create_many(0, "LONG", MANY..MANY + 150).await;
    let held = queues.claim(1, "LONG", 2).await.unwrap();
    // One dies while tasks are created, then all.
    let follower = (queues.cluster.leader().await + 1) % 3;
    queues.cluster.nodes[follower].kill();
    queues.create_many((follower + 1) % 3, "LONG", MANY + 150..MANY + 200).await;
    queues.kill_all();
    for place in 0..3 {
        queues.restart(place);
    }
    let begun = Instant::now();
    queues.cluster.settled(3).await;
    println!("serving {MANY} tasks {} ms after the restart", begun.elapsed().as_millis());
    // Nobody writes: the lease ends all the same.
    queues.counts("LONG", [MANY as u64 + 200, 0, 0]).await;
    for count in 0..100 {
        let task = queues.claim(count % 3, "LONG", 600).await.unwrap();
        assert!(payload(&task) < MANY, "the first ones come first: {task}");
    }
    assert_eq!(queues.claim(0, "PROBE", 1).await, None);
    let (_, seen) =
        queues.ask(0, Method::GET, &format!("/tasks/{}", held["id"].as_str().unwrap()), &Value::Null).await;
    assert_eq!(seen["attempts"], 2, "{seen}");
}
