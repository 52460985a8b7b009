//! A cluster as tests and tools handle it. How it comes up and goes down is in `up`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::process::Command;

use super::daemons::CONTAINERD_SOCKET;
use super::fault::{self, DaemonFault, Partition};
use super::process::{run_as_is, run_with_input};
use super::programs::Programs;
use super::settings::{Settings, Status};
use super::{KubeError, Machine, Paths, client, images, leftovers, machine, reenter, relay};
use crate::image::Archive;

/// A local Kubernetes, by its name. Holds nothing: what is true is on disk and in the kernel.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(super) paths: Paths,
    pub(super) program: PathBuf,
    pub(super) say: fn(&str),
}

impl Cluster {
    /// The cluster of this name, up or not. The calling binary's `main` must begin with [`reenter`](super::reenter()).
    pub fn named(name: &str) -> Result<Cluster, KubeError> {
        Ok(Cluster::new(Paths::new(name)?, reenter::program()?))
    }

    /// The cluster at these paths, whose machines run `program`: a binary whose `main` begins with `reenter`. For tests.
    pub fn new(paths: Paths, program: PathBuf) -> Cluster {
        Cluster { paths, program, say: |text| eprintln!("{text}") }
    }

    /// Sends progress lines elsewhere than to standard error.
    pub fn with_progress(self, say: fn(&str)) -> Cluster {
        Cluster { say, ..self }
    }

    /// Where it keeps everything.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The programs it runs, `kubectl` among them.
    pub fn programs(&self) -> Programs {
        Programs::new(self.paths.cache())
    }

    /// The kubeconfig for clients on this machine.
    pub fn kubeconfig(&self) -> Result<PathBuf, KubeError> {
        let file = self.paths.kubeconfig();
        if self.marker().exists() { Ok(file) } else { Err(self.not_up()) }
    }

    /// A client for the cluster's administrator.
    pub async fn client(&self) -> Result<kube::Client, KubeError> {
        client::from_file(&self.kubeconfig()?).await
    }

    /// Builds what is missing in the cache: the programs of Kubernetes and the images of the cluster's own pods.
    pub async fn build(&self) -> Result<(), KubeError> {
        self.programs().build(self.say).await?;
        images::make(&self.programs()).await.map(drop)
    }

    /// What exists of this cluster on this machine: processes, mounts, loop devices, links, cgroups, files. Empty after `down`.
    pub fn leftovers(&self) -> Result<Vec<String>, KubeError> {
        leftovers::list(&self.paths)
    }

    /// What runs, without waiting for anything.
    pub async fn status(&self) -> Result<Status, KubeError> {
        let settings = Settings::read(&self.paths)?;
        let pid = |machine: Machine| (machine, machine::process(&self.paths, machine).map(|p| p.pid));
        let asked = async { client::nodes_ready(&self.client().await.ok()?).await.ok() };
        let ready = tokio::time::timeout(Duration::from_secs(5), asked).await.ok().flatten();
        Ok(Status {
            up: self.marker().exists(),
            machines: settings.machines().into_iter().map(pid).collect(),
            ready: ready.map(|(names, _)| names).unwrap_or_default(),
            ports: relay::list(&self.paths),
        })
    }

    /// Imports image archives into all running nodes at once.
    pub async fn load_images(&self, archives: &[PathBuf]) -> Result<(), KubeError> {
        let settings = self.settings()?;
        self.load(&settings, archives).await
    }

    /// The same for one built image.
    pub async fn load_image(&self, archive: &Archive) -> Result<(), KubeError> {
        self.load_images(std::slice::from_ref(&archive.path)).await
    }

