//! One phase: clients in a closed loop against one cluster for a fixed time, and what that took.
//!
//! A client sends its next request when it has the answer to the last one, so the clients bound what is under way. What the
//! phase needs of CPU and disk is read at the two ends of the window, which lies behind a warm-up.
//!
//! Invariant: a phase with an error, or with a change of leader, is void and says so.

use super::queues;
use super::servers::{Servers, Syncs};
use super::usage::{Usage, machine_cpu};
use super::wire::Client;
use bytes::Bytes;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Histograms end here. No request that is answered at all takes as long.
const LATENCY_MAX_US: u64 = 60_000_000;
/// For the answers that are under way when the window ends, and for a key that is refused while filling.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two tries to fill.
const PAUSE: Duration = Duration::from_millis(100);
/// Of an error a person reads so much.
const ERROR_BYTES_MAX: usize = 300;
/// A client gives up after this many.
const ERRORS_MAX: u64 = 100;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Write.
    Puts,
    /// Read linearizably.
    Reads,
    /// One write to four linearizable reads.
    Mixed,
    /// Create a task, claim one, end it.
    Cycles,
    /// Create tasks, one by one.
    Creates,
    /// Create tasks, many at once.
    Batches,
    /// Claim tasks of a long queue.
    Claims,
    /// Wait for a task that another member creates: until somebody has it.
    Wakes,
}

impl Work {
    /// Whether it is about tasks, and not about keys.
    pub fn is_of_queues(self) -> bool {
        !matches!(self, Work::Puts | Work::Reads | Work::Mixed)
    }
}

/// Which members the clients speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The leader, as clients that know it do.
    Leader,
    /// Each client another member, in turn.
    All,
}

/// What one phase does. Keys are drawn evenly out of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// What clients do.
    pub work: Work,
    /// To whom.
    pub target: Target,
    /// Of the cluster.
    pub members: usize,
    /// How many clients.
    pub clients: usize,
    /// Connections that they share where the protocol can; without a number, one each.
    pub connections: Option<usize>,
    /// Keys that exist, or queues.
    pub keys: u64,
    /// Raft groups of the cluster.
    pub shards: u32,
    /// Length of a value.
    pub value_bytes: usize,
}

/// The times of a phase.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub window: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Phase {
    /// Requests answered in the window; of a batch its tasks, of a cycle all three together.
    pub ops: u64,
    /// Per second.
    pub ops_per_second: f64,
    /// Half the requests took no longer, in microseconds.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// CPU of all servers for one request.
    pub server_cpu_us_per_op: f64,
    /// CPU of the load itself for one request.
    pub generator_cpu_us_per_op: f64,
    /// Cores that the servers kept busy.
    pub server_cores: f64,
    /// Cores that the load kept busy.
    pub generator_cores: f64,
    /// Cores that everybody else kept busy, the idle side included: noise.
    pub other_cores: f64,
    /// Bytes that all servers wrote to files, for one request.
    pub written_bytes_per_op: f64,
    /// Memory of the leader at the end.
    pub leader_resident_bytes: u64,
    /// Memory of the largest server at the end.
    pub largest_resident_bytes: u64,
    /// Syncs of the leader's log.
    pub log_syncs: f64,
    /// Syncs of the leader's state, where the server counts them.
    pub state_syncs: f64,
    /// Writes, or tasks, answered for one sync of the leader's log.
    pub puts_per_log_sync: f64,
    /// Why the figures do not count.
    pub void: Option<String>,
}

/// What one client saw.
pub(super) struct Seen {
    latencies: Histogram<u64>,
    ops: u64,
    puts: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Seen {
    pub(super) fn new() -> Seen {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("the bounds are in order");
        Seen { latencies, ops: 0, puts: 0, errors: 0, first_error: None }
    }

    /// So much was done, so much of it writes, and so long it took.
    pub(super) fn done(&mut self, ops: u64, puts: u64, took: Duration) {
        self.latencies.saturating_record((took.as_micros() as u64).max(1));
        self.ops += ops;
        self.puts += puts;
    }

    pub(super) fn failed(&mut self, mut error: String) {
        self.errors += 1;
        error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
        self.first_error.get_or_insert(error);
    }

    /// Whether it is no use to go on.
    pub(super) fn gives_up(&self) -> bool {
        self.errors >= ERRORS_MAX
    }
}

/// Runs one phase.
pub async fn run(servers: &Servers, load: &Load, times: Times) -> Result<Phase, String> {
    let leader = servers.leader().await?;
    let clients = connect(servers, load, leader).await?;
    let start = Instant::now() + times.warm_up;
    let end = start + times.window;
    let value = value(load.value_bytes);
    let mut tasks = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let load = load.clone();
        if load.work.is_of_queues() {
            tasks.spawn(queues::work(client, load, number as u64, start, end));
        } else {
            tasks.spawn(work(client, load, value.clone(), start, end));
        }
    }
    tokio::time::sleep_until(start.into()).await;
    let before = Reading::take(servers, leader).await?;
    tokio::time::sleep_until(end.into()).await;
    let after = Reading::take(servers, leader).await?;
    let seen = collect(tasks).await?;
    let mut phase = phase(&before, &after, &seen, times.window);
    let rss = servers.resident_bytes();
    phase.leader_resident_bytes = rss.get(leader).copied().unwrap_or_default();
    phase.largest_resident_bytes = rss.iter().copied().max().unwrap_or_default();
    if phase.void.is_none() && servers.leader().await? != leader {
        phase.void = Some("the leader changed".to_owned());
    }
    Ok(phase)
}

