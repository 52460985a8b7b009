//! A leader that hung or was cut off, and was deposed meanwhile without knowing it, answers no linearizable read with what it had:
//! neither one that asks a majority for each read, nor one that reads by its lease.

use super::{PATIENCE, metric, rounds};
use bytes::Bytes;
use schedia_e2e::load::{Answer, Wire};
use schedia_e2e::process::{Cluster, Node};
use schedia_e2e::torture::network::Trouble;
use schedia_e2e::torture::world::World;
use schedia_e2e::wait::eventually;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Reads that lie in its sockets when it goes on.
const READS: usize = 50;

const LEASE: [&str; 1] = ["--lease-reads"];
/// Reads of a leader that asked nobody.
const LEASE_READS: &str = "lease_reads_total";

/// A promise outlasts a restart by far, and who starts again would stand for election long before it ends.
const LONG_LEASE: [&str; 7] =
    ["--lease-reads", "--heartbeat-ms", "100", "--election-min-ms", "200", "--election-max-ms", "6000"];

/// Waits until a leader reads by its lease: it needs one round of heartbeats for that.
async fn reads_by_its_lease(wire: &Wire, leader: &Node) {
    eventually("a read by the leader's lease", PATIENCE, || async {
        let before = metric(leader, LEASE_READS).await?;
        let read = wire.get(&leader.http_url(), "a", false).await;
        let leased = metric(leader, LEASE_READS).await? - before;
        if leased > 0 { Ok(()) } else { Err(format!("{read:?}, not by its lease")) }
    })
    .await;
}

