//! The settings of `schedia serve`: read from flags, environment and file, checked once into [`Config`].
//!
//! A setting has one name everywhere: `--cache-mib`, `SCHEDIA_CACHE_MIB`, `cache-mib = 64` in the file of `--config`. The flag wins
//! over the environment, the environment over the file. A setting that does not exist is an error in all three. What all of them leave
//! open is looked for under codeQ's names in the environment (`codeq`).
//!
//! Invariant: nothing behind [`Settings::check`] reads an unchecked setting, an argument or the environment.

mod codeq;
mod queue;
mod settings;
mod variables;

pub use queue::Backoff;
pub use settings::Settings;

use crate::auth::AuthConfig;
use crate::queues;
use crate::shards::Timings;
use crate::telemetry::traces::Collector;
use clap::ValueEnum;
use schedia_apps::cluster;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of a node, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The node's name.
    pub name: String,
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    /// The client listener.
    pub http: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The peer listener.
    pub peer: SocketAddr,
    /// The client URL others are told, if not that of the listener.
    pub advertise_http: Option<String>,
    /// The peer address others are told, if not that of the listener.
    pub advertise_peer: Option<String>,
    /// What a blank node does.
    pub start: Start,
    /// With how many shards a cluster begins; `None`: one, unless there is a cluster already.
    pub shards: Option<u32>,
    /// The doors of other programs.
    pub doors: Doors,
    /// Who may use the queue.
    pub auth: AuthConfig,
    /// What holds for queues.
    pub queue: queues::Settings,
    /// Raft's clockwork.
    pub timings: Timings,
    /// Whether promises of voters are given and used.
    pub lease_reads: bool,
    /// Memory for pages of the state files, over all shards.
    pub cache_bytes: u64,
    /// Memory for applied, unflushed writes of one shard.
    pub overlay_bytes: u64,
    /// Threads that serve requests and peers.
    pub worker_threads: usize,
    /// How long old revisions stay readable; `None`: until somebody compacts them.
    pub kv_history: Option<Duration>,
    /// Nothing is synced to disk: for benchmarks only.
    pub unsafe_no_fsync: bool,
    /// A request that takes longer is logged; `None`: none is.
    pub slow_request: Option<Duration>,
    /// Where traces go; `None`: nowhere, none are made.
    pub traces: Option<Collector>,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: String,
    /// Variables of codeQ that are set and change nothing here.
    pub without_effect: Vec<&'static str>,
}

/// What a node does when its disk is blank. A disk with an identity ignores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Waits Unassigned until the admin API tells it: how the operator starts nodes.
    Wait,
    /// Starts a cluster of one.
    Bootstrap,
    /// Asks a member's client port to become one.
    Join(String),
    /// Forms a cluster of named nodes once.
    Peers(Peers),
    /// Begins a cluster of one when it is first written to, or comes into one when a member invites it: the manner of
    /// `schedia balsa`.
    Invited,
}

/// The doors that are open beside the native one and raftd's keys. All closed by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doors {
    /// balsa's `/set`, `/get` and `/remove`.
    pub balsa: bool,
    /// Whose `/join` is served: only a node run in that program's manner has one.
    pub join: Option<Manner>,
}

/// The program that a node stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// `schedia raftd`.
    Raftd,
    /// `schedia balsa`.
    Balsa,
}

/// A door that is opened by a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// `/set`, `/get` and `/remove`, as balsa has them.
    Balsa,
}

/// The nodes of a static cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Peer addresses by name, this node's too.
    pub nodes: BTreeMap<String, String>,
    /// Whether this node was marked as the seed with `--bootstrap`.
    pub marked: bool,
    /// Whether this node is the first by name: the seed, unless another one says it is marked.
    pub first: bool,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// A setting that cannot be used, in words that name it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

fn refuse<T>(message: impl fmt::Display) -> Result<T, ConfigError> {
    Err(ConfigError(message.to_string()))
}

impl Settings {
    /// Takes what flags and environment left open from the file of `--config`, what that left open from `codeq`, the environment under
    /// codeQ's names, and checks the whole.
    pub fn check(self, codeq: impl Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
        let file = match &self.config {
            None => Settings::default(),
            Some(path) => {
                let failed = |e: &dyn fmt::Display| ConfigError(format!("--config {}: {e}", path.display()));
                let text = std::fs::read_to_string(path).map_err(|e| failed(&e))?;
                toml::from_str(&text).map_err(|e| failed(&e))?
            }
        };
        let ours = self.or(file);
        let codeq::Found { settings, without_effect } = codeq::read(&ours, codeq)?;
        ours.or(settings).checked(without_effect)
    }

