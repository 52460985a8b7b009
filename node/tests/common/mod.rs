//! A real node in this process, and HTTP without a library in between: what is written is what is sent.
#![allow(dead_code)] // each test binary uses its part

use schedia_api::{Client, Status};
use schedia_node::auth::AuthConfig;
use schedia_node::config::{Config, Doors, LogFormat, Start};
use schedia_node::node::{self, Addresses, Listeners};
use schedia_node::shards::Timings;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes that is not broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running node.
pub(crate) struct TestNode {
    pub(crate) at: Addresses,
    pub(crate) dir: TempDir,
    stop: CancellationToken,
    running: JoinHandle<Result<(), node::NodeError>>,
}

pub(crate) fn config(name: &str, dir: &Path, start: Start) -> Config {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Config {
        name: name.to_owned(),
        data_dir: dir.to_owned(),
        http: any,
        admin: any,
        peer: any,
        advertise_http: None,
        advertise_peer: None,
        start,
        shards: None,
        queue: Default::default(),
        doors: Doors::default(),
        auth: AuthConfig::default(),
        timings: Timings::default(),
        lease_reads: false,
        cache_bytes: 8 << 20,
        overlay_bytes: 16 << 20,
        worker_threads: 2,
        kv_history: None,
        unsafe_no_fsync: false,
        slow_request: None,
        traces: None,
        log_format: LogFormat::Text,
        log_level: "info".to_owned(),
        without_effect: Vec::new(),
    }
}

impl TestNode {
    /// A node on an empty disk.
    pub(crate) async fn start(name: &str, start: Start) -> TestNode {
        TestNode::start_in(name, tempfile::tempdir().unwrap(), start).await
    }

    pub(crate) async fn start_in(name: &str, dir: TempDir, start: Start) -> TestNode {
        // RUST_LOG=debug shows what happened; the first node of a process turns it on for all.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        TestNode::start_with(config(name, dir.path(), start), dir)
    }

    pub(crate) fn start_with(config: Config, dir: TempDir) -> TestNode {
        let listeners = Listeners::bind(&config).unwrap();
        let (at, stop) = (listeners.addresses(), CancellationToken::new());
        let running = tokio::spawn(node::run(config, listeners, stop.clone()));
        TestNode { at, dir, stop, running }
    }

    /// A cluster of one that takes requests.
    pub(crate) async fn single() -> TestNode {
        let node = TestNode::start("n1", Start::Bootstrap).await;
        node.until("it is ready", |status| status.ready).await;
        node
    }

    pub(crate) fn admin(&self) -> Client {
        Client::new(&[self.admin_url()], PATIENCE).unwrap()
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.at.admin)
    }

    pub(crate) fn http_url(&self) -> String {
        format!("http://{}", self.at.http)
    }

    /// Waits until the node tells something of itself.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        let mut last = None;
        while begun.elapsed() < PATIENCE {
            match self.admin().status().await {
                Ok(status) if condition(&status) => return status,
                other => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not within {PATIENCE:?}: {what}; last: {last:#?}");
    }

    /// Ends it as SIGTERM does, and gives back its disk.
    pub(crate) async fn end(self) -> TempDir {
        self.stop.cancel();
        self.running.await.expect("no panic").expect("ended well");
        self.dir
    }

    /// The same node again, on the same disk.
    pub(crate) async fn restart(self) -> TestNode {
        let dir = self.end_and_release().await;
        TestNode::start_in("n1", dir, Start::Wait).await
    }

    /// And with the same client port.
    pub(crate) async fn restart_at(self, http: SocketAddr) -> TestNode {
        self.restart_with(http, |_| {}).await
    }

    /// And with other settings.
    pub(crate) async fn restart_with(self, http: SocketAddr, change: impl FnOnce(&mut Config)) -> TestNode {
        let dir = self.end_and_release().await;
        let mut config = Config { http, ..config("n1", dir.path(), Start::Wait) };
        change(&mut config);
        TestNode::start_with(config, dir)
    }

    async fn end_and_release(self) -> TempDir {
        let (dir, begun) = (self.end().await, Instant::now());
        // Its last tasks let go of the files a moment later; a process would have ended. Looked at without opening anything, or
        // what was opened to look would itself be let go of a moment later.
        while let Err(error) = File::open(dir.path().join("lock")).unwrap().try_lock() {
            assert!(begun.elapsed() < PATIENCE, "still held: {error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        dir
    }

    /// One request to the client port.
    pub(crate) async fn http(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        exchange(self.at.http, method, target, &[], body).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.http("GET", target, b"").await
    }

    pub(crate) async fn put(&self, target: &str, body: impl AsRef<[u8]>) -> Answer {
        self.http("PUT", target, body.as_ref()).await
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.header(name).unwrap_or_else(|| panic!("{name} in {self:?}")).parse().unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {text}", self.status))
    }

    /// Status, code and message of an error, which is always JSON.
    pub(crate) fn error(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let json = self.json();
        let error = &json["error"];
        let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("{name} in {json}")).to_owned();
        format!("{} {}: {}", self.status, text("code"), text("message"))
    }
}

/// Sends one request on a connection of its own and reads the answer to its end.
pub(crate) async fn exchange(
    at: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = match headers.iter().any(|(name, _)| *name == "content-length") {
        true => String::new(),
        false => format!("content-length: {}\r\n", body.len()),
    };
    let head = format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{more}{length}\r\n");
    send(at, &[head.as_bytes(), body].concat()).await
}

/// Sends bytes and reads the answer to its end.
pub(crate) async fn send(at: SocketAddr, bytes: &[u8]) -> Answer {
    let exchanged = tokio::time::timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        read
    });
    let read = exchanged.await.expect("an answer in time");
    let end = read.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole header");
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, head, body: read[end + 4..].to_vec() }
}
