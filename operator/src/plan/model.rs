//! A model of the world around the planner: an API server, a StatefulSet controller, disks, and one raft group as its specification.
//!
//! [`world`] is the model; [`random`] runs random histories of passes (some from a stale view, some cut short after an effect) and of
//! mishaps, then calm; [`exhaustive`] walks through **every** history of one scaling up and down. Whatever happened: one cluster at most
//! is ever initialized, its voters are only ever a number that was asked for, no voter loses its pod or its volume, and in calm
//! it becomes Ready and stays so with nothing left to write.

mod exhaustive;
mod random;
mod world;