    fn checked(self, without_effect: Vec<&'static str>) -> Result<Config, ConfigError> {
        let queue = queue::checked(&self)?;
        let name = checked_name(self.name.unwrap_or_else(host_name))?;
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let peer = self.peer.unwrap_or(loopback(7000));
        let start = start(&name, self.bootstrap.unwrap_or(false), self.join, self.peers)?;
        if let Some(address) = &self.advertise_peer {
            host_port("--advertise-peer", address)?;
        } else if start != Start::Wait && peer.ip().is_unspecified() {
            return refuse(format_args!(
                "--peer {peer} listens on every address, so --advertise-peer HOST:PORT must say which one the others use"
            ));
        }
        if let Some(url) = &self.advertise_http {
            client_url("--advertise-http", url)?;
        }
        let mib = |name: &str, value: Option<u64>, default: u64, range: std::ops::RangeInclusive<u64>| {
            Ok(within(name, value.unwrap_or(default), range)? << 20)
        };
        let minutes = within("--kv-history-minutes", self.kv_history_minutes.unwrap_or(60), 0..=5_256_000)?;
        let slow_ms = within("--slow-request-ms", self.slow_request_ms.unwrap_or(1_000), 0..=60_000)?;
        Ok(Config {
            name,
            data_dir: self.data_dir.unwrap_or_else(|| PathBuf::from("schedia-data")),
            http: self.http.unwrap_or(loopback(8080)),
            admin: self.admin.unwrap_or(loopback(8081)),
            peer,
            advertise_http: self.advertise_http,
            advertise_peer: self.advertise_peer,
            start,
            shards: shards("--shards", self.shards)?,
            doors: Doors { balsa: self.door == Some(Door::Balsa), join: None },
            queue,
            auth: AuthConfig::load(self.auth_config.as_deref(), |name| std::env::var_os(name))
                .map_err(|e| ConfigError(e.to_string()))?,
            timings: timings(self.heartbeat_ms, self.election_min_ms, self.election_max_ms)?,
            lease_reads: self.lease_reads.unwrap_or(false),
            cache_bytes: mib("--cache-mib", self.cache_mib, 64, 1..=1 << 20)?,
            overlay_bytes: mib("--overlay-mib", self.overlay_mib, 128, 8..=1 << 16)?,
            worker_threads: worker_threads(self.worker_threads)?,
            kv_history: (minutes > 0).then(|| Duration::from_secs(minutes * 60)),
            unsafe_no_fsync: self.unsafe_no_fsync.unwrap_or(false),
            slow_request: (slow_ms > 0).then(|| Duration::from_millis(slow_ms)),
            traces: collector(self.otlp_endpoint, self.otlp_ratio)?,
            log_format: self.log_format.unwrap_or_default(),
            log_level: checked_level(self.log_level.unwrap_or_else(|| "info".to_owned()))?,
            without_effect,
        })
    }
}

/// The first `SCHEDIA_…` name that is no setting, unless Kubernetes put it there for a Service named schedia-something.
pub fn unknown_environment<'a>(
    names: impl Iterator<Item = &'a str>,
    known: impl Fn(&str) -> bool,
) -> Option<&'a str> {
    let service_link = |name: &str| {
        ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"].iter().any(|end| name.ends_with(end))
            || name.contains("_SERVICE_PORT_")
            || name
                .rsplit_once("_PORT_")
                .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    names.filter(|name| name.starts_with("SCHEDIA_")).find(|name| !known(name) && !service_link(name))
}

fn start(
    name: &str,
    bootstrap: bool,
    join: Option<String>,
    peers: Option<String>,
) -> Result<Start, ConfigError> {
    match (bootstrap, join, peers) {
        (false, None, None) => Ok(Start::Wait),
        (true, None, None) => Ok(Start::Bootstrap),
        (false, Some(url), None) => {
            client_url("--join", &url)?;
            Ok(Start::Join(url))
        }
        (bootstrap, None, Some(list)) => {
            let nodes = peer_list("--peers", name, &list)?;
            let first = nodes.keys().next().is_some_and(|first| first == name);
            Ok(Start::Peers(Peers { nodes, marked: bootstrap, first }))
        }
        (_, Some(_), _) => {
            refuse("--join excludes --bootstrap and --peers: a node joins a cluster or forms one")
        }
    }
}

