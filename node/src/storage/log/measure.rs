//! Every engine under the same appends, one after another, round by round.
//!
//! `cargo test --release --lib -p schedia-node log::measure -- --ignored --nocapture`
//!
//! So many clients append an entry of 300 bytes each, wait until it is on the disk, and append the next. With `beside`, a redb
//! file takes a checkpoint of 2,000 rows among 100,000 each 200 ms, as the state of a busy shard does.

use super::engine::Change;
use super::raft_log::RaftLogs;
use super::redb_log::RedbLog;
use super::segments::{SEGMENT_BYTES, SegmentLog};
use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const SECONDS: f64 = 3.0;

type Make = fn(&Path, &Volume) -> Box<dyn LogEngine>;

#[derive(Clone)]
struct Sample {
    rate: f64,
    p50_us: u64,
    p99_us: u64,
    cpu_us: f64,
    written: f64,
    per_sync: f64,
}

#[test]
#[ignore = "a measurement"]
fn measure() {
    let engines: [(&str, Make); 3] = [
        ("redb", |dir, volume| Box::new(RedbLog::open(&dir.join("log.redb"), 16 << 20, volume).unwrap())),
        ("raft-log", |dir, _| Box::new(RaftLogs::open(dir))),
        ("segments", |dir, volume| {
            Box::new(
                SegmentLog::open(&dir.join("log"), SEGMENT_BYTES, Patience::none(volume.clone())).unwrap(),
            )
        }),
    ];
    println!(
        "| beside | clients | engine | appends/s | p50 µs | p99 µs | CPU µs | bytes written | entries/sync |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for beside in [false, true] {
        for clients in [1, 16, 64, 256] {
            let mut samples = vec![Vec::new(); engines.len()];
            for _ in 0..ROUNDS {
                for (n, (_, make)) in engines.iter().enumerate() {
                    samples[n].push(sample(*make, clients, beside));
                }
            }
            for ((name, _), mut samples) in engines.iter().zip(samples) {
                samples.sort_by(|a, b| a.rate.total_cmp(&b.rate));
                let Sample { rate, p50_us, p99_us, cpu_us, written, per_sync } = samples[ROUNDS / 2].clone();
                let (least, most) = (samples[0].rate, samples[ROUNDS - 1].rate);
                println!(
                    "| {} | {clients} | {name} | {rate:.0} ({least:.0} to {most:.0}) | {p50_us} | {p99_us} | {cpu_us:.1} | {written:.0} | {per_sync:.1} |",
                    if beside { "yes" } else { "no" }
                );
            }
        }
    }
}

struct Counting {
    inner: Box<dyn LogEngine>,
    commits: Arc<AtomicU64>,
}

impl LogEngine for Counting {
    fn file(&self) -> &Path {
        self.inner.file()
    }
    fn saved(&self) -> io::Result<Vec<(ShardId, Saved)>> {
        self.inner.saved()
    }
    fn reader(&self) -> Arc<dyn LogReader> {
        self.inner.reader()
    }
    fn commit(&mut self, changes: &mut dyn Iterator<Item = (ShardId, &Change)>) -> io::Result<()> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.inner.commit(changes)
    }
    fn has_garbage(&self) -> bool {
        self.inner.has_garbage()
    }
}

fn sample(make: Make, clients: usize, beside: bool) -> Sample {
    // Not in memory: where the build is.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let volume = Volume::new(Failure::new(), false);
    let commits = Arc::new(AtomicU64::new(0));
    let engine = Counting { inner: make(dir.path(), &volume), commits: commits.clone() };
    let log = Log::start(Box::new(engine), &Options::default(), Failure::new()).unwrap();
    let shard = log.shard(ShardId(0)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let neighbour = beside.then(|| neighbour(dir.path(), stop.clone()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let next = Arc::new(Mutex::new(1_u64));
    let (cpu, written, begun) = (cpu_us(), written(), Instant::now());
    let body = Bytes::from(vec![7; 280]);
    let mut latencies = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        let order = Arc::new(tokio::sync::Mutex::new(()));
        for _ in 0..clients {
            let (shard, next, body, order) = (shard.clone(), next.clone(), body.clone(), order.clone());
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                while begun.elapsed().as_secs_f64() < SECONDS {
                    let at = Instant::now();
                    let (done, flushed) = tokio::sync::oneshot::channel();
                    {
                        let _turn = order.lock().await;
                        let index = {
                            let mut next = next.lock().unwrap();
                            *next += 1;
                            *next - 1
                        };
                        let record =
                            Record { index, id: Bytes::from_static(b"12345678"), body: body.clone() };
                        shard.append(vec![record], move |result| drop(done.send(result))).await.unwrap();
                        if index % 10_000 == 0 {
                            let upto = index - 5_000;
                            shard.purge(Mark { index: upto, id: Bytes::from_static(b"12345678") }).unwrap();
                        }
                    }
                    flushed.await.unwrap().unwrap();
                    latencies.push(at.elapsed().as_micros() as u64);
                }
                latencies
            });
        }
        tasks.join_all().await.concat()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let (cpu, written) = (cpu_us() - cpu, self::written() - written);
    stop.store(true, Ordering::Relaxed);
    let beside_cpu = neighbour.map_or(0.0, |n| n.join().unwrap());
    let per_sync = latencies.len() as f64 / commits.load(Ordering::Relaxed) as f64;
    latencies.sort_unstable();
    let ops = latencies.len() as f64;
    Sample {
        rate: ops / seconds,
        p50_us: latencies[latencies.len() / 2],
        p99_us: latencies[latencies.len() * 99 / 100],
        cpu_us: (cpu as f64 - beside_cpu) / ops,
        written: written as f64 / ops,
        per_sync,
    }
}

/// Checkpoints; the CPU time it took, in microseconds.
fn neighbour(dir: &Path, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<f64> {
    let file = dir.join("beside.redb");
    std::thread::spawn(move || {
        let table = redb::TableDefinition::<u64, &[u8]>::new("rows");
        let db = redb::Database::create(file).unwrap();
        let mut seed = 1_u64;
        while !stop.load(Ordering::Relaxed) {
            let mut txn = db.begin_write().unwrap();
            txn.set_quick_repair(true);
            {
                let mut rows = txn.open_table(table).unwrap();
                for _ in 0..2_000 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    rows.insert((seed >> 33) % 100_000, [1_u8; 256].as_slice()).unwrap();
                }
            }
            txn.commit().unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1000.0
    })
}

fn cpu_us() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10_000
}

fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find(|line| line.starts_with("write_bytes")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
