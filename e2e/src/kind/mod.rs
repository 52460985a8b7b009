//! The second opinion: the product on kind, whose nodes are containers and whose cluster is kubeadm's.
//!
//! Where `docker` and `kind` of this machine work, they are used as anybody would. Where not, `own` builds kind and a node image
//! and runs them on an engine of our own ([`crate::engine`]): no registry is asked for anything.
//!
//! * `own`: a cluster without what kind would download; `node_image`: what its nodes are; `pods`: their network and DNS.
//!
//! Not here: faults. What a test of Kubernetes needs of a provider is a kubeconfig and the image.

mod node_image;
mod own;
mod pods;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::engine::Engine;
use crate::kube::process::run;
use crate::kube::{KubeError, Paths, Programs, client};
use crate::paths::workspace;
use crate::wait::until;

/// Many times what it takes on two idle cores.
const READY: Duration = Duration::from_secs(300);

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
    /// kind and dockerd of ours.
    Own(Engine),
}

impl Kind {
    /// The cluster of this name, up or not: on this machine's engine if it has one that works and `kind`, else on one of our
    /// own, whose machine runs `program` ([`Engine::new`]).
    pub async fn find(paths: Paths, program: PathBuf) -> Kind {
        let works =
            async |program: &str, verb: &str| run(Command::new(program).arg(verb), program).await.is_ok();
        let installed = works("kind", "version").await && works("docker", "info").await;
        let provider = match installed {
            true => Provider::Installed,
            false => Provider::Own(Engine::new(paths.clone(), program)),
        };
        Kind { paths, provider }
    }

    /// Whose kind it is, for a person.
    pub fn provider(&self) -> &'static str {
        match self.provider {
            Provider::Installed => "kind and docker of this machine",
            Provider::Own(_) => "kind built from source, on a container engine of its own",
        }
    }

    /// Creates the cluster of `deploy/kind.yaml` and waits until its nodes are Ready.
    pub async fn up(&self) -> Result<(), KubeError> {
        let config = workspace().join("deploy/kind.yaml");
        match &self.provider {
            Provider::Own(engine) => own::up(engine, &self.paths, &config).await?,
            Provider::Installed => {
                let state = self.paths.state();
                fs::create_dir_all(&state).map_err(KubeError::io("create", &state))?;
                let mut kind = self.kind(&["create", "cluster"])?;
                kind.arg("--config").arg(config).arg("--kubeconfig").arg(self.kubeconfig());
                run(&mut kind, "kind create cluster").await?;
            }
        }
        self.await_ready().await
    }

    /// Loads an image archive into all nodes.
    pub async fn load_image(&self, archive: &Path) -> Result<(), KubeError> {
        let mut kind = self.kind(&["load", "image-archive"])?;
        run(kind.arg(archive), "kind load image-archive").await.map(drop)
    }

    /// Deletes the cluster, and ends the engine if it is our own.
    pub async fn down(&self) -> Result<(), KubeError> {
        match &self.provider {
            Provider::Own(engine) => engine.down().await,
            Provider::Installed => {
                run(&mut self.kind(&["delete", "cluster"])?, "kind delete cluster").await?;
                let state = self.paths.state();
                fs::remove_dir_all(&state).map_err(KubeError::io("remove", state))
            }
        }
    }

    /// What exists of it on this machine beside what an engine of this machine's keeps. Empty after `down`.
    pub fn leftovers(&self) -> Result<Vec<String>, KubeError> {
        match &self.provider {
            Provider::Own(engine) => engine.leftovers(),
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

    fn kind(&self, arguments: &[&str]) -> Result<Command, KubeError> {
        let mut command = match &self.provider {
            Provider::Installed => Command::new("kind"),
            Provider::Own(engine) => engine.client(&Programs::new(self.paths.cache()).kind())?,
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
        // Which provisioner it is depends on who made the node image; the name of the namespace is the same.
        let pods = until("DNS and volumes are ready", READY, || async {
            let mut wait = self.kubectl();
            wait.args(["wait", "--for=condition=Ready", "pods", "--all", "--all-namespaces", "--timeout=5s"]);
            run(&mut wait, "kubectl wait").await.map(drop).map_err(|e| e.to_string())
        });
        pods.await.map_err(KubeError::api("wait for the pods of kind"))
    }
}
