//! openraft's settings, each with its reason.

use crate::shards::Timings;
use openraft::{Config, ConfigError, SnapshotPolicy};

/// A snapshot of a large state takes minutes; openraft gives up after this.
const SNAPSHOT_MS: u64 = 10 * 60 * 1_000;
/// Generous: frames are cut in bytes (`log::READ_BYTES`), not in entries.
const ENTRIES_PER_FRAME: u64 = 4_096;

pub(super) fn config(timings: Timings) -> Result<Config, ConfigError> {
    let Timings { heartbeat_ms, election_min_ms, election_max_ms } = timings;
    Config {
        cluster_name: "schedia".into(),
        heartbeat_interval: heartbeat_ms,
        election_timeout_min: election_min_ms,
        election_timeout_max: election_max_ms,
        install_snapshot_timeout: SNAPSHOT_MS,
        max_payload_entries: ENTRIES_PER_FRAME,
        // Checkpoints and purges are driven by `purge`: openraft's policy counts entries, ours bytes.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1,
        // A node that was cut off does not raise the term and depose a healthy leader when it returns.
        enable_pre_vote: Some(true),
        // A restarted leader is elected anew: its state may lag behind what it had acknowledged.
        enable_leader_restore: Some(false),
        // A disk that lost acknowledged entries must not rejoin under its old id.
        allow_log_reversion: Some(false),
        ..Config::default()
    }
    .validate()
}
