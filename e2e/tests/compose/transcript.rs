//! A session at a shell, as text: what is typed, and what is answered.
//!
//! A line begins with what it is:
//! * `$`: typed as the guide has it; it must end well;
//! * `+`: typed to look closer;
//! * `until ANSWER COMMAND`: typed again and again until it answers that;
//! * `>`: a line of the answer. `<name>` is any word, and the same one from then on, in what is typed too; `<...>` is any word;
//!   `...` alone is any lines. An answer without such lines is not looked at after `$`, and nothing at all after `+`;
//! * `formed`: wait until all three nodes are one cluster;
//! * `stopped`: one has just been stopped, and its port is left alone until `formed`;
//! * `#`: a remark.
//!
//! The shell is one for the whole session, in the engine's machine, where the published ports are.

use super::fixture::{Fixture, PATIENCE, formed};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// Ends an answer; nothing else prints it.
const END: &str = "end-of-answer";

/// A session.
pub(crate) struct Transcript<'a> {
    fixture: &'a Fixture,
    shell: Shell,
    urls: Vec<String>,
    /// What `<name>` stands for.
    names: BTreeMap<String, String>,
    /// Whether nobody answers on port 8081.
    second_is_stopped: bool,
    began: Instant,
}

impl<'a> Transcript<'a> {
    /// A shell in the directory `root`.
    pub(crate) async fn begin(fixture: &'a Fixture, root: &Path) -> Transcript<'a> {
        let mut shell = Shell::start(fixture);
        shell.run(&format!("cd '{}'", root.display())).await;
        let (names, began) = (BTreeMap::new(), Instant::now());
        let urls = fixture.urls().await;
        Transcript { fixture, shell, urls, names, second_is_stopped: false, began }
    }

    /// Types what the text has, and compares.
    pub(crate) async fn follow(&mut self, text: &str) {
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
        while let Some(line) = lines.next() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            let mut expected = Vec::new();
            while let Some(answer) = lines.next_if(|next| next.starts_with('>')) {
                expected.push(answer[1..].trim());
            }
            println!("{:6.1} s  {line}", self.began.elapsed().as_secs_f32());
            match kind {
                "formed" => {
                    formed(&self.urls).await;
                    self.second_is_stopped = false;
                }
                "stopped" => self.second_is_stopped = self.names["leader"] == "node-b",
                "until" => self.until(rest).await,
                "$" | "+" => self.step(kind == "$", rest, &expected).await,
                _ => panic!("what is this line? {line}"),
            }
        }
    }

    async fn step(&mut self, word_for_word: bool, line: &str, expected: &[&str]) {
        let line = if word_for_word { line.to_owned() } else { self.named(line) };
        let (answer, status) = self.shell.run(&self.reachable(line.clone())).await;
        let words = || format!("{line}\nstatus {status}\n{}", answer.join("\n"));
        if word_for_word && status != 0 {
            panic!("{}\n{}", words(), self.logs().await);
        }
        if word_for_word && expected.is_empty() {
            return;
        }
        // Progress of docker is no answer.
        let is_progress = line.starts_with("docker compose") && expected.is_empty();
        if !is_progress && !matches(expected, &answer, &mut self.names) {
            panic!("{}\n\nexpected:\n{}\n\n{}", words(), expected.join("\n"), self.logs().await);
        }
    }

