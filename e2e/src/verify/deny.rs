//! cargo-deny: what the project's dependencies may be (`deny.toml`). Kept at one version, in the cache outside the clone.

use super::exec::{self, End};
use std::path::{Path, PathBuf};
use tokio::process::Command;

const VERSION: &str = "0.20.2";

/// The program at our version: from the search path, from the cache, or built into the cache now.
pub async fn program(log: &Path) -> std::io::Result<Result<PathBuf, End>> {
    let cached = crate::paths::cache().join("tools").join(format!("cargo-deny-{VERSION}"));
    let program = cached.join("bin/cargo-deny");
    for candidate in [PathBuf::from("cargo-deny"), program.clone()] {
        if is_ours(&candidate).await {
            return Ok(Ok(candidate));
        }
    }
    // Without optimisation it is built in half the time, and it has little to do.
    let mut install = Command::new("cargo");
    install.args([
        "install",
        "cargo-deny",
        "--version",
        &format!("={VERSION}"),
        "--locked",
        "--debug",
        "--root",
    ]);
    install.arg(&cached).current_dir(std::env::temp_dir());
    install.env_remove("CARGO_TARGET_DIR").env("CARGO_PROFILE_DEV_DEBUG", "0");
    Ok(match exec::run("cargo-deny", install, log).await? {
        End::Done => Ok(program),
        end => Err(end),
    })
}

async fn is_ours(program: &Path) -> bool {
    let output = Command::new(program).arg("--version").output().await;
    output
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == format!("cargo-deny {VERSION}"))
}

/// Licences, sources, bans: needs no network.
pub fn dependencies(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--locked", "--offline", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    command
}

/// Known defects: fetches the list of them first.
pub fn advisories(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--locked", "check", "--hide-inclusion-graph", "advisories"]);
    command
}

/// Whether the log of [`advisories`] says that the list could not be fetched: then nothing was checked.
pub fn list_unreachable(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains("failed to fetch advisory database"))?;
    Some(line.trim().to_owned())
}
