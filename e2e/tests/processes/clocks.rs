//! A leader's wall clock leaps by two days: it is said, nobody is elected for it, and log time does not move.

use super::PATIENCE;
use reqwest::Response;
use schedia_api::Status;
use schedia_e2e::process::{Clock, Cluster, Node, binary};
use schedia_e2e::wait::eventually;

const TWO_DAYS_MS: i64 = 48 * 3_600_000;

async fn write(node: &Node, key: &str) -> Response {
    let request = reqwest::Client::new().put(format!("{}/v1/kv/clocks", node.http_url())).body("v");
    let answer = request.header("idempotency-key", key).send().await.expect("the leader answers");
    assert_eq!(answer.status(), 200);
    answer
}

/// Whether an answer is that of an earlier copy.
fn is_of_before(answer: &Response) -> bool {
    answer.headers().contains_key("idempotent-replayed")
}

fn is_told(status: &Status) -> bool {
    status.alarms.iter().any(|alarm| alarm.code == "clock_skew")
}

fn term(status: &Status) -> Option<u64> {
    Some(status.shards.first()?.term)
}

async fn until_told(node: &Node, told: bool) -> Status {
    eventually(&format!("the alarm clock_skew: {told}"), PATIENCE, || async {
        let status = node.status().await?;
        if is_told(&status) == told { Ok(status) } else { Err(format!("{:?}", status.alarms)) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaders_clock_that_leaps_by_two_days_is_told_and_moves_nothing() {
    // Not that of the image, which is static: it would believe no clock of ours.
    let program = binary::build(&[]);
    assert!(Clock::is_believed_by(&program), "{} takes no library", program.display());
    let mut cluster = Cluster::new();
    let clocks: Vec<Clock> = (0..3)
        .map(|_| {
            let node = cluster.add();
            node.use_program(&program);
            node.use_clock()
        })
        .collect();
    let peers = cluster.peers();
    cluster.nodes.iter_mut().for_each(|node| node.start(&["--peers", &peers]));
    cluster.settled(3).await;

    let place = cluster.leader().await;
    let leader = &cluster.nodes[place];
    let before = until_told(leader, false).await;
    assert!(!is_of_before(&write(leader, "the-day-before").await));
    for leap in [TWO_DAYS_MS, -TWO_DAYS_MS] {
        clocks[place].shift(leap);
        let status = until_told(leader, true).await;
        assert_eq!(term(&status), term(&before), "nobody is elected because of a clock");
        // An answer is kept for a day of log time: had that followed the leap, this write would be done again.
        assert!(!is_of_before(&write(leader, &format!("at{leap}")).await));
        assert!(is_of_before(&write(leader, "the-day-before").await), "log time has moved by {leap} ms");
        clocks[place].shift(0);
        until_told(leader, false).await;
    }
}
