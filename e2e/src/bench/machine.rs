//! What the figures were measured on, without a name: cores, memory, disk, kernel, and whether it was quiet.

use serde::Serialize;
use std::fs;
use std::path::Path;

/// Above this share of all cores something else is at work.
const LOAD_QUIET: f64 = 0.25;

/// A machine at the start of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The name of the processor.
    pub processor: String,
    /// All of it.
    pub memory_bytes: u64,
    /// The file system of the data.
    pub file_system: String,
    /// Its release.
    pub kernel: String,
    /// Processes that ran or wanted to, on average of the last minute.
    pub load_average: f64,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
}

impl Machine {
    /// This one. `data` is where servers keep their data.
    pub fn look(data: &Path) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let load_average =
            read("/proc/loadavg").split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
        let file_system = file_system(data, &read("/proc/self/mounts"));
        let mut warnings = Vec::new();
        if load_average > LOAD_QUIET * cores as f64 {
            warnings.push(format!("the machine is not quiet: load average {load_average} on {cores} cores"));
        }
        if file_system == "tmpfs" {
            warnings.push(
                "the data is in memory: a sync costs nothing (--data-dir names another place)".to_owned(),
            );
        }
        Machine {
            cores,
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            file_system,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average,
            warnings,
        }
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> u64 {
    let kib = field(meminfo, "MemTotal").and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The type of the mount that is nearest to `path`.
fn file_system(path: &Path, mounts: &str) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let parts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let nearest = parts.filter(|(place, _)| path.starts_with(place)).max_by_key(|(place, _)| place.len());
    nearest.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /nowhere tmpfs rw 0 0\n";
        assert_eq!(file_system(Path::new("/nowhere/below"), mounts), "tmpfs");
        assert_eq!(file_system(Path::new("/nowhereelse"), mounts), "ext4");
    }
}
