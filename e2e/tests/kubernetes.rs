//! The product on a real Kubernetes: whichever `KUBECONFIG` names. Numbers in brackets are those of the scenarios that
//! the operator was designed against.
//!
//! Run by `cargo verify` on a cluster of its own; by hand: `cargo test --test kubernetes`.

// Helpers of tests are tests: their panic is the message.
#![allow(clippy::unwrap_used)]

#[path = "kubernetes/api.rs"]
mod api;
#[path = "kubernetes/chart.rs"]
mod chart;
#[path = "kubernetes/crashes.rs"]
mod crashes;
#[path = "kubernetes/deletion.rs"]
mod deletion;
#[path = "kubernetes/demo.rs"]
mod demo;
#[path = "kubernetes/faults.rs"]
mod faults;
#[path = "kubernetes/life.rs"]
mod life;
#[path = "kubernetes/scaling.rs"]
mod scaling;
#[path = "kubernetes/turns.rs"]
mod turns;
