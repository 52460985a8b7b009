//! Processes by more than their number, and commands whose failure says why.
//!
//! Invariant: nothing is ever signalled that was not started by this cluster: a pid counts only together with the time
//! its process began and the boot it belongs to.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::KubeError;

/// One process, never another one that later got its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// In clock ticks since boot, as /proc tells it.
    started: u64,
    boot: String,
}

impl Process {
    /// The calling process as the mounted /proc knows it, which inside a fresh pid namespace is still the parent's.
    pub(crate) fn myself() -> io::Result<Process> {
        let link = fs::read_link("/proc/self")?;
        let pid = link.to_str().and_then(|pid| pid.parse().ok());
        Process::of(pid.ok_or_else(|| io::Error::other("/proc/self names no process"))?)
    }

    fn of(pid: i32) -> io::Result<Process> {
        let (state, started) = stat(pid)?;
        if state == 'Z' {
            return Err(io::Error::other("the process has ended"));
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Process { pid, started, boot })
    }

    pub(crate) fn alive(&self) -> bool {
        Process::of(self.pid).is_ok_and(|now| now == *self)
    }

    /// Sends the signal if the process is still the one meant.
    pub(crate) fn signal(&self, signal: Signal) {
        if let (true, Some(pid)) = (self.alive(), Pid::from_raw(self.pid)) {
            // It may have ended meanwhile: that is what was wanted.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Whole or not at all, so that a reader never sees half a number.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        fs::write(&beside, format!("{} {} {}\n", self.pid, self.started, self.boot))?;
        fs::rename(beside, path)
    }

    /// The process named by a pid file, if it is alive.
    pub(crate) fn read(path: &Path) -> Option<Process> {
        let text = fs::read_to_string(path).ok()?;
        let mut words = text.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        let started = words.next()?.parse().ok()?;
        let process = Process { pid, started, boot: words.next()?.to_owned() };
        process.alive().then_some(process)
    }
}

/// State and start time of a process. The name in the second field may hold spaces and parentheses.
fn stat(pid: i32) -> io::Result<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let parse = || {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
    };
    parse().ok_or_else(|| io::Error::other("unreadable /proc/PID/stat"))
}

/// Runs `command` to its end and returns what it printed.
pub(crate) async fn run(command: &mut Command, what: &str) -> Result<String, KubeError> {
    command.stdin(Stdio::null());
    finish(command, what, None).await
}

/// The same with `input` on its standard input.
pub(crate) async fn run_with_input(
    command: &mut Command,
    what: &str,
    input: &str,
) -> Result<String, KubeError> {
    command.stdin(Stdio::piped());
    finish(command, what, Some(input)).await
}

/// The same with whatever standard input the command has been given.
pub(crate) async fn run_as_is(command: &mut Command, what: &str) -> Result<String, KubeError> {
    finish(command, what, None).await
}

async fn finish(command: &mut Command, what: &str, input: Option<&str>) -> Result<String, KubeError> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            KubeError::Missing { program, hint: "see docs/local-kubernetes.md for the packages" }
        }
        _ => KubeError::Io { doing: "run", path: program.into(), source: e },
    })?;
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that ends early says why on its standard error.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    let output = output.map_err(KubeError::io("run", what))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(KubeError::Command {
            what: what.to_owned(),
            status: output.status,
            output: tail(&text, 20),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last `lines` lines.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The end of a log file, or a word on why there is none.
pub(crate) fn log_tail(path: &Path) -> String {
    match fs::read(path) {
        Ok(bytes) if bytes.is_empty() => "(empty)".to_owned(),
        Ok(bytes) => tail(&String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(8 << 10)..]), 15),
        Err(e) => format!("(no log: {e})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_of_an_earlier_process_with_the_same_number_names_nobody() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("x.pid");
        let me = Process::myself().expect("me");
        me.write(&path).expect("write");
        assert_eq!(Process::read(&path), Some(me.clone()));
        Process { started: me.started + 1, ..me.clone() }.write(&path).expect("write");
        assert_eq!(Process::read(&path), None);
        Process { boot: "another".to_owned(), ..me }.write(&path).expect("write");
        assert_eq!(Process::read(&path), None);
    }

    #[tokio::test]
    async fn a_failing_command_says_what_it_wrote_on_standard_error() {
        let error = run(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"]), "trying")
            .await
            .expect_err("fails");
        assert_eq!(error.to_string(), "trying failed (exit status: 3): no luck");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program-here"), "trying").await.expect_err("fails");
        assert!(error.to_string().starts_with("no-such-program-here is not installed"), "{error}");
    }
}
