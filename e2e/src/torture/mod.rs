//! `cargo torture`: real processes under faults, and the proof that they kept their word.
//!
//! A run is rounds. Each draws its faults from a seed, and is judged before the next one begins:
//! 1. [`world`] has the cluster: processes, a [`network`] between them that can be cut, a spare node;
//! 2. [`client`]s call through all nodes ([`wire`]), [`watcher`]s read every change, [`tasks`] are created and worked at; a [`round`]
//!    remembers it as a [`history`];
//! 3. [`fault`]s begin and end meanwhile, some of them tasks of their own ([`background`]);
//! 4. in peace again the cluster must recover, take writes, and show the same on every node;
//! 5. [`check`] judges the history: linearizability ([`model`]), revisions, watches, tasks.
//!
//! Invariants:
//! * A round holds all it remembers in memory, and nothing of the rounds before.
//! * A violation ends the run, and is kept with all that is needed to look at it again ([`keep`]).

pub mod background;
pub mod check;
pub mod client;
pub mod fault;
pub mod history;
pub mod keep;
pub mod model;
pub mod network;
pub mod round;
mod run;
pub mod tasks;
pub mod watcher;
pub mod wire;
pub mod world;

pub use run::{Run, replay, run};
