//! A model of the world around the planner: an API server, a StatefulSet controller, disks, and one raft group as its specification.
//!
//! Random histories of passes (some from a stale view, some cut short after an effect) and of mishaps, then calm. Whatever happened:
//! one cluster at most is ever initialized, its voters are only ever one or all, and in calm it becomes Ready and stays so with
//! nothing left to write.

use super::{Plan, Reason, Step, plan};
use crate::build::build;
use crate::census::Census;
use crate::diff::contains;
use crate::latches::Latched;
use crate::observed::{Live, Observed, Pod, Probe, Silence};
use crate::testing::{answering, blank, cluster, id, latch_status, member, pod, record};
use crate::validate::Cluster;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use proptest::prelude::*;
use schedia_apps::cluster::{Member, Record};
use schedia_apps::{ClusterId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
struct Disk {
    store: String,
    identity: Option<(ClusterId, NodeId)>,
}

/// The raft group of one cluster id: what a majority has agreed on.
#[derive(Clone, Debug)]
struct Raft {
    id: ClusterId,
    record: Record,
    ids: u64,
}

#[derive(Clone, Debug, Default)]
struct World {
    replicas: u32,
    /// The latches in the status, and how often it was written.
    status: Latched,
    status_version: u64,
    set: Option<StatefulSet>,
    set_version: u64,
    running: BTreeSet<u32>,
    silent: BTreeSet<u32>,
    disks: BTreeMap<u32, Disk>,
    disks_made: u32,
    /// Every cluster that was ever initialized.
    rafts: Vec<Raft>,
    fresh: u32,
}

/// What an operator saw, and the versions of what it may write.
#[derive(Clone, Debug)]
struct View {
    cluster: Cluster,
    observed: Observed,
    status_version: u64,
    set_version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    AfterApply,
    AfterStep,
    Nowhere,
}

#[derive(Clone, Debug)]
enum Op {
    Pass(Cut),
    /// A pass that plans from what was seen this many events ago.
    Stale(usize, Cut),
    Kubernetes,
    Raft,
    PodDies(u32),
    Silence(u32),
    Speak,
    WipeStatus,
    WipeAnnotations,
    DeleteSet,
    Scale(u32),
    LoseDisk(u32),
}

impl World {
    fn new(replicas: u32) -> World {
        World { replicas, ..World::default() }
    }

    fn view(&self) -> View {
        let mut cluster = cluster(self.replicas);
        latch_status(&mut cluster, &self.status);
        let pods = self.running.iter().map(|ordinal| (*ordinal, self.pod(*ordinal))).collect();
        let live = Live { stateful_set: self.set.clone(), ..Live::default() };
        let record = self.probe();
        let observed = Observed { live, pods, record, ..Observed::default() };
        View { cluster, observed, status_version: self.status_version, set_version: self.set_version }
    }

    fn pod(&self, ordinal: u32) -> Pod {
        let disk = &self.disks[&ordinal];
        if self.silent.contains(&ordinal) {
            return Pod { node: Err(Silence("cut off".to_owned())), ..pod(ordinal) };
        }
        let name = format!("demo-{ordinal}");
        match &disk.identity {
            None => answering(ordinal, blank(&name, &disk.store)),
            Some((id, node)) => {
                let nothing = record(0, &[], &[], false);
                let raft = self.rafts.iter().find(|raft| &raft.id == id);
                let known = raft.map(|raft| &raft.record).filter(|record| record.members.contains_key(node));
                let leader = raft.and_then(|raft| self.leader(raft));
                answering(ordinal, member(&name, &disk.store, id, *node, known.unwrap_or(&nothing), leader))
            }
        }
    }

    /// The lowest voter that runs on its own disk, if a majority does.
    fn leader(&self, raft: &Raft) -> Option<NodeId> {
        let runs = |node: &&NodeId| {
            self.running.iter().any(|ordinal| self.disks[ordinal].identity == Some((raft.id.clone(), **node)))
        };
        let alive: Vec<_> = raft.record.voters.iter().filter(runs).collect();
        (alive.len() > raft.record.voters.len() / 2).then(|| *alive[0])
    }

    fn probe(&self) -> Option<Probe> {
        self.rafts.iter().find_map(|raft| {
            let leader = self.leader(raft)?;
            let reached = self.running.iter().any(|ordinal| {
                self.disks[ordinal].identity == Some((raft.id.clone(), leader))
                    && !self.silent.contains(ordinal)
            });
            reached.then(|| Probe { leader, record: raft.record.clone() })
        })
    }

    /// One pass from a view: returns the plan that it made.
    fn pass(&mut self, view: &View, cut: Cut) -> Plan {
        let View { cluster, observed, .. } = view;
        let census = Census::of(cluster, observed);
        self.fresh += 1;
        let built = build(cluster, &census, &observed.live);
        let plan = plan(cluster, observed, &census, &built, &id(&format!("c{}", self.fresh)));
        let overtaken = plan.apply && !self.apply(view, built.stateful_set);
        if overtaken || cut == Cut::AfterApply {
            return plan;
        }
        let mut latched = census.latched();
        if let Some(step) = plan.step_now() {
            let done = self.carry_out(step, view, &census);
            if let (Step::Latch(new), true) = (step, done) {
                latched = new.clone();
            }
        }
        // The status is written with the version it was read with.
        if cut == Cut::Nowhere && view.status_version == self.status_version {
            let written = Latched { target: Some(census.target), ..latched };
            if self.status != written {
                self.status = written;
                self.status_version += 1;
            }
        }
        plan
    }

    /// Compares with what was seen; writes under the version that was seen, or over whatever is there if nothing was seen.
    fn apply(&mut self, view: &View, built: StatefulSet) -> bool {
        let seen = view.observed.live.stateful_set.as_ref();
        let same = |live: &StatefulSet| {
            contains(&serde_json::to_value(live).unwrap(), &serde_json::to_value(&built).unwrap())
        };
        if seen.is_some_and(same) {
            return true;
        }
        let written = seen.is_none() || view.set_version == self.set_version;
        if written {
            self.set_version += 1;
            self.set = Some(built);
        }
        written
    }

    fn carry_out(&mut self, step: &Step, view: &View, census: &Census) -> bool {
        let View { cluster, observed, set_version, .. } = view;
        match step {
            Step::Latch(latched) => {
                if observed.live.stateful_set.is_none() || *set_version != self.set_version {
                    return false;
                }
                self.apply(view, build(cluster, &census.latching(latched), &observed.live).stateful_set)
            }
            Step::Recreate { .. } => panic!("no template ever changes here"),
            Step::Initialize { pod, store_id, verb } => {
                assert!(census.latches.as_ref().unwrap().complete, "initialized without both latches");
                let Some(ordinal) = self.on_disk(pod, store_id.as_str()) else { return false };
                self.initialize(ordinal, &verb.cluster_id);
                true
            }
            Step::Assign { pod, store_id, cluster_id, .. } => {
                let Some(raft) = self.rafts.iter_mut().find(|raft| &raft.id == cluster_id) else {
                    return false;
                };
                raft.ids += 1;
                let node = NodeId(raft.ids);
                let Some(ordinal) = self.on_disk(pod, store_id.as_str()) else { return false };
                let disk = self.disks.get_mut(&ordinal).unwrap();
                // A node that was told who it is refuses to be told otherwise.
                disk.identity.get_or_insert((cluster_id.clone(), node));
                true
            }
            Step::AddLearner { verb, .. } => self.change(verb.expected, |record| {
                let (id, name, address) = (verb.node_id, verb.name.clone(), verb.address.clone());
                record.members.insert(id, Member { id, name, address, http_url: None, store_id: None });
            }),
            Step::SetVoters { verb, .. } => {
                let open = self.rafts.first().is_some_and(|raft| raft.record.voters == verb.voters);
                open || self.change(verb.expected, |record| record.voters = verb.voters.clone())
            }
        }
    }

    fn initialize(&mut self, ordinal: u32, cluster_id: &ClusterId) {
        let disk = self.disks.get_mut(&ordinal).unwrap();
        if disk.identity.is_some() {
            return;
        }
        disk.identity = Some((cluster_id.clone(), NodeId(1)));
        self.rafts.retain(|raft| &raft.id != cluster_id);
        let record = record(1, &[(1, ordinal)], &[1], true);
        self.rafts.push(Raft { id: cluster_id.clone(), record, ids: 1 });
    }

    fn on_disk(&self, pod: &str, store: &str) -> Option<u32> {
        let ordinal = pod.strip_prefix("demo-")?.parse().ok()?;
        (self.running.contains(&ordinal) && self.disks[&ordinal].store == store).then_some(ordinal)
    }

    /// Compare-and-set on the generation, refused while a change is open or no leader works.
    fn change(&mut self, expected: u64, change: impl FnOnce(&mut Record)) -> bool {
        let Some(raft) = self.rafts.first().cloned() else { return false };
        let works = self.leader(&raft).is_some();
        let Some(raft) = self.rafts.first_mut().filter(|_| works) else { return false };
        if raft.record.generation != expected || !raft.record.settled {
            return false;
        }
        change(&mut raft.record);
        raft.record.generation += 1;
        raft.record.settled = false;
        true
    }

    /// The StatefulSet controller: makes every pod, on the disk it had or a new one.
    fn kubernetes(&mut self) {
        let wanted = self.set.as_ref().and_then(|set| set.spec.as_ref()?.replicas).unwrap_or(0) as u32;
        self.running.retain(|ordinal| *ordinal < wanted);
        for ordinal in 0..wanted {
            if !self.disks.contains_key(&ordinal) {
                self.disks_made += 1;
                let store = format!("disk-{}", self.disks_made);
                self.disks.insert(ordinal, Disk { store, identity: None });
            }
            self.running.insert(ordinal);
        }
        if let Some(set) = &mut self.set {
            set.metadata.generation = Some(1);
            set.status = Some(StatefulSetStatus {
                observed_generation: Some(1),
                update_revision: Some("new".to_owned()),
                ..StatefulSetStatus::default()
            });
        }
    }

    /// The leader drives an open change to its end.
    fn settle(&mut self) {
        for raft in 0..self.rafts.len() {
            if self.leader(&self.rafts[raft]).is_some() {
                self.rafts[raft].record.settled = true;
            }
        }
    }

    fn happen(&mut self, op: &Op, history: &[View]) {
        let view = self.view();
        match op {
            Op::Pass(cut) => drop(self.pass(&view, *cut)),
            Op::Stale(ago, cut) => {
                let seen = history.len().checked_sub(1 + ago % 8).map_or(&view, |at| &history[at]).clone();
                drop(self.pass(&seen, *cut));
            }
            Op::Kubernetes => self.kubernetes(),
            Op::Raft => self.settle(),
            Op::PodDies(ordinal) => drop(self.running.remove(ordinal)),
            Op::Silence(ordinal) => drop(self.silent.insert(*ordinal)),
            Op::Speak => self.silent.clear(),
            Op::WipeStatus => {
                self.status = Latched::default();
                self.status_version += 1;
            }
            Op::WipeAnnotations => {
                if let Some(set) = &mut self.set {
                    set.metadata.annotations = None;
                    self.set_version += 1;
                }
            }
            Op::DeleteSet => {
                self.set = None;
                self.set_version += 1;
                self.running.clear();
            }
            Op::Scale(replicas) => {
                if let Some(spec) = self.set.as_mut().and_then(|set| set.spec.as_mut()) {
                    spec.replicas = i32::try_from(*replicas).ok();
                    self.set_version += 1;
                }
            }
            Op::LoseDisk(ordinal) => {
                self.disks.remove(ordinal);
                self.running.remove(ordinal);
            }
        }
    }

    fn check(&self) {
        let ids: BTreeSet<_> = self.rafts.iter().map(|raft| &raft.id).collect();
        assert!(ids.len() <= 1, "two clusters: {ids:?}");
        for raft in &self.rafts {
            let voters = raft.record.voters.len() as u32;
            assert!(voters == 1 || voters == self.replicas, "{voters} voters of {}", self.replicas);
        }
    }
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![1 => Just(Cut::AfterApply), 1 => Just(Cut::AfterStep), 3 => Just(Cut::Nowhere)]
}

/// Mishaps that leave the disks alone. Of the two places of the latches one may be wiped at a time: `status` says which.
fn mishap(status: bool) -> impl Strategy<Value = Op> {
    let wipe = if status { Op::WipeStatus } else { Op::WipeAnnotations };
    prop_oneof![
        6 => cut().prop_map(Op::Pass),
        3 => (0_usize..8, cut()).prop_map(|(ago, cut)| Op::Stale(ago, cut)),
        4 => Just(Op::Kubernetes),
        2 => Just(Op::Raft),
        1 => (0_u32..5).prop_map(Op::PodDies),
        1 => (0_u32..5).prop_map(Op::Silence),
        1 => Just(Op::Speak),
        1 => Just(wipe),
        1 => (0_u32..6).prop_map(Op::Scale),
    ]
}

fn run(replicas: u32, ops: &[Op]) -> World {
    let mut world = World::new(replicas);
    let mut history = Vec::new();
    for op in ops {
        history.push(world.view());
        world.happen(op, &history);
        world.check();
    }
    world
}

/// Nothing more goes wrong: how many passes until Ready?
fn calm(world: &mut World) -> usize {
    world.silent.clear();
    for pass in 0..80 {
        world.kubernetes();
        world.settle();
        let view = world.view();
        let plan = world.pass(&view, Cut::Nowhere);
        world.check();
        if plan.reason == Reason::Ready && plan.step.is_none() {
            return pass;
        }
    }
    panic!("not Ready after 80 passes: {:#?}\n{world:#?}", plan_of(world));
}

fn plan_of(world: &World) -> Plan {
    let View { cluster, observed, .. } = world.view();
    let census = Census::of(&cluster, &observed);
    let built = build(&cluster, &census, &observed.live);
    plan(&cluster, &observed, &census, &built, &id("unused"))
}

fn assert_stable(world: &mut World) {
    let (set, status) = (world.set_version, world.status_version);
    for _ in 0..3 {
        world.kubernetes();
        let view = world.view();
        let plan = world.pass(&view, Cut::Nowhere);
        assert_eq!((plan.reason, plan.step), (Reason::Ready, None));
    }
    assert_eq!(
        (world.set_version, world.status_version),
        (set, status),
        "something was written though nothing changed"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_calm_brings_one_whole_cluster(
        replicas in prop::sample::select(vec![1_u32, 3, 5]),
        ops in any::<bool>().prop_flat_map(|status| prop::collection::vec(mishap(status), 0..60)),
    ) {
        let mut world = run(replicas, &ops);
        calm(&mut world);
        prop_assert_eq!(world.rafts.len(), 1);
        prop_assert_eq!(world.rafts[0].record.voters.len() as u32, replicas);
        assert_stable(&mut world);
    }

    #[test]
    fn a_deleted_stateful_set_comes_back_with_its_latches(
        ops in prop::collection::vec(prop_oneof![5 => mishap(false), 1 => Just(Op::DeleteSet)], 0..60),
    ) {
        // The status is never wiped here: it restores the annotations.
        let mut world = run(3, &ops);
        calm(&mut world);
        prop_assert_eq!(world.rafts.len(), 1);
    }

    #[test]
    fn lost_disks_never_make_a_second_cluster(
        before in prop::collection::vec(mishap(true), 0..30),
        after in prop::collection::vec(prop_oneof![3 => mishap(true), 2 => (0_u32..3).prop_map(Op::LoseDisk)], 0..40),
    ) {
        let mut world = run(3, &before);
        calm(&mut world);
        let first = world.rafts[0].id.clone();
        let mut history = Vec::new();
        for op in &after {
            history.push(world.view());
            world.happen(op, &history);
            world.check();
            prop_assert!(!matches!(plan_of(&world).step, Some(Step::Initialize { .. })), "initialized again");
        }
        prop_assert_eq!(&world.rafts[0].id, &first);
    }
}

/// Every place a bootstrap can be cut short, one after another, with every pair of cuts for a cluster of three.
#[test]
fn a_bootstrap_survives_a_crash_after_each_effect() {
    let cuts = [Cut::AfterApply, Cut::AfterStep];
    const PASSES: usize = 11;
    for first in 0..PASSES {
        for second in first..PASSES {
            for kinds in [[cuts[0], cuts[0]], [cuts[0], cuts[1]], [cuts[1], cuts[0]], [cuts[1], cuts[1]]] {
                let mut ops = Vec::new();
                for pass in 0..PASSES {
                    let cut = match pass {
                        _ if pass == first => kinds[0],
                        _ if pass == second => kinds[1],
                        _ => Cut::Nowhere,
                    };
                    ops.extend([Op::Kubernetes, Op::Raft, Op::Pass(cut)]);
                }
                let mut world = run(3, &ops);
                calm(&mut world);
                assert_stable(&mut world);
            }
        }
    }
}

#[test]
fn a_bootstrap_of_three_takes_eleven_passes() {
    let mut world = World::new(3);
    let passes = calm(&mut world);
    assert!(passes <= 11, "{passes}");
}
