//! A seed played: nodes, clients, and what befalls them; then peace, and the last look.

use super::super::confirm::{Rounds, has_voted_in_none_after};
use super::super::entry::{Body, Stamp};
use super::super::log;
use super::super::machine::Machine;
use super::super::reading::index_of;
use super::super::seeded;
use super::super::types::{Entry, RaftLogId};
use super::node::Member;
use super::truth::match_each_other;
use super::{Net, Node, Truth};
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::{BasicNode, ServerState};
use schedia_apps::{Command, Epoch, Level, kv};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Nodes of a cluster: a majority may be lost for a while.
const NODES: u64 = 3;
const CLIENTS: u64 = 3;
/// How long things befall it.
const TROUBLE: Duration = Duration::from_secs(12);
/// In peace everybody has everything by then.
const PEACE: Duration = Duration::from_secs(15);
/// A caller gives up then, and does not know.
const PATIENCE: Duration = Duration::from_secs(2);
/// A node that has crashed returns when all that it had under way has ended.
const DOWN_MS: std::ops::Range<u64> = 1_500..4_000;

/// What a seed came to.
pub(in crate::raft) struct Played {
    pub(in crate::raft) trace: Vec<String>,
    pub(in crate::raft) acknowledged: usize,
    pub(in crate::raft) read: u64,
    pub(in crate::raft) elections: u64,
    pub(in crate::raft) crashes: u64,
}

/// Plays a seed. Panics if something does not hold.
pub(in crate::raft) fn play(seed: u64) -> Played {
    play_on(seed, true)
}

/// The same; without `honest`, disks that lose in a crash what they said was synced.
pub(in crate::raft) fn play_on(seed: u64, honest: bool) -> Played {
    seeded::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let played = runtime.block_on(async {
        let mut world = World::begin(seed, honest).await;
        world.trouble().await;
        world.peace().await
    });
    runtime.shutdown_background();
    played
}

type Acknowledged = Arc<Mutex<Vec<RaftLogId>>>;

struct World {
    net: Net,
    nodes: BTreeMap<u64, Node>,
    clients: Vec<JoinHandle<()>>,
    acknowledged: Acknowledged,
    /// Reads that were confirmed.
    read: Arc<AtomicU64>,
    random: fastrand::Rng,
    crashes: u64,
}

impl World {
    async fn begin(seed: u64, honest: bool) -> World {
        let net = Net::new(seed ^ 0x6e65_7477, Truth::new());
        let mut nodes = BTreeMap::new();
        for id in 1..=NODES {
            let mut node = Node::new(id, honest);
            node.start(&net).await;
            nodes.insert(id, node);
        }
        let members: BTreeMap<u64, BasicNode> =
            (1..=NODES).map(|id| (id, BasicNode::new(id.to_string()))).collect();
        let first = nodes[&1].running.as_ref().expect("it runs").member.raft.clone();
        first.initialize(members).await.expect("a new cluster");
        let acknowledged = Acknowledged::default();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|number| tokio::spawn(client(number, net.clone(), acknowledged.clone(), random.fork())))
            .collect();
        let read = Arc::<AtomicU64>::default();
        clients.push(tokio::spawn(reader(net.clone(), acknowledged.clone(), read.clone(), random.fork())));
        World { net, nodes, clients, acknowledged, read, random, crashes: 0 }
    }

    /// Crashes, cuts, slow and lossy times, one after another or at once.
    async fn trouble(&mut self) {
        let (end, mut returns) = (Instant::now() + TROUBLE, BTreeMap::new());
        while Instant::now() < end {
            sleep(Duration::from_millis(self.random.u64(100..900))).await;
            let due: Vec<u64> =
                returns.iter().filter(|(_, at)| **at <= Instant::now()).map(|(id, _)| *id).collect();
            for id in due {
                returns.remove(&id);
                self.start(id).await;
            }
            let id = self.random.u64(1..=NODES);
            match self.random.u8(..10) {
                0..3 if self.nodes[&id].running.is_some() => {
                    self.crashes += 1;
                    returns.insert(id, Instant::now() + Duration::from_millis(self.random.u64(DOWN_MS)));
                    let net = self.net.clone();
                    self.node(id).crash(&net).await;
                }
                3..5 => {
                    // More often a leader than one by chance: it goes on believing that it leads.
                    let id = leaders(&self.net).last().map_or(id, |(leader, _)| *leader);
                    self.net.truth.note(|| format!("{id} is cut off"));
                    let others = (1..=NODES).filter(|other| *other != id);
                    self.net.lock().cut.extend(others.flat_map(|other| [(id, other), (other, id)]));
                }
                5 => {
                    let other = id % NODES + 1;
                    self.net.truth.note(|| format!("{other} does not hear {id}"));
                    self.net.lock().cut.insert((id, other));
                }
                6 => {
                    let (loses_one_of, slowest_ms) = (self.random.u32(3..40), self.random.u64(5..150));
                    self.net.truth.note(|| format!("one of {loses_one_of} is lost, up to {slowest_ms} ms"));
                    let mut ways = self.net.lock();
                    (ways.loses_one_of, ways.slowest_ms) = (loses_one_of, slowest_ms);
                }
                7 => self.hand_over(id).await,
                _ => self.mend(),
            }
            self.look();
        }
    }

    /// Everything is mended; everybody comes to the same.
    async fn peace(mut self) -> Played {
        self.mend();
        self.clients.iter().for_each(JoinHandle::abort);
        sleep(PATIENCE).await;
        for id in 1..=NODES {
            if self.nodes[&id].running.is_none() {
                self.start(id).await;
            }
        }
        let end = Instant::now() + PEACE;
        while !self.is_settled() {
            assert!(Instant::now() < end, "the nodes come to no common end");
            sleep(Duration::from_millis(100)).await;
        }
        self.look();
        let acknowledged =
            std::mem::take(&mut *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
        for id in &acknowledged {
            assert!(self.net.truth.was_applied(*id), "{id} was acknowledged, and is not there");
        }
        let elections = self.net.truth.leaders();
        let trace = self.net.truth.trace();
        for node in self.nodes.values_mut() {
            node.crash(&self.net).await;
        }
        let read = self.read.load(Ordering::Relaxed);
        Played { trace, acknowledged: acknowledged.len(), read, elections, crashes: self.crashes }
    }

    fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("one of the nodes")
    }

    async fn start(&mut self, id: u64) {
        let net = self.net.clone();
        self.node(id).start(&net).await;
    }

    fn mend(&mut self) {
        self.net.truth.note(|| "all is mended".to_owned());
        let mut ways = self.net.lock();
        ways.cut.clear();
        (ways.loses_one_of, ways.slowest_ms) = (0, 5);
    }

    async fn hand_over(&mut self, to: u64) {
        for (_, Member { raft, .. }) in leaders(&self.net) {
            self.net.truth.note(|| format!("leadership is to go to {to}"));
            let _ = timeout(PATIENCE, raft.trigger().transfer_leader(to)).await;
        }
    }

    /// Any two logs agree.
    fn look(&self) {
        self.net.truth.holds();
        let logs: Vec<Vec<Entry>> = self
            .nodes
            .values()
            .filter_map(|node| {
                let Member { log, .. } = &node.running.as_ref()?.member;
                let records = log.read(0..u64::MAX, usize::MAX).expect("the log is readable");
                Some(records.into_iter().map(|record| log::entry(record).expect("a whole entry")).collect())
            })
            .collect();
        for (place, one) in logs.iter().enumerate() {
            logs[place + 1..].iter().for_each(|other| match_each_other(one, other));
        }
    }

    /// Whether all have applied all that any has.
    fn is_settled(&self) -> bool {
        let ends: Vec<_> = self
            .nodes
            .values()
            .map(|node| {
                let Member { log, machine, .. } = &node.running.as_ref().expect("all run in peace").member;
                let last = log.ends().last.map(|mark| mark.index);
                (last, machine.state().applied().mark.map(|mark| mark.index))
            })
            .collect();
        ends.iter().all(|(last, applied)| last == applied && *last == ends[0].0)
    }
}

