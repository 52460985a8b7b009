//! The heartbeats of this node's groups, all at the same moments: those to one peer leave in one packet and are answered in one, so
//! that a node with many idle groups wakes its peers as often as one with a single group.
//!
//! Not here: what a heartbeat says. It is openraft's; only its clock is ours.

use super::group::Raft;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The moment from which the beats of this process are counted.
static FIRST: OnceLock<Instant> = OnceLock::new();

/// Has a group send its heartbeats while this node leads it, until `stopped`.
pub(super) async fn beat(raft: Raft, every: Duration, stopped: CancellationToken) {
    let first = *FIRST.get_or_init(Instant::now);
    let beating = async {
        loop {
            sleep_until(next(first, Instant::now(), every)).await;
            let leads = raft.metrics().borrow_watched().state == ServerState::Leader;
            if leads && raft.trigger().heartbeat().await.is_err() {
                return;
            }
        }
    };
    stopped.run_until_cancelled(beating).await;
}

/// The next moment that is a whole number of beats after the first.
fn next(first: Instant, now: Instant, every: Duration) -> Instant {
    let (passed, every) = (now.saturating_duration_since(first).as_millis(), every.as_millis().max(1));
    first + Duration::from_millis(((passed / every + 1) * every) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_begin_at_different_times_beat_at_the_same() {
        let (first, ms) = (Instant::now(), Duration::from_millis);
        let next = |at| next(first, first + ms(at), ms(100)) - first;
        assert_eq!((next(0), next(1), next(99)), (ms(100), ms(100), ms(100)));
        assert_eq!((next(100), next(150), next(1_234)), (ms(200), ms(200), ms(1_300)));
    }
}
