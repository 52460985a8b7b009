//! The membership driver: the cluster record is the intent, and memberships are made to follow it.
//!
//! A verb is one command on shard 0, compare-and-set on the record's generation. Then each shard's leader takes the
//! shard toward the record step by step (`plan`), and the leader of shard 0 marks the record settled when it sees
//! every shard follow. Nothing is remembered between steps: after a change of leader or a restart, whoever leads
//! goes on from the record and the memberships as they are.
//!
//! Invariants:
//! * No membership changes but toward a record that a majority agreed on: it is read linearizably before each pass.
//! * Each change is proposed on the membership it was planned from, or refused by raft.
//! * At most one record is unsettled at a time (the record itself refuses a second change).
//!
//! Not here: which changes make sense (`schedia_apps::cluster`), who may ask (the admin API and the doors).

mod moved;
mod plan;
mod seen;
pub(super) mod standing;

pub(super) use standing::serve as serve_standing;

use super::shard::members::ASK_AGAIN_AFTER;
use super::{Applied, Consistency, MembershipError, Shard, ShardError, Shards};
use moved::TELL_EVERY;
use plan::{Progress, Step, View};
use schedia_api::{AddLearner, Changed, Join, RemoveLearner, SetVoters};
use schedia_apps::cluster::{self, Member, Record};
use schedia_apps::{Command, NodeId, Query, Reply, ShardId};
use seen::{Led, Seen};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

/// How often the driver looks whether something is left to do. A look costs no entry and no frame.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long one step may take: a snapshot to a new member is not part of a step.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a member that does not catch up keeps others waiting.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nodes that join within this time of each other get their votes in one change.
const JOIN_QUIET: Duration = Duration::from_secs(1);
/// How long a refused join waits for the change before it.
const JOIN_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What verbs and driver tell each other on this node.
pub(super) struct Signals {
    /// There is something to do.
    wake: Notify,
    /// The newest generation seen settled here.
    settled: watch::Sender<u64>,
}

impl Default for Signals {
    fn default() -> Self {
        Signals { wake: Notify::new(), settled: watch::Sender::new(0) }
    }
}

impl Shards {
    /// The cluster record. `None` before the cluster was initialized.
    pub async fn record(
        &self,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Option<Record>, ShardError> {
        let query = Query::Cluster(cluster::Query::Record);
        match self.shard_0()?.read(query, consistency, deadline).await?.value {
            Reply::Cluster(cluster::Reply::Record(record)) => Ok(record),
            other => Err(ShardError::wrong_reply(&other)),
        }
    }

    /// The record as last applied here, without asking anybody.
    pub fn record_here(&self) -> Option<Record> {
        self.shard(ShardId(0))?.watch_record().borrow().clone()
    }

    /// `POST /admin/v1/node-ids`. Leader only.
    pub async fn new_node_id(&self, deadline: Instant) -> Result<NodeId, MembershipError> {
        let index = self.led_shard_0()?.write_blank(deadline).await?;
        Ok(NodeId(index))
    }

    /// `POST /admin/v1/learners`. Leader only.
    pub async fn add_learner(&self, verb: AddLearner, deadline: Instant) -> Result<Changed, MembershipError> {
        self.led_shard_0()?;
        let AddLearner { node_id, name, address, http_url, store_id, expected } = verb;
        let member = Member { id: node_id, name, address, http_url, store_id };
        self.change(cluster::Command::AddLearner { member, expected }, deadline).await
    }

    /// `POST /admin/v1/membership`. Leader only; not `settled` when the change is still under way at the deadline.
    pub async fn set_voters(&self, verb: SetVoters, deadline: Instant) -> Result<Changed, MembershipError> {
        let shard = self.led_shard_0()?;
        let SetVoters { voters, expected } = verb;
        // Asked before the intent is written: after that it stays until it is carried out.
        if let Some(record) = self.record(Consistency::Linearizable, deadline).await?
            && record.generation == expected
            && record.settled
            && record.voters != voters
        {
            // On a busy machine a member may not have answered lately though it is well.
            let patience = shard.patience(deadline);
            while let Some(silent) = no_majority(shard, &record, &voters) {
                if Instant::now() >= patience {
                    return Err(MembershipError::NotCaughtUp(silent));
                }
                sleep(ASK_AGAIN_AFTER).await;
            }
        }
        self.change(cluster::Command::SetVoters { voters, expected }, deadline).await
    }

    /// `POST /admin/v1/learners/remove`. Leader only; not `settled` when the change is still under way at the deadline.
    pub async fn remove_learner(
        &self,
        verb: RemoveLearner,
        deadline: Instant,
    ) -> Result<Changed, MembershipError> {
        self.led_shard_0()?;
        let RemoveLearner { node_id: id, expected } = verb;
        self.change(cluster::Command::RemoveMember { id, expected }, deadline).await
    }

    /// `POST /admin/v1/transfer-leader`, for every shard this node leads; returns when another node leads.
    pub async fn transfer_leader(&self, to: NodeId, deadline: Instant) -> Result<(), MembershipError> {
        let led = self.led();
        if led.is_empty() {
            let leader = self.shard_0()?.status().leader;
            return Err(ShardError::NotLeader { leader }.into());
        }
        for shard in led {
            shard.transfer_leader(to, deadline).await?;
        }
        Ok(())
    }

    /// Makes a node a member that gets a vote when it has caught up; the same disk again is the same member. Any node
    /// may be asked. Waits while another change is under way.
    pub async fn admit(&self, verb: Join, deadline: Instant) -> Result<NodeId, ShardError> {
        let Join { name, address, http_url, store_id } = verb;
        let command = Command::Cluster(cluster::Command::Join { name, address, http_url, store_id });
        loop {
            match self.shard_0()?.propose(command.clone(), deadline).await {
                Err(ShardError::Refused(refusal)) if in_progress(&refusal) => {
                    let again = Instant::now() + JOIN_AGAIN_AFTER;
                    if again >= deadline {
                        return Err(ShardError::Refused(refusal));
                    }
                    sleep_until(again).await;
                }
                Err(error) => return Err(error),
                Ok(Applied { value: Reply::Cluster(cluster::Reply::Joined { id, .. }), .. }) => {
                    self.signals.wake.notify_one();
                    return Ok(id);
                }
                Ok(other) => return Err(ShardError::wrong_reply(&other.value)),
            }
        }
    }

    /// Makes memberships follow the record where this node leads; runs on every member until `stop`.
    pub async fn drive_membership(self: Arc<Self>, stop: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut told) = (Seen::default(), None::<Instant>);
        let driving = async {
            loop {
                tokio::select! {
                    _ = look.tick() => {}
                    () = self.signals.wake.notified() => {}
                }
                if let Err(error) = self.drive(&mut seen).await {
                    tracing::debug!(%error, "a step of the membership change is tried again");
                }
                if told.is_none_or(|at| at.elapsed() >= TELL_EVERY)
                    && let Some(record) = self.record_here()
                    && let Some(member) = self.moved(&record)
                {
                    if let Err(error) = self.tell(member, record.generation).await {
                        tracing::debug!(%error, "the cluster does not know where this node is yet");
                    }
                    told = Some(Instant::now());
                }
            }
        };
        stop.run_until_cancelled(driving).await;
    }

