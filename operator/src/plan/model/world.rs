//! The world, what an operator sees of it, and what its passes do to it.
//!
//! What must never happen is asserted where it would happen: when the operator takes a pod or a volume away, and by [`World::check`].

mod kubernetes;
mod raft;

use crate::build::{build, is_as_built};
use crate::census::Census;
use crate::latches::Latched;
use crate::observed::{Claim, Live, Observed, Pod, Probe, Silence};
use crate::plan::{Plan, Reason, Step, plan};
use crate::testing::{answering, blank, cluster, id, latch_status, member, pod, record};
use crate::validate::Cluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use schedia_api::{AddLearner, Joint, Reset, Role};
use schedia_apps::cluster::{Member, Record};
use schedia_apps::{ClusterId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A volume claim and what is on its disk.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    claim: String,
    store: String,
    pub(super) identity: Option<(ClusterId, NodeId)>,
    /// Whether the claim is being deleted: it goes with its pod.
    going: bool,
}

/// The raft group of one cluster id: what a majority has agreed on.
#[derive(Clone, Debug)]
pub(super) struct Raft {
    pub(super) id: ClusterId,
    pub(super) record: Record,
    /// The voters being left, while a change is open.
    old: BTreeSet<NodeId>,
    removed: BTreeSet<NodeId>,
    /// Learners that have not caught up.
    lagging: BTreeSet<NodeId>,
    /// Who leads, if it can.
    favourite: Option<NodeId>,
    /// The last id given out.
    ids: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct World {
    /// What the spec asks for, and what it ever asked for.
    pub(super) replicas: u32,
    asked: BTreeSet<u32>,
    /// The latches in the status, and how often it was written.
    pub(super) status: Latched,
    pub(super) status_version: u64,
    pub(super) set: Option<Rc<StatefulSet>>,
    pub(super) set_version: u64,
    pub(super) running: BTreeSet<u32>,
    pub(super) silent: BTreeSet<u32>,
    pub(super) disks: BTreeMap<u32, Disk>,
    disks_made: u32,
    /// Every cluster that was ever initialized.
    pub(super) rafts: Vec<Raft>,
    fresh: u32,
}

/// What an operator saw, and the versions of what it may write.
#[derive(Clone, Debug)]
pub(super) struct View {
    cluster: Cluster,
    observed: Observed,
    pub(super) status_version: u64,
    pub(super) set_version: u64,
}

/// Where a pass ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    AfterApply,
    AfterStep,
    Nowhere,
}

/// What a pass makes of a view.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    pub(super) plan: Plan,
    census: Census,
    set: StatefulSet,
    /// Whether the live StatefulSet is not that one.
    differs: bool,
}

impl Decided {
    /// Where a pass may end so that it makes a difference.
    pub(super) fn cuts(&self) -> Vec<Cut> {
        let Decided { plan, differs, .. } = self;
        let step = plan.step_now();
        let applies = plan.apply && *differs;
        let mut cuts = Vec::new();
        if applies && step.is_some() {
            cuts.push(Cut::AfterApply);
        }
        // Of what a step did only the latches are written to the status.
        if matches!(step, Some(Step::Latch(_))) {
            cuts.push(Cut::AfterStep);
        }
        cuts.push(Cut::Nowhere);
        cuts
    }
}

impl View {
    pub(super) fn decide(&self, fresh: &ClusterId) -> Decided {
        let View { cluster, observed, .. } = self;
        let census = Census::of(cluster, observed);
        let built = build(cluster, &census, &observed.live);
        let plan = plan(cluster, observed, &census, &built, fresh);
        let differs = !is_as_built(observed.live.stateful_set.as_ref(), &built.stateful_set);
        Decided { plan, census, set: built.stateful_set, differs }
    }
}

impl World {
    pub(super) fn new(replicas: u32) -> World {
        World { replicas, asked: [1, replicas].into(), ..World::default() }
    }

    pub(super) fn view(&self) -> View {
        let mut cluster = cluster(self.replicas);
        latch_status(&mut cluster, &self.status);
        let pods = self.running.iter().map(|ordinal| (*ordinal, self.pod(*ordinal))).collect();
        let live = Live { stateful_set: self.set.as_deref().cloned(), ..Live::default() };
        // Younger than the resource, all of them.
        let created = cluster.created + SignedDuration::from_secs(1);
        let claims = self.disks.iter().map(|(ordinal, disk)| (*ordinal, disk.claim(created))).collect();
        let observed = Observed { live, pods, claims, record: self.probe(), now: Timestamp::default() };
        View { cluster, observed, status_version: self.status_version, set_version: self.set_version }
    }

