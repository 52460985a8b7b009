//! A cluster's life: up, mended, down.
//!
//! `up` is repeatable. A cluster counts as up once the file `up` is written, last of all: as long as its switch lives, a
//! later `up` only starts again what has died, and no data is lost. All else is the remains of a crashed run, which are
//! cleared away first.

use std::fs;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tokio::process::Command;

use super::cgroup::Cgroups;
use super::process::{log_tail, run};
use super::settings::NODES_MAX;
use super::{Cluster, KubeError, Machine, Settings, client, images, leftovers, machine, pki, relay};

const MANIFESTS: [&str; 2] =
    [include_str!("../../kube/manifests/coredns.yaml"), include_str!("../../kube/manifests/local-path.yaml")];

/// Ten times what it takes on two idle cores.
const READY: Duration = Duration::from_secs(120);

impl Cluster {
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
        let started = Instant::now();
        self.clean_start(settings).await?;
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

    /// Starts one machine that needs no cluster, on a clean state, unless it runs: [`Machine::Engine`].
    pub(crate) async fn up_alone(&self, machine: Machine) -> Result<(), KubeError> {
        require_root()?;
        let _lock = self.lock().await?;
        if machine::process(&self.paths, machine).is_some() {
            return Ok(());
        }
        let settings = Settings { nodes: 0, ..Settings::default() };
        self.clean_start(&settings).await?;
        machine::start(&self.paths, &settings, machine, &self.program).await?;
        fs::write(self.marker(), "").map_err(KubeError::io("write", self.marker()))
    }

    /// An empty state directory that knows its settings, and a kernel that can do what machines need.
    async fn clean_start(&self, settings: &Settings) -> Result<(), KubeError> {
        if !self.leftovers()?.is_empty() {
            self.say("clearing away what a crashed run left");
            self.clear()?;
        }
        let state = self.paths.state();
        fs::create_dir_all(&state).map_err(KubeError::io("create", &state))?;
        settings.write(&self.paths)?;
        prepare_kernel().await;
        Ok(())
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

    pub(crate) fn say(&self, text: &str) {
        (self.say)(text);
    }

    fn lap(&self, started: Instant, what: &str) {
        self.say(&format!("{:5.1} s  {what}", started.elapsed().as_secs_f32()));
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

    pub(super) async fn await_api_server(&self, client: &kube::Client) -> Result<(), KubeError> {
        let ready = async || client::ready(client).await;
        self.wait("the API server is ready", Machine::ControlPlane, "kube-apiserver", ready).await
    }

    pub(super) async fn await_nodes(
        &self,
        client: &kube::Client,
        settings: &Settings,
    ) -> Result<(), KubeError> {
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
    pub(crate) async fn wait(
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
