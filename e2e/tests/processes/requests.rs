//! What the log says of requests.

use super::PATIENCE;
use schedia_e2e::process::Cluster;
use schedia_e2e::wait::eventually;
use serde_json::Value;
use std::time::Duration;

/// Three nodes whose logs are read by this program.
async fn cluster() -> Cluster {
    let mut cluster = Cluster::joined(3).await;
    for node in &mut cluster.nodes {
        node.kill();
        let level = "info,schedia_node::shards::forward=debug";
        node.start(&["--log-format", "json", "--log-level", level, "--slow-request-ms", "300"]);
    }
    cluster.settled(3).await;
    cluster
}

/// The lines of a node's log that `is_wanted` holds of, once there is one.
async fn lines(cluster: &Cluster, node: usize, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let look = || async {
        let log = cluster.nodes[node].log();
        let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        let found: Vec<Value> = lines.filter(&is_wanted).collect();
        if found.is_empty() { Err("no such line".to_owned()) } else { Ok(found) }
    };
    eventually("a line of the log", PATIENCE, look).await
}

async fn put(url: &str, key: &str, id: &str) -> String {
    let put = reqwest::Client::new().put(format!("{url}/v1/kv/{key}")).header("X-Request-Id", id).body("v");
    let answer = put.send().await.unwrap();
    answer.headers()["x-request-id"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_followed_to_the_leader_by_its_id() {
    let cluster = cluster().await;
    let leader = cluster.leader().await;
    let follower = &cluster.nodes[(leader + 1) % 3];
    assert_eq!(put(&follower.http_url(), "followed", "order-17").await, "order-17");
    let id = follower.status().await.unwrap().node_id.unwrap();
    let of_the_request =
        |line: &Value| line["span"]["name"] == "forwarded" && line["span"]["id"] == "order-17";
    for line in lines(&cluster, leader, of_the_request).await {
        assert_eq!(line["span"]["from"], id.0, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_is_one_line_with_its_route_and_without_its_key() {
    let cluster = cluster().await;
    let leader = cluster.leader().await;
    let [one, two] = [1, 2].map(|next| &cluster.nodes[(leader + next) % 3]);
    let url = cluster.nodes[leader].http_url();
    // Without a majority nothing is applied: for longer than a request may take unnoticed.
    [one, two].iter().for_each(|node| node.freeze());
    let slow = put(&url, "secret", "order-18");
    let thaw = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        [one, two].iter().for_each(|node| node.thaw());
    };
    assert_eq!(tokio::join!(slow, thaw).0, "order-18");
    let told = lines(&cluster, leader, |line| line["message"] == "slow request").await;
    let [line] = &told[..] else { panic!("one request was slow: {told:?}") };
    assert_eq!((&line["request"], &line["method"]), (&"order-18".into(), &"PUT".into()));
    assert_eq!((&line["route"], &line["level"]), (&"/v1/kv/{*key}".into(), &"WARN".into()));
    let [took, proposing] = ["ms", "propose_ms"].map(|field| line[field].as_f64().unwrap());
    assert!(took >= 300.0 && proposing <= took && proposing > took / 2.0, "{line}");
    assert!(!cluster.nodes[leader].log().contains("secret"), "a key is in the log");
}
