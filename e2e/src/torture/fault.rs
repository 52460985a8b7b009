//! Faults: what is done to a cluster, and how it is undone.
//!
//! Invariants:
//! * Every fault ends: what was killed runs again, what was cut is whole.
//! * A fault that finds nothing to do (no leader, all frozen) does nothing, and is not counted.

use super::background::{self, Background};
use super::network::{Trouble, Way};
use super::world::World;
use crate::process::SmallDisk;
use clap::ValueEnum;
use std::time::Duration;

/// What is done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// kill -9 of the leader, restarted later.
    KillLeader,
    /// kill -9 of another node.
    KillFollower,
    /// kill -9 of all nodes at once.
    KillAll,
    /// SIGTERM of a node, which hands over what it can, and is started again later.
    Terminate,
    /// SIGSTOP of the leader, SIGCONT later.
    FreezeLeader,
    /// SIGSTOP of another node.
    FreezeFollower,
    /// The leader is cut off from all others, both ways.
    CutLeader,
    /// A minority is cut off from the rest.
    CutMinority,
    /// One node hears the others, but is not heard; or is heard and hears nobody.
    CutOneWay,
    /// Two nodes cannot reach each other, all others can.
    CutLink,
    /// Connections of one node are reset and refused.
    Refuse,
    /// Everything between the nodes takes its time.
    SlowNetwork,
    /// All connections between the nodes break, again and again.
    Resets,
    /// Nothing more fits on the disk of one node.
    FullDisk,
    /// Others write and sync on the same disk.
    BusyDisk,
    /// All nodes make snapshots and purge their logs, again and again.
    Snapshots,
    /// All nodes copy their state files and put the copies in force, again and again.
    Defragment,
    /// A follower is cut off until the others have written and purged more than the log keeps: it returns by a snapshot, often over
    /// connections that break.
    LeftBehind,
    /// Leadership is handed to another node, again and again.
    Transfers,
    /// A node is added, another one removed and reset, again and again.
    Members,
    /// The wall clock of one node leaps by an hour or by two days, forward or back, and returns.
    ClockLeaps,
    /// The wall clock of one node leaps by three seconds, to and fro.
    ClockFlaps,
}

impl Kind {
    /// Whether it is done to a clock: not every program believes one that is made for it.
    pub fn is_of_a_clock(self) -> bool {
        matches!(self, Kind::ClockLeaps | Kind::ClockFlaps)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().expect("no kind is hidden").get_name())
    }
}

/// A fault that has begun.
pub struct Fault {
    /// Which.
    pub kind: Kind,
    /// To whom, for a person.
    pub what: String,
    undo: Undo,
}

enum Undo {
    Start(Vec<usize>),
    Restart(usize),
    Thaw(Vec<usize>),
    Free(Vec<Way>),
    MakeRoom(usize),
    Background(Background),
}

