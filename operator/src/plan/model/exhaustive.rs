//! Every history of 3 -> 5 -> 3: the spec is edited at any moment, each pass may end after any effect or, in the long run (`E2E_FULL`),
//! act on what was seen before the last change; leadership moves between the ends, pods start and stop and volumes go one at a time,
//! learners catch up when they like.
//!
//! In every state: the committed set has a healthy quorum, no voter loses pod or volume, no id and no disk is used twice, a pass does
//! at most one thing. And from every state, left alone, the cluster becomes what was asked for last.

use super::world::{Cut, Decided, View, World};
use crate::testing::id;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// What was seen, and what is decided from it.
struct Sight {
    /// The number of the world that was seen.
    number: u32,
    view: View,
    decided: Rc<Decided>,
}

struct State {
    world: World,
    /// Edits still to come.
    edits: &'static [u32],
    /// What could be seen before the last changes, the newest first.
    seen: Vec<Rc<Sight>>,
}

/// The same key: the same future. Of a version only matters whether it is still the one that was seen.
type Key = (u32, usize, Vec<(u32, bool, bool)>);

struct Search {
    /// How many changes old the view that a pass acts on may be.
    age_max: usize,
    /// Worlds by what they are, numbered.
    numbers: HashMap<String, u32>,
    decided: HashMap<u32, Rc<Decided>>,
    /// Passes until all is as asked for, by world.
    distances: HashMap<u32, usize>,
    transitions: usize,
}

impl Search {
    fn number(&mut self, world: &World) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap();
        *self.numbers.entry(world.key()).or_insert(next)
    }

    fn sight(&mut self, world: &World) -> Rc<Sight> {
        let (number, view) = (self.number(world), world.view());
        let decided =
            self.decided.entry(number).or_insert_with(|| Rc::new(view.decide(&id("unused")))).clone();
        Rc::new(Sight { number, view, decided })
    }

    fn key(&mut self, state: &State) -> Key {
        let State { world, edits, seen } = state;
        let stale = seen.iter().map(|sight| {
            let View { set_version, status_version, .. } = &sight.view;
            (sight.number, *set_version == world.set_version, *status_version == world.status_version)
        });
        (self.number(world), edits.len(), stale.collect())
    }

    /// Left alone: how many passes until everything is as asked for?
    fn distance(&mut self, world: &World) -> usize {
        let mut path = Vec::new();
        let mut world = world.clone();
        let mut rest = loop {
            let number = self.number(&world);
            if let Some(distance) = self.distances.get(&number) {
                break *distance;
            }
            assert!(!path.contains(&number), "goes round in circles: {world:#?}");
            path.push(number);
            world.kubernetes();
            world.catch_up();
            world.settle();
            let sight = self.sight(&world);
            if world.is_done(&sight.decided.plan) {
                break 0;
            }
            world.perform(&sight.view, &sight.decided, Cut::Nowhere);
        };
        for number in path.into_iter().rev() {
            self.distances.insert(number, rest);
            rest += 1;
        }
        rest
    }

    /// Every change that may come next.
    fn successors(&mut self, state: &State) -> Vec<State> {
        let State { world, edits, seen } = state;
        let now = self.sight(world);
        let mut worlds = Vec::new();
        let mut change = |change: &dyn Fn(&mut World)| {
            let mut world = world.clone();
            change(&mut world);
            worlds.push((world, *edits));
        };
        for sight in [&now].into_iter().chain(seen) {
            for cut in sight.decided.cuts() {
                change(&|world| world.perform(&sight.view, &sight.decided, cut));
            }
        }
        for due in world.due() {
            change(&|world| world.kubernetes_does(due));
        }
        for learner in world.behind(0) {
            change(&|world| world.caught_up(learner));
        }
        change(&World::settle);
        let voters = &world.rafts[0].record.voters;
        for voter in voters.first().into_iter().chain(voters.last()) {
            change(&|world| world.favour(*voter));
        }
        if let Some((replicas, rest)) = edits.split_first() {
            let mut edited = world.clone();
            edited.edit(*replicas);
            worlds.push((edited, rest));
        }
        let versions = |world: &World| (world.set_version, world.status_version);
        let changed = |after: &World, number: u32| number != now.number || versions(after) != versions(world);
        let mut next = Vec::new();
        for (after, edits) in worlds {
            let number = self.number(&after);
            if changed(&after, number) {
                let seen = [now.clone()].into_iter().chain(seen.iter().cloned()).take(self.age_max).collect();
                next.push(State { world: after, edits, seen });
            }
        }
        next
    }
}

#[test]
fn every_history_of_three_to_five_to_three_keeps_the_quorum_and_ends_well() {
    let mut world = World::new(3);
    world.calm();
    // An older view for the long run: five times as many states.
    let age_max = if std::env::var_os("E2E_FULL").is_some() { 1 } else { 0 };
    let mut search = Search {
        age_max,
        numbers: HashMap::new(),
        decided: HashMap::new(),
        distances: HashMap::new(),
        transitions: 0,
    };
    let start = State { world, edits: &[5, 3], seen: Vec::new() };
    let mut known = HashSet::from([search.key(&start)]);
    let mut open = vec![start];
    let mut farthest = 0;
    while let Some(state) = open.pop() {
        state.world.check();
        state.world.check_quorum();
        farthest = farthest.max(search.distance(&state.world));
        for next in search.successors(&state) {
            search.transitions += 1;
            if known.insert(search.key(&next)) {
                open.push(next);
            }
        }
    }
    println!(
        "{} states, {} worlds, {} transitions, views up to {age_max} changes old; at most {farthest} passes to go from any",
        known.len(),
        search.numbers.len(),
        search.transitions
    );
}
