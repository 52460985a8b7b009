//! balsa's README, word for word but for the volumes' place, its start scripts being `schedia balsa`; and where balsa fails.

use super::follow::{Person, elsewhere};
use futures::StreamExt;
use schedia_e2e::process::Cluster;

/// What the README exports for each node. Its own start scripts empty the volume first: a restart would lose all.
const NODES: [(&str, &str); 3] = [
    (
        "n1",
        r#"
export HTTP_SERVER_PORT=8000
export RAFT_SERVER_PORT=9000
export RAFT_NODE_ID="n1"
export RAFT_VOLUME_DIR="/tmp/node1"
"#,
    ),
    (
        "n2",
        r#"
export HTTP_SERVER_PORT=8001
export RAFT_SERVER_PORT=9001
export RAFT_NODE_ID="n2"
export RAFT_VOLUME_DIR="/tmp/node2"
"#,
    ),
    (
        "n3",
        r#"
export HTTP_SERVER_PORT=8002
export RAFT_SERVER_PORT=9002
export RAFT_NODE_ID="n3"
export RAFT_VOLUME_DIR="/tmp/node3"
"#,
    ),
];

const JOIN_2: &str = r#"curl "http://localhost:8000/join?nodeId=n2&raftPort=9001""#;
const JOIN_3: &str = r#"curl "http://localhost:8000/join?nodeId=n3&raftPort=9002""#;

/// What pump.sh does so many times.
const PUMPED: usize = 1_000;

impl Person {
    fn balsa(&mut self, place: usize) {
        let (name, exports) = NODES[place];
        let volumes = format!("{}/", self.home().display());
        self.start(name, &format!("{}\nexec schedia balsa", exports.replace("/tmp/", &volumes)));
    }

    async fn cluster_of_three(&mut self) {
        for place in 0..3 {
            self.balsa(place);
        }
        // They listen, and belong to nothing.
        for port in [8000, 8001, 8002] {
            let blank = self.curl(&format!("curl localhost:{port}/get?key=1")).await;
            assert_eq!(blank.status, 503, "{}", blank.text());
        }
        for line in [JOIN_2, JOIN_3] {
            let joined = self.curl(line).await;
            assert_eq!((joined.status.as_u16(), joined.text().as_str()), (200, ""), "{line}");
        }
        self.voters(8002, 3).await;
    }

    /// The port of the new leader, found as the refusals tell; at first they name the one that is gone.
    async fn leading(&self, asked: u16, gone: &str) -> u16 {
        let line = format!("curl localhost:{asked}/set?key=who&value=leads");
        let shown = self.curl_until(&line, |shown| {
            shown.status == 200 || shown.leader.as_ref().is_some_and(|url| url != gone)
        });
        let shown = shown.await;
        let port = |url: String| url.rsplit(':').next().unwrap().parse().unwrap();
        shown.leader.map_or(asked, port)
    }

