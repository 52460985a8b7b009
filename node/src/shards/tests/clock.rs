//! Log time on nodes whose wall clocks lie, leap and come back.

use super::*;
use std::time::{SystemTime, UNIX_EPOCH};

const HOUR_MS: i64 = 3_600_000;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// The wall clock of a node that is `ahead_ms` ahead.
pub(super) fn wall(ahead_ms: Arc<AtomicI64>) -> Wall {
    Wall::new(move || now_ms().saturating_add_signed(ahead_ms.load(Ordering::Relaxed)))
}

/// The last stamp seen, and the moments between which it was given.
struct Seen {
    time_ms: u64,
    given: [Instant; 2],
}

/// Writes, and holds the stamp against the one before: log time runs at 0.9 to 1.1 of real time.
async fn stamp(shard: &Shard, last: Option<Seen>) -> Seen {
    let begun = Instant::now();
    let time_ms = put(shard, "a", "1").await.unwrap().at.time_ms;
    let seen = Seen { time_ms, given: [begun, Instant::now()] };
    if let Some(last) = last {
        let [least, most] = [(seen.given[0], last.given[1]), (seen.given[1], last.given[0])]
            .map(|(to, from)| to.saturating_duration_since(from).as_millis() as u64);
        let passed = time_ms.checked_sub(last.time_ms).expect("log time never runs backwards");
        assert!((least * 9 / 10).saturating_sub(2) <= passed, "{passed} ms of at least {least}");
        assert!(passed <= most * 11 / 10 + 2, "{passed} ms of at most {most}");
    }
    seen
}

/// Writes until log time is this far ahead of the real time, to a few milliseconds.
async fn until_ahead(shard: &Shard, ahead_ms: i64, mut last: Option<Seen>) -> Seen {
    let until = deadline();
    loop {
        let seen = stamp(shard, last).await;
        let ahead = seen.time_ms as i64 - now_ms() as i64;
        if (ahead - ahead_ms).abs() < 60 {
            return seen;
        }
        assert!(Instant::now() < until, "{ahead} ms ahead, not {ahead_ms}");
        last = Some(seen);
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_clock_that_lies_moves_log_time_nowhere_and_raises_the_alarm_while_it_leads() {
    let mut nodes = cluster(3).await;
    let liar = leader(&nodes).await;
    let mut seen = until_ahead(nodes[liar].shard(), 0, None).await;
    for lie in [HOUR_MS, -HOUR_MS, 10_000] {
        nodes[liar].ahead_ms.store(lie, Ordering::Relaxed);
        for _ in 0..10 {
            seen = stamp(nodes[liar].shard(), Some(seen)).await;
            sleep(Duration::from_millis(20)).await;
        }
        seen = until_ahead(nodes[liar].shard(), 0, Some(seen)).await;
        let skew = nodes[liar].running().shards.clock_skew().expect("it leads, and is off");
        assert!(skew.contains(if lie > 0 { "ahead of" } else { "behind" }), "{skew}");
    }
    // Whoever leads next goes on where it was, and its own clock is right.
    nodes[liar].kill().await;
    let heir = leader(&nodes).await;
    put_at_last(nodes[heir].shard(), "b", "1").await;
    until_ahead(nodes[heir].shard(), 0, Some(seen)).await;
    eventually("its clock is compared", || nodes[heir].shard().clock_offset_ms().is_some()).await;
    assert_eq!(nodes[heir].running().shards.clock_skew(), None);
    assert_eq!(nodes[(0..3).find(|n| ![liar, heir].contains(n)).unwrap()].shard().clock_offset_ms(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_of_clocks_that_leaps_is_followed_at_a_tenth_of_the_time_that_passes() {
    let nodes = cluster(3).await;
    let leads = leader(&nodes).await;
    let mut seen = until_ahead(nodes[leads].shard(), 0, None).await;
    for ahead_ms in [300, -100] {
        for node in &nodes[..2] {
            node.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        }
        seen = until_ahead(nodes[leads].shard(), ahead_ms, Some(seen)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_all_log_time_goes_to_the_middle_of_the_clocks() {
    let mut nodes = cluster(3).await;
    let leads = leader(&nodes).await;
    until_ahead(nodes[leads].shard(), 0, None).await;
    for node in &mut nodes {
        node.kill().await;
    }
    for (node, ahead_ms) in nodes.iter_mut().zip([HOUR_MS, 24 * HOUR_MS, HOUR_MS]) {
        node.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        node.run().await;
    }
    let leads = leader(&nodes).await;
    put_at_last(nodes[leads].shard(), "b", "1").await;
    // A new leader's first stamps may come before it has heard from anybody.
    let until = deadline();
    loop {
        let ahead = stamp(nodes[leads].shard(), None).await.time_ms as i64 - now_ms() as i64;
        if (ahead - HOUR_MS).abs() < 1_000 {
            break;
        }
        assert!(Instant::now() < until, "{ahead} ms ahead");
        sleep(Duration::from_millis(20)).await;
    }
}
