//! What the queues need of a shard beside proposing and reading: news of tasks, and the time by its log.

use super::Shard;
use crate::raft::News;
use schedia_apps::{Query, Reply, Stop};
use std::time::Duration;
use tokio::sync::broadcast;

impl Shard {
    /// What happens to tasks from now on, as this node applies it.
    pub(crate) fn news(&self) -> broadcast::Receiver<News> {
        self.0.group.machine().news()
    }

    /// Answers from the state of this node as it is.
    pub(crate) fn query_here(&self, query: Query) -> Result<Reply, Stop> {
        self.0.group.machine().query(query).map(|(_, reply)| reply)
    }

    /// The term that this node leads.
    pub(crate) fn term_led(&self) -> Option<u64> {
        self.is_leader().then(|| self.0.group.term())
    }

    /// About the time that the next entry will have, in milliseconds since 1970: log time as applied here, and what has passed since.
    pub(crate) fn log_time_ms(&self) -> u64 {
        let (applied_ms, at) = self.0.group.time_applied();
        let passed = at.map_or(Duration::ZERO, |at| at.elapsed());
        applied_ms.saturating_add(passed.as_millis() as u64)
    }

    /// For how long a cluster may be without a leader, by its settings: one maximal election timeout.
    pub(crate) fn election_max(&self) -> Duration {
        self.0.timings.election_max()
    }
}