    /// One pass: every step that can be taken now.
    async fn drive(&self, seen: &mut Seen) -> Result<(), MembershipError> {
        self.start_missing().await?;
        let Some(here) = self.record_here() else { return Ok(()) };
        self.note_settled(&here);
        let idle = here.settled && here.joining.is_empty() && plan::replaced(&here).is_none();
        if idle || !self.iter().any(Shard::is_leader) {
            return Ok(());
        }
        let deadline = Instant::now() + STEP_TIMEOUT;
        // What is seen here may be old: acted on is only what a majority agreed on.
        let Some(record) = self.record(Consistency::Linearizable, deadline).await? else { return Ok(()) };
        seen.note(record.generation, self.iter());
        if record.settled {
            return self.welcome(&record, seen).await;
        }
        // Shard 0 last: it writes the record. The others at the same time: one that is stuck holds up none of them.
        let (first, others): (Vec<_>, Vec<_>) =
            seen.led(self.led()).partition(|led| led.shard.id() == ShardId(0));
        let others = others.into_iter().map(|led| self.lead_toward(led, &record));
        let done = futures::future::join_all(others).await;
        for led in first {
            self.lead_toward(led, &record).await?;
        }
        done.into_iter().collect::<Result<(), _>>()?;
        if self.others_follow(None, &record) && self.shard_0()?.is_leader() {
            self.change(cluster::Command::Settle { generation: record.generation }, deadline).await?;
            tracing::info!(generation = record.generation, voters = ?record.voters, "the cluster record is settled");
        }
        Ok(())
    }

    /// Takes a shard that this node leads as far toward the record as it will go now.
    async fn lead_toward(&self, mut led: Led<'_>, record: &Record) -> Result<(), MembershipError> {
        let shard = led.shard;
        loop {
            let (membership, addresses, progress) = (shard.membership(), shard.addresses(), led.progress());
            let step = plan::next(&View {
                record,
                membership: &membership,
                addresses: &addresses,
                progress: &progress,
                leader: Some(shard.me()),
                voters_may_change: shard.id() != ShardId(0) || self.others_follow(Some(shard.id()), record),
                patience_over: led.age() >= PATIENCE,
            });
            let (planned, deadline) = (membership.log_id, Instant::now() + STEP_TIMEOUT);
            tracing::debug!(shard = %shard.id(), generation = record.generation, ?step, "membership");
            match step {
                Step::Follows | Step::Wait(_) => return Ok(()),
                Step::AddLearners(learners) => shard.add_learners(planned, learners, deadline).await?,
                Step::SetAddresses(addresses) => shard.set_addresses(planned, addresses, deadline).await?,
                // Whoever leads then goes on.
                Step::HandOver(to) => return shard.hand_over(&to, deadline).await,
                Step::ChangeVoters(voters) => shard.change_voters(planned, voters, deadline).await?,
                Step::FinishJoint => shard.finish_joint(planned, deadline).await?,
                Step::RemoveLearners(learners) => shard.remove_learners(planned, learners, deadline).await?,
            }
        }
    }

