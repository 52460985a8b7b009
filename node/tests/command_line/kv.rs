//! Transactions, ranges and watches by hand.

use super::common::{PATIENCE, TestNode};
use super::{Process, run, schedia};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_given_in_statements_or_as_json() {
    let node = TestNode::single().await;
    let url = node.http_url();
    let lock =
        b"if mod-revision lock = 0\nthen put lock me # mine now\nelse get lock\nelse get nobody\nelse list";
    let (status, out, words) = run(&url, &["kv", "txn"], lock).await;
    assert_eq!((status, words.as_str()), (0, ""));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "what was compared holds, revision 2\nthen put lock: version 1\n"
    );
    let (status, out, _) = run(&url, &["kv", "txn"], lock).await;
    let expected = "what was compared does not hold, revision 2\n\
                    else get lock = me (mod revision 2)\n\
                    else get nobody: not found\n\
                    else list: 1 keys\n     lock = me (mod revision 2)\n";
    assert_eq!((status, String::from_utf8(out).unwrap().as_str()), (0, expected));
    let file = node.dir.path().join("txn.json");
    std::fs::write(&file, r#"{"success": [{"delete": {"prefix": ""}}]}"#).unwrap();
    let (status, out, _) =
        run(&url, &["kv", "txn", "--file", file.to_str().unwrap(), "--output", "json"], b"").await;
    let out: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((status, &out["results"][0]["delete"]["deleted"]), (0, &1.into()), "{out}");

    for (input, exit, expected) in [
        ("put a 1", 2, "schedia: line 1: a statement begins with if, then or else, not \"put\"\n"),
        (
            "\n# nothing\n",
            2,
            "schedia: an empty transaction: give statements or JSON, `schedia kv txn --help` shows them\n",
        ),
        (
            "{\"then\": []}",
            2,
            "schedia: the transaction is not as expected: unknown field `then`, expected one of `compare`, `success`, `failure` at line 1 column 7\n",
        ),
        (
            "then put a 1\nthen delete a",
            1,
            "schedia: a branch of a transaction changes a key at most once, this one twice: a (duplicate_key)\n",
        ),
    ] {
        let (status, _, words) = run(&url, &["kv", "txn"], input.as_bytes()).await;
        assert_eq!((status, words.as_str()), (exit, expected), "{input}");
    }
    let (status, _, words) = run(&url, &["kv", "txn", "--file", "/does/not/exist"], b"").await;
    assert!(status == 1 && words.contains("/does/not/exist"), "{words}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_read_counted_and_deleted_only_when_that_is_said() {
    let node = TestNode::single().await;
    let url = node.http_url();
    for key in ["a/1", "a/2", "a/3", "b"] {
        assert_eq!(run(&url, &["kv", "put", key, key], b"").await.0, 0);
    }
    let out = async |args: &[&str]| {
        let (status, out, words) = run(&url, args, b"").await;
        assert_eq!(status, 0, "{args:?}: {words}");
        String::from_utf8(out).unwrap()
    };
    assert_eq!(out(&["kv", "get", "--prefix", "a/", "--count-only"]).await, "3\n");
    let table = "MOD   VERSION   KEY   VALUE\n3     1         a/2\n4     1         a/3\n";
    assert_eq!(out(&["kv", "get", "--start", "a/2", "--end", "b", "--keys-only"]).await, table);
    let one = out(&["kv", "get", "--prefix", "a/", "--limit", "1", "--output", "json"]).await;
    assert_eq!(one.lines().count(), 1, "{one}");
    assert_eq!(out(&["kv", "get", "--prefix", "", "--revision", "3", "--count-only"]).await, "2\n");

    let (status, _, words) = run(&url, &["kv", "delete", "--prefix", "a/"], b"y\n").await;
    assert_eq!(
        (status, words.as_str()),
        (2, "schedia: 3 keys would be deleted: give --yes to do so without being asked\n")
    );
    assert_eq!(out(&["kv", "delete", "--prefix", "a/", "--yes"]).await, "deleted 3, revision 6\n");
    let json = out(&["kv", "delete", "--start", "b", "--yes", "--output", "json"]).await;
    assert_eq!(json, "{\"deleted\":1,\"revision\":7}\n");

    for wrong in [
        &["kv", "get"][..],
        &["kv", "get", "a", "--prefix", "b"],
        &["kv", "delete"],
        &["kv", "delete", "a", "--prefix", "b"],
        &["kv", "delete", "--prefix", "a", "--if-mod-revision", "1"],
        &["kv", "watch"],
    ] {
        assert_eq!(run(&url, wrong, b"").await.0, 2, "{wrong:?}");
    }
    let (status, _, words) = run(&url, &["kv", "get", "a", "--limit", "3"], b"").await;
    assert_eq!(status, 2);
    assert_eq!(
        words,
        "schedia: --limit is about ranges: leave the key out and name one with --prefix, --start or --end\n"
    );
    node.end().await;
}

/// The lines of a watch, as they come.
fn watching(url: &str, args: &[&str]) -> (Process, std::sync::mpsc::Receiver<String>) {
    let mut command = schedia();
    command.args(["kv", "watch"]).args(args).args(["--endpoints", url]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (lines, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    (Process(child), received)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_prints_changes_and_goes_on_when_the_node_is_back() {
    let node = TestNode::single().await;
    let url = node.http_url();
    node.put("/v1/kv/a%2F1", "one").await;
    let (_text, text) = watching(&url, &["--prefix", "a/", "--from-revision", "2", "--prev"]);
    let (_json, json) = watching(&url, &["a/1", "--from-revision", "2", "--output", "json"]);
    let next =
        |lines: &std::sync::mpsc::Receiver<String>| lines.recv_timeout(PATIENCE).expect("a line in time");
    assert_eq!(next(&text), "2        put a/1 = one");
    let first: serde_json::Value = serde_json::from_str(&next(&json)).unwrap();
    assert_eq!((&first["revision"], &first["changes"][0]["value"]), (&2.into(), &"b25l".into()));
    let at = node.at.http;
    let node = node.restart_at(at).await;
    node.until("it is ready again", |status| status.ready).await;
    node.put("/v1/kv/a%2F1", "two").await;
    node.http("DELETE", "/v1/kv/a%2F1", b"").await;
    assert_eq!(next(&text), "3        put a/1 = two   (was one)");
    assert_eq!(next(&text), "4        delete a/1   (was two)");
    for revision in [3, 4] {
        let changes: serde_json::Value = serde_json::from_str(&next(&json)).unwrap();
        assert_eq!(changes["revision"], revision);
    }
    // Gone for good: it says so and ends.
    assert_eq!(node.http("POST", "/v1/kv:compact", b"{\"revision\": 4}").await.status, 200);
    let (status, _, words) = run(&url, &["kv", "watch", "a", "--from-revision", "2"], b"").await;
    assert_eq!(status, 1);
    assert!(words.contains("oldest readable one: 4 (compacted)"), "{words}");
    let (status, _, words) = run("http://127.0.0.1:1", &["kv", "watch", "a"], b"").await;
    assert!(status == 3 && words.contains("no endpoint is reachable"), "{words}");
    node.end().await;
}
