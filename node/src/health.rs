//! How a node is: what it tells the operator of itself, and whether it takes requests.
//!
//! Invariants:
//! * An election does not make a node unready: only `LEADERLESS_MAX` without a leader does.
//! * Two answers of one process with the same revision tell the same role, leaders, terms, memberships and alarms.
//!
//! Not here: HTTP (`crate::admin`, `crate::doors`).

use crate::storage::{Failed, Full};
use schedia_api::{Alarm, Membership, Role, ShardStatus, Status};
use schedia_apps::NodeId;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A Service must not be emptied by an election, which takes a second or two.
const LEADERLESS_MAX: Duration = Duration::from_secs(5);

/// Why a node takes no requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// A sync failed or a checksum was wrong: nothing runs until somebody looks at the disk.
    #[error(transparent)]
    StorageFailed(#[from] Failed),
    /// Writes wait for room on the disk.
    #[error("{0}; nothing is lost, and writes go on once there is room")]
    DiskFull(#[from] Full),
    /// A shard stopped for another reason.
    #[error("shard {shard} is stopped: {reason}")]
    Stopped {
        /// Which one.
        shard: schedia_apps::ShardId,
        /// Why.
        reason: String,
    },
    /// The disk is blank.
    #[error("unassigned: the disk is blank and this node waits to be told its cluster")]
    Unassigned,
    /// The id was removed from the cluster.
    #[error("removed: node {0} was removed from its cluster; reset it to use it again")]
    Removed(NodeId),
    /// The node is in no membership it has seen.
    #[error("assigned, but not a member yet: waiting for the leader")]
    NotMember,
    /// What was committed before the restart is not applied again yet.
    #[error("recovering: applying what was committed before the restart")]
    Recovering,
    /// Nobody leads, for longer than an election takes.
    #[error("no leader {}", for_how_long(*.since))]
    NoLeader {
        /// Since when; `None`: never since the start.
        since: Option<Instant>,
    },
    /// The process was told to end.
    #[error("shutting down")]
    ShuttingDown,
}

fn for_how_long(since: Option<Instant>) -> String {
    since.map_or_else(|| "since the start".to_owned(), |at| format!("for {} s", at.elapsed().as_secs()))
}

/// What is remembered between two looks at a node.
pub(crate) struct Health {
    process: uuid::Uuid,
    revision: watch::Sender<u64>,
    told: Mutex<Option<Told>>,
    /// When every shard had a leader for the last time.
    led: Mutex<Option<Instant>>,
}

/// What moves the revision.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    role: Role,
    ready: bool,
    shards: Vec<(Option<NodeId>, u64, Membership, Option<String>)>,
    /// Generation of the cluster record, and whether it is settled.
    record: Option<(u64, bool)>,
    alarms: Vec<Alarm>,
}

impl Told {
    fn of(status: &Status) -> Told {
        let shard = |s: &ShardStatus| (s.leader, s.term, s.membership.clone(), s.stopped.clone());
        Told {
            role: status.role,
            ready: status.ready,
            shards: status.shards.iter().map(shard).collect(),
            record: status.record.as_ref().map(|record| (record.generation, record.settled)),
            alarms: status.alarms.clone(),
        }
    }
}

impl Health {
    pub(crate) fn new() -> Health {
        Health {
            process: uuid::Uuid::new_v4(),
            revision: watch::Sender::new(0),
            told: Mutex::default(),
            led: Mutex::default(),
        }
    }

    /// Gives a status its revision: a new one if it tells anything new.
    pub(crate) fn stamp(&self, status: &mut Status) {
        let now = Told::of(status);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != Some(&now) {
            *told = Some(now);
            self.revision.send_modify(|n| *n += 1);
        }
        status.revision = self.name(*self.revision.borrow());
    }

    /// Waits until the revision is another than `seen`.
    pub(crate) async fn changed_from(&self, seen: &str) {
        let mut revision = self.revision.subscribe();
        // The sender lives in `self`: waiting ends with a value.
        let _ = revision.wait_for(|n| self.name(*n) != seen).await;
    }

    fn name(&self, n: u64) -> String {
        format!("{}.{n}", self.process)
    }

    /// Remembers whether every shard has a leader now.
    pub(crate) fn note_leaders(&self, shards: &[ShardStatus]) {
        if !shards.is_empty() && shards.iter().all(|shard| shard.leader.is_some()) {
            *self.led.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    /// Refuses if no leader was seen for too long.
    pub(crate) fn led(&self) -> Result<(), Unready> {
        match *self.led.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(at) if at.elapsed() <= LEADERLESS_MAX => Ok(()),
            since => Err(Unready::NoLeader { since }),
        }
    }
}

/// The place of a node in what it has seen of its shards' memberships.
pub(crate) fn role(me: Option<NodeId>, removed: bool, shards: &[ShardStatus]) -> Role {
    let Some(me) = me else { return Role::Unassigned };
    let named = |pick: fn(&Membership) -> &std::collections::BTreeSet<NodeId>| {
        shards.iter().any(|shard| pick(&shard.membership).contains(&me))
    };
    match removed {
        true => Role::Retired,
        false if named(|m| &m.voters) => Role::Voter,
        false if named(|m| &m.learners) => Role::Learner,
        false => Role::Assigned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schedia_apps::ShardId;

    fn shard(leader: Option<u64>, voters: &[u64], learners: &[u64]) -> ShardStatus {
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        ShardStatus {
            shard: ShardId(0),
            leader: leader.map(NodeId),
            term: 1,
            last: None,
            committed: None,
            applied: None,
            membership: Membership { voters: ids(voters), learners: ids(learners), ..Membership::default() },
            lag: Default::default(),
            stopped: None,
        }
    }

    #[test]
    fn a_role_is_what_the_memberships_say() {
        let me = Some(NodeId(2));
        assert_eq!(role(None, false, &[]), Role::Unassigned);
        assert_eq!(role(me, false, &[]), Role::Assigned);
        assert_eq!(role(me, false, &[shard(None, &[1], &[])]), Role::Assigned);
        assert_eq!(role(me, false, &[shard(None, &[1], &[2])]), Role::Learner);
        assert_eq!(role(me, false, &[shard(None, &[1], &[2]), shard(None, &[2], &[])]), Role::Voter);
        assert_eq!(role(me, true, &[shard(None, &[1, 2], &[])]), Role::Retired);
    }

    #[tokio::test(start_paused = true)]
    async fn an_election_is_no_reason_to_be_unready() {
        let health = Health::new();
        assert_eq!(health.led(), Err(Unready::NoLeader { since: None }), "before the first leader");
        health.note_leaders(&[shard(Some(1), &[1], &[])]);
        let seen = Instant::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        health.note_leaders(&[shard(None, &[1], &[])]);
        assert_eq!(health.led(), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        let unready = health.led().unwrap_err();
        assert_eq!(unready, Unready::NoLeader { since: Some(seen) });
        assert_eq!(unready.to_string(), "no leader for 6 s");
    }
}