    /// Gives members that joined by themselves their vote, and lets go of those they replaced.
    async fn welcome(&self, record: &Record, seen: &mut Seen) -> Result<(), MembershipError> {
        let (shard, waited) = (self.shard_0()?, seen.age());
        if !shard.is_leader() || waited < JOIN_QUIET {
            return Ok(());
        }
        let expected = record.generation;
        let progress = seen.led(vec![shard]).map(|mut led| led.progress()).next().unwrap_or_default();
        let command = match plan::promoted(record, &progress, waited >= PATIENCE) {
            Some(voters) => cluster::Command::SetVoters { voters, expected },
            None => match plan::replaced(record) {
                Some(id) => cluster::Command::RemoveMember { id, expected },
                None => return Ok(()),
            },
        };
        tracing::info!(?command, "membership");
        self.propose(command, Instant::now() + STEP_TIMEOUT).await?;
        self.signals.wake.notify_one();
        Ok(())
    }

    /// Whether every shard here (but one) has committed what the record says.
    fn others_follow(&self, but: Option<ShardId>, record: &Record) -> bool {
        let all_run = self.iter().count() == record.shards as usize;
        all_run
            && self.iter().filter(|shard| Some(shard.id()) != but).all(|shard| {
                let status = shard.status();
                let view = View {
                    record,
                    membership: &status.membership,
                    addresses: &shard.addresses(),
                    progress: &Progress::default(),
                    leader: status.leader,
                    voters_may_change: true,
                    patience_over: false,
                };
                plan::next(&view) == Step::Follows
            })
    }

    /// Proposes a change of the record, and waits until every shard follows it or the deadline comes.
    async fn change(&self, command: cluster::Command, deadline: Instant) -> Result<Changed, MembershipError> {
        let (generation, settled) = self.propose(command, deadline).await?;
        if settled {
            self.signals.settled.send_if_modified(|newest| raise(newest, generation));
            return Ok(Changed { generation, settled });
        }
        self.signals.wake.notify_one();
        let mut newest = self.signals.settled.subscribe();
        let settled = timeout_at(deadline, newest.wait_for(|newest| *newest >= generation)).await;
        Ok(Changed { generation, settled: matches!(settled, Ok(Ok(_))) })
    }

    async fn propose(&self, command: cluster::Command, deadline: Instant) -> Result<(u64, bool), ShardError> {
        match self.shard_0()?.propose(Command::Cluster(command), deadline).await?.value {
            Reply::Cluster(cluster::Reply::Changed { generation, settled }) => Ok((generation, settled)),
            other => Err(ShardError::wrong_reply(&other)),
        }
    }

    fn note_settled(&self, record: &Record) {
        if record.settled {
            self.signals.settled.send_if_modified(|newest| raise(newest, record.generation));
        }
    }

    fn led(&self) -> Vec<&Shard> {
        self.iter().filter(|shard| shard.is_leader()).collect()
    }

    fn shard_0(&self) -> Result<&Shard, ShardError> {
        let unassigned = || ShardError::unavailable("this node is no member of a cluster yet");
        self.shard(ShardId(0)).ok_or_else(unassigned)
    }

    fn led_shard_0(&self) -> Result<&Shard, ShardError> {
        let shard = self.shard_0()?;
        if shard.is_leader() {
            Ok(shard)
        } else {
            Err(ShardError::NotLeader { leader: shard.status().leader })
        }
    }
}

/// The first that is silent, if no majority of the voters to be answers: the change would never end.
fn no_majority(leader: &Shard, record: &Record, voters: &BTreeSet<NodeId>) -> Option<NodeId> {
    // Who is no member is the record's to refuse.
    let silent = |id: &&NodeId| record.members.contains_key(id) && !leader.hears(**id);
    let silent: Vec<NodeId> = voters.iter().filter(silent).copied().collect();
    (2 * (voters.len() - silent.len()) <= voters.len()).then(|| silent.first().copied())?
}

fn raise(newest: &mut u64, generation: u64) -> bool {
    let newer = generation > *newest;
    *newest = generation.max(*newest);
    newer
}

fn in_progress(refusal: &schedia_apps::Refusal) -> bool {
    matches!(refusal, schedia_apps::Refusal::Cluster(cluster::Refusal::ChangeInProgress { .. }))
}
