//! What a cluster has left on this machine: the proof that `down` leaves nothing.
//!
//! Invariant: it looks at the kernel, not at what the cluster noted about itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::cgroup::Cgroups;
use super::{KubeError, Paths, network};

/// Everything of this cluster that exists, one line each.
pub(crate) fn list(paths: &Paths) -> Result<Vec<String>, KubeError> {
    let state = paths.state();
    let cgroups = Cgroups::detect()?;
    let mut found = Vec::new();
    found.extend(
        cgroups.pids(&paths.cgroup()).into_iter().map(|pid| format!("process {pid} ({})", name(pid))),
    );
    found.extend(cgroups.dirs(&paths.cgroup()).into_iter().map(|dir| format!("cgroup {}", dir.display())));
    found.extend(mounts(&state)?);
    found.extend(loop_devices(&state));
    found.extend(links());
    if state.exists() {
        found.push(format!("directory {}", state.display()));
    }
    Ok(found)
}

/// What no machine of ours may change outside its namespaces, whether it is up or down: kernel settings, mounts,
/// addresses, routes, firewall rules, loop devices; one line each.
pub fn surroundings() -> Result<BTreeSet<String>, KubeError> {
    let settings = [
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "net/ipv4/ip_forward",
    ];
    let mut seen = BTreeSet::new();
    for name in settings {
        let path = format!("/proc/sys/{name}");
        let value = fs::read_to_string(&path).map_err(KubeError::io("read", path))?;
        seen.insert(format!("{name} = {}", value.trim()));
    }
    let tools: [&[&str]; 6] = [
        &["cat", "/proc/self/mountinfo"],
        &["ip", "-oneline", "address"],
        &["ip", "route"],
        &["ip", "rule"],
        &["nft", "list", "ruleset"],
        &["losetup", "--noheadings", "--output", "NAME,BACK-FILE"],
    ];
    for tool in tools {
        let output =
            Command::new(tool[0]).args(&tool[1..]).output().map_err(KubeError::io("run", tool[0]))?;
        seen.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
    }
    Ok(seen)
}

/// Mounts of or in the state directory, in the mount namespace of any process of this machine.
pub(crate) fn mounts(state: &Path) -> Result<Vec<String>, KubeError> {
    let state = state.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(KubeError::io("read", "/proc"))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end while we look.
        let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        let ours = |line: &&str| {
            line.split([' ', ',', '='])
                .any(|word| word.strip_prefix(&state).is_some_and(|r| r.is_empty() || r.starts_with('/')))
        };
        if let Some(line) = mounts.lines().find(ours) {
            let at = line.split(' ').nth(4).unwrap_or_default();
            found.push(format!("mount {at}, seen by process {pid} ({})", name(pid)));
        }
    }
    Ok(found)
}

/// Loop devices over files of the state directory.
fn loop_devices(state: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let ours = |device: fs::DirEntry| {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        let name = device.file_name().to_string_lossy().into_owned();
        file.starts_with(&format!("{}/", state.display()))
            .then(|| format!("loop device {name} of {}", file.trim()))
    };
    devices.filter_map(ours).collect()
}

/// Links with an address of ours in this network namespace: there must never be one, whatever is up.
fn links() -> Vec<String> {
    let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let ours = |link: &fs::DirEntry| {
        fs::read_to_string(link.path().join("address")).is_ok_and(|mac| mac.starts_with(network::MAC_PREFIX))
    };
    links.filter(ours).map(|link| format!("link {}", link.file_name().to_string_lossy())).collect()
}

fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}
