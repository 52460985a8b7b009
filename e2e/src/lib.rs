//! A local Kubernetes of real parts, the end-to-end tests' vocabulary, and the project's own tools.
//!
//! The modules in reading order:
//! * [`paths`]: where the workspace, its build and its caches are;
//! * [`preflight`]: what this machine lacks, all of it at once;
//! * [`verify`]: the steps of `cargo verify`, one after another.
//!
//! Invariants:
//! * Nothing here writes to the working tree, except `cargo fixup`.
//! * Nothing here is linked into a product binary.

pub mod paths;
pub mod preflight;
pub mod verify;
