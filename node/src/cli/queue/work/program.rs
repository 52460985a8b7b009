//! One run of the program: started with a payload, read up to a bound, killed with all it has started.
//!
//! It is a process group of its own: a signal for the worker, such as Ctrl-C, is none for what runs.

use crate::cli::queue::claim::Claimed;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What is kept of standard output: with room to spare in what a node takes as a result.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// What is kept of the last line of standard error.
const LINE_BYTES_MAX: usize = 16 << 10;

/// What a program has started may hold its output open after its end: it is read for so long then.
const REST: Duration = Duration::from_secs(1);

/// The beginning of what was written.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    /// Whether there was more.
    pub(super) cut: bool,
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit status, unless a signal ended it.
    pub(super) code: Option<i32>,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
    /// Standard output.
    pub(super) output: Kept,
    /// The last line of standard error with something in it.
    pub(super) last_line: String,
}

/// A running program. Dropped, it is killed.
pub(super) struct Program {
    child: Child,
    /// Its input is written and its output read beside it: it waits for nobody.
    pipes: JoinSet<()>,
    output: Arc<Mutex<Kept>>,
    last_line: Arc<Mutex<LastLine>>,
}

impl Program {
    /// Runs it for a task.
    pub(super) fn start(words: &[OsString], task: &Claimed) -> io::Result<Program> {
        let (name, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(name);
        command
            .args(arguments)
            .env("SCHEDIA_TASK_ID", &task.id)
            .env("SCHEDIA_TASK_COMMAND", &task.command)
            .env("SCHEDIA_TASK_ATTEMPT", task.attempts.to_string())
            // What the worker may is not what the program may.
            .env_remove("SCHEDIA_TOKEN")
            .env_remove("SCHEDIA_TOKEN_FILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut pipes = JoinSet::new();
        let payload = task.payload.clone().into_bytes();
        if let Some(mut stdin) = child.stdin.take() {
            // A program need not read it.
            pipes.spawn(async move { drop(stdin.write_all(&payload).await) });
        }
        let (output, last_line) = (Arc::<Mutex<Kept>>::default(), Arc::<Mutex<LastLine>>::default());
        if let Some(stdout) = child.stdout.take() {
            let output = output.clone();
            pipes.spawn(read(stdout, move |bytes| lock(&output).take(bytes)));
        }
        if let Some(stderr) = child.stderr.take() {
            let last_line = last_line.clone();
            pipes.spawn(read(stderr, move |bytes| {
                pass_on(bytes);
                lock(&last_line).take(bytes);
            }));
        }
        Ok(Program { child, pipes, output, last_line })
    }

    /// Waits for its end, and for what it has written.
    pub(super) async fn ended(&mut self) -> io::Result<Ended> {
        let status = self.child.wait().await?;
        let rest = async { while self.pipes.join_next().await.is_some() {} };
        let _ = timeout(REST, rest).await;
        let output = std::mem::take(&mut *lock(&self.output));
        let last_line = lock(&self.last_line).text();
        Ok(Ended { code: status.code(), signal: status.signal(), output, last_line })
    }

    /// Ends it at once, with all it has started.
    pub(super) async fn kill(mut self) {
        if let Some(group) = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
            // It may have ended a moment ago.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait().await;
    }
}

/// std Mutex: never held across an await.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads to the end, whatever is kept of it.
async fn read(mut from: impl AsyncRead + Unpin, mut take: impl FnMut(&[u8])) {
    let mut chunk = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        take(&chunk[..count]);
    }
}

/// What the program says to people is said to those who see the worker. That nobody does is no failure.
fn pass_on(bytes: &[u8]) {
    use std::io::Write;
    let _ = io::stderr().lock().write_all(bytes);
}

impl Kept {
    fn take(&mut self, bytes: &[u8]) {
        let room = OUTPUT_BYTES_MAX - self.bytes.len();
        self.cut |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// The last line so far, and the one being written: the end of each.
#[derive(Default)]
struct LastLine {
    whole: VecDeque<u8>,
    begun: VecDeque<u8>,
}

impl LastLine {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                if self.begun.len() == LINE_BYTES_MAX {
                    self.begun.pop_front();
                }
                self.begun.push_back(byte);
                continue;
            }
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.begun);
        if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
            self.whole = line;
        }
    }

    fn text(&mut self) -> String {
        self.end_line();
        String::from_utf8_lossy(self.whole.make_contiguous()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(payload: &str) -> Claimed {
        let text = format!(
            r#"{{"id":"t-1","command":"MAIL","payload":{},"leaseToken":"0.1","leaseUntil":"x","attempts":2}}"#,
            serde_json::to_string(payload).unwrap()
        );
        serde_json::from_str(&text).unwrap()
    }

    async fn run(script: &str, payload: &str) -> Ended {
        let words = ["sh", "-c", script].map(OsString::from);
        Program::start(&words, &task(payload)).unwrap().ended().await.unwrap()
    }

    #[test]
    fn the_last_line_with_something_in_it_is_kept_however_it_comes() {
        for chunks in [&["one\ntw", "o\n\n  \n"][..], &["two"], &["one\n", "two\n"]] {
            let mut last = LastLine::default();
            chunks.iter().for_each(|chunk| last.take(chunk.as_bytes()));
            assert_eq!(last.text(), "two", "{chunks:?}");
        }
        let mut long = LastLine::default();
        long.take(&[b'x'; 2 * LINE_BYTES_MAX]);
        long.take(b"end");
        let text = long.text();
        assert!(text.len() == LINE_BYTES_MAX && text.ends_with("xend"));
    }

    #[tokio::test]
    async fn a_program_has_its_payload_and_knows_its_task() {
        let script = "cat; echo \" $SCHEDIA_TASK_ID $SCHEDIA_TASK_COMMAND $SCHEDIA_TASK_ATTEMPT\"; echo why >&2; exit 3";
        let ended = run(script, "{\"to\":\"ann\"}").await;
        assert_eq!(ended.output.bytes, b"{\"to\":\"ann\"} t-1 MAIL 2\n");
        assert_eq!((ended.code, ended.last_line.as_str(), ended.output.cut), (Some(3), "why", false));
    }

    #[tokio::test]
    async fn a_program_that_reads_nothing_and_writes_much_does_not_wait() {
        let ended = run("head -c 3000000 /dev/zero", &"x".repeat(1 << 20)).await;
        assert_eq!(
            (ended.code, ended.output.bytes.len(), ended.output.cut),
            (Some(0), OUTPUT_BYTES_MAX, true)
        );
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_is_not_waited_for_for_long() {
        let begun = std::time::Instant::now();
        let ended = run("echo done; sleep 30 &", "").await;
        assert_eq!((ended.code, &ended.output.bytes[..]), (Some(0), &b"done\n"[..]));
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn killing_ends_what_the_program_has_started_too() {
        let words = ["sh", "-c", "sleep 600 & echo $!; wait"].map(OsString::from);
        let program = Program::start(&words, &task("")).unwrap();
        let child = loop {
            let text = String::from_utf8(lock(&program.output).bytes.clone()).unwrap();
            if let Some(id) = text.strip_suffix('\n') {
                break id.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        program.kill().await;
        let begun = std::time::Instant::now();
        // Gone, or dead and not yet taken note of by its new parent.
        while std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        {
            assert!(begun.elapsed() < Duration::from_secs(20), "{child} runs on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
