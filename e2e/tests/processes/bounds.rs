//! Bounds met by real processes: memory, the disk, time.

use super::PATIENCE;
use reqwest::{Client, Method};
use schedia_api::ErrorBody;
use schedia_e2e::load::{Answer, Wire};
use schedia_e2e::process::{Cluster, Node, SmallDisk};
use schedia_e2e::wait::eventually;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Clients that each send one value of the largest size at once: six times what a node lets in.
const CLIENTS: usize = 256;
const VALUE_BYTES: usize = 3 << 19;
/// How often their memory is looked at meanwhile.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// What one node may take for it: bodies, commands in flight, the log's tail and queue, overlay, caches, frames.
const RESIDENT_BYTES_MAX: u64 = 512 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn many_large_values_at_once_are_busy_and_memory_stays_bounded() {
    let cluster = Cluster::joined(3).await;
    let leader = cluster.leader().await;
    let url = cluster.nodes[leader].http_url();
    let client = |number: usize| {
        let url = url.clone();
        tokio::spawn(async move {
            let value = vec![number as u8; VALUE_BYTES];
            (number, Wire::new().put(&url, &format!("large/{number}"), value.into()).await)
        })
    };
    let answers = futures::future::join_all((0..CLIENTS).map(client));
    tokio::pin!(answers);
    let mut most = 0;
    let answers = loop {
        most = cluster.nodes.iter().map(Node::resident_bytes).fold(most, u64::max);
        if let Ok(answers) = tokio::time::timeout(SAMPLE_EVERY, &mut answers).await {
            break answers;
        }
    };
    let (mut done, mut busy, mut late) = (Vec::new(), 0, 0);
    for answer in answers {
        match answer.unwrap() {
            (number, Answer::Done { .. }) => done.push(number),
            (_, Answer::NotApplied(words)) if words.starts_with("429 ") => busy += 1,
            // A slow machine may not be done with it by the deadline.
            (_, Answer::NotApplied(_) | Answer::Unknown(_)) => late += 1,
            (number, wrong) => panic!("large/{number}: {wrong:?}"),
        }
    }
    println!("{} done, {busy} busy, {late} late, at most {} MiB in a node", done.len(), most >> 20);
    assert!(busy > 0, "{CLIENTS} values of 1.5 MiB are more than the bound");
    assert!(most < RESIDENT_BYTES_MAX, "{} MiB", most >> 20);
    let wire = Wire::new();
    eventually("it takes writes again", PATIENCE, || async {
        match wire.put(&url, "after", "1".into()).await {
            Answer::Done { .. } => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for number in done {
        let found = wire.get(&url, &format!("large/{number}"), false).await;
        let Answer::Done { value, .. } = found else { panic!("large/{number}: {found:?}") };
        assert!(value == vec![number as u8; VALUE_BYTES], "large/{number} has another value");
    }
}

/// Sends a request; its status and code, `200` alone if it is done.
async fn ask(http: &Client, method: Method, url: String, body: &str) -> String {
    let response = http.request(method, url).body(body.to_owned()).send().await.expect("an answer");
    let status = response.status().as_u16();
    match response.json::<ErrorBody>().await {
        Ok(body) => format!("{status} {}", body.error.code),
        Err(_) => status.to_string(),
    }
}

/// Between two looks at the time.
const DELETES: usize = 100;

/// Deletes what is not there, by keys as long as they may be, until one of them finds no room for its entry.
async fn until_full(http: &Client, node: &Node) {
    let mut number = 0;
    eventually("nothing more fits", PATIENCE, || {
        number += DELETES;
        async move {
            let mut answers = Vec::new();
            for key in number - DELETES..number {
                let url = format!("{}/v1/kv?key={key:04096}", node.http_url());
                match ask(http, Method::DELETE, url, "").await {
                    full if full == "507 disk_full" => return Ok(()),
                    other => answers.push(other),
                }
            }
            answers.dedup();
            Err(answers.join(", "))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_loses_nothing_and_recovers_by_itself() {
    let disk = SmallDisk::new();
    println!("the disk is made small by {disk:?}");
    let mut cluster = Cluster::new();
    let node = cluster.add();
    node.use_disk(disk);
    node.start(&["--bootstrap"]);
    cluster.settled(1).await;
    let node = &mut cluster.nodes[0];
    let (url, admin) = (node.http_url(), node.admin_url());
    let (wire, http) = (Wire::new(), Client::builder().no_proxy().build().unwrap());
    let mut revisions = Vec::new();
    for number in 0..50 {
        match wire.put(&url, &format!("k/{number}"), vec![number; 1_000].into()).await {
            Answer::Done { revision, .. } => revisions.push(revision),
            other => panic!("{other:?}"),
        }
    }

    disk.fill(node.pid(), node.data_dir());
    until_full(&http, node).await;
    assert_eq!(ask(&http, Method::PUT, format!("{url}/v1/kv?key=a"), "b").await, "507 disk_full");
    assert_eq!(ask(&http, Method::GET, format!("{admin}/readyz"), "").await, "503 disk_full");
    assert_eq!(ask(&http, Method::GET, format!("{admin}/livez"), "").await, "200");
    let metrics = node.metrics().await.unwrap();
    assert!(metrics.lines().any(|line| line == "schedia_disk_full 1"), "{metrics}");
    let alarms = node.status().await.unwrap().alarms;
    assert!(alarms.iter().any(|alarm| alarm.code == "disk_full"), "{alarms:?}");
    let found = wire.get(&url, "k/7", true).await;
    assert!(matches!(found, Answer::Done { .. }), "what is there can be read: {found:?}");

    disk.make_room(node.pid(), node.data_dir());
    eventually("it takes writes again", PATIENCE, || async {
        match wire.put(&url, "after", "1".into()).await {
            Answer::Done { .. } => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    eventually("it is ready", PATIENCE, || async {
        let ready = ask(&http, Method::GET, format!("{admin}/readyz"), "").await;
        if ready == "200" { Ok(()) } else { Err(ready) }
    })
    .await;
    let metrics = node.metrics().await.unwrap();
    assert!(metrics.lines().any(|line| line == "schedia_disk_full 0"), "{metrics}");
    for (number, revision) in revisions.into_iter().enumerate() {
        let found = wire.get(&url, &format!("k/{number}"), false).await;
        assert_eq!(found, Answer::Done { revision, value: vec![number as u8; 1_000].into() }, "k/{number}");
    }

    // Full once more: that keeps nobody from ending it.
    disk.fill(node.pid(), node.data_dir());
    until_full(&http, node).await;
    node.terminate(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_leader_hangs_is_in_doubt_and_says_so() {
    let cluster = Cluster::joined(3).await;
    let leader = cluster.leader().await;
    let follower = &cluster.nodes[(leader + 1) % 3];
    let http = Client::builder().no_proxy().build().unwrap();
    let put = |key: &str| ask(&http, Method::PUT, format!("{}/v1/kv?key={key}", follower.http_url()), "1");
    assert_eq!(put("before").await, "200");
    cluster.nodes[leader].freeze();
    assert_eq!(put("doubt").await, "504 outcome_unknown");
    cluster.nodes[leader].thaw();
    cluster.settled(3).await;
    assert_eq!(put("after").await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_shutdown_that_hangs() {
    let mut cluster = Cluster::joined(1).await;
    let node = &mut cluster.nodes[0];
    // A request whose body never comes holds the shutdown up for seconds.
    let mut stream = TcpStream::connect(node.http).await.unwrap();
    stream.write_all(b"PUT /v1/kv?key=a HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nb").await.unwrap();
    eventually("the request is under way", PATIENCE, || async {
        let metrics = node.metrics().await?;
        let under_way = metrics.lines().any(|line| line == "schedia_http_in_flight 1");
        if under_way { Ok(()) } else { Err(metrics) }
    })
    .await;
    node.ask_to_end();
    eventually("it is ending", PATIENCE, || async {
        if node.log().contains("told to end") { Ok(()) } else { Err(node.log_tail()) }
    })
    .await;
    node.interrupt();
    let begun = std::time::Instant::now();
    let ended = node.ended(PATIENCE).await;
    assert_eq!(ended.code(), Some(1), "{ended}");
    assert!(begun.elapsed() < Duration::from_secs(3), "at once, not after {:?}", begun.elapsed());
    assert!(node.log().contains("told twice to end"), "{}", node.log_tail());
}
