//! The operator: keeps Kubernetes and the nodes at what a RaftCluster asks for, one careful step at a time.
//!
//! The life of a pass over one cluster ([`controller`]):
//!
//! 1. [`observe`] reads the objects, the pods and each node's own answer, and the cluster record by a linearizable read; live, no cache.
//! 2. [`validate`] turns the resource into a checked [`validate::Cluster`].
//! 3. [`census`] adds the answers up: one identity, one membership, who answers; [`latches`] tells whether a cluster exists.
//! 4. [`build`] renders the objects that should exist.
//! 5. [`plan`] decides, in six questions, on at most one step.
//! 6. [`apply`] writes the objects that differ ([`diff`]).
//! 7. [`carry_out`] does the step: one mutation, with the generation of the record it was planned from.
//! 8. [`status`] says what was seen and done, and is written only if it differs.
//!
//! What wakes a pass: a change of the resource or its objects, a node that has something new to say ([`push`]), time. One process of
//! several acts at a time ([`lease`]). Tests end the process after a chosen effect ([`failpoint`]).
//!
//! Invariants:
//! * validate, census, build, plan, diff and status are pure: they hold no client and see no clock.
//! * A node is initialized only under an intent that was written to two places before.
//! * An absent pod proves nothing about membership, and with the majority gone nothing is changed.

mod api_error;
pub mod apply;
pub mod build;
pub mod carry_out;
pub mod census;
pub mod controller;
pub mod diff;
pub mod events;
pub mod failpoint;
pub mod latches;
pub mod lease;
pub mod members;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod observed;
pub mod plan;
pub mod push;
pub mod server;
pub mod status;
pub mod validate;

#[cfg(test)]
mod testing;
