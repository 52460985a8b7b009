//! The second opinion: the product on kind, whose nodes are containers and whose cluster is kubeadm's.
//!
//! Where `docker` and `kind` of this machine work, they are used as anybody would. Where not, `own` builds kind and a node image
//! and runs them on an engine of our own ([`crate::engine`]): no registry is asked for anything.
//!
//! * `own`: a cluster without what kind would download; `node_image`: what its nodes are; `pods`: their network and DNS;
//! * `outside`: a way to a Service from this machine.
//!
//! Not here: faults. What a test of Kubernetes needs of a provider is a kubeconfig and the image.

mod node_image;
mod outside;
mod own;
mod pods;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::chart;
use crate::engine::Engine;
use crate::kube::process::run;
use crate::kube::{KubeError, Paths, Programs, client};
use crate::paths::workspace;
use crate::wait::until;

/// Many times what it takes on two idle cores.
const READY: Duration = Duration::from_secs(300);

/// What must run before a cluster is of use. Who provides volumes differs, where it runs does not.
const NAMESPACES: [&str; 2] = ["kube-system", "local-path-storage"];

/// A cluster of kind, by its name. Holds nothing but who provides it.
#[derive(Debug, Clone)]
pub struct Kind {
    paths: Paths,
    provider: Provider,
}

#[derive(Debug, Clone)]
enum Provider {
    /// `kind` and `docker` of this machine.
    Installed,
    /// kind and dockerd of ours, since those are of no use: why.
    Own(Engine, String),
}

impl Kind {
    /// The cluster of this name, up or not: on this machine's engine if it has one that works and `kind`, else on one of our
    /// own, whose machine runs `program` ([`Engine::new`]).
    pub async fn find(paths: Paths, program: PathBuf) -> Kind {
        let provider = match useless().await {
            None => Provider::Installed,
            Some(because) => Provider::Own(Engine::new(paths.clone(), program), because),
        };
        Kind { paths, provider }
    }

    /// Whose kind it is and why, for a person.
    pub fn provider(&self) -> String {
        match &self.provider {
            Provider::Installed => "kind and docker of this machine".to_owned(),
            Provider::Own(_, because) => {
                format!("built from source, on a container engine of its own, since {because}")
            }
        }
    }

    /// Whether it is the kind of this machine.
    pub fn is_installed(&self) -> bool {
        matches!(self.provider, Provider::Installed)
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        self.paths.name()
    }

    /// Brings into the cache what is missing there: nothing, or kind and all that it would download.
    pub async fn build(&self) -> Result<(), KubeError> {
        match &self.provider {
            Provider::Own(engine, _) => own::build(engine, &self.paths).await.map(drop),
            Provider::Installed => Ok(()),
        }
    }

    /// Creates the cluster of `deploy/kind.yaml`, if it is not there, and waits until its nodes are Ready.
    pub async fn up(&self) -> Result<(), KubeError> {
        let config = workspace().join("deploy/kind.yaml");
        match &self.provider {
            Provider::Own(engine, _) => own::up(engine, &self.paths, &config).await?,
            Provider::Installed => self.create(&config).await?,
        }
        self.await_ready().await
    }

    async fn create(&self, config: &Path) -> Result<(), KubeError> {
        let state = self.paths.state();
        fs::create_dir_all(&state).map_err(KubeError::io("create", &state))?;
        let clusters =
            run(Command::new("kind").args(["get", "clusters"]), "asking kind for its clusters").await?;
        let there = clusters.lines().any(|name| name == self.name());
        let mut kind = self.kind(if there { &["export", "kubeconfig"] } else { &["create", "cluster"] })?;
        if !there {
            kind.arg("--config").arg(config);
        }
        let what = if there { "kind export kubeconfig" } else { "kind create cluster" };
        run(kind.arg("--kubeconfig").arg(self.kubeconfig()), what).await.map(drop)
    }

    /// Loads an image archive into all nodes.
    pub async fn load_image(&self, archive: &Path) -> Result<(), KubeError> {
        let mut kind = self.kind(&["load", "image-archive"])?;
        run(kind.arg(archive), "kind load image-archive").await.map(drop)
    }