/// Writes the keys of `range` once each, in order.
pub async fn fill(
    servers: &Servers,
    range: Range<u64>,
    value_bytes: usize,
    clients: usize,
) -> Result<(), String> {
    let next = Arc::new(AtomicU64::new(range.start));
    let value = value(value_bytes);
    let mut tasks = JoinSet::new();
    for mut client in servers.clients(servers.leader().await?, clients, None, false).await? {
        let (next, value, end) = (next.clone(), value.clone(), range.end);
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return Ok(());
                }
                persist(&mut client, &key(value.len(), number), &value).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|e| e.to_string())?.map_err(|e: String| format!("filling: {e}"))?;
    }
    Ok(())
}

/// Filling is not measured, so a busy machine may refuse for a while.
async fn persist(client: &mut Client, key: &str, value: &Bytes) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.put(key, value).await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

/// Values of different lengths have keys of their own: whatever is read has the length that was asked for.
pub(super) fn key(value_bytes: usize, number: u64) -> String {
    format!("bench/{value_bytes}/{number:010}")
}

/// Nothing that compresses.
pub(super) fn value(bytes: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(1);
    (0..bytes).map(|_| random.u8(..)).collect()
}

async fn connect(servers: &Servers, load: &Load, leader: usize) -> Result<Vec<Client>, String> {
    let places = match load.target {
        Target::Leader => vec![leader],
        Target::All => (0..servers.addresses().len()).collect(),
    };
    let waits = load.work == Work::Wakes;
    let mut clients = Vec::new();
    for (turn, place) in places.iter().enumerate() {
        let share = load.clients / places.len() + usize::from(turn < load.clients % places.len());
        let connections = load.connections.map(|all| (all / places.len()).max(1));
        clients.extend(servers.clients(*place, share, connections, waits).await?);
    }
    Ok(clients)
}

async fn work(mut client: Client, load: Load, value: Bytes, start: Instant, end: Instant) -> Seen {
    let mut seen = Seen::new();
    let mut random = fastrand::Rng::new();
    loop {
        let begun = Instant::now();
        if begun >= end || seen.gives_up() {
            return seen;
        }
        let key = key(load.value_bytes, random.u64(..load.keys));
        let puts = match load.work {
            Work::Puts => true,
            Work::Mixed => random.u8(..5) == 0,
            _ => false,
        };
        let answer = match puts {
            true => client.put(&key, &value).await,
            false => client.get(&key).await.and_then(|bytes| match bytes == value.len() {
                true => Ok(()),
                false => Err(format!("{bytes} bytes of {} were read: {key}", value.len())),
            }),
        };
        let now = Instant::now();
        match answer {
            Ok(()) if begun >= start && now <= end => seen.done(1, puts.into(), now - begun),
            Ok(()) => {}
            Err(e) => seen.failed(e),
        }
    }
}

async fn collect(mut tasks: JoinSet<Seen>) -> Result<Seen, String> {
    let mut all = Seen::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match tokio::time::timeout_at(deadline, tasks.join_next()).await {
            Ok(None) => return Ok(all),
            Ok(Some(seen)) => {
                let seen = seen.map_err(|e| e.to_string())?;
                all.latencies.add(&seen.latencies).map_err(|e| e.to_string())?;
                all.ops += seen.ops;
                all.puts += seen.puts;
                all.errors += seen.errors;
                all.first_error = all.first_error.or(seen.first_error);
            }
            Err(_) => {
                all.errors += tasks.len() as u64;
                let unanswered = format!("no answer within {} s", PATIENCE.as_secs());
                all.first_error.get_or_insert(unanswered);
                tasks.shutdown().await;
                return Ok(all);
            }
        }
    }
}

/// All counters at one moment.
struct Reading {
    servers: Usage,
    generator: Usage,
    machine: Duration,
    syncs: Syncs,
}

impl Reading {
    async fn take(servers: &Servers, leader: usize) -> Result<Reading, String> {
        Ok(Reading {
            servers: servers.usage()?,
            generator: Usage::of(std::process::id())?,
            machine: machine_cpu()?,
            syncs: servers.syncs(leader).await?,
        })
    }
}

fn phase(before: &Reading, after: &Reading, seen: &Seen, window: Duration) -> Phase {
    let (ops, seconds) = (seen.ops, window.as_secs_f64());
    let (servers, generator) = (after.servers - before.servers, after.generator - before.generator);
    let others = (after.machine.saturating_sub(before.machine)).saturating_sub(servers.cpu + generator.cpu);
    let per_op = |amount: f64| if ops == 0 { 0.0 } else { amount / ops as f64 };
    let log_syncs = after.syncs.log - before.syncs.log;
    let void = match (&seen.first_error, ops) {
        (Some(first), _) => Some(format!("{} errors, the first: {first}", seen.errors)),
        (None, 0) => Some("nothing was answered".to_owned()),
        (None, _) => None,
    };
    Phase {
        ops,
        ops_per_second: ops as f64 / seconds,
        p50_us: seen.latencies.value_at_quantile(0.5),
        p99_us: seen.latencies.value_at_quantile(0.99),
        max_us: seen.latencies.max(),
        server_cpu_us_per_op: per_op(servers.cpu.as_secs_f64() * 1e6),
        generator_cpu_us_per_op: per_op(generator.cpu.as_secs_f64() * 1e6),
        server_cores: servers.cpu.as_secs_f64() / seconds,
        generator_cores: generator.cpu.as_secs_f64() / seconds,
        other_cores: others.as_secs_f64() / seconds,
        written_bytes_per_op: per_op(servers.written_bytes as f64),
        log_syncs,
        state_syncs: after.syncs.state - before.syncs.state,
        puts_per_log_sync: if log_syncs > 0.0 { seen.puts as f64 / log_syncs } else { 0.0 },
        void,
        ..Phase::default()
    }
}
