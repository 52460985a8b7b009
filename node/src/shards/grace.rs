//! The first thing a leader says, if tasks are waited for: leases hold for one maximal election timeout more, since nobody could
//! extend one while there was no leader.
//!
//! Invariant: in a term no command of a client comes before it, where a lease stood when the term began.

use super::Timings;
use crate::raft::Group;
use bytes::Bytes;
use schedia_apps::{Command, Query, Reply, queue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the leader of a shard says first.
pub(super) struct Grace {
    group: Arc<Group>,
    command: Bytes,
    /// The newest term in which that is done.
    done: AtomicU64,
}

impl Grace {
    pub(super) fn new(group: Arc<Group>, timings: Timings) -> Arc<Grace> {
        let grace_ms = timings.election_max().as_millis() as u64;
        let command = Command::Queue(queue::Command::Lead { grace_ms }).encode().into();
        Arc::new(Grace { group, command, done: AtomicU64::new(0) })
    }

    /// What is to be said before anything else in this term; nothing once it was, or if this node does not lead.
    pub(super) fn due(&self) -> Option<(u64, &Bytes)> {
        let term = self.group.term();
        if self.done.load(Ordering::Relaxed) == term || !self.group.is_leader() {
            return None;
        }
        if self.is_nothing_due() {
            self.done(term);
            return None;
        }
        Some((term, &self.command))
    }

    /// It was said in this term.
    pub(super) fn done(&self, term: u64) {
        self.done.fetch_max(term, Ordering::Relaxed);
    }

    /// Whether no lease stands. What is in the log and not applied yet, after a restart perhaps all of it, may have given some.
    fn is_nothing_due(&self) -> bool {
        if !self.group.has_applied_all() {
            return false;
        }
        let next = self.group.machine().query(Query::Queue(queue::Query::NextDue));
        matches!(next, Ok((_, Reply::Queue(queue::Reply::NextDue(None)))))
    }
}
