//! The queue by the command line: the whole life of tasks, administering, events.

use super::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use schedia_e2e::process::{Cluster, binary};
use schedia_e2e::wait::eventually;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

/// A producer, an administrator and a worker of one tenant, and a producer of another one.
const AUTH: &str = r#"
[producer]
type = "static"
[[producer.config]]
token = "producer"
raw = { tenantId = "dev-tenant" }
[[producer.config]]
token = "admin"
raw = { role = "ADMIN", tenantId = "dev-tenant" }
[[producer.config]]
token = "stranger"
raw = { tenantId = "other-tenant" }

[worker]
type = "static"
[worker.config]
token = "worker"
subject = "worker-dev"
eventTypes = ["*"]
scopes = ["codeq:claim", "codeq:heartbeat", "codeq:abandon", "codeq:nack", "codeq:result"]
raw = { tenantId = "dev-tenant" }
"#;

/// What came of one call.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) exit: i32,
    pub(super) out: String,
    pub(super) err: String,
}

/// A cluster that lets those tokens in.
pub(super) struct Queue {
    pub(super) cluster: Cluster,
    pub(super) dir: TempDir,
}

impl Queue {
    pub(super) async fn on(nodes: usize) -> Queue {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.toml");
        std::fs::write(&file, AUTH).unwrap();
        let settings = ["--auth-config", file.to_str().unwrap(), "--shards", "2"];
        let mut cluster = Cluster::new();
        cluster.add().start(&[&settings[..], &["--bootstrap"]].concat());
        let seed = cluster.nodes[0].http_url();
        cluster.settled(1).await;
        for _ in 1..nodes {
            cluster.add().start(&[&settings[..2], &["--join", &seed]].concat());
        }
        cluster.settled(nodes).await;
        Queue { cluster, dir }
    }

    fn command(&self, token: &str) -> Command {
        let mut command = Command::new(binary::schedia());
        command.arg("queue").env("SCHEDIA_TOKEN", token);
        command.env("SCHEDIA_ENDPOINTS", self.cluster.endpoints().join(","));
        command
    }

