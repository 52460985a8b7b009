//! What clients of queues do in a phase.

use super::phase::{Load, Seen, Work};
use super::servers::Servers;
use super::wire::Client;
use super::wire::codeq::BATCH;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;

/// The name of a queue.
fn queue(number: u64) -> String {
    format!("BENCH_{number}")
}

/// One client of a phase.
pub(super) async fn work(mut client: Client, load: Load, number: u64, start: Instant, end: Instant) -> Seen {
    let mut seen = Seen::new();
    // Who waits for one task has a queue to itself: another one would be given it.
    let queue = if load.work == Work::Wakes { format!("WAKE_{number}") } else { queue(number % load.keys) };
    loop {
        let begun = Instant::now();
        if begun >= end || seen.gives_up() {
            return seen;
        }
        let answer = client.queue(load.work, &queue).await;
        let now = Instant::now();
        match answer {
            Ok((tasks, took)) if begun >= start && now <= end => {
                seen.done(tasks, tasks, took.unwrap_or(now - begun));
            }
            Ok(_) => {}
            Err(e) => seen.failed(e),
        }
    }
}

/// Creates tasks of the first queue, in batches.
pub(super) async fn fill(servers: &Servers, tasks: u64, clients: usize) -> Result<(), String> {
    let left = Arc::new(AtomicU64::new(tasks.div_ceil(BATCH)));
    let mut creating = JoinSet::new();
    for mut client in servers.clients(servers.leader().await?, clients, None, false).await? {
        let left = left.clone();
        creating.spawn(async move {
            let next = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            while next().is_ok() {
                client.queue(Work::Batches, &queue(0)).await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = creating.join_next().await {
        ended.map_err(|e| e.to_string())?.map_err(|e: String| format!("filling: {e}"))?;
    }
    Ok(())
}
