//! A whole cluster: up, down, and what tests do with it in between.
//!
//! `up` is repeatable. A cluster counts as up once the file `up` is written, last of all: as long as its switch lives, a
//! later `up` only starts again what has died, and no data is lost. All else is the remains of a crashed run, which are
//! cleared away first.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::cgroup::Cgroups;
use super::daemons::CONTAINERD_SOCKET;
use super::fault::{self, DaemonFault, Partition};
use super::process::{log_tail, run, run_with_input};
use super::programs::Programs;
use super::{KubeError, Machine, Paths, client, images, leftovers, machine, pki, reenter, relay};
use crate::image::Archive;

const MANIFESTS: [&str; 2] =
    [include_str!("../../kube/manifests/coredns.yaml"), include_str!("../../kube/manifests/local-path.yaml")];

/// Ten times what it takes on two idle cores.
const READY: Duration = Duration::from_secs(120);

/// As many as there are digits: node addresses and switch ports are made from them.
const NODES_MAX: u8 = 9;

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

    fn write(&self, paths: &Paths) -> Result<(), KubeError> {
        let file = Settings::file(paths);
        let text = serde_json::to_vec(self).map_err(KubeError::api("write the cluster's settings"))?;
        fs::write(&file, text).map_err(KubeError::io("write", file))
    }

    /// Every machine, in the order of their start.
    fn machines(&self) -> Vec<Machine> {
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

/// A local Kubernetes, by its name. Holds nothing: what is true is on disk and in the kernel.
#[derive(Debug, Clone)]
pub struct Cluster {
    paths: Paths,
    program: PathBuf,
    say: fn(&str),
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

    /// Starts the cluster and waits until nodes, DNS and volumes are ready.
    pub async fn up(&self, settings: &Settings) -> Result<(), KubeError> {
        require_root()?;
        if settings.nodes == 0 || settings.nodes > NODES_MAX {
            return Err(KubeError::Refused(format!(
                "a cluster has 1 to {NODES_MAX} nodes, not {}",
                settings.nodes
            )));
        }
        self.build().await?;
        let _lock = self.lock().await?;
        if self.runs() {
            return self.revive(settings).await;
        }
        if !self.leftovers()?.is_empty() {
            self.say("clearing away what a crashed run left");
            self.clear()?;
        }
        let started = Instant::now();
        let state = self.paths.state();
        fs::create_dir_all(&state).map_err(KubeError::io("create", &state))?;
        settings.write(&self.paths)?;
        prepare_kernel().await;
        pki::write(&self.paths, settings.nodes)?;
        machine::start(&self.paths, settings, Machine::Switch, &self.program).await?;
        let others = settings.machines().into_iter().skip(1);
        try_join_all(others.map(|other| machine::start(&self.paths, settings, other, &self.program))).await?;
        self.lap(started, "machines started");

        let port =
            relay::start(&self.paths, relay::API, &relay::api_server(settings.api_port), &self.program)
                .await?;
        pki::write_admin(&self.paths, port)?;
        let client = client::from_file(&self.paths.kubeconfig()).await?;
        let archives = images::make(&self.programs()).await?;
        let (loaded, ready) = tokio::join!(self.load(settings, &archives), self.await_api_server(&client));
        loaded.and(ready)?;
        self.lap(started, "images loaded, API server ready");
        self.apply(&MANIFESTS.join("\n---\n")).await?;
        self.await_nodes(&client, settings).await?;
        self.lap(started, &format!("{} nodes ready", settings.nodes));
        self.await_pods(&client, settings).await?;
        self.lap(started, "cluster DNS and volumes ready");
        fs::write(self.marker(), "").map_err(KubeError::io("write", self.marker()))
    }

    /// Ends everything and removes everything. On a cluster that is not there it does nothing.
    pub async fn down(&self) -> Result<(), KubeError> {
        require_root()?;
        let _lock = self.lock().await?;
        self.clear()?;
        match self.leftovers()? {
            left if left.is_empty() => Ok(()),
            left => Err(KubeError::Leftovers(left)),
        }
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

    fn say(&self, text: &str) {
        (self.say)(text);
    }

    fn lap(&self, started: Instant, what: &str) {
        self.say(&format!("{:5.1} s  {what}", started.elapsed().as_secs_f32()));
    }

    fn not_up(&self) -> KubeError {
        KubeError::NotUp(self.paths.name().to_owned())
    }

    fn marker(&self) -> PathBuf {
        self.paths.state().join("up")
    }

    fn settings(&self) -> Result<Settings, KubeError> {
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

    /// One `up` or `down` at a time. The lock is on the directory of all clusters, so that none is left behind.
    async fn lock(&self) -> Result<fs::File, KubeError> {
        let dir = self.paths.clusters().to_owned();
        fs::create_dir_all(&dir).map_err(KubeError::io("create", &dir))?;
        let file = fs::File::open(&dir).map_err(KubeError::io("open", &dir))?;
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        self.say("another cluster is being started or stopped: waiting");
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        locked.map_err(KubeError::api("wait for a lock"))?.map_err(KubeError::io("lock", dir))
    }

    /// Whether there is a cluster to go on with: without its switch all cables are gone.
    fn runs(&self) -> bool {
        self.marker().exists() && machine::process(&self.paths, Machine::Switch).is_some()
    }

    /// Starts the machines and relays of a running cluster that do not run.
    async fn revive(&self, wanted: &Settings) -> Result<(), KubeError> {
        let settings = self.settings()?;
        if (wanted.nodes, wanted.volumes_mib) != (settings.nodes, settings.volumes_mib) {
            let text = "it is up with another number of nodes or size of volumes: `cargo cluster down` first";
            return Err(KubeError::Refused(text.to_owned()));
        }
        for machine in settings.machines() {
            if machine::process(&self.paths, machine).is_none() {
                self.say(&format!("starting {machine}"));
                machine::kill(&self.paths, machine)?;
                machine::start(&self.paths, &settings, machine, &self.program).await?;
            }
        }
        relay::revive(&self.paths, &self.program).await?;
        self.ready().await
    }

    fn clear(&self) -> Result<(), KubeError> {
        machine::sweep(&Cgroups::detect()?, &self.paths.cgroup());
        let state = self.paths.state();
        if leftovers::mounts(&state)?.is_empty() {
            match fs::remove_dir_all(&state) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(KubeError::io("remove", state)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn load(&self, settings: &Settings, archives: &[PathBuf]) -> Result<(), KubeError> {
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
            super::process::run_as_is(&mut ctr, &what).await?;
        }
        Ok(())
    }

    async fn await_api_server(&self, client: &kube::Client) -> Result<(), KubeError> {
        let ready = async || client::ready(client).await;
        self.wait("the API server is ready", Machine::ControlPlane, "kube-apiserver", ready).await
    }

    async fn await_nodes(&self, client: &kube::Client, settings: &Settings) -> Result<(), KubeError> {
        for i in 1..=settings.nodes {
            let node = Machine::Node(i).to_string();
            let ready =
                async || client::nodes_ready(client).await.is_ok_and(|(names, _)| names.contains(&node));
            self.wait(&format!("{node} is Ready"), Machine::Node(i), "kubelet", ready).await?;
        }
        Ok(())
    }

    async fn await_pods(&self, client: &kube::Client, settings: &Settings) -> Result<(), KubeError> {
        let dns = async || client::dns_ready(client, settings.nodes).await;
        let volumes = async || client::volumes_ready(client).await;
        self.wait("cluster DNS is ready", Machine::Node(1), "kubelet", dns).await?;
        self.wait("the volume provisioner is ready", Machine::Node(1), "kubelet", volumes).await
    }

    /// Asks `done` until it is, or fails with the log of the daemon that is to blame.
    async fn wait(
        &self,
        what: &str,
        machine: Machine,
        daemon: &str,
        done: impl AsyncFn() -> bool,
    ) -> Result<(), KubeError> {
        let deadline = Instant::now() + READY;
        while !done().await {
            machine::running(&self.paths, machine)?;
            if Instant::now() > deadline {
                let log_path = self.log(machine, daemon);
                let (what, log) = (what.to_owned(), log_tail(&log_path));
                return Err(KubeError::Late { what, seconds: READY.as_secs(), log_path, log });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

fn require_root() -> Result<(), KubeError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(KubeError::NotRoot) }
}

/// Loads the kernel modules that do not load themselves. Where they are built in, modprobe has nothing to find.
async fn prepare_kernel() {
    for module in ["br_netfilter", "overlay", "nf_tables"] {
        let _ = run(Command::new("modprobe").args(["--quiet", module]), "modprobe").await;
    }
}
