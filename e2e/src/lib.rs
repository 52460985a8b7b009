//! A local Kubernetes of real parts, the end-to-end tests' vocabulary, and the project's own tools.
//!
//! The modules in reading order:
//! * [`paths`]: where the workspace, its build and its caches are;
//! * [`preflight`]: what this machine lacks, all of it at once;
//! * [`image`]: the container image, made without a container engine;
//! * [`kube`]: a local Kubernetes of real parts, in namespaces of this machine;
//! * [`engine`]: a container engine of its own, for `deploy/compose.yaml`;
//! * [`kind`]: kind, on this machine's engine or on that;
//! * [`verify`]: the steps of `cargo verify`, one after another;
//! * [`generated`]: the files of the tree that are made from others;
//! * [`chart`]: the Helm chart, installed;
//! * [`demo`]: the steps of `cargo demo`;
//! * [`figures`]: what this machine reaches;
//! * [`wait`]: a condition and a deadline;
//! * [`metrics`]: numbers of what a process exports;
//! * [`process`]: clusters of real `schedia serve` processes, and faults for them;
//! * [`mod@bench`]: clusters measured beside each other, as ratios;
//! * [`fuzz`]: a fuzzer that works from OpenAPI documents;
//! * [`decoders`]: a fuzzer that counts coverage, for every decoder of a node;
//! * [`load`]: writers that remember every answer, and the check of each at the end;
//! * [`torture`]: the same processes under every fault, judged by a linearizability checker;
//! * [`namespace`]: a namespace of a Kubernetes for one test.
//!
//! Invariants:
//! * Nothing here writes to the working tree, except `cargo fixup`, and `cargo fuzz-all --keep`.
//! * Nothing here is linked into a product binary.

pub mod bench;
pub mod chart;
pub mod decoders;
pub mod demo;
pub mod engine;
pub mod figures;
pub mod fuzz;
pub mod generated;
pub mod image;
pub mod kind;
pub mod kube;
pub mod load;
pub mod metrics;
pub mod namespace;
pub mod paths;
pub mod preflight;
pub mod process;
pub mod torture;
pub mod verify;
pub mod wait;
