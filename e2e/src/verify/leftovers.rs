//! What a local Kubernetes could leave on the machine, looked for after it is gone.
//!
//! Everything it makes on the host carries a mark: the project's name is in its cgroups, and in the path of its state,
//! hence in its mounts, loop devices and the command lines of its processes. What others make meanwhile does not count.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The traces that carry `mark`, one line each.
pub fn traces(mark: &str) -> Vec<String> {
    let mut lines: Vec<_> = mounts().map(|mount| format!("mount {mount}")).collect();
    let loops = output("losetup", &["--noheadings", "--output", "NAME,BACK-FILE"]);
    lines.extend(loops.lines().map(|line| format!("loop device {line}")));
    let mut groups = Vec::new();
    directories(Path::new("/sys/fs/cgroup"), 3, &mut groups);
    lines.extend(groups.into_iter().map(|dir| format!("cgroup {}", dir.display())));
    lines.extend(processes());
    lines.retain(|line| line.contains(mark));
    lines
}

fn mounts() -> impl Iterator<Item = String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points: Vec<_> = text.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect();
    points.into_iter()
}

/// Every process but this one and those it descends from.
fn processes() -> Vec<String> {
    let mut ours = vec![std::process::id()];
    while let Some(parent) = ours.last().and_then(|id| parent(*id)).filter(|id| *id > 1) {
        ours.push(parent);
    }
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| !ours.contains(id))
        .filter_map(|id| {
            let command = std::fs::read(format!("/proc/{id}/cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            (!command.is_empty()).then(|| format!("process {id} {command}"))
        })
        .collect()
}

fn parent(id: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn directories(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink())
    {
        if depth > 1 {
            directories(&path, depth - 1, found);
        }
        found.push(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;

    #[test]
    fn a_process_that_carries_the_mark_is_a_trace_and_its_end_ends_it() {
        let mark = "schedia-leftovers-test";
        assert_eq!(traces(mark), [""; 0]);
        let mut child = Command::new("sleep").arg0(mark).arg("60").spawn().unwrap();
        let seen = traces(mark);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen, [format!("process {} {mark} 60 ", child.id())]);
        assert_eq!(traces(mark), [""; 0]);
    }
}