/// A request that the kernel has taken for a process that does not run: it is there when that goes on.
fn asked(at: SocketAddr, query: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET /v1/kv?key=a{query} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Status and body.
fn answered(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status =
        text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{text:?}"));
    (status, text.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
}

async fn put(wire: &Wire, endpoints: &[String], value: &str) {
    eventually("a write is acknowledged", PATIENCE, || async {
        for url in endpoints {
            let put = wire.put(url, "a", Bytes::copy_from_slice(value.as_bytes())).await;
            if matches!(put, Answer::Done { .. }) {
                return Ok(());
            }
        }
        Err("no node took it".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_deposed_while_it_hung_answers_no_linearizable_read_with_what_it_had() {
    hang_leaders(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_it_if_it_reads_by_its_lease() {
    hang_leaders(&LEASE).await;
}

async fn hang_leaders(settings: &[&str]) {
    let cluster = Cluster::joined_with(3, settings).await;
    let wire = Wire::new();
    let (mut right, mut refused, mut stale) = (0, 0, 0);
    for round in 0..rounds(3) {
        put(&wire, &cluster.endpoints(), &format!("old {round}")).await;
        cluster.caught_up().await;
        let hung = &cluster.nodes[cluster.leader().await];
        let others: Vec<_> = cluster.endpoints().into_iter().filter(|url| *url != hung.http_url()).collect();
        if !settings.is_empty() {
            reads_by_its_lease(&wire, hung).await;
        }
        hung.freeze();
        put(&wire, &others, &format!("new {round}")).await;
        let old: Vec<_> = (0..READS).map(|_| asked(hung.http, "&consistency=stale")).collect();
        let reads: Vec<_> = (0..READS).map(|_| asked(hung.http, "")).collect();
        hung.thaw();
        let (old, reads) = tokio::task::spawn_blocking(move || {
            let [old, reads] = [old, reads].map(|asked| asked.into_iter().map(answered).collect::<Vec<_>>());
            (old, reads)
        })
        .await
        .unwrap();
        for (status, body) in reads {
            match status {
                200 => assert_eq!(body, format!("new {round}"), "it was acknowledged before this read began"),
                503 | 504 => refused += 1,
                other => panic!("{other}: {body}"),
            }
            right += usize::from(status == 200);
        }
        stale += old.iter().filter(|(_, body)| *body == format!("old {round}")).count();
        cluster.settled(3).await;
    }
    println!("{right} answered rightly, {refused} refused; {stale} stale reads showed what it had");
    assert!(right + refused > 0);
}

/// Asks for the key again and again until one that began after `enough` is answered; what came back, by its beginning, status and value.
async fn ask_until(
    url: String,
    mut enough: tokio::sync::oneshot::Receiver<()>,
) -> Vec<(Instant, u16, String)> {
    let http = reqwest::Client::new();
    let mut answers = Vec::new();
    loop {
        let last = enough.try_recv().is_ok();
        let begun = Instant::now();
        let answer = http.get(format!("{url}/v1/kv?key=a")).send().await.unwrap();
        answers.push((begun, answer.status().as_u16(), answer.text().await.unwrap()));
        if last {
            return answers;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_from_the_others_answers_no_linearizable_read_once_another_leads() {
    cut_off_leaders(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_it_if_it_read_by_its_lease() {
    cut_off_leaders(&LEASE).await;
}

async fn cut_off_leaders(settings: &[&'static str]) {
    let world = World::new(3, false, false, 1, settings).await.unwrap();
    let wire = Wire::new();
    let endpoints = world.cluster.endpoints();
    for (round, trouble) in [Trouble::Silent, Trouble::Refused].into_iter().enumerate() {
        let old = world.leader().await.unwrap();
        put(&wire, &endpoints, &format!("old {round}")).await;
        if !settings.is_empty() {
            reads_by_its_lease(&wire, &world.cluster.nodes[old]).await;
        }
        let others: Vec<_> = (0..3).filter(|place| *place != old).collect();
        let ways = world.both_ways(&[old]);
        world.network.trouble(&ways, trouble);
        let urls: Vec<_> = others.iter().map(|place| endpoints[*place].clone()).collect();
        put(&wire, &urls, &format!("new {round}")).await;

        // From here on the old value is wrong, and the old leader may still believe that it leads.
        let stale = wire.get(&endpoints[old], "a", true).await;
        let had = Bytes::from(format!("old {round}"));
        assert!(matches!(&stale, Answer::Done { value, .. } if *value == had), "{stale:?}");
        let (stop, enough) = tokio::sync::oneshot::channel();
        let asking = tokio::spawn(ask_until(endpoints[old].clone(), enough));
        put(&wire, &urls, &format!("newer {round}")).await;
        world.network.free(&ways);
        eventually("the old leader reads what the others wrote", PATIENCE, || async {
            match wire.get(&endpoints[old], "a", false).await {
                Answer::Done { value, .. } if value == format!("newer {round}") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let _ = stop.send(());
        let asked = asking.await.unwrap();
        assert!(!asked.is_empty(), "the old leader was asked meanwhile");
        for (_, status, body) in asked {
            match status {
                200 => {
                    assert!(body != format!("old {round}"), "a write was acknowledged before this read began")
                }
                503 | 504 => {}
                other => panic!("{other}: {body}"),
            }
        }
    }
}

/// Voters forget in a restart whom they promised not to vote for anybody else. Their disks remember that they did.
#[tokio::test(flavor = "multi_thread")]
async fn voters_that_start_again_elect_nobody_while_a_lease_from_before_may_hold() {
    let mut world = World::new(3, false, false, 1, &LONG_LEASE).await.unwrap();
    let (wire, endpoints) = (Wire::new(), world.cluster.endpoints());
    put(&wire, &endpoints, "old").await;
    let old = world.leader().await.unwrap();
    reads_by_its_lease(&wire, &world.cluster.nodes[old]).await;
    let others: Vec<_> = (0..3).filter(|place| *place != old).collect();
    world.network.trouble(&world.both_ways(&[old]), Trouble::Silent);
    for place in &others {
        world.cluster.nodes[*place].kill();
        world.restart(*place);
    }
    let restarted = Instant::now();

    let (stop, enough) = tokio::sync::oneshot::channel();
    let asking = tokio::spawn(ask_until(endpoints[old].clone(), enough));
    let urls: Vec<_> = others.iter().map(|place| endpoints[*place].clone()).collect();
    put(&wire, &urls, "new").await;
    let written = Instant::now();
    let _ = stop.send(());
    let mut asked = asking.await.unwrap();
    assert!(asked.iter().any(|(begun, ..)| *begun > written), "it was asked after the write too");
    asked.retain(|(_, status, _)| *status == 200);
    assert!(asked.iter().all(|(_, _, value)| value == "old"), "nobody tells it of another value");
    let since = asked.iter().filter(|(begun, ..)| *begun > restarted).count();
    println!("{since} reads by the lease after the restart; a write after {:?}", written - restarted);
    assert!(since > 0, "the lease outlasted the restart");
    assert!(
        asked.iter().all(|(begun, ..)| *begun < written),
        "a read that began after another value was acknowledged"
    );
}
