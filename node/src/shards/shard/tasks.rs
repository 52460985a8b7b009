//! What the queues need of a shard beside proposing and reading: news of tasks, and the time by its log.

use super::{Applied, Shard};
use crate::raft::News;
use schedia_apps::{Command, Query, Reply, Stop, queue};
use tokio::sync::broadcast;

impl Shard {
    /// What happens to tasks from now on, as this node applies it.
    pub(crate) fn news(&self) -> broadcast::Receiver<News> {
        self.0.group.machine().news()
    }

    /// What the leader answers to a follower without an entry: to a claim, that it knows of nothing to be claimed. No majority has
    /// confirmed it. Its own callers have looked themselves.
    pub(super) fn answer_at_once(&self, command: &Command) -> Option<Applied<Reply>> {
        let Command::Queue(queue::Command::Claim(claim)) = command else { return None };
        let head = queue::Query::Head { tenant: claim.tenant.clone(), from: claim.from.clone() };
        match self.0.group.machine().query(Query::Queue(head)) {
            Ok((at, Reply::Queue(queue::Reply::Head(None)))) => {
                Some(Applied { at, value: Reply::Queue(queue::Reply::Claimed(Vec::new())) })
            }
            _ => None,
        }
    }

    /// Answers from the state of this node as it is.
    pub(crate) fn query_here(&self, query: Query) -> Result<Reply, Stop> {
        self.0.group.machine().query(query).map(|(_, reply)| reply)
    }

    /// Whether this node leads the shard, and a majority has shown so lately.
    pub(crate) fn leads(&self) -> bool {
        self.0.group.leads()
    }

    /// About the time that the next entry will have, in milliseconds since 1970: log time as applied here, and what has passed since.
    /// Not known after a restart, before the first entry with a time.
    pub(crate) fn log_time_ms(&self) -> Option<u64> {
        let (applied_ms, at) = self.0.group.time_applied();
        at.map(|at| applied_ms.saturating_add(at.elapsed().as_millis() as u64))
    }
}
