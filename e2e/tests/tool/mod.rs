//! The tool `cluster` for tests that start machines of their own: which program their machines run, and where their state is kept.
//!
//! Not here: what a test takes down and when. A fixture does it in its `Drop`, by [`command`].

use std::path::PathBuf;
use std::process::{Command, Stdio};

use schedia_e2e::kube::Paths;

/// The executable that the machines run.
pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_cluster"))
}

/// Apart from the clusters that a person may have up.
fn clusters() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("clusters")
}

/// The cluster of this name among those of the tests.
pub(crate) fn paths(name: &str) -> Paths {
    Paths::at(name, schedia_e2e::paths::cache(), clusters()).unwrap()
}

/// `cargo cluster` on the cluster of this name.
pub(crate) fn command(name: &str, verb: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.env("E2E_STATE", clusters()).args(["--name", name]).args(verb).stdin(Stdio::null());
    command
}
