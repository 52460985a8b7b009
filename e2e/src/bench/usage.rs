//! What processes have used, as the kernel counts it: CPU and bytes.
//!
//! `wchar` of `/proc/PID/io` is left out: it counts `write` to sockets but not `send`, and the two sides differ in which they call.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// Used by a process since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU, of all its threads, in user and in system mode.
    pub cpu: Duration,
    /// Bytes of pages it dirtied in files, which the kernel writes to the disk.
    pub written_bytes: u64,
}

impl Usage {
    /// Of a process that runs.
    pub fn of(pid: u32) -> Result<Usage, String> {
        let read = |name| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))
        };
        let ticks = cpu_ticks(&read("stat")?).ok_or_else(|| format!("/proc/{pid}/stat has another form"))?;
        let written_bytes = field(&read("io")?, "write_bytes:").unwrap_or(0);
        Ok(Usage { cpu: seconds(ticks), written_bytes })
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, before: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(before.cpu),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
        }
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Usage>>(all: I) -> Usage {
        all.fold(Usage::default(), |a, b| Usage {
            cpu: a.cpu + b.cpu,
            written_bytes: a.written_bytes + b.written_bytes,
        })
    }
}

/// CPU that anybody on the machine has used since it was started.
pub fn machine_cpu() -> Result<Duration, String> {
    let text = fs::read_to_string("/proc/stat").map_err(|e| format!("/proc/stat: {e}"))?;
    let ticks = busy_ticks(&text).ok_or("/proc/stat has another form")?;
    Ok(seconds(ticks))
}

fn seconds(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64)
}

/// user, nice, system, irq and softirq of all cores; not idle, iowait or steal, which nobody here used.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    [0, 1, 2, 5, 6].into_iter().map(|place| fields.get(place).copied()).sum()
}

/// User and system time, which follow the name in parentheses, in ticks of the clock.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::resident_bytes;

    #[test]
    fn the_cpu_of_a_process_is_found_behind_whatever_its_name_is() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(42));
    }

    #[test]
    fn a_machine_that_waits_is_not_busy() {
        let stat = "cpu  100 20 3 5000 700 4 5 6000 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), Some(132));
    }

    #[test]
    fn this_process_has_used_memory() {
        assert!(resident_bytes(std::process::id()) > 1 << 20);
        Usage::of(std::process::id()).expect("a process may read its own counters");
    }
}