impl Fault {
    /// Begins a fault; none, if there is nothing to do it to.
    pub async fn begin(kind: Kind, world: &mut World, random: &mut fastrand::Rng) -> Option<Fault> {
        let running: Vec<usize> = places(world, |world, place| world.cluster.nodes[place].is_running());
        let leader = world.leader().await.filter(|leader| running.contains(leader));
        let follower =
            random.choice(running.iter().copied().filter(|place| Some(*place) != leader).collect::<Vec<_>>());
        let (target, undo) = match kind {
            Kind::KillLeader => kill(world, vec![leader?]),
            Kind::KillFollower => kill(world, vec![follower?]),
            Kind::KillAll => kill(world, running),
            Kind::Terminate => {
                let place = if random.bool() { leader? } else { follower? };
                world.cluster.nodes[place].ask_to_end();
                (vec![place], Undo::Restart(place))
            }
            Kind::FreezeLeader => freeze(world, vec![leader?]),
            Kind::FreezeFollower => freeze(world, vec![follower?]),
            Kind::CutLeader => cut(world, world.both_ways(&[leader?]), Trouble::Silent),
            Kind::CutMinority => {
                let mut places: Vec<usize> = (0..world.cluster.nodes.len()).collect();
                random.shuffle(&mut places);
                places.truncate((world.voters - 1) / 2);
                cut(world, world.both_ways(&places), Trouble::Silent)
            }
            Kind::CutOneWay => {
                let place = if random.bool() { leader? } else { follower? };
                let hears = random.bool();
                let ways = world.both_ways(&[place]).into_iter().filter(|way| (way.0 == place) == hears);
                cut(world, ways.collect(), Trouble::Silent)
            }
            Kind::CutLink => {
                let (one, other) = (leader?, follower?);
                cut(world, vec![(one, other), (other, one)], Trouble::Silent)
            }
            Kind::Refuse => {
                let place = if random.bool() { leader? } else { follower? };
                cut(world, world.both_ways(&[place]), Trouble::Refused)
            }
            Kind::SlowNetwork => {
                let pause = Duration::from_millis(random.u64(2..80));
                cut(world, world.all_ways(), Trouble::Slow(pause))
            }
            Kind::FullDisk => {
                // A member, since a blank node has no file yet that could be full.
                let (place, _) = random.choice(world.members().await)?;
                let node = &world.cluster.nodes[place];
                SmallDisk::FileSize.fill(node.pid(), node.data_dir());
                (vec![place], Undo::MakeRoom(place))
            }
            Kind::LeftBehind => {
                let members = world.members().await.into_iter().map(|(place, _)| place);
                let place =
                    random.choice(members.filter(|place| Some(*place) != leader).collect::<Vec<_>>())?;
                let ways = world.both_ways(&[place]);
                (vec![place], Undo::Background(background::left_behind(world, place, ways, random)?))
            }
            Kind::ClockLeaps | Kind::ClockFlaps => {
                let place = if random.bool() { leader? } else { follower? };
                (vec![place], Undo::Background(background::clock(kind, world, place, random)?))
            }
            Kind::Resets
            | Kind::BusyDisk
            | Kind::Snapshots
            | Kind::Defragment
            | Kind::Transfers
            | Kind::Members => (Vec::new(), Undo::Background(background::begin(kind, world, random)?)),
        };
        let names: Vec<&str> = target.iter().map(|place| world.cluster.nodes[*place].name.as_str()).collect();
        Some(Fault { kind, what: format!("{kind} {}", names.join(" ")).trim_end().to_owned(), undo })
    }

    /// Ends it. Hands back what still has to come to its own end.
    pub fn end(self, world: &mut World) -> Option<Background> {
        match self.undo {
            Undo::Start(places) => places.into_iter().for_each(|place| {
                if !world.cluster.nodes[place].is_running() {
                    world.restart(place);
                }
            }),
            Undo::Restart(place) => {
                world.cluster.nodes[place].kill();
                world.restart(place);
            }
            Undo::Thaw(places) => places.into_iter().for_each(|place| {
                if world.cluster.nodes[place].is_running() {
                    world.cluster.nodes[place].thaw();
                }
            }),
            Undo::Free(ways) => world.network.free(&ways),
            Undo::MakeRoom(place) => {
                let node = &world.cluster.nodes[place];
                if node.is_running() {
                    SmallDisk::FileSize.make_room(node.pid(), node.data_dir());
                }
            }
            Undo::Background(background) => {
                background.stop();
                return Some(background);
            }
        }
        None
    }
}

fn places(world: &World, is: impl Fn(&World, usize) -> bool) -> Vec<usize> {
    (0..world.cluster.nodes.len()).filter(|place| is(world, *place)).collect()
}

fn kill(world: &mut World, places: Vec<usize>) -> (Vec<usize>, Undo) {
    places.iter().for_each(|place| world.cluster.nodes[*place].kill());
    (places.clone(), Undo::Start(places))
}

fn freeze(world: &mut World, places: Vec<usize>) -> (Vec<usize>, Undo) {
    places.iter().for_each(|place| world.cluster.nodes[*place].freeze());
    (places.clone(), Undo::Thaw(places))
}

fn cut(world: &mut World, ways: Vec<Way>, trouble: Trouble) -> (Vec<usize>, Undo) {
    world.network.trouble(&ways, trouble);
    let mut places: Vec<usize> = ways.iter().map(|way| way.0).collect();
    places.sort_unstable();
    places.dedup();
    (places, Undo::Free(ways))
}
