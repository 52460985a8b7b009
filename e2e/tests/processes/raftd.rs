//! raftd's README, word for word, `raftd` being `schedia raftd`; and where raftd fails.

use super::PATIENCE;
use super::follow::{Person, elsewhere};
use schedia_e2e::process::Cluster;
use schedia_e2e::wait::eventually;

const NODE_1: &str = "raftd -p 4001 ~/node.1";
const NODE_2: &str = "raftd -p 4002 -join localhost:4001 ~/node.2";
const NODE_3: &str = "raftd -p 4003 -join localhost:4001 ~/node.3";

const NOT_LEADER: &str = "raft.Server: Not current leader\n";

impl Person {
    fn raftd(&mut self, terminal: &str, line: &str) {
        self.start(terminal, &format!("exec schedia {line}"));
    }

    /// Sets foo on whichever of these nodes takes it.
    async fn set_somewhere(&self, ports: &[u16], value: &str) {
        eventually("somebody leads", PATIENCE, || async {
            let mut refused = Vec::new();
            for port in ports {
                let shown = self.curl(&format!("curl -XPOST localhost:{port}/db/foo -d '{value}'")).await;
                if shown.status == 200 {
                    return Ok(());
                }
                refused.push(format!("{port}: {} {:?}", shown.text(), shown.leader));
            }
            Err(refused.join("; "))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_can_be_followed_word_for_word() {
    if elsewhere("raftd::the_readme_can_be_followed_word_for_word") {
        return;
    }
    let mut person = Person::new();
    person.raftd("1", NODE_1);
    person.voters(4001, 1).await;
    let set = person.curl("curl -X POST http://localhost:4001/db/my_key -d 'FOO'").await;
    assert_eq!((set.status.as_u16(), set.text().as_str()), (200, ""));
    assert_eq!(person.curl("curl http://localhost:4001/db/my_key").await.text(), "FOO");

    // "When you restart the node, it's already been joined to the cluster so you can remove the -join argument."
    person.raftd("2", NODE_2);
    let first = person.voters(4002, 2).await;
    let name = std::fs::read_to_string(person.home().join("node.2/name")).unwrap();
    assert_eq!(name.trim(), first.name);
    assert!(name.trim().len() == 7 && name.trim().chars().all(|c| c.is_ascii_hexdigit()), "{name:?}");
    assert!(person.interrupt("2").await.success());
    person.raftd("2", "raftd -p 4002 ~/node.2");
    let second = person.voters(4002, 2).await;
    assert_eq!((second.node_id, second.name), (first.node_id, first.name));

    person.raftd("3", NODE_3);
    person.voters(4003, 3).await;
    person.curl_leader("1", "curl -XPOST localhost:4001/db/foo -d 'bar'").await;
    for port in [4001, 4002, 4003] {
        assert_eq!(person.curl(&format!("curl localhost:{port}/db/foo")).await.text(), "bar");
    }
    let refused = person
        .curl_until("curl -XPOST localhost:4002/db/foo -d 'bar'", |shown| {
            shown.leader.as_deref() == Some("http://localhost:4001")
        })
        .await;
    assert_eq!((refused.status.as_u16(), refused.text().as_str()), (400, NOT_LEADER));

    // "Killing the leader will automatically elect a new leader."
    person.curl_leader("1", "curl -XPOST localhost:4001/db/foo -d 'bar'").await;
    person.kill("1");
    person.set_somewhere(&[4002, 4003], "new").await;
    // "If you kill and restart the first node and try to set a value you'll receive:"
    person.raftd("1", NODE_1);
    let refused =
        person.curl_until("curl -XPOST localhost:4001/db/foo -d 'bar'", |shown| shown.leader.is_some()).await;
    assert_eq!((refused.status.as_u16(), refused.text().as_str()), (400, NOT_LEADER));
    assert!(refused.leader.is_some_and(|url| url.ends_with(":4002") || url.ends_with(":4003")));
    person.set_somewhere(&[4002, 4003, 4001], "new").await;
    person.curl_until("curl localhost:4001/db/foo", |shown| shown.text() == "new").await;

    // raftd never takes a snapshot; here it does, and everything is there after all of them were away.
    person.snapshot(&["1", "2", "3"]).await;
    for terminal in ["1", "2", "3"] {
        person.kill(terminal);
    }
    for (terminal, line) in [("1", NODE_1), ("2", NODE_2), ("3", NODE_3)] {
        person.raftd(terminal, line);
    }
    for port in [4001, 4002, 4003] {
        person.curl_until(&format!("curl localhost:{port}/db/foo"), |shown| shown.text() == "new").await;
        let value = person.curl(&format!("curl localhost:{port}/db/my_key?consistency=stale")).await;
        assert_eq!(value.text(), "FOO");
    }
    for terminal in ["1", "2", "3"] {
        assert!(person.interrupt(terminal).await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_through_a_follower_and_a_foreign_log_is_refused() {
    if elsewhere("raftd::a_node_joins_through_a_follower_and_a_foreign_log_is_refused") {
        return;
    }
    let mut person = Person::new();
    person.raftd("1", NODE_1);
    person.voters(4001, 1).await;
    person.raftd("2", NODE_2);
    person.voters(4002, 2).await;
    person.raftd("3", "raftd -p 4003 -join localhost:4002 ~/node.3");
    let third = person.voters(4003, 3).await;

    // What raftd's own nodes post to /join: a member is one already, anybody else is told how to become one.
    let join = |name: &str| {
        format!(
            "curl -X POST localhost:4001/join -d {{\"name\":\"{name}\",\"connectionString\":\"http://localhost:4003\"}}"
        )
    };
    assert_eq!(person.curl(&join(&third.name)).await.status, 200);
    let stranger = person.curl(&join("abc1234")).await;
    assert!(
        stranger.status == 409 && stranger.text().contains("schedia raftd -p PORT -join"),
        "{stranger:?}"
    );

    // A cluster of its own, which is then told to join another one.
    person.raftd("9", "raftd -p 4009 ~/node.9");
    let alone = person.voters(4009, 1).await;
    person.curl("curl -XPOST localhost:4009/db/whose -d 'nine'").await;
    assert!(person.interrupt("9").await.success());
    let (status, said) = person.run("exec schedia raftd -p 4009 -join localhost:4001 ~/node.9").await;
    assert_eq!(status, 1, "{said}");
    for words in
        ["cannot join with an existing log", alone.cluster_id.as_str(), third.cluster_id.as_str(), "node.9"]
    {
        assert!(said.contains(words), "{words} in {said}");
    }
    // Nothing was spoilt: without -join it goes on, with a -join that nobody answers too.
    person.raftd("9", "raftd -p 4009 -join localhost:4999 ~/node.9");
    person.curl_until("curl localhost:4009/db/whose", |shown| shown.text() == "nine").await;
    assert_eq!(person.voters(4001, 3).await.members.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_are_answered_as_raftd_does_or_better() {
    let person = Person::new();
    let (status, said) = person.run("exec schedia raftd").await;
    assert_eq!(status, 1, "{said}");
    assert!(said.starts_with("Usage: ") && said.ends_with("\nData path argument required\n"), "{said}");
    let (status, said) = person.run("exec schedia raftd -help").await;
    assert!(status == 0 && said.starts_with("Usage: ") && said.contains("-join string"), "{said}");
    for (arguments, words) in [
        ("-q ~/n", "flag provided but not defined: -q"),
        ("-p", "flag needs an argument: -p"),
        ("-p many ~/n", "invalid value \"many\" for flag -p"),
        ("~/n -p 4001", "unexpected behind the data path"),
        ("-join nowhere ~/n", "-join takes HOST:PORT of a member, not \"nowhere\""),
        ("-h a/b ~/n", "-h takes the name or address of a host"),
    ] {
        let (status, said) = person.run(&format!("exec schedia raftd {arguments}")).await;
        assert!(status == 2 && said.contains(words), "{arguments}: {status} {said}");
    }
    std::fs::write(person.home().join("file"), "").unwrap();
    let (status, said) = person.run("exec schedia raftd ~/file").await;
    assert!(status == 1 && said.contains("Unable to create path"), "{said}");
    // What goraft itself leaves in a directory is not silently ignored.
    std::fs::create_dir(person.home().join("old")).unwrap();
    std::fs::write(person.home().join("old/log"), "").unwrap();
    let (status, said) = person.run("exec schedia raftd ~/old").await;
    assert!(status == 1 && said.contains("the log of another program"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_is_open_on_every_node_of_an_ordinary_cluster() {
    let cluster = Cluster::joined(3).await;
    let person = Person::new();
    let leader = cluster.leader().await;
    let [there, elsewhere] = [leader, (leader + 1) % 3].map(|place| cluster.nodes[place].http_url());
    let set = person.curl(&format!("curl -X POST {there}/db/a%2F%00%ff -d 'x'")).await;
    assert_eq!((set.status.as_u16(), set.body.len()), (200, 0));
    // The same key of the native door.
    assert_eq!(person.curl(&format!("curl {elsewhere}/v1/kv?key=db/a/%00%FF")).await.text(), "x");
    assert_eq!(person.curl(&format!("curl {elsewhere}/db/a/%00%FF")).await.text(), "x");
    let refused =
        person.curl_until(&format!("curl -X POST {elsewhere}/db/a -d 'y'"), |s| s.leader.is_some()).await;
    assert_eq!((refused.status.as_u16(), refused.text().as_str()), (400, NOT_LEADER));
    assert_eq!(refused.leader, Some(there.clone()));
    // Empty is not missing.
    assert_eq!(person.curl(&format!("curl -X POST {there}/db/empty")).await.status, 200);
    let empty = person.curl(&format!("curl {elsewhere}/db/empty")).await;
    assert_eq!((empty.status.as_u16(), empty.text().as_str()), (200, ""));
    let missing = person.curl(&format!("curl {elsewhere}/db/missing")).await;
    assert_eq!((missing.status.as_u16(), missing.text().as_str()), (404, "key not found\n"));
    // Doors of other programs are closed here.
    for path in ["set?key=a&value=b", "get?key=a", "remove?key=a", "join"] {
        assert_eq!(person.curl(&format!("curl -X POST {there}/{path}")).await.status, 404, "{path}");
    }
}
