//! Clients repeat every write whose outcome they do not know, under the same key, while leaders are killed: each write takes
//! effect exactly once.

use super::{PATIENCE, rounds};
use reqwest::{Method, StatusCode};
use schedia_e2e::process::Cluster;
use schedia_e2e::wait::eventually;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const APPENDERS: usize = 4;
const COUNTERS: usize = 4;

/// Puts to one key: its version counts those that took effect.
const APPENDED: &str = "/v1/kv?key=appended";
/// A number that each client raises by one, on the condition that nobody else has.
const COUNTED: &str = "/v1/kv?key=counted";

/// What all clients share.
struct Clients {
    http: reqwest::Client,
    endpoints: Vec<String>,
    stop: AtomicBool,
    appended: AtomicU64,
    counted: AtomicU64,
    /// Copies that were sent because nobody knew what became of the one before.
    repeated: AtomicU64,
    /// Answers that were those of an earlier copy.
    replayed: AtomicU64,
}

/// An answer that decides what became of a write.
#[derive(Debug, PartialEq, Eq)]
struct Decided {
    status: StatusCode,
    revision: Option<u64>,
    version: Option<u64>,
}

impl Clients {
    fn new(endpoints: Vec<String>) -> Clients {
        // Shorter than the server's own limit, so that answers are lost here too.
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build().unwrap();
        let [appended, counted, repeated, replayed] = [(); 4].map(|()| AtomicU64::new(0));
        Clients { http, endpoints, stop: AtomicBool::new(false), appended, counted, repeated, replayed }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends a write until its outcome is known, to one node after the other, always under the same key.
    async fn once(&self, path: &str, body: String, key: &str, mut node: usize) -> Decided {
        let begun = Instant::now();
        loop {
            let url = format!("{}{path}", self.endpoints[node % self.endpoints.len()]);
            let request =
                self.http.request(Method::PUT, url).header("idempotency-key", key).body(body.clone());
            let instead = match request.send().await {
                Ok(response) if matches!(response.status().as_u16(), 200 | 412) => {
                    let headers = response.headers();
                    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse().ok();
                    if headers.contains_key("idempotent-replayed") {
                        self.replayed.fetch_add(1, Ordering::Relaxed);
                    }
                    let (revision, version) = (number("x-schedia-mod-revision"), number("x-schedia-version"));
                    return Decided { status: response.status(), revision, version };
                }
                Ok(response) if matches!(response.status().as_u16(), 421 | 429 | 503 | 504) => {
                    if response.status() == 504 {
                        self.repeated.fetch_add(1, Ordering::Relaxed);
                    }
                    response.status().to_string()
                }
                Ok(response) => panic!("{key}: {response:?}"),
                Err(error) => {
                    if !error.is_connect() {
                        self.repeated.fetch_add(1, Ordering::Relaxed);
                    }
                    error.to_string()
                }
            };
            assert!(begun.elapsed() < PATIENCE, "{key} has no outcome: {instead}");
            node += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Puts until told to stop; the versions that were answered. Now and then two copies are under way at once.
    async fn append(self: Arc<Clients>, client: usize) -> Vec<u64> {
        let mut versions = Vec::new();
        while !self.stopped() {
            let (number, key) = (versions.len(), format!("append-{client}-{}", versions.len()));
            let copy = |node| self.once(APPENDED, key.clone(), &key, node);
            let decided = if number.is_multiple_of(4) {
                let (one, other) = tokio::join!(copy(client), copy(client + 1));
                assert_eq!(one, other, "two copies of {key}");
                one
            } else {
                copy(client + number).await
            };
            assert_eq!(decided.status, 200);
            versions.push(decided.version.unwrap());
            self.appended.fetch_add(1, Ordering::Relaxed);
        }
        versions
    }

    /// Raises the number until told to stop; how often that was done.
    async fn count(self: Arc<Clients>, client: usize) -> u64 {
        let (mut done, mut tries) = (0, 0);
        while !self.stopped() {
            let Some((value, revision)) = self.counter(client + tries).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                tries += 1;
                continue;
            };
            let path = format!("{COUNTED}&if-mod-revision={revision}");
            let key = format!("count-{client}-{tries}");
            tries += 1;
            let decided = self.once(&path, (value + 1).to_string(), &key, client + tries).await;
            if decided.status == 200 {
                done += 1;
                self.counted.fetch_add(1, Ordering::Relaxed);
            }
        }
        done
    }

    /// The number now, and the revision that wrote it; `None` where nobody answers.
    async fn counter(&self, node: usize) -> Option<(u64, u64)> {
        let url = format!("{}{COUNTED}", self.endpoints[node % self.endpoints.len()]);
        let response = self.http.get(url).send().await.ok()?;
        if response.status() == 404 {
            return Some((0, 0));
        }
        let revision = response.headers().get("x-schedia-mod-revision")?.to_str().ok()?.parse().ok()?;
        Some((response.text().await.ok()?.parse().ok()?, revision))
    }

    async fn progress(&self) {
        let now = || [&self.appended, &self.counted].map(|count| count.load(Ordering::Relaxed));
        let begin = now();
        eventually("writes go on", PATIENCE, || async {
            let [appended, counted] = now();
            match appended >= begin[0] + 100 && counted >= begin[1] + 50 {
                true => Ok(()),
                false => Err(format!("{appended} and {counted}")),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_are_repeated_while_leaders_are_killed_take_effect_exactly_once() {
    let mut cluster = Cluster::joined(3).await;
    let clients = Arc::new(Clients::new(cluster.endpoints()));
    let appenders: Vec<_> = (0..APPENDERS).map(|n| tokio::spawn(clients.clone().append(n))).collect();
    let counters: Vec<_> = (0..COUNTERS).map(|n| tokio::spawn(clients.clone().count(n))).collect();
    for _ in 0..rounds(3) {
        clients.progress().await;
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        clients.progress().await;
        cluster.nodes[leader].start(&[]);
        cluster.settled(3).await;
    }
    clients.stop.store(true, Ordering::Relaxed);
    let (mut versions, mut counted) = (Vec::new(), 0);
    for appender in appenders {
        versions.extend(appender.await.unwrap());
    }
    for counter in counters {
        counted += counter.await.unwrap();
    }
    let (repeated, replayed) =
        (clients.repeated.load(Ordering::Relaxed), clients.replayed.load(Ordering::Relaxed));
    println!(
        "{} appended, {counted} counted, {repeated} copies for an unknown outcome, {replayed} answers of an earlier copy",
        versions.len()
    );
    assert!(repeated > 0, "no outcome was unknown: the leaders were killed at rest");
    let distinct: BTreeSet<_> = versions.iter().copied().collect();
    let expected: BTreeSet<_> = (1..=versions.len() as u64).collect();
    assert_eq!(distinct, expected, "each write has a version of its own, and nobody else wrote");
    cluster.caught_up().await;
    for node in &cluster.nodes {
        let get =
            |path: &str| clients.http.get(format!("{}{path}&consistency=stale", node.http_url())).send();
        let appended = get(APPENDED).await.unwrap();
        assert_eq!(appended.headers()["x-schedia-version"], versions.len().to_string(), "{}", node.name);
        let sum: u64 = get(COUNTED).await.unwrap().text().await.unwrap().parse().unwrap();
        assert_eq!(sum, counted, "{}", node.name);
    }
}
