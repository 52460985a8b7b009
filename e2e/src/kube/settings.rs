//! How a cluster is to be, and how it is.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{KubeError, Machine, Paths};

/// As many as there are digits: node addresses and switch ports are made from them.
pub(crate) const NODES_MAX: u8 = 9;

/// How a cluster is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Workers, 1 to 9.
    pub nodes: u8,
    /// Loopback port of the API server; 0 picks a free one.
    pub api_port: u16,
    /// If given, each node's volumes lie on a file system of this size, so that they can be filled up.
    pub volumes_mib: Option<u32>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { nodes: 3, api_port: 0, volumes_mib: None }
    }
}

impl Settings {
    fn file(paths: &Paths) -> PathBuf {
        paths.state().join("settings.json")
    }

    /// Those of the cluster that is up, or was.
    pub(crate) fn read(paths: &Paths) -> Result<Settings, KubeError> {
        let text = fs::read(Settings::file(paths)).map_err(|_| KubeError::NotUp(paths.name().to_owned()))?;
        serde_json::from_slice(&text).map_err(KubeError::api("read the cluster's settings"))
    }

    pub(crate) fn write(&self, paths: &Paths) -> Result<(), KubeError> {
        let file = Settings::file(paths);
        let text = serde_json::to_vec(self).map_err(KubeError::api("write the cluster's settings"))?;
        fs::write(&file, text).map_err(KubeError::io("write", file))
    }

    /// Every machine, in the order of their start.
    pub(crate) fn machines(&self) -> Vec<Machine> {
        [Machine::Switch, Machine::ControlPlane]
            .into_iter()
            .chain((1..=self.nodes).map(Machine::Node))
            .collect()
    }
}

/// What is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether `up` got to its end.
    pub up: bool,
    /// Each machine and the pid of its process 1, if it runs.
    pub machines: Vec<(Machine, Option<i32>)>,
    /// The nodes that Kubernetes calls Ready; none if the API server does not answer.
    pub ready: Vec<String>,
    /// Published loopback ports by name; `api` is the API server's.
    pub ports: Vec<(String, u16)>,
}

impl Status {
    /// Up, every machine running, every node Ready.
    pub fn is_whole(&self) -> bool {
        let nodes = self.machines.iter().filter(|(machine, _)| matches!(machine, Machine::Node(_))).count();
        self.up && self.machines.iter().all(|(_, pid)| pid.is_some()) && self.ready.len() == nodes
    }
}
