//! Runs one command: its output goes to a log file, a progress line is shown, a stop signal ends all of its processes.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With status 0.
    Done,
    /// With another status, or it could not be started.
    Failed,
    /// A person stopped us; its processes are gone.
    Interrupted,
}

/// A terminal sees the line change; a pipeline's log gets one now and then.
const PROGRESS_TERMINAL: Duration = Duration::from_millis(500);
const PROGRESS_LOG: Duration = Duration::from_secs(60);
/// How long a stopped command may take to clean up.
const GRACE: Duration = Duration::from_secs(10);

/// Runs `command` to its end. Its processes form a group of their own, so that a stop reaches all of them.
pub async fn run(name: &str, mut command: Command, log: &Path) -> std::io::Result<End> {
    let mut file = File::create(log)?;
    writeln!(file, "$ {:?}", command.as_std())?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0).kill_on_drop(true);
    let started = Instant::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            File::options()
                .append(true)
                .open(log)?
                .write_all(format!("cannot be started: {e}\n").as_bytes())?;
            return Ok(End::Failed);
        }
    };
    let terminal = std::io::stdout().is_terminal();
    let mut progress = tokio::time::interval(if terminal { PROGRESS_TERMINAL } else { PROGRESS_LOG });
    progress.tick().await;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let end = loop {
        tokio::select! {
            status = child.wait() => break if status?.success() { End::Done } else { End::Failed },
            _ = interrupt.recv() => break stop(&mut child).await?,
            _ = terminate.recv() => break stop(&mut child).await?,
            _ = progress.tick() => show(name, started.elapsed(), log, terminal),
        }
    };
    if terminal {
        print!("\r\x1b[K");
    }
    Ok(end)
}

async fn stop(child: &mut Child) -> std::io::Result<End> {
    if let Some(group) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
        let _ = kill_process_group(group, Signal::TERM);
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    child.wait().await?;
    Ok(End::Interrupted)
}

fn show(name: &str, elapsed: Duration, log: &Path, terminal: bool) {
    let last = tail(log, 1).trim().to_owned();
    let line = format!("  {name} {} s: {last}", elapsed.as_secs());
    if terminal {
        let line: String = line.chars().take(110).collect();
        print!("\r\x1b[K{line}");
        let _ = std::io::stdout().flush();
    } else {
        println!("{line}");
    }
}

/// The last lines of a log; of a long one only the end is read.
pub fn tail(log: &Path, lines: usize) -> String {
    const BYTES_MAX: u64 = 64 << 10;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|e| format!("cannot read {}: {e}", log.display()));
    let all: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_and_status_of_a_command_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert_eq!(run("a", shell("echo one; echo two >&2"), &log).await.unwrap(), End::Done);
        assert_eq!(tail(&log, 2), "one\ntwo");
        assert_eq!(run("b", shell("exit 3"), &log).await.unwrap(), End::Failed);
        assert_eq!(run("c", Command::new("/does/not/exist"), &log).await.unwrap(), End::Failed);
        assert!(tail(&log, 1).starts_with("cannot be started: "));
    }
}
