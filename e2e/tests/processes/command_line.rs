//! The command line, as a person walks through it: what it prints, and how it exits.

use super::PATIENCE;
use schedia_e2e::process::{Cluster, binary};
use schedia_e2e::wait::eventually;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What came of one call.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) exit: i32,
    pub(super) out: String,
    pub(super) err: String,
}

pub(super) async fn schedia(arguments: &[&str], input: &[u8]) -> Said {
    let mut command = Command::new(binary::schedia());
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Most commands read nothing.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { exit: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_walks_through_keys_with_the_command_line() {
    let cluster = Cluster::joined(3).await;
    let endpoints = cluster.endpoints().join(",");
    let kv = async |arguments: &[&str], input: &[u8]| {
        let all: Vec<_> =
            ["kv"].iter().chain(arguments).copied().chain(["--endpoints", &endpoints]).collect();
        schedia(&all, input).await
    };
    assert_eq!(kv(&["put", "a/1", "one"], b"").await.exit, 0);
    assert_eq!(kv(&["put", "a/2", "-"], b"from standard input").await.exit, 0);
    assert_eq!(kv(&["put", "-", "a value for a key named dash"], b"").await.exit, 0);
    let got = kv(&["get", "a/2"], b"").await;
    assert_eq!((got.exit, got.out.trim_end()), (0, "from standard input"), "{got:?}");
    let listed = kv(&["list", "a/", "--output", "json"], b"").await;
    assert_eq!(listed.exit, 0, "{listed:?}");
    let rows = listed
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["mod_revision"].clone());
    assert_eq!(rows.collect::<Vec<_>>(), [2, 3], "{listed:?}");
    let again = kv(&["put", "a/1", "two", "--if-mod-revision", "0"], b"").await;
    assert_eq!(again.exit, 1, "it exists: {again:?}");
    assert_eq!(kv(&["delete", "a/1"], b"").await.exit, 0);
    for missing in [&["get", "a/1"][..], &["delete", "a/1"]] {
        let said = kv(missing, b"").await;
        assert!(said.exit == 1 && said.err.contains("not found"), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_the_members_and_hands_leadership_over() {
    let cluster = Cluster::joined(3).await;
    let endpoints = cluster.endpoints().join(",");
    let admins = cluster.nodes.iter().map(|node| node.admin_url()).collect::<Vec<_>>().join(",");
    let status = schedia(&["status", "--endpoints", &endpoints], b"").await;
    assert!(status.exit == 0 && status.out.contains("voters     3, can lose 1"), "{status:?}");
    let members = schedia(&["member", "list", "--endpoints", &endpoints], b"").await;
    assert!(["n1", "n2", "n3", "leader"].iter().all(|word| members.out.contains(word)), "{members:?}");
    let heir = (cluster.leader().await + 1) % 3;
    let name = &cluster.nodes[heir].name;
    let transfer = schedia(&["member", "transfer-leader", name, "--admin-endpoints", &admins], b"").await;
    assert_eq!(transfer.exit, 0, "{transfer:?}");
    eventually("the chosen one leads", PATIENCE, || async {
        let leader = cluster.leader().await;
        if leader == heir { Ok(()) } else { Err(cluster.nodes[leader].name.clone()) }
    })
    .await;
    let nobody = schedia(&["member", "transfer-leader", "n9", "--admin-endpoints", &admins], b"").await;
    assert!(nobody.exit == 1 && nobody.err.contains("n9"), "{nobody:?}");
    let snapshot = schedia(&["snapshot", "--admin-endpoints", &admins], b"").await;
    assert_eq!(snapshot.exit, 0, "{snapshot:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_adds_a_waiting_node_by_hand() {
    let mut cluster = Cluster::joined(1).await;
    cluster.add().start(&[]);
    let added = cluster.nodes[1].admin_url();
    eventually("the new node waits", PATIENCE, || cluster.nodes[1].status()).await;
    let admin = cluster.nodes[0].admin_url();
    let said = schedia(&["member", "add", &added, "--admin-endpoints", &admin], b"").await;
    assert_eq!(said.exit, 0, "{said:?}");
    cluster.settled(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_status_tells_wrong_usage_from_nobody_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = format!("http://{free}");
    let unreachable = schedia(&["kv", "get", "a", "--endpoints", &nowhere], b"").await;
    assert!(unreachable.exit == 3 && unreachable.err.contains(&nowhere), "{unreachable:?}");
    let wrong: [&[&str]; 6] = [
        &["kv", "get"],
        &["kv", "get", "a", "--endpoints", "nonsense"],
        &["everything"],
        &["serve", "--shards-of-glass", "1"],
        &["serve", "--bootstrap", "--join", "http://127.0.0.1:1"],
        &["serve", "--http", "no address"],
    ];
    for arguments in wrong {
        let said = schedia(arguments, b"").await;
        assert!(said.exit == 2 && !said.err.is_empty(), "{arguments:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_zero_is_a_free_one_and_the_log_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary::schedia());
    command.args(["serve", "--name", "n1", "--bootstrap", "--data-dir"]).arg(dir.path().join("data"));
    command.args(["--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--peer", "127.0.0.1:0"]);
    let log = dir.path().join("log");
    command.stderr(std::fs::File::create(&log).unwrap()).stdout(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let admin = eventually("the log names the ports", PATIENCE, || async {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("listening")).ok_or("no such line")?;
        // Without colours: a log that is no terminal has none.
        let port = line.split("admin=").nth(1).and_then(|rest| rest.split_whitespace().next());
        port.map(str::to_owned).ok_or_else(|| line.to_owned())
    })
    .await;
    eventually("that port answers", PATIENCE, || async {
        let url = format!("http://{}/livez", admin.trim_matches('"'));
        let answer = reqwest::get(&url).await.map_err(|e| e.to_string())?;
        if answer.status() == 200 { Ok(()) } else { Err(answer.status().to_string()) }
    })
    .await;
    child.kill().await.unwrap();
}
