//! The queue by the command line: the whole life of tasks, and workers that run programs, fail, lose leases and end.

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
struct Said {
    exit: i32,
    out: String,
    err: String,
}

/// A cluster that lets those tokens in.
struct Queue {
    cluster: Cluster,
    dir: TempDir,
}

impl Queue {
    async fn on(nodes: usize) -> Queue {
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

    async fn say_with(&self, token: &str, arguments: &[&str], input: &[u8]) -> Said {
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

    async fn create(&self, command: &str, payload: &str, more: &[&str]) -> String {
        self.say("producer", &[&["create", command, payload], more].concat()).await
    }

    async fn task(&self, id: &str) -> Value {
        self.json("producer", &["get", id]).await
    }

    /// Waits until a task is somewhere.
    async fn until(&self, id: &str, state: &str) -> Value {
        eventually(&format!("{id} is {state}"), PATIENCE, || async {
            let task = self.task(id).await;
            if task["state"] == state { Ok(task) } else { Err(task.to_string()) }
        })
        .await
    }

    /// A worker that runs a script for each task.
    fn worker(&self, arguments: &[&str], script: &str) -> Worker {
        let number = std::fs::read_dir(self.dir.path()).unwrap().count();
        let [out, err] = ["out", "err"].map(|name| self.dir.path().join(format!("worker-{number}.{name}")));
        let mut command = self.command("worker");
        command.arg("work").args(arguments).args(["--", "sh", "-c", script]);
        let [stdout, stderr] = [&out, &err].map(|path| std::fs::File::create(path).unwrap());
        command.env("DIR", self.dir.path()).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        Worker { child: command.spawn().unwrap(), out, err }
    }
}

/// A process of `schedia queue work`, killed when dropped.
struct Worker {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Worker {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    /// What it says of tasks.
    fn out(&self) -> String {
        Worker::read(&self.out)
    }

    /// What it says to people.
    fn err(&self) -> String {
        Worker::read(&self.err)
    }

    async fn until_out(&self, line: &str) {
        eventually(&format!("the worker says {line:?}"), PATIENCE, || async {
            let out = self.out();
            if out.lines().any(|said| said == line) { Ok(()) } else { Err(format!("{out}\n{}", self.err())) }
        })
        .await;
    }

    async fn ended(&mut self) -> ExitStatus {
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

/// Whether a process runs.
fn runs(id: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
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

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_a_program_per_task_and_its_exit_status_decides() {
    let queue = Queue::on(1).await;
    let script = r#"
        payload=$(cat)
        case $payload in
            '"json"') echo "{\"task\":\"$SCHEDIA_TASK_ID\",\"try\":$SCHEDIA_TASK_ATTEMPT,\"token\":\"${SCHEDIA_TOKEN-none}\"}" ;;
            '"long"') sleep 5; echo slow ;;
            '"bad"') echo first >&2; echo 'no such address' >&2; exit 65 ;;
            '"fails"') echo "try $SCHEDIA_TASK_ATTEMPT of $SCHEDIA_TASK_COMMAND" >&2; exit 1 ;;
        esac"#;
    let mut worker = queue
        .worker(&["--command", "MAIL", "--command", "OTHER", "--parallel", "3", "--lease", "3s"], script);
    let long = queue.create("MAIL", r#""long""#, &[]).await;
    let json = queue.create("MAIL", r#""json""#, &[]).await;
    let bad = queue.create("other", r#""bad""#, &[]).await;
    let fails = queue.create("MAIL", r#""fails""#, &["--max-attempts", "1"]).await;
    let done = queue.until(&json, "completed").await;
    assert_eq!(done["result"], serde_json::json!({ "task": json, "try": 1, "token": "none" }));
    let failed = queue.until(&bad, "failed").await;
    assert_eq!((failed["error"].as_str(), failed["attempts"].as_u64()), (Some("no such address"), Some(1)));
    assert_eq!(queue.until(&fails, "dead").await["error"], "try 1 of MAIL");
    // Longer than its lease: it was extended.
    let slow = queue.until(&long, "completed").await;
    assert_eq!((&slow["result"]["stdout"], slow["attempts"].as_u64()), (&"slow\n".into(), Some(1)));
    for line in [
        format!("completed {json} MAIL 1"),
        format!("failed {bad} other 1"),
        format!("retried {fails} MAIL 1"),
    ] {
        worker.until_out(&line).await;
    }
    assert!(worker.err().contains("try 1 of MAIL\n"), "what programs say to people is passed on");
    worker.signal(Signal::TERM);
    assert!(worker.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_lease_is_lost_is_killed() {
    let queue = Queue::on(1).await;
    let id = queue.create("LOST", "1", &[]).await;
    let script = r#"echo $$ > "$DIR/pid"; sleep 600"#;
    let mut worker = queue.worker(&["--command", "LOST", "--lease", "3s"], script);
    queue.until(&id, "in-progress").await;
    let file = queue.dir.path().join("pid");
    let program = eventually("the program runs", PATIENCE, || async {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.strip_suffix('\n').map(str::to_owned).ok_or_else(|| "it has not begun".to_owned())
    })
    .await;
    worker.signal(Signal::STOP);
    // Nobody extends it: it ends, and the task waits for its next try.
    queue.until(&id, "delayed").await;
    assert!(runs(&program), "whoever is stopped kills nobody");
    worker.signal(Signal::CONT);
    worker.until_out(&format!("lost {id} LOST 1")).await;
    assert!(!runs(&program), "{program} runs on");
    assert!(
        worker.err().contains(&format!("task {id} is not this worker's any more, its program is killed: "))
    );
    worker.signal(Signal::TERM);
    assert!(worker.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_end_takes_no_more_and_waits_or_gives_back() {
    let queue = Queue::on(1).await;
    let waits = queue.create("ENDS", "1", &[]).await;
    let mut worker = queue.worker(
        &["--command", "ENDS"],
        r#"touch "$DIR/begun"; while [ ! -e "$DIR/go" ]; do sleep 0.1; done"#,
    );
    queue.until(&waits, "in-progress").await;
    worker.signal(Signal::TERM);
    let next = queue.create("ENDS", "2", &[]).await;
    std::fs::write(queue.dir.path().join("go"), "").unwrap();
    assert!(worker.ended().await.success());
    assert_eq!(worker.out(), format!("completed {waits} ENDS 1\n"));
    assert_eq!(queue.task(&next).await["state"], "ready", "it took no more");

    let mut worker = queue.worker(&["--command", "ENDS", "--grace", "1s"], "sleep 600");
    queue.until(&next, "in-progress").await;
    worker.signal(Signal::INT);
    assert!(worker.ended().await.success());
    assert_eq!(worker.out(), format!("abandoned {next} ENDS 1\n"));
    let task = queue.task(&next).await;
    assert_eq!((&task["state"], &task["attempts"]), (&"ready".into(), &0.into()), "no try is counted");

    // The second signal does not wait.
    let mut worker = queue.worker(&["--command", "ENDS", "--grace", "10m"], "sleep 600");
    queue.until(&next, "in-progress").await;
    worker.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_millis(200)).await;
    worker.signal(Signal::TERM);
    assert!(worker.ended().await.success());
    assert_eq!(worker.out(), format!("abandoned {next} ENDS 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_goes_on_with_the_next_node_and_says_so_once() {
    let mut queue = Queue::on(3).await;
    let worker = queue.worker(&["--command", "ON", "--wait", "1s"], "echo done");
    let first = queue.create("ON", "1", &[]).await;
    worker.until_out(&format!("completed {first} ON 1")).await;
    queue.cluster.nodes[0].kill();
    for payload in ["2", "3"] {
        let id = eventually("a task is created", PATIENCE, || async {
            let said = queue.say_with("producer", &["create", "ON", payload], b"").await;
            if said.exit == 0 { Ok(said.out) } else { Err(said.err) }
        });
        worker.until_out(&format!("completed {} ON 1", id.await.trim_end())).await;
    }
    let err = worker.err();
    assert!(err.contains("schedia: going on with http://"), "{err}");
    assert!(err.matches("trying again").count() <= 1, "{err}");
}
