//! Where the demo runs: on the local Kubernetes, or on kind. The steps of the demo ask a [`Place`] and do not know which it is.
//!
//! Not here: the steps; how either comes up ([`crate::kube`], [`crate::kind`]).

use super::{DemoError, NAMESPACE, say};
use crate::image::Archive;
use crate::kind::Kind;
use crate::kube::{Cluster, KubeError, Paths, Settings, reenter};
use crate::preflight::{self, Needs, facts::on_path};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// The local Kubernetes of a person, that `cargo cluster` means.
const LOCAL: &str = "schedia";
/// Another name: both may be up.
const KIND: &str = "schedia-kind";
/// Of a node, for clients.
const PORT: u16 = 8080;

/// A Kubernetes for the demo, up or not.
pub enum Place {
    /// The local Kubernetes.
    Local(Cluster),
    /// kind, whoever provides it.
    Kind(Kind),
}

/// How a person goes on by hand.
pub(super) struct Words {
    /// Runs kubectl.
    pub(super) kubectl: String,
    /// Runs helm.
    pub(super) helm: String,
    /// Ends everything.
    pub(super) down: &'static str,
    /// Shows why a cluster does not come up.
    pub(super) look: String,
}

impl Place {
    /// The one that is asked for. The calling binary's `main` must begin with [`reenter`](crate::kube::reenter()).
    pub async fn find(kind: bool) -> Result<Place, KubeError> {
        if kind {
            Ok(Place::Kind(Kind::find(Paths::new(KIND)?, reenter::program()?).await))
        } else {
            Cluster::named(LOCAL).map(Place::Local)
        }
    }

    /// Says what this machine lacks, and builds what the cluster consists of.
    pub(super) async fn prepare(&self, may_install: bool) -> Result<(), DemoError> {
        match self {
            Place::Local(cluster) => {
                preflight::check(Needs::Cluster, may_install)?;
                say("building Kubernetes (ten minutes the first time, then nothing)");
                cluster.build().await?;
            }
            Place::Kind(kind) if kind.is_installed() => {
                preflight::check(Needs::Build, may_install)?;
                clients(kind)?;
            }
            Place::Kind(kind) => {
                preflight::check(Needs::Cluster, may_install)?;
                say(
                    "building Kubernetes, kind and its node image (fifteen minutes the first time, then nothing)",
                );
                kind.build().await?;
            }
        }
        Ok(())
    }

    /// What it is, for a person.
    pub(super) fn name(&self) -> String {
        match self {
            Place::Local(_) => "the local Kubernetes".to_owned(),
            Place::Kind(kind) => format!("kind, cluster {}: {}", kind.name(), kind.provider()),
        }
    }

    /// The way around what is missing, if there is one.
    pub(super) fn needs_less(&self) -> Option<&'static str> {
        match self {
            Place::Kind(kind) if !kind.is_installed() => Some(
                "with docker, kind, kubectl and helm that work on this machine, less is needed: docs/kind.md",
            ),
            _ => None,
        }
    }

    /// Starts it, or finds it up.
    pub(super) async fn up(&self) -> Result<(), KubeError> {
        match self {
            Place::Local(cluster) => cluster.up(&Settings::default()).await,
            Place::Kind(kind) => kind.up().await,
        }
    }

    /// Takes it down, if it is there.
    pub async fn down(&self) -> Result<(), KubeError> {
        say(&format!("taking down {}", self.name()));
        match self {
            Place::Local(cluster) => cluster.down().await,
            Place::Kind(kind) => kind.down().await,
        }
    }

    pub(super) async fn load_image(&self, archive: &Archive) -> Result<(), KubeError> {
        match self {
            Place::Local(cluster) => cluster.load_image(archive).await,
            Place::Kind(kind) => kind.load_image(&archive.path).await,
        }
    }

    pub(super) fn kubeconfig(&self) -> Result<PathBuf, KubeError> {
        match self {
            Place::Local(cluster) => cluster.kubeconfig(),
            Place::Kind(kind) => Ok(kind.kubeconfig()),
        }
    }

    pub(super) async fn client(&self) -> Result<kube::Client, KubeError> {
        match self {
            Place::Local(cluster) => cluster.client().await,
            Place::Kind(kind) => kind.client().await,
        }
    }

    pub(super) fn kubectl(&self) -> Command {
        match self {
            Place::Local(cluster) => cluster.kubectl(),
            Place::Kind(kind) => kind.kubectl(),
        }
    }

    pub(super) fn helm(&self) -> Command {
        match self {
            Place::Local(cluster) => cluster.helm(),
            Place::Kind(kind) => kind.helm(),
        }
    }

    /// Where this machine reaches the client Service until the cluster goes down.
    pub(super) async fn publish(&self, service: &str) -> Result<SocketAddr, KubeError> {
        match self {
            Place::Local(cluster) => cluster.publish(NAMESPACE, service, PORT, 0).await,
            Place::Kind(kind) => kind.publish(NAMESPACE, service, PORT).await,
        }
    }

    pub(super) fn words(&self) -> Words {
        match self {
            Place::Local(_) => Words {
                kubectl: "cargo cluster kubectl".to_owned(),
                helm: "cargo cluster helm".to_owned(),
                down: "cargo demo --down",
                look: "cargo cluster status; cargo cluster logs control-plane kube-apiserver".to_owned(),
            },
            Place::Kind(kind) if kind.is_installed() => {
                let (name, kubeconfig) = (kind.name(), kind.kubeconfig());
                Words {
                    kubectl: format!("kubectl --kubeconfig {}", kubeconfig.display()),
                    helm: format!("helm --kubeconfig {}", kubeconfig.display()),
                    down: "cargo demo --kind --down",
                    look: format!("docker ps --all; kind export logs --name {name}"),
                }
            }
            Place::Kind(kind) => {
                let name = kind.name();
                Words {
                    kubectl: format!("cargo cluster --name {name} kubectl"),
                    helm: format!("cargo cluster --name {name} helm"),
                    down: "cargo demo --kind --down",
                    look: format!("cargo cluster --name {name} logs engine dockerd"),
                }
            }
        }
    }
}

/// Whether kubectl and helm are there: those of the search path, unless the cache has some.
fn clients(kind: &Kind) -> Result<(), DemoError> {
    let is_there = |command: Command| {
        let program = Path::new(command.as_std().get_program()).to_owned();
        program.is_file() || program.to_str().is_some_and(|name| on_path(name).is_some())
    };
    let absent: Vec<_> = [("kubectl", kind.kubectl()), ("helm", kind.helm())]
        .into_iter()
        .filter_map(|(name, command)| (!is_there(command)).then_some(name))
        .collect();
    if absent.is_empty() { Ok(()) } else { Err(DemoError::Clients(absent.join(", "))) }
}