    fn pod(&self, ordinal: u32) -> Pod {
        let disk = &self.disks[&ordinal];
        if self.silent.contains(&ordinal) {
            return Pod { node: Err(Silence("cut off".to_owned())), ..pod(ordinal) };
        }
        let name = format!("demo-{ordinal}");
        let Some((id, node)) = &disk.identity else { return answering(ordinal, blank(&name, &disk.store)) };
        let nothing = record(0, &[], &[], false);
        let raft = self.rafts.iter().find(|raft| &raft.id == id);
        let known = raft.map(|raft| &raft.record).filter(|record| record.members.contains_key(node));
        let leader = raft.and_then(|raft| self.leader(raft));
        let mut status = member(&name, &disk.store, id, *node, known.unwrap_or(&nothing), leader);
        let Some(raft) = raft else { return answering(ordinal, status) };
        if raft.removed.contains(node) {
            status.role = Role::Retired;
        }
        let shard = &mut status.shards[0];
        for (id, lag) in &mut shard.lag {
            *lag = if raft.lagging.contains(id) { 5_000 } else { 0 };
        }
        if !raft.old.is_empty() && known.is_some() {
            shard.membership.joint = Some(Joint { old: raft.old.clone(), new: raft.record.voters.clone() });
        }
        answering(ordinal, status)
    }

