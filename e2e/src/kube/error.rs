//! What can go wrong with the local Kubernetes, each with what to do or where to look.

use std::path::{Path, PathBuf};

/// Why the local Kubernetes did not do it.
#[derive(Debug, thiserror::Error)]
pub enum KubeError {
    /// A namespace, mount, link or cgroup needs root.
    #[error("a local Kubernetes needs root: it makes namespaces, mounts and network links")]
    NotRoot,
    /// A file or kernel interface.
    #[error("failed to {doing}: {path}")]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program of this machine is missing.
    #[error("{program} is not installed: {hint}")]
    Missing {
        /// What was looked for.
        program: String,
        /// How to get it.
        hint: &'static str,
    },
    /// A program ran and failed.
    #[error("{what} failed ({status}): {output}")]
    Command {
        /// What it was to do.
        what: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of its standard error.
        output: String,
    },
    /// Something did not happen in time. `log` is the end of the log of the daemon that should have done it.
    #[error("{what}: not within {seconds} s; the end of {log_path}:\n{log}")]
    Late {
        /// What was awaited.
        what: String,
        /// For how long.
        seconds: u64,
        /// The most telling log file.
        log_path: PathBuf,
        /// Its last lines.
        log: String,
    },
    /// The API server refused or could not be reached.
    #[error("failed to {doing}")]
    Api {
        /// What was tried, as a verb.
        doing: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Keys and certificates.
    #[error("failed to make the cluster's certificates")]
    Certificate(#[from] rcgen::Error),
    /// An image could not be written.
    #[error(transparent)]
    Image(#[from] crate::image::ImageError),
    /// There is no such cluster, or not any more.
    #[error("no local Kubernetes named {0} is up: run `cargo cluster up`")]
    NotUp(String),
    /// The machine is dead (killed by a test, or crashed).
    #[error(
        "{0} is not running: `cargo cluster node start` brings a node back, `cargo cluster up` everything"
    )]
    MachineDown(super::Machine),
    /// The request makes no sense; the text says why.
    #[error("{0}")]
    Refused(String),
    /// `down` could not remove everything.
    #[error("the local Kubernetes left something behind:\n  {}", .0.join("\n  "))]
    Leftovers(Vec<String>),
}

impl KubeError {
    pub(crate) fn io(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(std::io::Error) -> KubeError {
        let path = path.as_ref().to_owned();
        move |source| KubeError::Io { doing, path, source }
    }

    pub(crate) fn api<E>(doing: impl Into<String>) -> impl FnOnce(E) -> KubeError
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let doing = doing.into();
        move |source| KubeError::Api { doing, source: source.into() }
    }

    /// The whole chain of causes on one line, for a person.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
