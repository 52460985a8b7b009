//! A cluster outlives the command that started it: its machines and relays are this same executable, started again with
//! a hidden verb.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{KubeError, Machine, Paths, init, machine, relay};
use crate::engine::restricted;

/// The first argument that marks such a start.
pub(crate) const VERB: &str = "__cluster";

/// Set once `main` has called [`reenter`].
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// To be called first in `main` of every binary that starts clusters: does what the hidden verb says and exits, or
/// returns at once if there is none.
pub fn reenter() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_none_or(|verb| verb != VERB) {
        // A path that stays good when cargo replaces the file while we run.
        let program = std::env::current_exe().ok().filter(|path| path.exists());
        let _ = PROGRAM.set(program.unwrap_or_else(|| format!("/proc/{}/exe", std::process::id()).into()));
        return;
    }
    if let [_, verb, rest @ ..] = args.as_slice()
        && verb == restricted::VERB
    {
        eprintln!("{}", restricted::become_runc(rest).chain());
        std::process::exit(1);
    }
    let [_, verb, program, name, cache, clusters, what] = args.as_slice() else {
        eprintln!("{VERB} is not for people");
        std::process::exit(2);
    };
    let done = Paths::at(name, cache.into(), clusters.into()).and_then(|paths| match verb.as_str() {
        "enter" => machine::enter(&paths, parse(what)?, Path::new(program)),
        "init" => init::run(&paths, parse(what)?),
        "relay" => relay::serve(&paths, what),
        _ => Err(KubeError::Refused(format!("no hidden verb {verb}"))),
    });
    if let Err(e) = done {
        eprintln!("{verb} {what}: {}", e.chain());
        std::process::exit(1);
    }
    std::process::exit(0);
}

fn parse(machine: &str) -> Result<Machine, KubeError> {
    machine.parse().map_err(KubeError::Refused)
}

/// The executable to start again.
pub(crate) fn program() -> Result<PathBuf, KubeError> {
    PROGRAM.get().cloned().ok_or_else(|| {
        KubeError::Refused(
            "this program cannot start machines: its main must call kube::reenter() first, or name one that does".into(),
        )
    })
}

/// `program` with a hidden verb.
pub(crate) fn command(program: &Path, verb: &str, paths: &Paths, what: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args([VERB, verb])
        .arg(program)
        .arg(paths.name())
        .arg(paths.cache())
        .arg(paths.clusters())
        .arg(what);
    command
}