    /// Publishes `port` of a Service on a loopback port (0 picks a free one) until `down`; the same again is the same port.
    pub async fn publish(
        &self,
        namespace: &str,
        service: &str,
        port: u16,
        local: u16,
    ) -> Result<SocketAddr, KubeError> {
        let settings = self.settings()?;
        let ip = client::cluster_ip(&self.client().await?, namespace, service).await?;
        let ip: Ipv4Addr = ip.parse().map_err(KubeError::api(format!("read the ClusterIP {ip}")))?;
        let spec = relay::Spec { port: local, target: SocketAddrV4::new(ip, port), nodes: settings.nodes };
        let name = format!("{namespace}.{service}.{port}");
        let port = relay::start(&self.paths, &name, &spec, &self.program).await?;
        Ok((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Publishes an address inside the only machine of this "cluster" on a loopback port until `down`.
    pub(crate) async fn publish_alone(&self, target: SocketAddrV4) -> Result<SocketAddr, KubeError> {
        let spec = relay::Spec { port: 0, target, nodes: 0 };
        let port =
            relay::start(&self.paths, &format!("port.{}", target.port()), &spec, &self.program).await?;
        Ok((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Applies manifests with kubectl; returns what it printed.
    pub async fn apply(&self, yaml: &str) -> Result<String, KubeError> {
        run_with_input(self.kubectl().args(["apply", "--filename", "-"]), "kubectl apply", yaml).await
    }

    /// kubectl with the cluster's kubeconfig, to be given arguments.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.programs().kubectl());
        command.arg("--kubeconfig").arg(self.paths.kubeconfig());
        command
    }

    /// helm with the cluster's kubeconfig, to be given arguments.
    pub fn helm(&self) -> Command {
        let mut command = Command::new(self.programs().helm());
        command.env("KUBECONFIG", self.paths.kubeconfig());
        command
    }

    /// A program of this machine, to be run inside all namespaces of `machine`.
    pub fn inside(&self, machine: Machine) -> Result<Command, KubeError> {
        let pid = machine::running(&self.paths, machine)?.pid.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]);
        Ok(command)
    }

    /// The log of a daemon, or with `init` that of the machine's process 1.
    pub fn log(&self, machine: Machine, daemon: &str) -> PathBuf {
        self.paths.log(machine, daemon)
    }

    /// Power off: everything in the machine dies at once. A node or the control plane.
    pub fn kill(&self, machine: Machine) -> Result<(), KubeError> {
        self.known(machine)?;
        machine::kill(&self.paths, machine)
    }

    /// Power on: the machine boots with the disk it had. Does not wait for it to be Ready.
    pub async fn start(&self, machine: Machine) -> Result<(), KubeError> {
        let settings = self.known(machine)?;
        machine::start(&self.paths, &settings, machine, &self.program).await
    }

    /// Adds a network fault to those there are.
    pub async fn partition(&self, partition: &Partition) -> Result<(), KubeError> {
        fault::partition(&self.paths, self.settings()?.nodes, partition).await
    }

    /// Ends all network faults.
    pub async fn heal(&self) -> Result<(), KubeError> {
        fault::heal(&self.paths, self.settings()?.nodes).await
    }

    /// Kills, stops, freezes one daemon, or lets it go on.
    pub fn daemon(&self, machine: Machine, daemon: &str, fault: DaemonFault) -> Result<(), KubeError> {
        fault::daemon(&self.paths, machine, daemon, fault)
    }

    /// Waits until every node is Ready, for instance after `start` or `heal`.
    pub async fn ready(&self) -> Result<(), KubeError> {
        let (client, settings) = (self.client().await?, self.settings()?);
        self.await_api_server(&client).await?;
        self.await_nodes(&client, &settings).await
    }

    pub(super) fn not_up(&self) -> KubeError {
        KubeError::NotUp(self.paths.name().to_owned())
    }

    pub(super) fn marker(&self) -> PathBuf {
        self.paths.state().join("up")
    }

    pub(super) fn settings(&self) -> Result<Settings, KubeError> {
        if self.marker().exists() { Settings::read(&self.paths) } else { Err(self.not_up()) }
    }

    /// The settings, if `machine` is one that may be switched off and on.
    fn known(&self, machine: Machine) -> Result<Settings, KubeError> {
        let settings = self.settings()?;
        if machine == Machine::Switch || !settings.machines().contains(&machine) {
            return Err(KubeError::Refused(format!("{machine} cannot be switched off or on")));
        }
        Ok(settings)
    }

    pub(super) async fn load(&self, settings: &Settings, archives: &[PathBuf]) -> Result<(), KubeError> {
        let nodes = (1..=settings.nodes).map(Machine::Node);
        let (running, dead): (Vec<_>, Vec<_>) =
            nodes.partition(|node| machine::process(&self.paths, *node).is_some());
        for node in dead {
            self.say(&format!("{node} is not running: it gets no image"));
        }
        try_join_all(running.into_iter().map(|node| self.load_into(node, archives))).await.map(drop)
    }

    async fn load_into(&self, node: Machine, archives: &[PathBuf]) -> Result<(), KubeError> {
        let pid = machine::running(&self.paths, node)?.pid;
        let socket = format!("/proc/{pid}/root{CONTAINERD_SOCKET}");
        let up = async || Path::new(&socket).exists();
        self.wait(&format!("containerd of {node} is up"), node, "containerd", up).await?;
        for archive in archives {
            let mut ctr = self.inside(node)?;
            // The node may not see the path: its /run is its own.
            let file = fs::File::open(archive).map_err(KubeError::io("read", archive))?;
            ctr.args(["ctr", "--namespace", "k8s.io", "images", "import", "--snapshotter", "overlayfs", "-"]);
            ctr.stdin(Stdio::from(file));
            let what = format!("loading {} into {node}", archive.display());
            run_as_is(&mut ctr, &what).await?;
        }
        Ok(())
    }
}
