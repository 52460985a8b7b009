//! What this machine lacks for the project's commands: all of it in one list, before any work begins.
//!
//! [`facts`] looks at the machine, [`missing`] judges what it saw (pure), [`check`] installs what it may and looks again.
//!
//! Not here: whether the product works. A machine that passes may still fail a test.

pub mod facts;
mod judge;

pub use judge::{Cure, Missing, missing};

use facts::Facts;
use std::fmt::Write as _;
use std::process::Command;

/// What the caller is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Compile the workspace and run what needs no privilege.
    Build,
    /// Also start the local Kubernetes.
    Cluster,
}

/// Something is missing that only a person can bring.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(String);

/// Looks, installs missing Debian packages if it may, looks again. Everything still missing is in the error.
pub fn check(needs: Needs, may_install: bool) -> Result<Facts, NotReady> {
    let mut facts = Facts::look();
    let packages = packages(&missing(&facts, needs));
    if may_install && facts.root && facts.apt && !packages.is_empty() {
        println!("preflight: installing {}", packages.join(" "));
        if let Err(reason) = install(&packages) {
            println!("preflight: apt-get could not install them: {reason}");
        }
        facts = Facts::look();
    }
    let rest = missing(&facts, needs);
    if rest.is_empty() { Ok(facts) } else { Err(NotReady(report(&rest))) }
}

/// The list as a person reads it: what, why, and what to do; all packages in one command at the end.
pub fn report(missing: &[Missing]) -> String {
    let mut text = format!("{} missing on this machine:", missing.len());
    for item in missing {
        let _ = write!(text, "\n  - {}: {}", item.what, item.why);
        if let Cure::Person(advice) = &item.cure {
            let _ = write!(text, "\n      {advice}");
        }
    }
    let packages = packages(missing);
    if !packages.is_empty() {
        let _ = write!(
            text,
            "\n  packages (Debian's names): apt-get install --no-install-recommends {}",
            packages.join(" ")
        );
    }
    text
}

fn packages(missing: &[Missing]) -> Vec<&'static str> {
    let mut names: Vec<_> = missing
        .iter()
        .filter_map(|item| match item.cure {
            Cure::Package(name) => Some(name),
            Cure::Person(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn install(packages: &[&str]) -> Result<(), String> {
    let apt = |arguments: &[&str]| {
        let output = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(text.lines().last().unwrap_or("no message").to_owned())
    };
    let arguments: Vec<_> =
        ["install", "--yes", "--no-install-recommends"].into_iter().chain(packages.iter().copied()).collect();
    // A stale package list is the usual reason for a first failure.
    apt(&arguments).or_else(|_| apt(&["update"]).and_then(|()| apt(&arguments)))
}
