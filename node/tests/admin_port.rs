//! The admin port of real nodes: probes, status with its long poll, verbs.
#![allow(clippy::unwrap_used)] // helpers of a test, too: its panic is the message

mod common;

use common::{PATIENCE, TestNode, exchange};
use schedia_api::{AddLearner, Assign, Client, Initialize, Role, SetVoters, TransferLeader};
use schedia_apps::NodeId;
use schedia_node::config::Start;
use std::time::{Duration, Instant};

async fn admin(node: &TestNode, method: &str, target: &str, body: &str) -> common::Answer {
    exchange(node.at.admin, method, target, &[], body.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_node_lives_but_is_not_ready() {
    let node = TestNode::start("n1", Start::Wait).await;
    let status = node.until("it answers", |_| true).await;
    assert_eq!((status.role, status.cluster_id, status.node_id), (Role::Unassigned, None, None));
    assert_eq!(admin(&node, "GET", "/livez", "").await.status, 200);
    let unready = admin(&node, "GET", "/readyz", "").await;
    let expected = "503 unassigned: unassigned: the disk is blank and this node waits to be told its cluster";
    assert_eq!(unready.error(), expected);
    assert!(admin(&node, "GET", "/admin/v1/record", "").await.error().starts_with("503 "));
    assert!(admin(&node, "POST", "/admin/v1/node-ids", "").await.error().starts_with("503 unassigned: "));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn initializing_a_blank_node_makes_a_cluster_of_one() {
    let node = TestNode::start("n1", Start::Wait).await;
    node.until("it answers", |_| true).await;
    let verb = Initialize {
        cluster_id: "c-1".parse().unwrap(),
        name: "n1".into(),
        address: node.at.peer.to_string(),
        shards: 1,
        managed_by: Some("operator".into()),
    };
    let joined = node.admin().initialize(&verb).await.unwrap();
    assert_eq!((joined.cluster_id.as_str(), joined.node_id), ("c-1", NodeId(1)));
    assert_eq!(node.admin().initialize(&verb).await.unwrap(), joined, "the same again is fine");
    let larger = Initialize { shards: 16, ..verb.clone() };
    let refused = node.admin().initialize(&larger).await.unwrap_err();
    assert_eq!(refused.code(), Some("already_initialized"), "{refused}");
    let other = Initialize { cluster_id: "c-2".parse().unwrap(), ..verb };
    let refused = node.admin().initialize(&other).await.unwrap_err();
    assert_eq!(refused.code(), Some("already_assigned"), "{refused}");

    let status = node.until("it is ready", |status| status.ready).await;
    assert_eq!(
        (status.role, status.shards.len()),
        (Role::Voter, 1),
        "what was refused has left nothing behind"
    );
    assert_eq!(admin(&node, "GET", "/readyz", "").await.body, b"ok\n");
    let record = node.admin().record().await.unwrap();
    assert_eq!((record.settled, record.managed_by.as_deref()), (true, Some("operator")));
    let join = "{\"name\":\"n2\",\"address\":\"127.0.0.1:1\",\"store_id\":\"s-2\"}";
    let refused = node.http("POST", "/v1/cluster/join", join.as_bytes()).await;
    assert_eq!(refused.error(), "403 managed_by_operator: membership is managed by the operator");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_pushed_when_it_changes() {
    let node = TestNode::start("n1", Start::Wait).await;
    let before = node.until("it answers", |_| true).await;
    let again = node.admin().status_after(&before.revision, Duration::from_millis(300)).await.unwrap();
    assert_eq!(again.revision, before.revision, "nothing changed");
    let (client, seen) = (node.admin(), before.revision.clone());
    let waiting =
        tokio::spawn(async move { client.status_after(&seen, Duration::from_secs(30)).await.unwrap() });
    let begun = Instant::now();
    let verb = Initialize {
        cluster_id: "c-1".parse().unwrap(),
        name: "n1".into(),
        address: node.at.peer.to_string(),
        shards: 1,
        managed_by: None,
    };
    node.admin().initialize(&verb).await.unwrap();
    let pushed = waiting.await.unwrap();
    assert_ne!(pushed.role, Role::Unassigned);
    assert!(begun.elapsed() < Duration::from_secs(10), "pushed, not waited for: {:?}", begun.elapsed());
    let foreign = node.admin().status_after("another-process.1", Duration::from_secs(30)).await.unwrap();
    assert!(foreign.revision.split_once('.').is_some());
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_sixteen_callers_wait() {
    let node = TestNode::start("n1", Start::Wait).await;
    let status = node.until("it answers", |_| true).await;
    let target = format!("/admin/v1/status?after={}&wait=3s", status.revision);
    let answers = futures::future::join_all((0..20).map(|_| admin(&node, "GET", &target, ""))).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(200), count(429)), (16, 4));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_becomes_a_voter_step_by_step_and_may_lead() {
    let (first, second) = (TestNode::single().await, TestNode::start("n2", Start::Wait).await);
    let status = second.until("it answers", |_| true).await;
    let leader = first.admin();
    let cluster_id = leader.status().await.unwrap().cluster_id.unwrap();
    let node_id = leader.new_node_id().await.unwrap().node_id;
    assert!(node_id > NodeId(1));
    second.admin().assign(&Assign { cluster_id: cluster_id.clone(), node_id }).await.unwrap();
    let other = Assign { cluster_id, node_id: NodeId(node_id.0 + 1) };
    assert_eq!(second.admin().assign(&other).await.unwrap_err().code(), Some("already_assigned"));

    let record = leader.record().await.unwrap();
    let learner = AddLearner {
        node_id,
        name: "n2".into(),
        address: second.at.peer.to_string(),
        http_url: Some(second.http_url()),
        store_id: Some(status.store_id),
        expected: record.generation,
    };
    let stale = AddLearner { expected: record.generation + 7, ..learner.clone() };
    assert_eq!(leader.add_learner(&stale).await.unwrap_err().code(), Some("stale"));
    leader.add_learner(&learner).await.unwrap();
    leader.add_learner(&learner).await.expect("already so is fine");
    let record = settled(&leader).await;
    let voters = SetVoters { voters: [NodeId(1), node_id].into(), expected: record.generation };
    leader.set_voters(&voters).await.unwrap();
    let record = settled(&leader).await;
    assert_eq!(record.voters, [NodeId(1), node_id].into());
    second.until("it votes", |status| status.role == Role::Voter && status.ready).await;

    first.put("/v1/kv/a", "1").await;
    assert_eq!(second.get("/v1/kv/a").await.body, b"1", "a read on a follower sees what was written");
    assert_eq!(second.put("/v1/kv/b", "2").await.status, 200, "a follower forwards");
    let refused = second.admin().new_node_id().await.unwrap_err();
    assert_eq!(refused.code(), Some("not_leader"), "{refused}");

    leader.transfer_leader(&TransferLeader { to: node_id }).await.unwrap();
    second.until("it leads", |status| status.shards[0].leader == Some(node_id)).await;
    assert_eq!(first.put("/v1/kv/c", "3").await.status, 200);
    let both = Client::new(&[first.admin_url(), second.admin_url()], PATIENCE).unwrap();
    assert!(both.new_node_id().await.unwrap().node_id > node_id, "the client finds the leader");
    leader.snapshot().await.unwrap();
    second.end().await;
    first.end().await;
}

async fn settled(leader: &Client) -> schedia_apps::cluster::Record {
    let begun = Instant::now();
    loop {
        let record = leader.record().await.unwrap();
        if record.settled {
            return record;
        }
        assert!(begun.elapsed() < PATIENCE, "not settled: {record:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_the_shard() {
    let node = TestNode::single().await;
    node.put("/v1/kv/a", "1").await;
    let answer = admin(&node, "GET", "/metrics", "").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        "schedia_ready 1",
        "schedia_leading{shard=\"0\"} 1",
        "schedia_http_requests_total{class=\"2xx\"} 1",
        "schedia_proposals_total{shard=\"0\",outcome=\"done\"} 2",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
    }
    assert!(text.contains("schedia_applied_index{shard=\"0\"}"));
    assert!(text.contains("schedia_proposals_total{shard=\"0\",outcome=\"done\"}"), "{text}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_verb_is_named() {
    let node = TestNode::single().await;
    for (method, target, body, expected) in [
        (
            "GET",
            "/admin/v1/status?wait=1h",
            "",
            "400 bad_request: parameter wait must be a number and s or ms, at most 60s: \"1h\"",
        ),
        ("GET", "/admin/v1/status?since=1", "", "400 bad_request: unknown parameter: since"),
        (
            "POST",
            "/admin/v1/transfer-leader",
            "{}",
            "400 bad_request: the JSON body is not as expected: missing field `to` at line 1 column 2",
        ),
        (
            "POST",
            "/admin/v1/transfer-leader",
            "{",
            "400 bad_request: the JSON body is not as expected: EOF while parsing an object at line 1 column 1",
        ),
        (
            "POST",
            "/admin/v1/initialize",
            "{\"cluster_id\":\"A\",\"name\":\"n\",\"address\":\"a:1\"}",
            "400 bad_request: the JSON body is not as expected: not an id (1 to 64 characters of a-z, 0-9 and '-'): \"A\" at line 1 column 17",
        ),
        ("GET", "/admin/v1/membership", "", "405 method_not_allowed: /admin/v1/membership does not take GET"),
        ("POST", "/admin/v1/backup", "", "404 no_such_route: no such route: /admin/v1/backup"),
    ] {
        assert_eq!(admin(&node, method, target, body).await.error(), expected, "{method} {target}");
    }
    let unknown = TransferLeader { to: NodeId(99) };
    let refused = node.admin().transfer_leader(&unknown).await.unwrap_err();
    assert!(matches!(refused.code(), Some("not_caught_up" | "unknown_member")), "{refused}");
    node.end().await;
}