/// Puts one value after another, to whoever leads as far as it finds.
async fn client(number: u64, net: Net, acknowledged: Acknowledged, mut random: fastrand::Rng) {
    for count in 0.. {
        sleep(Duration::from_millis(random.u64(5..80))).await;
        let Some((_, Member { raft, .. })) = random.choice(leaders(&net)) else { continue };
        let (key, value) = (format!("k{}", random.u8(..20)).into(), format!("{number}-{count}").into());
        let put = kv::Put { key, value, if_mod_revision: None };
        let command: Bytes = Command::Kv(kv::Command::Put(put)).encode().into();
        let stamp = Stamp { level: Level::MAX, epoch: Epoch(0), time_ms: 1_000 + count };
        let body = Body::commands(stamp, &[command]);
        if let Ok(Ok(written)) = timeout(PATIENCE, raft.client_write(body)).await {
            net.truth.note(|| format!("{number} has written {}", written.log_id));
            acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(written.log_id);
        }
    }
}

/// Those that believe they lead, deposed or not.
fn leaders(net: &Net) -> Vec<(u64, Member)> {
    let leads = |member: &Member| member.raft.metrics().borrow_watched().state == ServerState::Leader;
    let members = &net.lock().nodes;
    members.iter().filter(|(_, member)| leads(member)).map(|(id, member)| (*id, member.clone())).collect()
}

/// Reads at any node, one read after another, by the index of somebody who believes to lead and has no lease. What it finds there must be no older than
/// what was acknowledged or read before it began.
async fn reader(net: Net, acknowledged: Acknowledged, read: Arc<AtomicU64>, mut random: fastrand::Rng) {
    let (mut rounds, mut newest_read) = (BTreeMap::<u64, Rounds>::new(), 0);
    loop {
        sleep(Duration::from_millis(random.u64(1..8))).await;
        let written =
            acknowledged.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|id| id.index).max();
        let must_see = newest_read.max(written.unwrap_or(0));
        let Some((me, Member { raft, machine, log, told })) = random.choice(leaders(&net)) else { continue };
        let term = raft.metrics().borrow_watched().current_term;
        let applied = *machine.applied().borrow();
        let Some(index) = index_of(term, applied, told.load(Ordering::Relaxed)) else { continue };
        let ask = |voter| net.clone().confirm(me, voter, term);
        let (voters, deadline) = ([(1..=NODES).collect()], Instant::now() + PATIENCE / 4);
        let own = (me, has_voted_in_none_after(&log, term));
        if !rounds.entry(me).or_default().confirm(own, &voters, ask, deadline).await {
            continue;
        }
        let nodes: Vec<(u64, Machine)> =
            net.lock().nodes.iter().map(|(id, member)| (*id, member.machine.clone())).collect();
        let Some((node, machine)) = random.choice(nodes) else { continue };
        let mut applied = machine.applied();
        let there = applied.wait_for(|applied| applied.is_some_and(|applied| applied.index >= index));
        if matches!(timeout(PATIENCE / 4, there).await, Ok(Ok(_))) {
            let found = machine.state().applied().mark.map_or(0, |mark| mark.index);
            net.truth.reads(node, found, must_see);
            read.fetch_add(1, Ordering::Relaxed);
            newest_read = found.max(newest_read);
        }
    }
}
