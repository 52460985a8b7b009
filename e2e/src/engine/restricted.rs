//! What is only needed where root is not quite root: no CAP_SYS_RESOURCE, as in many sandboxes and hosted machines.
//!
//! Without it no process can be given that capability, an out-of-memory score below zero, or limits above its own. runc
//! refuses containers that ask for one of these, and all privileged ones do. dockerd is then given this very program as
//! its runtime: it takes out what cannot be granted, and becomes runc.
//!
//! Everything here is off where the capability is there.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::kube::{KubeError, reenter};

/// The name of the capability, and its bit in /proc/PID/status.
const CAPABILITY: (&str, u32) = ("CAP_SYS_RESOURCE", 24);
/// The hidden verb of [`crate::kube::reenter()`] that is dockerd's runtime.
pub(crate) const VERB: &str = "runtime";

/// Whether this process lacks the capability.
pub(crate) fn is_restricted() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| lacks(&status))
}

fn lacks(status: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set & (1 << CAPABILITY.1) == 0)
}

/// What dockerd's settings say of its runtime: that it is `program` with the hidden verb.
pub(super) fn runtime(program: &Path) -> [(String, Value); 2] {
    let runtime = json!({ "path": program, "runtimeArgs": [reenter::VERB, VERB] });
    [
        ("runtimes".to_owned(), json!({ "restricted": runtime })),
        ("default-runtime".to_owned(), json!("restricted")),
    ]
}

/// Called as runc is: changes the file that tells runc of the process, then becomes runc. Returns only if it cannot.
pub(crate) fn become_runc(arguments: &[String]) -> KubeError {
    if let Err(error) = prepare(arguments) {
        return error;
    }
    KubeError::io("run", "runc")(Command::new("runc").args(arguments).exec())
}

fn prepare(arguments: &[String]) -> Result<(), KubeError> {
    let has = |verb: &str| arguments.iter().any(|argument| argument == verb);
    let after = |names: [&str; 2]| {
        let at = arguments.iter().position(|argument| names.contains(&argument.as_str()))?;
        arguments.get(at + 1).map(PathBuf::from)
    };
    if has("create") || has("run") {
        let bundle = after(["--bundle", "-b"]).unwrap_or_else(|| ".".into());
        edit(&bundle.join("config.json"), |config| &mut config["process"])
    } else if let (true, Some(process)) = (has("exec"), after(["--process", "-p"])) {
        edit(&process, |process| process)
    } else {
        Ok(())
    }
}

fn edit(file: &Path, process: fn(&mut Value) -> &mut Value) -> Result<(), KubeError> {
    let text = fs::read(file).map_err(KubeError::io("read", file))?;
    let mut config: Value =
        serde_json::from_slice(&text).map_err(KubeError::api("read a container's settings"))?;
    take_out(process(&mut config), |name| match name {
        "RLIMIT_NOFILE" => getrlimit(Resource::Nofile).maximum,
        "RLIMIT_NPROC" => getrlimit(Resource::Nproc).maximum,
        "RLIMIT_CORE" => getrlimit(Resource::Core).maximum,
        "RLIMIT_MEMLOCK" => getrlimit(Resource::Memlock).maximum,
        _ => None,
    });
    fs::write(file, config.to_string()).map_err(KubeError::io("write", file))
}

/// Takes out of an OCI `process` what cannot be granted. `hard` is this process's own limit, if it has one.
fn take_out(process: &mut Value, hard: impl Fn(&str) -> Option<u64>) {
    let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()) {
        if let Some(names) = set.as_array_mut() {
            names.retain(|name| name != CAPABILITY.0);
        }
    }
    if process["oomScoreAdj"].as_i64().is_some_and(|score| score < 0) {
        process["oomScoreAdj"] = json!(0);
    }
    let limits = process.get_mut("rlimits").and_then(Value::as_array_mut);
    for limit in limits.into_iter().flatten() {
        let Some(own) = limit["type"].as_str().and_then(&hard) else { continue };
        for bound in ["hard", "soft"] {
            limit[bound] = json!(limit[bound].as_u64().unwrap_or(own).min(own));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capability_is_looked_for_in_the_effective_set() {
        assert!(lacks("CapPrm:\t000001ffffffffff\nCapEff:\t000001fffeffffff\n"));
        assert!(!lacks("CapPrm:\t000001fffeffffff\nCapEff:\t000001ffffffffff\n"));
        assert!(!lacks("no such line"));
    }

    #[test]
    fn only_what_cannot_be_granted_is_taken_out() {
        let mut process = json!({
            "capabilities": { "bounding": ["CAP_KILL", "CAP_SYS_RESOURCE"], "ambient": [] },
            "oomScoreAdj": -998,
            "rlimits": [
                { "type": "RLIMIT_NOFILE", "hard": 1 << 20, "soft": 1024 },
                { "type": "RLIMIT_STACK", "hard": 9, "soft": 9 },
            ],
        });
        take_out(&mut process, |name| (name == "RLIMIT_NOFILE").then_some(4096));
        let expected = json!({
            "capabilities": { "bounding": ["CAP_KILL"], "ambient": [] },
            "oomScoreAdj": 0,
            "rlimits": [
                { "type": "RLIMIT_NOFILE", "hard": 4096, "soft": 1024 },
                { "type": "RLIMIT_STACK", "hard": 9, "soft": 9 },
            ],
        });
        assert_eq!(process, expected);
        let mut untouched = json!({ "args": ["sh"] });
        take_out(&mut untouched, |_| None);
        assert_eq!(untouched, json!({ "args": ["sh"] }));
    }
}
