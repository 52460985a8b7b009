//! Where everything lies: the cache of built programs and the state of one cluster, and what its machines are called.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::KubeError;
use crate::image::archive::hex;

/// One machine: a set of namespaces under one process 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Machine {
    /// The network switch: a bridge in a network namespace of its own.
    Switch,
    /// etcd, API server, controller manager, scheduler.
    ControlPlane,
    /// A worker, counted from 1.
    Node(u8),
    /// A container engine, which is on no switch: a "cluster" of this one machine ([`crate::engine`]).
    Engine,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Machine::Switch => f.write_str("switch"),
            Machine::ControlPlane => f.write_str("control-plane"),
            Machine::Node(i) => write!(f, "node-{i}"),
            Machine::Engine => f.write_str("engine"),
        }
    }
}

impl FromStr for Machine {
    type Err = String;

    fn from_str(text: &str) -> Result<Machine, String> {
        match text {
            "switch" => Ok(Machine::Switch),
            "control-plane" | "cp" => Ok(Machine::ControlPlane),
            "engine" => Ok(Machine::Engine),
            _ => match text.strip_prefix("node-").unwrap_or(text).parse() {
                Ok(i) if i > 0 => Ok(Machine::Node(i)),
                _ => Err(format!("no machine is called {text}: say control-plane, or a node by its number")),
            },
        }
    }
}

/// The directories of one cluster, found by its name.
#[derive(Debug, Clone)]
pub struct Paths {
    name: String,
    cache: PathBuf,
    clusters: PathBuf,
}

impl Paths {
    /// In the project's cache; the clusters' state is below it, or in `$E2E_STATE`.
    pub fn new(name: &str) -> Result<Paths, KubeError> {
        let cache = std::path::absolute(crate::paths::cache()).map_err(KubeError::io("find", "the cache"))?;
        let clusters = std::env::var_os("E2E_STATE").map_or_else(|| cache.join("clusters"), PathBuf::from);
        Paths::at(name, cache, clusters)
    }

    /// The same with the directories given.
    pub fn at(name: &str, cache: PathBuf, clusters: PathBuf) -> Result<Paths, KubeError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 20 || !name.chars().all(fits) {
            return Err(KubeError::Refused(format!(
                "a cluster's name is 1 to 20 of a-z, 0-9 and '-', which this is not: {name}"
            )));
        }
        // Each machine has overlays over these: its own state cannot lie in what it overlays.
        for below in ["/etc", "/var", "/opt", "/run", "/proc", "/sys"] {
            if clusters.starts_with(below) {
                return Err(KubeError::Refused(format!(
                    "the clusters' state must not lie under {below}, set E2E_STATE: {}",
                    clusters.display()
                )));
            }
        }
        Ok(Paths { name: name.to_owned(), cache, clusters })
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Programs and images, shared by all clusters and clones.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The parent of all clusters' state directories.
    pub fn clusters(&self) -> &Path {
        &self.clusters
    }

    /// Everything this cluster writes, removed by `down`.
    pub fn state(&self) -> PathBuf {
        self.clusters.join(&self.name)
    }

    /// For clients on this machine, through the relay.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state().join("admin.conf")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.state().join("pki")
    }

    pub(crate) fn relays(&self) -> PathBuf {
        self.state().join("relays")
    }

    pub(crate) fn machine(&self, machine: Machine) -> PathBuf {
        self.state().join(machine.to_string())
    }

    pub(crate) fn log(&self, machine: Machine, daemon: &str) -> PathBuf {
        self.machine(machine).join(format!("{daemon}.log"))
    }

    /// Names the cluster's cgroup: unlike the name, it differs between state directories.
    pub(crate) fn cgroup(&self) -> String {
        let hash = Sha256::digest(self.clusters.as_os_str().as_encoded_bytes());
        format!("schedia-{}-{}", self.name, hex(&hash[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_that_a_machine_would_overlay_is_refused() {
        let at = |dir: &str| Paths::at("x", PathBuf::from("/c"), PathBuf::from(dir));
        assert!(at("/var/lib/x").is_err());
        assert!(at("/home/me/.cache/schedia/clusters").is_ok());
    }

    #[test]
    fn two_state_directories_never_share_a_cgroup() {
        let at = |dir: &str| Paths::at("x", PathBuf::from("/c"), PathBuf::from(dir)).expect("paths").cgroup();
        assert_ne!(at("/a"), at("/b"));
    }

    #[test]
    fn machines_are_named_as_people_name_them() {
        assert_eq!("3".parse(), Ok(Machine::Node(3)));
        assert_eq!("node-3".parse(), Ok(Machine::Node(3)));
        assert_eq!("cp".parse(), Ok(Machine::ControlPlane));
        assert!("0".parse::<Machine>().is_err());
        for machine in [Machine::Switch, Machine::ControlPlane, Machine::Node(7), Machine::Engine] {
            assert_eq!(machine.to_string().parse(), Ok(machine));
        }
    }
}