    async fn until(&mut self, rest: &str) {
        let (expected, line) = rest.split_once(' ').expect("until ANSWER COMMAND");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (answer, _) = self.shell.run(line).await;
            if answer == [expected] {
                return;
            }
            assert!(Instant::now() < deadline, "{line}: {answer:?}\n{}", self.logs().await);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    fn named(&self, line: &str) -> String {
        let put = |line: String, (name, value): (&String, &String)| line.replace(&format!("<{name}>"), value);
        self.names.iter().fold(line.to_owned(), put)
    }

    fn reachable(&self, line: String) -> String {
        if self.second_is_stopped { line.replace("localhost:8081", "localhost:8082") } else { line }
    }

    /// What the containers said last.
    async fn logs(&self) -> String {
        let mut text = String::new();
        for container in self.fixture.docker(&["ps", "--all", "--format", "{{.Names}}"]).await {
            let mut docker = self.fixture.engine.docker().unwrap();
            let output = docker.args(["logs", "--tail", "15", &container]).output().await.unwrap();
            text += &format!("{container}:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        text
    }
}

/// Whether an answer is as expected. Names that are new are remembered.
fn matches(expected: &[&str], answer: &[String], names: &mut BTreeMap<String, String>) -> bool {
    let mut answer = answer.iter().map(|line| line.trim());
    let mut any = false;
    for line in expected {
        if *line == "..." {
            any = true;
            continue;
        }
        let found = match any {
            true => answer.any(|seen| is_line(line, seen, names)),
            false => answer.next().is_some_and(|seen| is_line(line, seen, names)),
        };
        if !found {
            return false;
        }
        any = false;
    }
    any || answer.next().is_none()
}

fn is_line(pattern: &str, seen: &str, names: &mut BTreeMap<String, String>) -> bool {
    let mut found = names.clone();
    let (mut pattern, mut seen) = (pattern, seen);
    while let Some((before, rest)) = pattern.split_once('<') {
        let (Some(after), Some((name, rest))) = (seen.strip_prefix(before), rest.split_once('>')) else {
            return false;
        };
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || "-.:/".contains(c)));
        let (word, after) = match found.get(name) {
            Some(known) if after.starts_with(known.as_str()) => after.split_at(known.len()),
            Some(_) => return false,
            None => after.split_at(end.unwrap_or(after.len())),
        };
        if word.is_empty() {
            return false;
        }
        if name != "..." {
            found.insert(name.to_owned(), word.to_owned());
        }
        (pattern, seen) = (rest, after);
    }
    let same = pattern == seen;
    if same {
        *names = found;
    }
    same
}

/// `sh` in the engine's machine.
struct Shell {
    _child: Child,
    typed: ChildStdin,
    printed: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    fn start(fixture: &Fixture) -> Shell {
        let mut shell = fixture.engine.shell().unwrap();
        // Only what the files themselves say.
        for name in ["IMAGE", "CODEQ_IMAGE", "CODEQ_LOG_LEVEL", "QUEUE_TOKEN", "COMPOSE_FILE"] {
            shell.env_remove(name);
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = shell.spawn().unwrap();
        let (typed, printed) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Shell { _child: child, typed, printed: BufReader::new(printed).lines() }
    }

    /// Types one line; what it prints, and its exit status.
    async fn run(&mut self, line: &str) -> (Vec<String>, i32) {
        let typed = format!("{{ {line}\n}} </dev/null\necho; echo {END} $?\n");
        self.typed.write_all(typed.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = async {
            while let Some(line) = self.printed.next_line().await.unwrap() {
                if let Some(status) = line.strip_prefix(END) {
                    return status.trim().parse().unwrap();
                }
                answer.push(line);
            }
            panic!("the shell has ended");
        };
        let status = tokio::time::timeout(PATIENCE, read).await;
        let status = status.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {line}"));
        // The line break of our own.
        while answer.last().is_some_and(String::is_empty) {
            answer.pop();
        }
        (answer, status)
    }
}

#[test]
fn answers_are_compared_with_names_and_gaps() {
    let mut names = BTreeMap::new();
    let text = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(matches(&["\"<a>\"", "...", "x <a>"], &text("\"n-1\"\n1\n2\nx n-1"), &mut names));
    assert_eq!(names["a"], "n-1");
    assert!(!matches(&["\"<a>\""], &text("\"n-2\""), &mut names));
    assert!(!matches(&["1"], &text("1\n2"), &mut names) && matches(&["1", "..."], &text("1\n2"), &mut names));
    assert!(matches(&[], &[], &mut names) && !matches(&[], &text("1"), &mut names));
    assert!(
        !matches(&["<b>"], &text(" "), &mut names) && matches(&["t=<...>,"], &text("t=1:2,"), &mut names)
    );
}