    /// A loopback port of this machine that leads to `port` of a Service until `down`.
    pub async fn publish(&self, namespace: &str, service: &str, port: u16) -> Result<SocketAddr, KubeError> {
        outside::publish(&self.client().await?, namespace, service, port).await?;
        let mut docker = match &self.provider {
            Provider::Installed => Command::new("docker"),
            Provider::Own(engine, _) => engine.docker()?,
        };
        let said = run(docker.args(outside::question(self.name())), "docker port").await?;
        let address = outside::answer(&said)?;
        match &self.provider {
            Provider::Installed => Ok(address),
            Provider::Own(engine, _) => engine.publish(address.port()).await,
        }
    }

    /// Deletes the cluster, and ends the engine if it is our own. Of a cluster that is not there it does nothing.
    pub async fn down(&self) -> Result<(), KubeError> {
        match &self.provider {
            Provider::Own(engine, _) => engine.down().await,
            Provider::Installed => {
                run(&mut self.kind(&["delete", "cluster"])?, "kind delete cluster").await?;
                let state = self.paths.state();
                match fs::remove_dir_all(&state) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => Err(KubeError::io("remove", state)(e)),
                    _ => Ok(()),
                }
            }
        }
    }

    /// What exists of it on this machine beside what an engine of this machine's keeps. Empty after `down`.
    pub fn leftovers(&self) -> Result<Vec<String>, KubeError> {
        match &self.provider {
            Provider::Own(engine, _) => engine.leftovers(),
            Provider::Installed => Ok(Vec::new()),
        }
    }

    /// For clients on this machine.
    pub fn kubeconfig(&self) -> PathBuf {
        self.paths.kubeconfig()
    }

    /// A client for the cluster's administrator.
    pub async fn client(&self) -> Result<kube::Client, KubeError> {
        client::from_file(&self.kubeconfig()).await
    }

    /// kubectl with the cluster's kubeconfig, to be given arguments.
    pub fn kubectl(&self) -> Command {
        let built = Programs::new(self.paths.cache()).kubectl();
        let mut command = Command::new(if built.is_file() { built } else { "kubectl".into() });
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command
    }

    /// helm with the cluster's kubeconfig, to be given arguments.
    pub fn helm(&self) -> Command {
        let mut command = chart::helm();
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    fn kind(&self, arguments: &[&str]) -> Result<Command, KubeError> {
        let mut command = match &self.provider {
            Provider::Installed => Command::new("kind"),
            Provider::Own(engine, _) => engine.client(&Programs::new(self.paths.cache()).kind())?,
        };
        command.args(arguments).args(["--name", self.paths.name()]);
        Ok(command)
    }

    async fn await_ready(&self) -> Result<(), KubeError> {
        let client = self.client().await?;
        let ready = until("all nodes are Ready", READY, || async {
            let (ready, all) = client::nodes_ready(&client).await.map_err(|e| e.to_string())?;
            if ready.len() == all && all > 0 { Ok(()) } else { Err(format!("{} of {all}", ready.len())) }
        });
        ready.await.map_err(KubeError::api("wait for the nodes of kind"))?;
        let pods = until("DNS and volumes are ready", READY, || async {
            for namespace in NAMESPACES {
                let mut wait = self.kubectl();
                wait.args(["wait", "--for=condition=Ready", "pods", "--all", "--timeout=5s"]);
                let ready = run(wait.args(["--namespace", namespace]), "kubectl wait").await;
                ready.map_err(|e| e.to_string())?;
            }
            Ok(())
        });
        pods.await.map_err(KubeError::api("wait for the pods of kind"))
    }
}

/// Why kind and docker of this machine cannot be used; `None` if both answer.
async fn useless() -> Option<String> {
    for (program, verb) in [("kind", "version"), ("docker", "info")] {
        match run(Command::new(program).arg(verb), &format!("{program} {verb}")).await {
            Ok(_) => {}
            Err(KubeError::Missing { .. }) => return Some(format!("{program} is not installed")),
            Err(e) => return Some(e.chain()),
        }
    }
    None
}
