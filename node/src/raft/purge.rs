//! Purging: each node lets go of the log that its checkpoint covers, followers too.
//!
//! openraft purges only what a snapshot of its own covers, so each purge begins with one. Ours is virtual: a checkpoint
//! that the flusher would make anyway.
//!
//! Invariants:
//! * Nothing is purged that the checkpoint on disk does not cover, or that a snapshot being sent needs afterwards.
//! * The newest [`KEEP_BYTES`] or [`KEEP_ENTRIES`] stay, whichever is less: a member that was away for a moment catches
//!   up from the log.

use super::group::{Metrics, Raft};
use super::machine::Machine;
use crate::storage::ShardLog;
use openraft::LogIdOptionExt;
use openraft::async_runtime::WatchReceiver;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How often a node looks whether it can purge.
const INTERVAL: Duration = Duration::from_secs(1);
const KEEP_ENTRIES: u64 = 100_000;
const KEEP_BYTES: usize = 64 << 20;
/// A checkpoint takes longer only on a disk in trouble; the next round tries again.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(30);
/// A hung member holds a purge back for one maximal election timeout.
const PURGE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn run(raft: Raft, machine: Machine, log: ShardLog, stop: CancellationToken) {
    let purging = async {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(oldest_kept) = log.recent(KEEP_ENTRIES, KEEP_BYTES) else { continue };
            if let Err(error) = purge(&raft, &machine, &log, oldest_kept.saturating_sub(1)).await {
                tracing::debug!(%error, "nothing purged");
            }
        }
    };
    stop.run_until_cancelled(purging).await;
}

/// Makes a checkpoint, then purges up to `wanted` as far as may be, and waits until that is gone.
pub(super) async fn purge(raft: &Raft, machine: &Machine, log: &ShardLog, wanted: u64) -> io::Result<()> {
    let purged = log.ends().purged.map_or(0, |mark| mark.index);
    let wanted = wanted.min(applied(machine));
    if wanted <= purged {
        return Ok(());
    }
    let covered = checkpoint(raft, machine, wanted).await?;
    let upto = wanted.min(covered).min(machine.holds().purgeable(Instant::now()));
    if upto <= purged {
        return Ok(());
    }
    raft.trigger().purge_log(upto).await.map_err(io::Error::other)?;
    // Replication that still reads there is waited for: openraft ends it first.
    wait_for(raft, PURGE_TIMEOUT, |metrics| metrics.purged.index() >= Some(upto)).await
}

/// Makes a checkpoint that covers `index`, which is applied, unless openraft knows of one. Returns what it covers.
pub(super) async fn checkpoint(raft: &Raft, machine: &Machine, index: u64) -> io::Result<u64> {
    let covered = || raft.metrics().borrow_watched().snapshot.index().unwrap_or(0);
    if covered() >= index || applied(machine) == 0 {
        return Ok(covered());
    }
    raft.trigger().snapshot().await.map_err(io::Error::other)?;
    wait_for(raft, CHECKPOINT_TIMEOUT, |metrics| metrics.snapshot.index() >= Some(index)).await?;
    Ok(covered())
}

async fn wait_for(raft: &Raft, within: Duration, holds: impl Fn(&Metrics) -> bool) -> io::Result<()> {
    let mut metrics = raft.metrics();
    let waiting = async {
        while !holds(&metrics.borrow_watched()) {
            metrics.changed().await.map_err(|_| io::Error::other("raft stopped"))?;
        }
        Ok(())
    };
    timeout(within, waiting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

pub(super) fn applied(machine: &Machine) -> u64 {
    machine.applied().borrow().map_or(0, |id| id.index)
}