    fn runs(&self, raft: &Raft, node: NodeId) -> bool {
        self.running.iter().any(|ordinal| self.disks[ordinal].identity == Some((raft.id.clone(), node)))
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
    pub(super) fn pass(&mut self, view: &View, cut: Cut) -> Plan {
        self.fresh += 1;
        let decided = view.decide(&id(&format!("c{}", self.fresh)));
        self.perform(view, &decided, cut);
        decided.plan
    }

    /// What a pass does with what it has decided.
    pub(super) fn perform(&mut self, view: &View, decided: &Decided, cut: Cut) {
        let Decided { plan, census, set, differs } = decided;
        assert!(!plan.resize || plan.step_now().is_none(), "two mutations in one pass: {plan:#?}");
        let overtaken = plan.apply && *differs && !self.apply(view, set.clone());
        if overtaken || cut == Cut::AfterApply {
            return;
        }
        let mut latched = census.latched();
        if let Some(step) = plan.step_now() {
            let done = self.carry_out(step, view, census);
            if let (Step::Latch(new), true) = (step, done) {
                latched = new.clone();
            }
        }
        // The status is written with the version it was read with.
        if cut == Cut::Nowhere && view.status_version == self.status_version && self.status != latched {
            self.status = latched;
            self.status_version += 1;
        }
    }

    /// Writes under the version that was seen, or over whatever is there if nothing was seen.
    fn apply(&mut self, view: &View, built: StatefulSet) -> bool {
        let seen = view.observed.live.stateful_set.is_some();
        let written = !seen || view.set_version == self.set_version;
        if written {
            if seen {
                self.check_pods_may_go(self.size(), size_of(&built));
            }
            self.set_version += 1;
            self.set = Some(Rc::new(built));
        }
        written
    }

    pub(super) fn size(&self) -> u32 {
        self.set.as_deref().map_or(0, size_of)
    }

    fn check_pods_may_go(&self, from: u32, to: u32) {
        for ordinal in to..from {
            let votes = self.disks.get(&ordinal).is_some_and(|disk| self.votes(disk));
            assert!(!votes, "demo-{ordinal} votes and loses its pod: {self:#?}");
        }
    }

    /// Members without a vote are another matter: an operator that was overtaken may take the pod of one that another operator has
    /// just added. It costs nobody a vote, and the next pass brings the pod back.
    fn votes(&self, disk: &Disk) -> bool {
        let Some((id, node)) = &disk.identity else { return false };
        let raft = self.rafts.iter().find(|raft| &raft.id == id);
        raft.is_some_and(|raft| raft.record.voters.contains(node) || raft.old.contains(node))
    }

    fn is_member(&self, disk: &Disk) -> bool {
        let Some((id, node)) = &disk.identity else { return false };
        let raft = self.rafts.iter().find(|raft| &raft.id == id);
        raft.is_some_and(|raft| raft.record.members.contains_key(node) || raft.old.contains(node))
    }

    fn carry_out(&mut self, step: &Step, view: &View, census: &Census) -> bool {
        let View { cluster, observed, set_version, .. } = view;
        match step {
            Step::Latch(latched) => {
                if observed.live.stateful_set.is_none() || *set_version != self.set_version {
                    return false;
                }
                let built = build(cluster, &census.latching(latched), &observed.live).stateful_set;
                is_as_built(observed.live.stateful_set.as_ref(), &built) || self.apply(view, built)
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
            Step::Reset { pod, verb } => self.reset(pod, verb),
            Step::AddLearner { verb, .. } => self.add_learner(verb),
            Step::TransferLeader { verb, .. } => {
                let Some(raft) = self.rafts.first() else { return false };
                let can = raft.record.voters.contains(&verb.to) && self.runs(raft, verb.to);
                let lags = raft.lagging.contains(&verb.to);
                if can && !lags {
                    self.rafts[0].favourite = Some(verb.to);
                }
                can && !lags
            }
            Step::SetVoters { verb, .. } | Step::Settle { verb, .. } => {
                if self.rafts.first().is_some_and(|raft| raft.record.voters == verb.voters) {
                    return true;
                }
                self.change(verb.expected, |raft| {
                    assert!(verb.voters.iter().all(|id| raft.record.members.contains_key(id)));
                    raft.old = std::mem::replace(&mut raft.record.voters, verb.voters.clone());
                })
            }
            Step::RemoveMember { verb, .. } => self.change(verb.expected, |raft| {
                assert!(!raft.record.voters.contains(&verb.node_id), "a voter is removed");
                raft.record.members.remove(&verb.node_id).unwrap();
                raft.lagging.remove(&verb.node_id);
                raft.removed.insert(verb.node_id);
            }),
            Step::DeleteClaim { claim, uid, .. } => {
                let ordinal = claim.strip_prefix("data-demo-").unwrap().parse().unwrap();
                let Some(disk) = self.disks.get(&ordinal).filter(|disk| &disk.claim == uid) else {
                    return false;
                };
                assert!(!self.votes(disk), "{claim} is a voter's: {self:#?}");
                self.disks.get_mut(&ordinal).unwrap().going = true;
                true
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
        self.rafts.push(Raft {
            id: cluster_id.clone(),
            record: record(1, &[(1, ordinal)], &[1], true),
            old: BTreeSet::new(),
            removed: BTreeSet::new(),
            lagging: BTreeSet::new(),
            favourite: None,
            ids: 1,
        });
    }

    fn add_learner(&mut self, verb: &AddLearner) -> bool {
        let AddLearner { node_id, name, address, http_url, store_id, expected } = verb.clone();
        if let Some(raft) = self.rafts.first().filter(|raft| raft.removed.contains(&node_id)) {
            let verb = Reset { cluster_id: raft.id.clone(), node_id, store_id: store_id.unwrap() };
            return self.reset(&name, &verb);
        }
        self.change(expected, |raft| {
            let member = Member { id: node_id, name, address, http_url, store_id };
            let before = raft.record.members.insert(node_id, member);
            assert_eq!(before, None, "added twice");
            raft.lagging.insert(node_id);
        })
    }

    /// Moves the disk's content aside, unless the leader knows its id as a member's.
    fn reset(&mut self, pod: &str, verb: &Reset) -> bool {
        let Some(ordinal) = self.on_disk(pod, verb.store_id.as_str()) else { return false };
        if self.is_member(&self.disks[&ordinal]) || !self.rafts.iter().any(|raft| self.has_quorum(raft)) {
            return false;
        }
        self.disks_made += 1;
        let disk = self.disks.get_mut(&ordinal).unwrap();
        (disk.identity, disk.store) = (None, format!("disk-{}", self.disks_made));
        true
    }

    fn on_disk(&self, pod: &str, store: &str) -> Option<u32> {
        let ordinal = pod.strip_prefix("demo-")?.parse().ok()?;
        (self.running.contains(&ordinal) && self.disks[&ordinal].store == store).then_some(ordinal)
    }

    pub(super) fn edit(&mut self, replicas: u32) {
        self.replicas = replicas;
        self.asked.insert(replicas);
    }

    pub(super) fn scale_set(&mut self, replicas: u32) {
        if let Some(spec) = self.set.as_mut().and_then(|set| Rc::make_mut(set).spec.as_mut()) {
            spec.replicas = i32::try_from(replicas).ok();
            self.set_version += 1;
        }
    }

    pub(super) fn lose_disk(&mut self, ordinal: u32) {
        self.disks.remove(&ordinal);
        self.running.remove(&ordinal);
    }

    /// What always holds.
    pub(super) fn check(&self) {
        let ids: BTreeSet<_> = self.rafts.iter().map(|raft| &raft.id).collect();
        assert!(ids.len() <= 1, "two clusters: {ids:?}");
        for raft in &self.rafts {
            let Raft { record, old, removed, .. } = raft;
            for voters in [&record.voters, old] {
                let count = voters.len() as u32;
                assert!(count == 0 || self.asked.contains(&count), "{count} voters of {:?}", self.asked);
            }
            let stores: BTreeSet<_> = record.members.values().filter_map(|m| m.store_id.as_ref()).collect();
            let known = record.members.values().filter(|member| member.store_id.is_some()).count();
            assert_eq!(stores.len(), known, "two members on one disk");
            assert!(record.members.keys().all(|id| !removed.contains(id)), "an id was used again");
        }
        let identities: Vec<_> = self.disks.values().filter_map(|disk| disk.identity.as_ref()).collect();
        let distinct: BTreeSet<_> = identities.iter().collect();
        assert_eq!(identities.len(), distinct.len(), "two disks of one id");
    }

    /// What holds as long as nothing but the operator takes pods away.
    pub(super) fn check_quorum(&self) {
        for raft in &self.rafts {
            assert!(self.has_quorum(raft), "the committed set has no healthy quorum: {self:#?}");
        }
    }

    /// Nothing more goes wrong: how many passes until Ready?
    pub(super) fn calm(&mut self) -> usize {
        self.silent.clear();
        for pass in 0..120 {
            let plan = self.calm_pass();
            self.check();
            if self.is_done(&plan) {
                return pass;
            }
        }
        panic!("not Ready after 120 passes: {:#?}\n{self:#?}", self.view().decide(&id("unused")).plan);
    }

    /// Everybody does what there is to do, then a pass.
    pub(super) fn calm_pass(&mut self) -> Plan {
        self.kubernetes();
        self.catch_up();
        self.settle();
        let view = self.view();
        self.pass(&view, Cut::Nowhere)
    }

    pub(super) fn is_done(&self, plan: &Plan) -> bool {
        let done =
            plan.reason == Reason::Ready && plan.step.is_none() && !plan.resize && self.due().is_empty();
        if done {
            let record = &self.rafts[0].record;
            assert_eq!(record.voters.len() as u32, self.replicas);
            assert_eq!(record.members.len() as u32, self.replicas, "a member is left over");
            assert_eq!(self.running.len() as u32, self.replicas, "a pod is left over");
            assert!(self.disks.keys().all(|ordinal| *ordinal < self.replicas), "a volume is left over");
        }
        done
    }

    /// Nothing more is written.
    pub(super) fn assert_stable(&mut self) {
        let (set, status) = (self.set_version, self.status_version);
        for _ in 0..3 {
            let plan = self.calm_pass();
            assert_eq!((plan.reason, plan.step), (Reason::Ready, None));
        }
        let after = (self.set_version, self.status_version);
        assert_eq!(after, (set, status), "something was written though nothing changed");
    }

    /// Everything that decides what can happen next, but the versions.
    pub(super) fn key(&self) -> String {
        let World { replicas, status, set, running, silent, disks, rafts, .. } = self;
        let set = set.as_ref().map(|set| (size_of(set), set.status.is_some(), &set.metadata.annotations));
        let rafts: Vec<_> = rafts
            .iter()
            .map(|raft| {
                let Raft { id: _, record, old, removed, lagging, favourite, ids } = raft;
                let members: Vec<_> = record.members.iter().map(|(id, member)| (id, &member.name)).collect();
                let record = (record.generation, record.settled, members, &record.voters);
                (record, old, removed, lagging, favourite, ids)
            })
            .map(|raft| format!("{raft:?}"))
            .collect();
        let disks: Vec<_> = disks
            .iter()
            .map(|(o, d)| (o, &d.claim, &d.store, d.identity.as_ref().map(|i| i.1), d.going))
            .collect();
        format!("{replicas} {status:?} {set:?} {running:?} {silent:?} {disks:?} {rafts:?}")
    }
}

impl Disk {
    fn claim(&self, created: Timestamp) -> Claim {
        Claim { uid: self.claim.clone(), created, terminating: self.going, labelled: true }
    }
}

fn size_of(set: &StatefulSet) -> u32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0) as u32
}