/// The nodes of a list that this setting gives the node `me`.
fn peer_list(option: &str, me: &str, list: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut nodes = BTreeMap::new();
    for item in list.split(',') {
        let Some((name, address)) = item.split_once('=') else {
            return refuse(format_args!("{option} is a list of NAME=HOST:PORT, this is not one: {item:?}"));
        };
        host_port(option, address)?;
        if nodes.insert(checked_name(name.to_owned())?, address.to_owned()).is_some() {
            return refuse(format_args!("{option} names a node twice: {name}"));
        }
    }
    if !nodes.contains_key(me) {
        return refuse(format_args!("{option} must list this node too, and it does not name {me:?}: {list}"));
    }
    Ok(nodes)
}

fn shards(option: &str, set: Option<u64>) -> Result<Option<u32>, ConfigError> {
    let within = |shards| within(option, shards, 1..=u64::from(cluster::SHARDS_MAX));
    Ok(set.map(within).transpose()?.map(|shards| shards as u32))
}

fn timings(heartbeat: Option<u64>, min: Option<u64>, max: Option<u64>) -> Result<Timings, ConfigError> {
    let heartbeat = within("--heartbeat-ms", heartbeat.unwrap_or(100), 10..=60_000)?;
    let min = within("--election-min-ms", min.unwrap_or(300), 20..=600_000)?;
    let max = within("--election-max-ms", max.unwrap_or(500), 20..=600_000)?;
    if min < 2 * heartbeat {
        return refuse(format_args!(
            "--election-min-ms {min} must be at least twice --heartbeat-ms {heartbeat}: one lost heartbeat is no lost leader"
        ));
    }
    if max <= min {
        return refuse(format_args!("--election-max-ms {max} must be above --election-min-ms {min}"));
    }
    Ok(Timings { heartbeat_ms: heartbeat, election_min_ms: min, election_max_ms: max })
}

/// Half of the cores unless somebody says so. A put goes through a dozen tasks, one after the other: with a worker for each core
/// most of its time went into waking threads, as measured, and the log's and the state's writers need cores of their own.
fn worker_threads(set: Option<u64>) -> Result<usize, ConfigError> {
    let half = || std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)) as u64;
    within("--worker-threads", set.unwrap_or_else(half), 1..=1_024).map(|threads| threads as usize)
}

fn within(name: &str, value: u64, range: std::ops::RangeInclusive<u64>) -> Result<u64, ConfigError> {
    if range.contains(&value) {
        return Ok(value);
    }
    refuse(format_args!("{name} must be {}..={}, not {value}", range.start(), range.end()))
}

/// Names are used in DNS names, metrics and lists: one short, plain form.
fn checked_name(name: String) -> Result<String, ConfigError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if (1..=253).contains(&name.len()) && name.chars().all(plain) {
        return Ok(name);
    }
    refuse(format_args!("a node's name is 1 to 253 letters, digits, '-', '.' or '_', not {name:?}"))
}

fn checked_level(level: String) -> Result<String, ConfigError> {
    match tracing_subscriber::EnvFilter::try_new(&level) {
        Ok(_) => Ok(level),
        Err(e) => refuse(format_args!("--log-level {level:?}: {e}")),
    }
}

fn host_port(option: &str, text: &str) -> Result<(), ConfigError> {
    let valid = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if valid {
        Ok(())
    } else {
        refuse(format_args!("{option} takes HOST:PORT with a port above 0, not {text:?}"))
    }
}

fn collector(endpoint: Option<String>, ratio: Option<f64>) -> Result<Option<Collector>, ConfigError> {
    let Some(endpoint) = endpoint else {
        return match ratio {
            None => Ok(None),
            Some(_) => refuse("--otlp-ratio needs --otlp-endpoint: without it nothing is traced"),
        };
    };
    client_url("--otlp-endpoint", &endpoint)?;
    let not_one = |e: &dyn fmt::Display| ConfigError(format!("--otlp-endpoint {endpoint:?}: {e}"));
    let mut url = reqwest::Url::parse(&endpoint).map_err(|e| not_one(&e))?;
    url.path_segments_mut().map_err(|()| not_one(&"it has no path"))?.pop_if_empty().extend(["v1", "traces"]);
    if url.scheme() == "https" {
        return refuse(format_args!(
            "--otlp-endpoint takes http: an agent beside the node encrypts what leaves the machine, not {endpoint:?}"
        ));
    }
    let ratio = ratio.unwrap_or(0.01);
    if !(0.0..=1.0).contains(&ratio) {
        return refuse(format_args!("--otlp-ratio must be 0..=1, not {ratio}"));
    }
    Ok(Some(Collector { url: url.into(), ratio }))
}

fn client_url(option: &str, text: &str) -> Result<(), ConfigError> {
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        _ => refuse(format_args!("{option} takes a URL like http://host:8080, not {text:?}")),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
