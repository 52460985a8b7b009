//! Clusters of real `schedia serve` processes on this machine, and faults for them.
//!
//! [`Cluster`] forms and finds, [`Node`] is one process with its directory, [`SmallDisk`] what fills up under it, [`Clock`] the time
//! that it is told, [`binary`] the program they run.
//!
//! Every cluster has loopback addresses of its own (127.x.y.n): a killed node's port is then taken by nobody else
//! until the node returns, and tests run side by side.
//!
//! Invariants:
//! * No process outlives its [`Cluster`].
//! * A failed test keeps the directory and shows the end of every log.

pub mod binary;
mod clock;
mod cluster;
mod node;
mod small_disk;
mod tokens;

pub use clock::Clock;
pub use cluster::{Cluster, applied};
pub use node::{Node, resident_bytes};
pub use small_disk::SmallDisk;
pub use tokens::{TOKEN, auth_config};
