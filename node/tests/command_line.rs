//! The built binary: exit status, output and words of every command.
#![allow(clippy::unwrap_used)] // helpers of a test, too: its panic is the message

mod common;
#[path = "command_line/help.rs"]
mod help;
#[path = "command_line/kv.rs"]
mod kv;

use common::{PATIENCE, TestNode};
use schedia_api::Role;
use schedia_node::config::Start;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

fn schedia() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_schedia"));
    for (name, _) in std::env::vars() {
        if name.starts_with("SCHEDIA_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command against endpoints; its exit status, output and words.
async fn run(endpoint: &str, args: &[&str], stdin: &[u8]) -> (i32, Vec<u8>, String) {
    let mut command = schedia();
    command.args(args).env("SCHEDIA_ENDPOINTS", endpoint).env("SCHEDIA_TIMEOUT", "5s");
    finish(command, stdin.to_vec()).await
}

async fn finish(mut command: Command, stdin: Vec<u8>) -> (i32, Vec<u8>, String) {
    let done = tokio::task::spawn_blocking(move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(&stdin);
        child.wait_with_output().unwrap()
    });
    let Output { status, stdout, stderr } = done.await.unwrap();
    (status.code().unwrap(), stdout, String::from_utf8(stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_values_pass_as_raw_bytes() {
    let node = TestNode::single().await;
    let url = node.http_url();
    assert_eq!(run(&url, &["kv", "put", "a", "one"], b"").await.1, b"revision 2\n");
    assert_eq!(run(&url, &["kv", "put", "..", "-"], b"\x00\xff\n").await.0, 0);
    assert_eq!(run(&url, &["kv", "get", ".."], b"").await.1, b"\x00\xff\n");
    let file = node.dir.path().join("value");
    std::fs::write(&file, "from a file").unwrap();
    assert_eq!(run(&url, &["kv", "put", "f", "--file", file.to_str().unwrap()], b"").await.0, 0);
    assert_eq!(run(&url, &["kv", "get", "f"], b"").await.1, b"from a file");
    let json = run(&url, &["kv", "get", "a", "--output", "json"], b"").await.1;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((json["value"].as_str(), json["mod_revision"].as_u64()), (Some("b25l"), Some(2)));

    let (status, table, _) = run(&url, &["kv", "list"], b"").await;
    let table = String::from_utf8(table).unwrap();
    assert_eq!(status, 0);
    assert_eq!(
        table.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["MOD", "VERSION", "KEY", "VALUE"]
    );
    assert_eq!(table.lines().count(), 4, "{table}");
    assert_eq!(run(&url, &["kv", "list", "--count-only"], b"").await.1, b"3\n");
    assert_eq!(run(&url, &["kv", "list", "a", "--count-only"], b"").await.1, b"1\n");
    assert_eq!(run(&url, &["kv", "delete", "a"], b"").await.1, b"revision 5\n");
    assert_eq!(run(&url, &["kv", "get", "a", "--revision", "2"], b"").await.1, b"one");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_asks_the_admin_port_and_hears_why_not() {
    let node = TestNode::single().await;
    let asked = async |admin: &str| {
        run("http://127.0.0.1:1", &["status", "--ready", "--admin-endpoints", admin], b"").await
    };
    assert_eq!(asked(&node.admin_url()).await, (0, b"ready\n".to_vec(), String::new()));
    node.end().await;
    let waiting = TestNode::start("n1", Start::Wait).await;
    let (status, out, words) = asked(&waiting.admin_url()).await;
    assert_eq!((status, &out[..]), (1, &b""[..]));
    assert!(words.starts_with("schedia: not ready: ") && words.ends_with(" (unassigned)\n"), "{words}");
    waiting.end().await;
    assert_eq!(asked("http://127.0.0.1:1").await.0, 3, "nobody is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_tells_what_happened() {
    let node = TestNode::single().await;
    let url = node.http_url();
    let (status, out, words) = run(&url, &["kv", "get", "missing"], b"").await;
    assert_eq!((status, &out[..], words.as_str()), (1, &b""[..], "schedia: key not found (key_not_found)\n"));
    let (status, _, words) = run(&url, &["kv", "put", "a", "1", "--if-mod-revision", "9"], b"").await;
    assert_eq!(status, 1);
    assert!(words.contains("(mod_revision_differs)"), "{words}");
    for wrong in
        [&["kv", "put", "a"][..], &["kv", "frob"], &["kv", "get", "a", "--timeout", "soon"], &["serv"]]
    {
        assert_eq!(run(&url, wrong, b"").await.0, 2, "{wrong:?}");
    }
    assert_eq!(run("not a url", &["status"], b"").await.0, 2);
    let (status, _, words) = run("http://127.0.0.1:1", &["kv", "get", "a"], b"").await;
    assert_eq!(status, 3);
    assert!(words.contains("no endpoint is reachable") && words.contains("--endpoints"), "{words}");
    let both = format!("http://127.0.0.1:1,{url}");
    assert_eq!(run(&both, &["kv", "put", "a", "1"], b"").await.0, 0, "the next endpoint is tried");
    let blank = TestNode::start("n2", Start::Wait).await;
    blank.until("it answers", |_| true).await;
    let (status, _, words) = run(&blank.http_url(), &["kv", "put", "a", "1"], b"").await;
    assert_eq!(status, 3, "{words}");
    assert_eq!(run(&blank.http_url(), &["status"], b"").await.0, 3);
    blank.end().await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_added_and_lead() {
    let (first, second) = (TestNode::single().await, TestNode::start("n2", Start::Wait).await);
    second.until("it answers", |_| true).await;
    let admins = format!("{},{}", first.admin_url(), second.admin_url());
    let add =
        ["member", "add", &second.admin_url(), "--admin-endpoints", &first.admin_url(), "--timeout", "15s"];
    let (status, out, words) = run(&first.http_url(), &add, b"").await;
    assert_eq!(status, 0, "{words}");
    assert!(String::from_utf8_lossy(&out).starts_with("n2 is voter "), "{out:?}");
    let transfer = ["member", "transfer-leader", "n2", "--admin-endpoints", &admins];
    let (status, out, words) = run(&first.http_url(), &transfer, b"").await;
    assert_eq!((status, &out[..]), (0, &b"n2 leads\n"[..]), "{words}");
    let (_, out, _) = run(&first.http_url(), &["member", "list", "--output", "json"], b"").await;
    let members: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(members.as_array().unwrap().len(), 2);
    let (status, out, words) = run(&first.http_url(), &["status"], b"").await;
    let out = String::from_utf8(out).unwrap();
    assert_eq!(status, 0, "{words}");
    assert!(out.contains("leader     n2") && out.contains("voters     2, can lose 0"), "{out}");
    let snapshot = ["snapshot", "--admin-endpoints", &admins];
    let (status, out, words) = run(&first.http_url(), &snapshot, b"").await;
    assert_eq!((status, String::from_utf8(out).unwrap().lines().count()), (0, 2), "{words}");
    second.end().await;
    first.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_leave_and_begin_anew() {
    let (first, second) = (TestNode::single().await, TestNode::start("n2", Start::Wait).await);
    second.until("it answers", |_| true).await;
    let (url, admins) = (first.http_url(), format!("{},{}", first.admin_url(), second.admin_url()));
    let member = async |args: &[&str]| {
        let all: Vec<&str> =
            ["member"].iter().chain(args).chain(&["--admin-endpoints", &admins]).copied().collect();
        let (status, out, words) = run(&url, &all, b"").await;
        (status, String::from_utf8(out).unwrap(), words)
    };
    assert_eq!(member(&["add", &second.admin_url()]).await.0, 0);
    let two = second.until("it votes", |status| status.role == Role::Voter).await.node_id.unwrap();
    assert_eq!(member(&["transfer-leader", "n2"]).await.0, 0);

    let (status, _, words) = member(&["remove", "n1", "n2"]).await;
    assert!(status == 1 && words.contains("nobody would be left to vote"), "{words}");
    let (status, _, words) = member(&["remove", "n3"]).await;
    assert!(status == 1 && words.contains("no member has the name or id n3"), "{words}");
    let (_, _, words) = run(&url, &["member", "reset", &second.admin_url()], b"").await;
    assert!(words.contains("is a member of its cluster: remove it first"), "{words}");

    let (status, out, words) = member(&["remove", "n2"]).await;
    assert_eq!(status, 0, "{words}");
    assert_eq!(out, format!("n2 ({two}) votes no more\nn2 ({two}) is removed\n"));
    let (status, out, words) = member(&["remove", &two.to_string(), "--output", "json"]).await;
    assert_eq!(status, 0, "removed already: {words}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["removed"], true);
    second.until("it knows", |status| status.role == Role::Retired).await;
    let (status, _, words) = member(&["add", &second.admin_url()]).await;
    assert!(status == 1 && words.contains("schedia member reset"), "{words}");

    let (status, out, words) = run(&url, &["member", "reset", &second.admin_url()], b"").await;
    assert_eq!(status, 0, "{words}");
    assert!(String::from_utf8(out).unwrap().starts_with("n2 is blank, on disk "));
    assert_eq!(member(&["add", &second.admin_url()]).await.0, 0);
    let again = second.until("it votes again", |status| status.role == Role::Voter).await;
    assert!(again.node_id > Some(two));
    second.end().await;
    first.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_an_operators_cluster_are_left_alone() {
    let node = TestNode::start("n1", Start::Wait).await;
    node.until("it answers", |_| true).await;
    let verb = schedia_api::Initialize {
        cluster_id: "c-1".parse().unwrap(),
        name: "n1".into(),
        address: node.at.peer.to_string(),
        shards: 1,
        managed_by: Some("operator".into()),
    };
    node.admin().initialize(&verb).await.unwrap();
    node.until("it is ready", |status| status.ready).await;
    for verb in [["remove", "n1"], ["add", "http://127.0.0.1:9"]] {
        let args = ["member", verb[0], verb[1], "--admin-endpoints", &node.admin_url()];
        let (status, _, words) = run(&node.http_url(), &args, b"").await;
        assert!(status == 1 && words.contains("membership is managed by the operator"), "{words}");
    }
    node.end().await;
}

/// A node in a process of its own, killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(dir: &std::path::Path, more: &[&str]) -> Command {
    let mut command = schedia();
    command.args(["serve", "--name", "n1", "--data-dir"]).arg(dir);
    for listener in ["http", "admin", "peer"] {
        command.args([format!("--{listener}"), "127.0.0.1:0".to_owned()]);
    }
    command.args(more);
    command
}

/// Starts a node that logs JSON, and waits until it says where it listens.
async fn started(mut command: Command) -> (Process, serde_json::Value) {
    let mut process = Process(command.stderr(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let listening = tokio::task::spawn_blocking(move || {
        let mut lines = lines.map_while(Result::ok);
        let line = lines.by_ref().find(|line| line.contains("\"listening\"")).expect("the line `listening`");
        // The rest must be read, or the node waits for room in the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        serde_json::from_str(&line).unwrap()
    });
    (process, listening.await.unwrap())
}

/// Puts `a` as soon as the node takes writes.
async fn put_at_last(url: &str, value: &[u8]) {
    let begun = std::time::Instant::now();
    while run(url, &["kv", "put", "a", "-"], value).await.0 != 0 {
        assert!(begun.elapsed() < PATIENCE, "it never took a write");
    }
}

/// Tells a node to end, and waits until it has ended well.
async fn terminate(mut process: Process) {
    let id = rustix::process::Pid::from_child(&process.0);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || process.0.wait().unwrap());
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("ends in time").unwrap();
    assert!(ended.success(), "{ended:?}");
}

/// Flips a bit in every place of a file that holds these bytes: what a failing disk does.
fn spoil(file: &std::path::Path, bytes: &[u8]) {
    let mut content = std::fs::read(file).unwrap();
    let places: Vec<_> =
        (0..=content.len() - bytes.len()).filter(|at| content[*at..].starts_with(bytes)).collect();
    assert!(!places.is_empty(), "the file does not hold them");
    for at in places {
        content[at] ^= 1;
    }
    std::fs::write(file, content).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_node_says_where_it_listens_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let command = serve(dir.path(), &["--bootstrap", "--log-format", "json"]);
    let (process, listening) = started(command).await;
    let url = format!("http://{}", listening["http"].as_str().unwrap());
    put_at_last(&url, b"1").await;
    terminate(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_come_from_flags_then_environment_then_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("schedia.toml");
    std::fs::write(&file, "heartbeat-ms = 1001\n").unwrap();
    // The refusal names the value that won.
    let refusal = async |env: &[(&str, &str)], flags: &[&str]| {
        let mut command = serve(&dir.path().join("data"), flags);
        command.args(["--config", file.to_str().unwrap()]).envs(env.iter().copied());
        let (status, _, words) = finish(command, Vec::new()).await;
        assert_eq!(status, 2, "{words}");
        words
    };
    assert!(refusal(&[], &[]).await.contains("--heartbeat-ms 1001"));
    let env = [("SCHEDIA_HEARTBEAT_MS", "1002")];
    assert!(refusal(&env, &[]).await.contains("--heartbeat-ms 1002"));
    assert!(refusal(&env, &["--heartbeat-ms", "1003"]).await.contains("--heartbeat-ms 1003"));
    let unknown = refusal(&[("SCHEDIA_HARTBEAT_MS", "1")], &[]).await;
    assert_eq!(unknown, "schedia: unknown setting in the environment: SCHEDIA_HARTBEAT_MS\n");
    assert!(refusal(&[("SCHEDIA_HTTP", "localhost")], &["--heartbeat", "1"]).await.contains("--heartbeat"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let mut command = serve(dir.path(), &[]);
    command.args(["--http", &taken]);
    let mut twice = schedia();
    twice.args(["serve", "--name", "n1", "--http", &taken, "--data-dir"]).arg(dir.path());
    let (status, _, words) = finish(twice, Vec::new()).await;
    assert_eq!(status, 1);
    assert!(words.contains(&format!("--http {taken}: another process listens there")), "{words}");
    let (status, _, words) = finish(serve(std::path::Path::new("/proc/nowhere"), &[]), Vec::new()).await;
    assert_eq!(status, 1);
    assert!(words.contains("/proc/nowhere"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_disk_leaves_the_admin_port_to_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let value = [0xa5; 1_000];
    // Told to end, a node leaves everything in its state file: the next one reads the value from there.
    let start = || started(serve(dir.path(), &["--bootstrap", "--log-format", "json"]));
    let url =
        |listening: &serde_json::Value, port: &str| format!("http://{}", listening[port].as_str().unwrap());
    let (process, listening) = start().await;
    put_at_last(&url(&listening, "http"), &value).await;
    terminate(process).await;
    spoil(&dir.path().join("shards/0/state.redb"), &value[..100]);
    let (mut process, listening) = start().await;
    let http = url(&listening, "http");
    let begun = std::time::Instant::now();
    let admin = schedia_api::Client::new(&[url(&listening, "admin")], PATIENCE).unwrap();
    let status = loop {
        run(&http, &["kv", "get", "a"], b"").await;
        let status = admin.status().await.unwrap();
        if status.alarms.iter().any(|alarm| alarm.code == "disk_failed") {
            break status;
        }
        assert!(begun.elapsed() < 3 * PATIENCE, "the disk never failed: {status:?}");
    };
    assert!(!status.ready);
    let reason = status.ready_reason.unwrap();
    assert!(reason.contains(dir.path().to_str().unwrap()), "names the file: {reason}");
    let at = listening["admin"].as_str().unwrap().parse().unwrap();
    assert_eq!(common::exchange(at, "GET", "/livez", &[], b"").await.status, 200);
    let unready = common::exchange(at, "GET", "/readyz", &[], b"").await;
    assert_eq!(unready.error(), format!("503 storage_failed: {reason}"));
    while run(&http, &["kv", "get", "a"], b"").await.0 != 3 {
        assert!(begun.elapsed() < 3 * PATIENCE, "the client port is still served");
    }
    assert!(process.0.try_wait().unwrap().is_none(), "the process stays");
}