    async fn pumped(&self, port: u16, stale: bool) {
        let consistency = if stale { "&consistency=stale" } else { "" };
        let reads = futures::stream::iter(1..=PUMPED).map(|i| async move {
            let got = self.curl(&format!("curl localhost:{port}/get?key={i}{consistency}")).await;
            assert_eq!((got.status.as_u16(), got.text()), (200, i.to_string()), "{port}");
        });
        reads.buffer_unordered(16).collect::<()>().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_can_be_followed_word_for_word() {
    if elsewhere("balsa::the_readme_can_be_followed_word_for_word") {
        return;
    }
    let mut person = Person::new();
    person.cluster_of_three().await;
    for i in 1..=PUMPED {
        let line = format!("curl http://localhost:8000/set?key={i}&value={i}");
        assert_eq!(person.curl_leader("n1", &line).await.text(), "", "{i}");
    }
    person.pumped(8002, false).await;

    let refused = person.curl("curl http://localhost:8001/set?key=1&value=2").await;
    assert_eq!(refused.status, 421);
    assert_eq!(refused.text(), "Not a leader, do nothing\nhttp://127.0.0.1:8000\n");
    assert_eq!(refused.leader.as_deref(), Some("http://127.0.0.1:8000"));
    assert_eq!(person.curl("curl -X DELETE localhost:8001/remove?key=1").await.status, 421);

    // The leader dies: another one takes what the pump goes on with.
    person.kill("n1");
    let leads = person.leading(8001, "http://127.0.0.1:8000").await;
    let line = format!("curl -X PUT localhost:{leads}/set?key=a+key&value=a%2Bvalue");
    person.curl_until(&line, |shown| shown.status == 200).await;
    person.balsa(0);
    person.curl_until("curl localhost:8000/get?key=a+key", |shown| shown.text() == "a+value").await;
    let removed =
        person.curl_until(&format!("curl localhost:{leads}/remove?key=a+key"), |s| s.status == 200).await;
    assert_eq!(removed.text(), "");
    assert_eq!(person.curl(&format!("curl localhost:{leads}/remove?key=a+key")).await.status, 404);

    // All of them were away at once, with their logs purged up to a snapshot.
    person.voters(8000, 3).await;
    person.snapshot(&["n1", "n2", "n3"]).await;
    for (name, _) in NODES {
        person.kill(name);
    }
    for place in 0..3 {
        person.balsa(place);
    }
    for port in [8000, 8001, 8002] {
        person.curl_until(&format!("curl localhost:{port}/get?key=1"), |shown| shown.text() == "1").await;
    }
    person.pumped(8001, false).await;
    // What this node has itself, nobody asked.
    person.pumped(8000, true).await;
    let missing = person.curl("curl localhost:8000/get?key=a+key").await;
    assert_eq!((missing.status.as_u16(), missing.text().as_str()), (404, "key not found\n"));
    // A join that is given again finds it done, on a follower too.
    for port in [8000, 8001, 8002] {
        assert_eq!(
            person.curl(&format!("curl localhost:{port}/join?nodeId=n2&raftPort=9001")).await.status,
            200
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_cannot_be_is_refused_and_changes_nothing() {
    if elsewhere("balsa::a_join_that_cannot_be_is_refused_and_changes_nothing") {
        return;
    }
    let mut person = Person::new();
    for place in 0..3 {
        person.balsa(place);
    }
    // A node that was not started to be invited is not brought in.
    let waits = "exec schedia serve --name n4 --data-dir ~/node4 --http 127.0.0.1:8003 --admin 127.0.0.1:0";
    person.start("n4", &format!("{waits} --peer 127.0.0.1:9003"));
    let refused = async |line: &str, status: u16, words: &str| {
        let shown = person.curl(line).await;
        assert!(shown.status == status && shown.text().contains(words), "{line}: {shown:?} {}", shown.text());
    };
    refused("curl localhost:8000/join?raftPort=9001", 400, "parameter nodeId is missing").await;
    refused("curl localhost:8000/join?nodeId=n2", 400, "parameter raftPort is missing").await;
    refused("curl localhost:8000/join?nodeId=n2&raftPort=many", 400, "parameter raftPort must be a port")
        .await;
    refused("curl localhost:8000/join?nodeId=n2&raftPort=0", 400, "parameter raftPort must be a port").await;
    refused("curl localhost:8000/set?key=a", 400, "parameter value is missing").await;
    refused("curl localhost:8000/set?key=&value=a", 400, "parameter key is empty").await;
    refused("curl localhost:8000/get?key=a", 503, "no member of a cluster yet").await;
    // n3 is written to first: it is a cluster of its own from then on.
    assert_eq!(person.curl("curl localhost:8002/set?key=own&value=cluster").await.status, 200);
    refused("curl localhost:8000/join?nodeId=n3&raftPort=9002", 409, "belongs to another cluster already")
        .await;
    refused("curl localhost:8000/join?nodeId=n9&raftPort=9001", 400, "is n2, not n9").await;
    refused("curl localhost:8000/join?nodeId=n9&raftPort=9009", 503, "no node answers at 127.0.0.1:9009")
        .await;
    refused("curl localhost:8003/db/a", 503, "no member of a cluster yet").await;
    refused("curl localhost:8000/join?nodeId=n4&raftPort=9003", 409, "waits for no invitation").await;
    // The mistakes brought nobody in, and n2 may still come.
    assert_eq!(person.voters(8000, 1).await.members.len(), 1);
    assert_eq!(person.curl(JOIN_2).await.status, 200);
    refused("curl localhost:8001/join?nodeId=n1&raftPort=9001", 400, "is n2, not n1").await;
    person.voters(8001, 2).await;
    assert_eq!(person.curl("curl localhost:8002/get?key=own").await.text(), "cluster");
    // Two first writes at once begin one cluster.
    assert!(person.interrupt("n3").await.success());
    std::fs::remove_dir_all(person.home().join("node3")).unwrap();
    person.balsa(2);
    person.curl_until("curl localhost:8002/get?key=own", |shown| shown.status == 503).await;
    let writes = (0..8).map(|i| {
        let person = &person;
        async move { person.curl(&format!("curl localhost:8002/set?key={i}&value={i}")).await.status.as_u16() }
    });
    assert_eq!(futures::future::join_all(writes).await, [200; 8]);
    for i in 0..8 {
        assert_eq!(person.curl(&format!("curl localhost:8002/get?key={i}")).await.text(), i.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_are_missing_or_wrong_are_named() {
    let person = Person::new();
    let (status, said) = person.run("export RAFT_NODE_ID=n1\nexec schedia balsa").await;
    assert!(
        status == 2 && said.contains("not set: HTTP_SERVER_PORT, RAFT_SERVER_PORT, RAFT_VOLUME_DIR"),
        "{said}"
    );
    let lines = NODES[0].1.replace("9000", "raft");
    let (status, said) = person.run(&format!("{lines}\nexec schedia balsa")).await;
    assert!(status == 2 && said.contains("RAFT_SERVER_PORT must be a port from 1 to 65535"), "{said}");
    let lines = NODES[0].1.replace("\"n1\"", "\"n/1\"");
    let (status, said) = person.run(&format!("{lines}\nexec schedia balsa")).await;
    assert!(status == 2 && said.contains("a node's name is"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_can_be_opened_on_an_ordinary_node() {
    let mut cluster = Cluster::new();
    cluster.add().start(&["--bootstrap", "--door", "balsa"]);
    cluster.settled(1).await;
    let person = Person::new();
    let url = cluster.nodes[0].http_url();
    assert_eq!(person.curl(&format!("curl {url}/set?key=a&value=b")).await.status, 200);
    assert_eq!(person.curl(&format!("curl {url}/v1/kv/balsa/a")).await.text(), "b");
    let unknown = person.curl(&format!("curl {url}/set?key=a&value=b&ttl=1")).await;
    assert_eq!((unknown.status.as_u16(), unknown.text().as_str()), (400, "unknown parameter: ttl\n"));
    assert_eq!(person.curl(&format!("curl {url}/join?nodeId=n2&raftPort=9001")).await.status, 404);
}
