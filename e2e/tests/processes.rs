//! Real `schedia serve` processes on this machine, under load and under faults.
//!
//! Run by `cargo verify` against the static program of the image; by hand: `cargo test --test processes`.

// Helpers of tests are tests: their panic is the message.
#![allow(clippy::unwrap_used)]

#[path = "processes/bad_requests.rs"]
mod bad_requests;
#[path = "processes/balsa.rs"]
mod balsa;
#[path = "processes/bench.rs"]
mod bench;
#[path = "processes/bounds.rs"]
mod bounds;
#[path = "processes/clocks.rs"]
mod clocks;
#[path = "processes/command_line.rs"]
mod command_line;
#[path = "processes/defragment.rs"]
mod defragment;
#[path = "processes/failover.rs"]
mod failover;
#[path = "processes/faults.rs"]
mod faults;
#[path = "processes/follow.rs"]
mod follow;
#[path = "processes/identity.rs"]
mod identity;
#[path = "processes/load.rs"]
mod load;
#[path = "processes/metrics.rs"]
mod metrics;
#[path = "processes/once.rs"]
mod once;
#[path = "processes/openapi.rs"]
mod openapi;
#[path = "processes/peers.rs"]
mod peers;
#[path = "processes/queue.rs"]
mod queue;
#[path = "processes/queue_command_line.rs"]
mod queue_command_line;
#[path = "processes/queue_workers.rs"]
mod queue_workers;
#[path = "processes/raftd.rs"]
mod raftd;
#[path = "processes/reads.rs"]
mod reads;
#[path = "processes/requests.rs"]
mod requests;
#[path = "processes/resume.rs"]
mod resume;
#[path = "processes/scaling.rs"]
mod scaling;
#[path = "processes/shards.rs"]
mod shards;
#[path = "processes/traces.rs"]
mod traces;
#[path = "processes/watch.rs"]
mod watch;

use schedia_e2e::process::Node;
use std::time::Duration;

/// For what takes seconds on a free machine: its cores may be shared.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this is the long run: `E2E_FULL`, set by `cargo verify --full`.
fn full() -> bool {
    std::env::var_os("E2E_FULL").is_some()
}

/// A fault run is ten times as long in the full run.
fn rounds(usual: u64) -> u64 {
    if full() { usual * 10 } else { usual }
}

/// Drawn anew each run and printed; `E2E_SEED` repeats one.
fn seed() -> u64 {
    std::env::var("E2E_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..1 << 32))
}

/// What a node exports, without `schedia_`; nothing is zero.
async fn metric(node: &Node, name: &str) -> Result<u64, String> {
    Ok(schedia_e2e::metrics::sum(&node.metrics().await?, &format!("schedia_{name}")) as u64)
}