    pub(super) async fn say_with(&self, token: &str, arguments: &[&str], input: &[u8]) -> Said {
        let mut command = tokio::process::Command::from(self.command(token));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Most commands read nothing.
        let _ = stdin.write_all(input).await;
        drop(stdin);
        let output =
            tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { exit: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What a command that succeeds has printed.
    async fn say(&self, token: &str, arguments: &[&str]) -> String {
        let said = self.say_with(token, arguments, b"").await;
        assert_eq!((said.exit, said.err.as_str()), (0, ""), "{arguments:?}: {said:?}");
        said.out.trim_end().to_owned()
    }

    async fn json(&self, token: &str, arguments: &[&str]) -> Value {
        let out = self.say(token, &[arguments, &["--output", "json"]].concat()).await;
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
    }

    pub(super) async fn create(&self, command: &str, payload: &str, more: &[&str]) -> String {
        self.say("producer", &[&["create", command, payload], more].concat()).await
    }

    pub(super) async fn task(&self, id: &str) -> Value {
        self.json("producer", &["get", id]).await
    }

    /// Waits until a task is somewhere.
    pub(super) async fn until(&self, id: &str, state: &str) -> Value {
        eventually(&format!("{id} is {state}"), PATIENCE, || async {
            let task = self.task(id).await;
            if task["state"] == state { Ok(task) } else { Err(task.to_string()) }
        })
        .await
    }

    /// A worker that runs a script for each task.
    pub(super) fn worker(&self, arguments: &[&str], script: &str) -> Worker {
        self.begin("worker", &[&["work"], arguments, &["--", "sh", "-c", script]].concat())
    }

    /// A command that goes on until it is told to end.
    fn begin(&self, token: &str, arguments: &[&str]) -> Worker {
        let number = std::fs::read_dir(self.dir.path()).unwrap().count();
        let [out, err] = ["out", "err"].map(|name| self.dir.path().join(format!("worker-{number}.{name}")));
        let mut command = self.command(token);
        command.args(arguments);
        let [stdout, stderr] = [&out, &err].map(|path| std::fs::File::create(path).unwrap());
        command.env("DIR", self.dir.path()).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        Worker { child: command.spawn().unwrap(), out, err }
    }
}

/// A process of `schedia queue`, killed when dropped.
pub(super) struct Worker {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Worker {
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    /// What it says of tasks.
    pub(super) fn out(&self) -> String {
        Worker::read(&self.out)
    }

    /// What it says to people.
    pub(super) fn err(&self) -> String {
        Worker::read(&self.err)
    }

    pub(super) async fn until_out(&self, line: &str) {
        eventually(&format!("the worker says {line:?}"), PATIENCE, || async {
            let out = self.out();
            if out.lines().any(|said| said == line) { Ok(()) } else { Err(format!("{out}\n{}", self.err())) }
        })
        .await;
    }

    pub(super) async fn ended(&mut self) -> ExitStatus {
        eventually("the worker ends", PATIENCE, || {
            let status = self.child.try_wait().unwrap();
            async move { status.ok_or_else(|| "it runs".to_owned()) }
        })
        .await
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_lives_its_whole_life_by_the_command_line() {
    let queue = Queue::on(1).await;
    let id = queue.create("MAIL", r#"{"b":1, "a":2.50}"#, &["--priority", "3", "--max-attempts", "2"]).await;
    assert_eq!(queue.task(&id).await["payload"].to_string(), r#"{"a":2.5,"b":1}"#);
    let claimed = queue.json("worker", &["claim", "MAIL", "--lease", "5m"]).await;
    assert_eq!((claimed["id"].as_str(), claimed["attempts"].as_u64()), (Some(id.as_str()), Some(1)));
    let token = claimed["leaseToken"].as_str().unwrap();
    let extended = queue.say("worker", &["heartbeat", &id, "--extend", "10m", "--lease-token", token]).await;
    assert!(extended.starts_with("leased until "), "{extended}");
    assert_eq!(
        queue.say("worker", &["nack", &id, "--reason", "away", "--delay", "1s"]).await,
        "tried again in 1 s"
    );
    queue.until(&id, "ready").await;

    // A second try, given back, and a third look at the same one.
    let claimed = queue.say("worker", &["claim", "OTHER", "MAIL", "--wait", "10s"]).await;
    assert!(
        claimed.contains(&format!("task          {id}")) && claimed.contains("attempt       2 of 2"),
        "{claimed}"
    );
    assert_eq!(queue.say("worker", &["abandon", &id]).await, "given back");
    let claimed = queue.json("worker", &["claim", "MAIL", "--count", "5"]).await;
    let token = claimed["leaseToken"].as_str().unwrap();
    let wrong = queue.say_with("worker", &["result", &id, "{}", "--lease-token", "0.999"], b"").await;
    assert_eq!((wrong.exit, wrong.err.as_str()), (1, "schedia: not-owner (403)\n"));
    let file = queue.dir.path().join("result.json");
    std::fs::write(&file, r#"{"sent":true}"#).unwrap();
    let file = format!("@{}", file.display());
    assert_eq!(queue.say("worker", &["result", &id, &file, "--lease-token", token]).await, "completed");
    let whole = queue.say("producer", &["get", &id]).await;
    for line in ["state         completed", "attempts      2 of 2", r#"result        {"sent":true}"#] {
        assert!(whole.lines().any(|said| said == line), "{line}: {whole}");
    }

    // A failure for good, a payload from standard input, and one from a file.
    let failed = queue.say_with("producer", &["create", "MAIL", "-"], b"\"to nobody\"\n").await.out;
    let failed = failed.trim_end();
    queue.say("worker", &["claim", "MAIL"]).await;
    assert_eq!(queue.say("worker", &["result", failed, "--failed", "no such address"]).await, "failed");
    assert_eq!(queue.task(failed).await["error"], "no such address");
    let from_file = queue.create("MAIL", &file, &["--delay", "1h", "--idempotency-key", "k"]).await;
    assert_eq!(queue.create("MAIL", "{}", &["--idempotency-key", "k"]).await, from_file, "the same task");
    assert_eq!(queue.say("producer", &["cancel", &from_file]).await, "cancelled");
    let listed = queue.say("producer", &["list", "mail"]).await;
    let states: Vec<_> = listed.lines().skip(1).map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(states, ["completed", "failed", "cancelled"], "{listed}");
    let json = queue
        .json("producer", &["list", "--state", "cancelled", "--younger-than", "1h", "--limit", "1"])
        .await;
    assert_eq!(json["id"], from_file.as_str());
    assert_eq!(
        queue.say("producer", &["list", "--older-than", "1h", "--state", "failed"]).await.lines().count(),
        1
    );
    let stats = queue.json("producer", &["stats", "MAIL"]).await;
    assert_eq!((&stats["counts"]["completed"], &stats["totals"]["created"]), (&1.into(), &3.into()));
    assert_eq!(queue.say("stranger", &["stats"]).await.lines().count(), 1, "nothing but the head");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_pauses_replays_and_deletes() {
    let queue = Queue::on(1).await;
    assert_eq!(queue.say("admin", &["pause", "D"]).await, "d is paused");
    assert_eq!(queue.say("admin", &["pause", "D"]).await, "d is paused, as it was before");
    let [one, two] = [
        queue.create("D", "1", &["--max-attempts", "1"]).await,
        queue.create("D", "2", &["--max-attempts", "1"]).await,
    ];
    let nothing = queue.say_with("worker", &["claim", "D"], b"").await;
    assert_eq!((nothing.exit, nothing.err.as_str()), (1, "schedia: no task is ready: D\n"));
    assert_eq!(queue.say("admin", &["resume", "D"]).await, "d is not paused");
    for id in [&one, &two] {
        queue.say("worker", &["claim", "D"]).await;
        assert_eq!(queue.say("worker", &["nack", id, "--reason", "boom"]).await, "dead: no try is left");
    }
    assert_eq!(queue.say("producer", &["dlq", "list", "D"]).await.matches("boom").count(), 2);
    assert_eq!(queue.say("admin", &["dlq", "replay", "D", "--id", &one]).await, "requeued 1");
    assert_eq!(queue.task(&one).await["state"], "ready");
    assert_eq!(queue.say("producer", &["cancel", &one]).await, "cancelled");
    assert_eq!(queue.json("admin", &["requeue", "D", "--from", "cancelled"]).await["requeued"], 1);
    let wrong = queue.say_with("admin", &["requeue", "D", "--from", "ready"], b"").await;
    assert!(
        wrong.exit == 1 && wrong.err.contains("nothing can be done so with tasks that are ready"),
        "{wrong:?}"
    );
    let asked = queue.say_with("admin", &["dlq", "purge", "D"], b"y\n").await;
    assert_eq!(
        (asked.exit, asked.err.as_str()),
        (2, "schedia: 1 dead letter would be deleted: give --yes to do so without being asked\n")
    );
    assert_eq!(queue.say("admin", &["dlq", "purge", "D", "--older-than", "1h", "--yes"]).await, "deleted 0");
    assert_eq!(queue.say("admin", &["dlq", "purge", "D", "--yes"]).await, "deleted 1");
    assert_eq!(
        queue.say_with("producer", &["get", &two], b"").await.err,
        "schedia: task not found (task_not_found)\n"
    );

    let put = ["topics", "put", "d", "--max-attempts", "3", "--retention", "7d", "--max-consumers", "2"];
    assert_eq!(queue.say("admin", &put).await, "d is at version 1");
    assert_eq!(queue.say("admin", &put).await, "d is at version 1");
    let topic = queue.json("admin", &["topics", "get", "d"]).await;
    assert_eq!(topic["policy"]["retentionSeconds"], 604_800);
    let listed = queue.say("admin", &["topics", "list"]).await;
    let row: Vec<_> = listed.lines().nth(1).unwrap().split_whitespace().take(5).collect();
    assert_eq!(row, ["d", "1", "3", "604800s", "2"], "{listed}");
    assert_eq!(queue.say("admin", &["topics", "delete", "d"]).await, "there is no topic d");
    assert_eq!(queue.say_with("admin", &["topics", "get", "d"], b"").await.exit, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_printed_as_they_happen_and_go_on_at_another_node() {
    let mut queue = Queue::on(3).await;
    let events = queue.begin("producer", &["events", "--command", "SEEN", "--output", "json"]);
    let said = async |kind: &str, id: &str| {
        let line = format!(r#"{{"type":"{kind}","id":"{id}","command":"seen"}}"#);
        events.until_out(&line).await;
    };
    // Whoever listens has begun when the first task is told of.
    let first = eventually("a task is told of", PATIENCE, || async {
        let id = queue.create("SEEN", "1", &[]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        if events.out().contains(&id) { Ok(id) } else { Err(events.err()) }
    })
    .await;
    queue.create("OTHER", "1", &[]).await;
    queue.say("producer", &["cancel", &first]).await;
    said("cancelled", &first).await;
    queue.cluster.nodes[0].kill();
    events.until_out(r#"{"type":"gap"}"#).await;
    let id = eventually("a task is created", PATIENCE, || async {
        let said = queue.say_with("producer", &["create", "SEEN", "2"], b"").await;
        if said.exit == 0 { Ok(said.out.trim_end().to_owned()) } else { Err(said.err) }
    })
    .await;
    said("created", &id).await;
    assert!(!events.out().contains("other"), "{}", events.out());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_is_told_what_to_do_and_no_token_is_shown() {
    let queue = Queue::on(1).await;
    let denied = queue.say_with("secret-of-nobody", &["create", "A", "1"], b"").await;
    assert!(
        denied.exit == 1 && denied.err.contains("--token-file") && denied.err.contains("(401)"),
        "{denied:?}"
    );
    assert!(!denied.err.contains("secret"), "{denied:?}");
    let file = queue.dir.path().join("token");
    std::fs::write(&file, "producer\n").unwrap();
    let by_file = ["create", "A", "1", "--token-file", file.to_str().unwrap()];
    assert_eq!(queue.say_with("secret-of-nobody", &by_file, b"").await.exit, 0, "the file goes first");
    assert_eq!(
        queue.say_with("secret-of-nobody", &["create", "A", "1", "--token", "producer"], b"").await.exit,
        0
    );
    for wrong in [
        &["create", "A", "not json"][..],
        &["create", "A", "1", "--delay", "soon"],
        &["create", "A", "1", "--token", "two\nlines"],
        &["claim"],
        &["claim", "A", "--wait", "31s"],
        &["list", "--state", "gone"],
        &["work", "--command", "A"],
        &["work", "--command", "A", "--lease", "1s", "--", "true"],
    ] {
        let said = queue.say_with("producer", wrong, b"").await;
        assert!(said.exit == 2 && !said.err.contains("two\nlines"), "{wrong:?}: {said:?}");
    }
    let help = queue.say("very-secret", &["create", "--help"]).await;
    assert!(help.contains("SCHEDIA_TOKEN") && !help.contains("very-secret"), "{help}");
    let said = queue.say_with("producer", &["work", "--command", "A", "--", "true"], b"").await;
    assert!(
        said.exit == 1 && said.err.contains("(401)"),
        "a worker whose token will never do ends: {said:?}"
    );
    let said = queue.say_with("worker", &["work", "--command", "A", "--", "/no/such/program"], b"").await;
    assert!(said.exit == 1 && said.err.contains("/no/such/program: "), "{said:?}");
    let stats = queue.json("producer", &["stats", "A"]).await;
    assert_eq!(stats["counts"]["inProgress"], 0, "what it could not begin was given back: {stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_was_lost_is_sent_again_and_creates_one_task() {
    let queue = Queue::on(3).await;
    let leader = queue.cluster.leader().await;
    let frozen = &queue.cluster.nodes[leader];
    let mut endpoints = queue.cluster.endpoints();
    endpoints.swap(0, leader);
    let endpoints = endpoints.join(",");
    frozen.freeze();
    let create = ["create", "ONCE", "1", "--endpoints", &endpoints, "--timeout", "30s"];
    let said = queue.say_with("producer", &create, b"").await;
    frozen.thaw();
    assert_eq!((said.exit, said.err.as_str()), (0, ""), "{said:?}");
    queue.cluster.settled(3).await;
    queue.cluster.caught_up().await;
    let listed = queue.json("producer", &["list", "ONCE"]).await;
    assert_eq!(listed["id"], said.out.trim_end(), "one line, one task");
}
