//! A local Kubernetes of real parts: etcd, API server, controller manager, scheduler, and workers with containerd,
//! kubelet and kube-proxy each; cluster DNS; volumes on demand. In namespaces of this machine, without images from anywhere.
//!
//! In reading order:
//! * [`cluster`](Cluster): what tests and tools do with it; `up`: how it comes up and goes down; `settings`;
//! * `machine`, `init`: a machine seen from outside, and its process 1;
//! * `daemons`: what runs on it and with which settings; `network`, `cgroup`, `pki`: what it runs in;
//! * `relay`: from a loopback port into the cluster; `fault`: partitions and crashes on purpose;
//! * `programs`, `images`: Go modules and archives, built once into the cache;
//! * `leftovers`: the proof that `down` leaves nothing; `reenter`: how machines outlive the command that started them.
//!
//! Invariants:
//! * The real machine gets no link, address, route, rule, mount or kernel setting, and nothing in /etc, /var, /opt. (With
//!   cgroup v2 the root's list of delegated controllers may grow.)
//! * No process is signalled but those in the cluster's own cgroups or named by a verified pid file.
//! * No image is ever pulled.
//!
//! Not here: NetworkPolicy (the bridge plugin ignores it), LoadBalancer, hostPort, metrics API, volume expansion, packet
//! delay. `docs/local-kubernetes.md` tells why things are as they are.

mod cgroup;
pub(crate) mod client;
mod cluster;
pub(crate) mod daemons;
mod error;
mod fault;
pub(crate) mod images;
pub(crate) mod init;
mod leftovers;
mod machine;
mod network;
mod paths;
mod pki;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod reenter;
mod relay;
mod settings;
mod up;

pub use cluster::Cluster;
pub use error::KubeError;
pub use fault::{DaemonFault, Partition};
pub use leftovers::surroundings;
pub use paths::{Machine, Paths};
pub use programs::{KUBERNETES, Programs};
pub use reenter::reenter;
pub use settings::{Settings, Status};
