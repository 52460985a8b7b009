//! Random histories.

use super::world::{Cut, View, World};
use crate::latches::Latched;
use crate::plan::Step;
use crate::testing::id;
use proptest::prelude::*;
use schedia_apps::NodeId;
use std::rc::Rc;

#[derive(Clone, Debug)]
enum Op {
    Pass(Cut),
    /// A pass that plans from what was seen this many events ago.
    Stale(usize, Cut),
    Kubernetes,
    Raft,
    CatchUp,
    Favour(u64),
    Edit(u32),
    PodDies(u32),
    Silence(u32),
    Speak,
    WipeStatus,
    WipeAnnotations,
    DeleteSet,
    ScaleSet(u32),
    LoseDisk(u32),
}

fn happen(world: &mut World, op: &Op, history: &[View]) {
    let view = world.view();
    match op {
        Op::Pass(cut) => drop(world.pass(&view, *cut)),
        Op::Stale(ago, cut) => {
            let seen = history.len().checked_sub(1 + ago % 8).map_or(&view, |at| &history[at]).clone();
            drop(world.pass(&seen, *cut));
        }
        Op::Kubernetes => world.kubernetes(),
        Op::Raft => world.settle(),
        Op::CatchUp => world.catch_up(),
        Op::Favour(node) => world.favour(NodeId(*node)),
        Op::Edit(replicas) => world.edit(*replicas),
        Op::PodDies(ordinal) => drop(world.running.remove(ordinal)),
        Op::Silence(ordinal) => drop(world.silent.insert(*ordinal)),
        Op::Speak => world.silent.clear(),
        Op::WipeStatus => {
            world.status = Latched::default();
            world.status_version += 1;
        }
        Op::WipeAnnotations => {
            if let Some(set) = &mut world.set {
                Rc::make_mut(set).metadata.annotations = None;
                world.set_version += 1;
            }
        }
        Op::DeleteSet => {
            world.set = None;
            world.set_version += 1;
            world.running.clear();
        }
        Op::ScaleSet(replicas) => world.scale_set(*replicas),
        Op::LoseDisk(ordinal) => world.lose_disk(*ordinal),
    }
}

fn run(replicas: u32, ops: &[Op]) -> World {
    let mut world = World::new(replicas);
    history(&mut world, ops);
    world
}

fn history(world: &mut World, ops: &[Op]) {
    let mut history = Vec::new();
    for op in ops {
        history.push(world.view());
        happen(world, op, &history);
        world.check();
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
        2 => Just(Op::CatchUp),
        1 => (1_u64..8).prop_map(Op::Favour),
        1 => (0_u32..5).prop_map(Op::PodDies),
        1 => (0_u32..5).prop_map(Op::Silence),
        1 => Just(Op::Speak),
        1 => Just(wipe),
        1 => (0_u32..6).prop_map(Op::ScaleSet),
    ]
}

/// The same with a spec that is edited meanwhile.
fn edited(status: bool) -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => mishap(status),
        1 => prop::sample::select(vec![1_u32, 3, 5, 7]).prop_map(Op::Edit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_calm_brings_one_whole_cluster(
        replicas in prop::sample::select(vec![1_u32, 3, 5]),
        ops in any::<bool>().prop_flat_map(|status| prop::collection::vec(mishap(status), 0..60)),
    ) {
        let mut world = run(replicas, &ops);
        world.calm();
        prop_assert_eq!(world.rafts.len(), 1);
        prop_assert_eq!(world.rafts[0].record.voters.len() as u32, replicas);
        world.assert_stable();
    }

    #[test]
    fn whatever_was_asked_for_meanwhile_calm_brings_what_was_asked_for_last(
        first in prop::sample::select(vec![1_u32, 3, 5]),
        ops in any::<bool>().prop_flat_map(|status| prop::collection::vec(edited(status), 0..80)),
    ) {
        let mut world = World::new(first);
        world.calm();
        let cluster = world.rafts[0].id.clone();
        history(&mut world, &ops);
        world.calm();
        prop_assert_eq!(&world.rafts[0].id, &cluster);
        world.assert_stable();
    }

    #[test]
    fn a_deleted_stateful_set_comes_back_with_its_latches(
        ops in prop::collection::vec(prop_oneof![5 => mishap(false), 1 => Just(Op::DeleteSet)], 0..60),
    ) {
        // The status is never wiped here: it restores the annotations.
        let mut world = run(3, &ops);
        world.calm();
        prop_assert_eq!(world.rafts.len(), 1);
    }

    #[test]
    fn lost_disks_never_make_a_second_cluster(
        before in prop::collection::vec(mishap(true), 0..30),
        after in prop::collection::vec(prop_oneof![3 => mishap(true), 2 => (0_u32..3).prop_map(Op::LoseDisk)], 0..40),
    ) {
        let mut world = run(3, &before);
        world.calm();
        let first = world.rafts[0].id.clone();
        let mut history = Vec::new();
        for op in &after {
            history.push(world.view());
            happen(&mut world, op, &history);
            world.check();
            let plan = world.view().decide(&id("unused")).plan;
            prop_assert!(!matches!(plan.step, Some(Step::Initialize { .. })), "initialized again");
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
                    ops.extend([Op::Kubernetes, Op::CatchUp, Op::Raft, Op::Pass(cut)]);
                }
                let mut world = run(3, &ops);
                world.calm();
                world.assert_stable();
            }
        }
    }
}

#[test]
fn a_bootstrap_of_three_takes_eleven_passes() {
    let passes = World::new(3).calm();
    assert!(passes <= 11, "{passes}");
}

#[test]
fn recreated_with_fewer_replicas_over_kept_volumes_the_cluster_comes_back_first_and_then_shrinks() {
    let mut recreated = World::new(3);
    recreated.calm();
    (recreated.set, recreated.status) = (None, Latched::default());
    recreated.running.clear();
    recreated.edit(1);
    let before = recreated.rafts[0].id.clone();
    recreated.calm();
    assert_eq!(recreated.rafts[0].id, before);
    assert_eq!(recreated.rafts[0].record.voters, [NodeId(1)].into(), "the seed is in the lowest ordinal");
}
