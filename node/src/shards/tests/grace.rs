//! A new leader and leases of tasks.

use super::*;
use schedia_apps::queue::{self, Claim, Create, Due, Owner, Retry, Source, TaskId};

const LEASE_MS: u64 = 400;

fn create() -> queue::Command {
    queue::Command::Create(vec![Create {
        id: TaskId([1; 16]),
        tenant: "acme".to_owned(),
        command: "a".to_owned(),
        payload: Bytes::from_static(b"1"),
        priority: 0,
        webhook: None,
        max_attempts: 5,
        key: None,
        due: Due::Now,
        retry: Retry { policy: queue::Backoff::Fixed, base_s: 1, max_s: 1 },
        retention_ms: 60_000,
        trace_parent: None,
        trace_state: None,
    }])
}

fn claim() -> queue::Command {
    let from = vec![Source { command: "a".to_owned(), in_progress_max: None }];
    queue::Command::Claim(Claim {
        tenant: "acme".to_owned(),
        from,
        worker: "ann".to_owned(),
        lease_ms: LEASE_MS,
        count: 1,
    })
}

fn heartbeat() -> queue::Command {
    let owner = Owner { tenant: "acme".to_owned(), worker: "ann".to_owned(), token: None };
    queue::Command::Heartbeat { task: TaskId([1; 16]), owner, extend_ms: 60_000 }
}

async fn propose(node: &Node, command: queue::Command) -> Result<queue::Reply, ShardError> {
    match node.shard().propose(Command::Queue(command), deadline()).await?.value {
        Reply::Queue(reply) => Ok(reply),
        other => panic!("{other:?}"),
    }
}

/// Says it again and again until it is done; refused, it was too late.
async fn extended(node: &Node) {
    let until = deadline();
    loop {
        match propose(node, heartbeat()).await {
            Err(error @ ShardError::Refused(_)) => panic!("{error}"),
            Err(error) => assert!(Instant::now() < until, "{error}"),
            Ok(reply) => return assert!(matches!(reply, queue::Reply::Extended { .. }), "{reply:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_ended_while_nobody_led_can_be_extended_first_thing() {
    let mut nodes = cluster(3).await;
    let first = leader(&nodes).await;
    propose(&nodes[first], create()).await.unwrap();
    let claimed = propose(&nodes[first], claim()).await.unwrap();
    assert!(matches!(&claimed, queue::Reply::Claimed(tasks) if tasks.len() == 1), "{claimed:?}");
    let claimed_at = Instant::now();
    for node in &mut nodes {
        node.kill().await;
    }
    tokio::time::sleep_until(claimed_at + Duration::from_millis(2 * LEASE_MS)).await;
    for node in &mut nodes {
        // Grace is as long as an election may take: long enough for a busy machine.
        node.timings = Timings { election_max_ms: 5_000, ..Timings::default() };
        node.run().await;
    }
    // Held up by the election, at whomever it makes the leader.
    futures::future::join_all(nodes.iter().map(extended)).await;
}
