//! A container engine of its own: dockerd as the only machine of a "cluster", and docker and compose as its clients.
//!
//! The machine is one of [`crate::kube`]'s, without a switch: dockerd's bridges, firewall rules, mounts, containers and volumes
//! exist in its namespaces only, and go with its process 1.
//!
//! * `debian`: where dockerd comes from if this machine has none;
//! * `restricted`: what only machines without CAP_SYS_RESOURCE need.
//!
//! Invariant: an engine that this machine may have is not asked, and its settings are not read.
//!
//! Not here: `docker build` (its base image is in a registry), pulling (no image is).

mod debian;
pub(crate) mod restricted;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::kube::daemons::{After, Daemon};
use crate::kube::process::run_as_is;
use crate::kube::{Cluster, KubeError, Machine, Paths};

/// Where dockerd listens, in its machine.
const SOCKET: &str = "unix:///run/docker.sock";

/// An engine, by the name of its machine. Holds nothing: what is true is on disk and in the kernel.
#[derive(Debug, Clone)]
pub struct Engine {
    machine: Cluster,
}

impl Engine {
    /// The engine at these paths, whose machine runs `program`: a binary whose `main` begins with
    /// [`reenter`](crate::kube::reenter()).
    pub fn new(paths: Paths, program: PathBuf) -> Engine {
        Engine { machine: Cluster::new(paths, program) }
    }

    /// Brings what is missing into the cache: dockerd from Debian, compose from its Go module.
    pub async fn build(&self) -> Result<(), KubeError> {
        debian::unpack(self.machine.paths().cache(), |text| self.machine.say(text)).await?;
        self.machine.programs().build_compose(|text| eprintln!("{text}")).await
    }

    /// Starts it and waits until it answers. One that runs is left alone.
    pub async fn up(&self) -> Result<(), KubeError> {
        self.build().await?;
        self.machine.up_alone(Machine::Engine).await?;
        let answers = async || {
            let Ok(mut docker) = self.docker() else { return false };
            let asked = docker.arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
            asked.is_ok_and(|status| status.success())
        };
        self.machine.wait("dockerd answers", Machine::Engine, "dockerd", answers).await
    }

    /// Ends it with all of its containers, and removes its images and volumes.
    pub async fn down(&self) -> Result<(), KubeError> {
        self.machine.down().await
    }

    /// What exists of it on this machine. Empty after `down`.
    pub fn leftovers(&self) -> Result<Vec<String>, KubeError> {
        self.machine.leftovers()
    }

    /// A program of this machine, to be run where dockerd runs.
    pub fn inside(&self) -> Result<Command, KubeError> {
        self.machine.inside(Machine::Engine)
    }

    /// docker, to be given arguments.
    pub fn docker(&self) -> Result<Command, KubeError> {
        let docker = debian::Docker::find(self.machine.paths().cache()).program("docker");
        self.client(&docker)
    }

    /// compose on this file, to be given arguments.
    pub fn compose(&self, file: &Path) -> Result<Command, KubeError> {
        let mut compose = self.client(&self.machine.programs().compose())?;
        compose.args(["--progress", "plain", "--file"]).arg(file);
        Ok(compose)
    }

    /// A shell where dockerd runs, in which `docker` and `docker compose` are commands, to be given arguments.
    pub fn shell(&self) -> Result<Command, KubeError> {
        let plugins = self.client_config().join("cli-plugins");
        fs::create_dir_all(&plugins).map_err(KubeError::io("create", &plugins))?;
        let plugin = plugins.join("docker-compose");
        if !plugin.is_symlink() {
            symlink(self.machine.programs().compose(), &plugin).map_err(KubeError::io("link", &plugin))?;
        }
        self.client(Path::new("sh"))
    }

    /// Loads an image archive.
    pub async fn load(&self, archive: &Path) -> Result<(), KubeError> {
        let file = fs::File::open(archive).map_err(KubeError::io("read", archive))?;
        let mut docker = self.docker()?;
        docker.arg("load").stdin(Stdio::from(file));
        run_as_is(&mut docker, &format!("loading {}", archive.display())).await.map(drop)
    }

    /// A loopback port of this machine, until `down`, for what is published on this loopback port of the engine's.
    pub async fn publish(&self, port: u16) -> Result<SocketAddr, KubeError> {
        self.machine.publish_alone(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).await
    }

    /// A program that talks to the engine, or calls docker to do so, to be given arguments.
    pub(crate) fn client(&self, program: &Path) -> Result<Command, KubeError> {
        let mut command = self.inside()?;
        command.arg(program).env("DOCKER_HOST", SOCKET).env("DOCKER_CONFIG", self.client_config());
        command.env_remove("DOCKER_CONTEXT");
        let docker = debian::Docker::find(self.machine.paths().cache()).program("docker");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = docker.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(dirs).unwrap_or(path));
        Ok(command)
    }

    /// Not the contexts, credentials and plugins that the caller may have for engines of his own.
    fn client_config(&self) -> PathBuf {
        self.machine.paths().machine(Machine::Engine).join("client")
    }
}

/// The one daemon of the machine.
pub(crate) fn daemon(paths: &Paths) -> Daemon {
    let config = paths.machine(Machine::Engine).join(CONFIG);
    Daemon {
        name: "dockerd",
        program: debian::Docker::find(paths.cache()).program("dockerd"),
        args: vec![format!("--config-file={}", config.display())],
        after: After::Nothing,
    }
}

const CONFIG: &str = "daemon.json";

/// The file that dockerd reads, relative to its machine's directory. `program`: see [`Engine::new`].
pub(crate) fn files(paths: &Paths, program: &Path) -> [(&'static str, String); 1] {
    let proxy = debian::Docker::find(paths.cache()).program("docker-proxy");
    let mut config = json!({
        "hosts": [SOCKET],
        "data-root": "/var/lib/docker",
        "exec-root": "/run/docker",
        "pidfile": "/run/docker.pid",
        "userland-proxy-path": proxy,
        // There is no systemd in the machine, whatever the one outside runs.
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        // The default is below zero, which takes CAP_SYS_RESOURCE.
        "oom-score-adjust": 0,
    });
    if let (Some(config), true) = (config.as_object_mut(), restricted::is_restricted()) {
        config.extend(restricted::runtime(program));
    }
    [(CONFIG, config.to_string())]
}
