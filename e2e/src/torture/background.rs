//! Faults that go on beside others: verbs of the admin port given again and again, broken connections, a busy disk.
//!
//! Invariant: whoever is told to stop comes to an end that leaves the cluster whole. What it could not finish is an error.

use super::fault::Kind;
use super::network::{Trouble, Way};
use super::world::{RECOVERY_MAX, World, member, reset};
use crate::wait::until;
use futures::FutureExt;
use futures::future::BoxFuture;
use schedia_api::{Client, Role, Status, TransferLeader};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Between two verbs.
const PAUSE: Duration = Duration::from_millis(100);
/// What a busy disk is given to sync at once, over and over in the same place.
const BUSY_BYTES: usize = 4 << 20;

/// Large writes, more than the 64 MiB that a leader keeps of its log.
const MUCH: usize = 80;
const MUCH_BYTES: usize = 1 << 20;
const MUCH_AT_ONCE: usize = 4;
/// How often connections break while a member that was left behind returns, at most, and how long each holds before.
const BREAKS_MAX: usize = 6;
const BREAKS_APART_MS: std::ops::Range<u64> = 20..400;

/// A fault of its own task.
pub struct Background {
    stop: Stop,
    task: JoinHandle<Result<(), String>>,
}

/// Set when it is dropped: a run that is stopped in the middle leaves nothing that goes on.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Background {
    /// Tells it to end.
    pub fn stop(&self) {
        self.stop.0.store(true, Ordering::Relaxed);
    }

    /// Waits for its end.
    pub async fn ended(self) -> Result<(), String> {
        match timeout(2 * RECOVERY_MAX, self.task).await {
            Ok(Ok(end)) => end,
            Ok(Err(panic)) => Err(format!("it panicked: {panic}")),
            Err(_) => Err("it does not end".to_owned()),
        }
    }
}

/// Wall clocks leap so far, either way. An answer is kept under its key for a day of log time: a clock that moved log time
/// by two would have writes take effect twice.
const LEAPS_MS: [i64; 2] = [3_600_000, 48 * 3_600_000];
const FLAP_MS: i64 = 3_000;

/// Makes a node's wall clock wrong. One node's at a time: log time holds to the middle of the voters' clocks.
pub(super) fn clock(
    kind: Kind,
    world: &World,
    place: usize,
    random: &mut fastrand::Rng,
) -> Option<Background> {
    let clock = world.clocks.get(place)?.clone();
    let alone = world.lying.clone().try_lock_owned().ok()?;
    let far = if kind == Kind::ClockFlaps { FLAP_MS } else { LEAPS_MS[random.usize(..LEAPS_MS.len())] };
    let (stop, mut random) = (Arc::new(AtomicBool::new(false)), fastrand::Rng::with_seed(random.u64(..)));
    clock.shift(if random.bool() { far } else { -far });
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            sleep(PAUSE).await;
            if kind == Kind::ClockFlaps {
                clock.shift([far, 0, -far][random.usize(..3)]);
            }
        }
        clock.shift(0);
        drop(alone);
        Ok(())
    });
    Some(Background { stop: Stop(stop), task })
}

/// Begins such a fault.
pub(super) fn begin(kind: Kind, world: &World, random: &mut fastrand::Rng) -> Option<Background> {
    let stop = Arc::new(AtomicBool::new(false));
    let admins = Admins {
        clients: world.cluster.nodes.iter().map(|node| node.client()).collect(),
        urls: world.cluster.nodes.iter().map(|node| node.admin_url()).collect(),
        random: fastrand::Rng::with_seed(random.u64(..)),
        stop: stop.clone(),
    };
    let task = match kind {
        Kind::Snapshots => tokio::spawn(admins.all(|node| node.snapshot().map(drop).boxed())),
        Kind::Defragment => tokio::spawn(admins.all(|node| node.defragment().map(drop).boxed())),
        Kind::Transfers => tokio::spawn(admins.transfers()),
        Kind::Members => {
            // One change after another: two that do not know of each other would undo each other's.
            let alone = world.alone.clone().try_lock_owned().ok()?;
            tokio::spawn(async move {
                let done = admins.members().await;
                drop(alone);
                done
            })
        }
        Kind::Resets => tokio::spawn(resets(world.network.resetter(), stop.clone())),
        Kind::BusyDisk => {
            let beside = world.cluster.nodes[0].data_dir().with_file_name("busy");
            let stop = stop.clone();
            tokio::task::spawn_blocking(move || busy(beside, &stop))
        }
        _ => return None,
    };
    Some(Background { stop: Stop(stop), task })
}

/// Cuts the node at `place` off, in these ways, until the others have purged what it lacks.
pub(super) fn left_behind(
    world: &World,
    place: usize,
    ways: Vec<Way>,
    random: &mut fastrand::Rng,
) -> Option<Background> {
    // Two of them at once could leave no majority to write to.
    let alone = world.alone.clone().try_lock_owned().ok()?;
    world.network.trouble(&ways, Trouble::Silent);
    let others = world.cluster.nodes.iter().enumerate().filter(|(other, _)| *other != place);
    let (urls, clients): (Vec<_>, Vec<_>) = others.map(|(_, node)| (node.http_url(), node.client())).unzip();
    let (free, reset) = (world.network.freer(ways), world.network.resetter());
    let breaks: Vec<u64> = (0..random.usize(..=BREAKS_MAX)).map(|_| random.u64(BREAKS_APART_MS)).collect();
    let random = fastrand::Rng::with_seed(random.u64(..));
    let task = tokio::spawn(async move {
        let written = write_much(&urls, random).await;
        let all = clients.iter().map(|client| timeout(Duration::from_secs(10), client.snapshot()));
        let _ = futures::future::join_all(all).await;
        free();
        for apart in breaks {
            sleep(Duration::from_millis(apart)).await;
            reset();
        }
        drop(alone);
        written
    });
    // It ends by itself.
    Some(Background { stop: Stop(Arc::default()), task })
}

/// Writes more than a leader keeps of its log, to keys that no client looks at. The values do not compress: a snapshot of them takes
/// time to send.
async fn write_much(urls: &[String], mut random: fastrand::Rng) -> Result<(), String> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
    let http = http.map_err(|e| e.to_string())?;
    let (http, mut done) = (&http, 0);
    let deadline = tokio::time::Instant::now() + RECOVERY_MAX;
    for round in 0_usize.. {
        let writes = (0..MUCH_AT_ONCE).map(|key| {
            let url = format!("{}/v1/kv?key=much/{key}", urls[(round + key) % urls.len()]);
            let mut value = vec![0; MUCH_BYTES];
            random.fill(&mut value);
            async move { http.put(url).body(value).send().await.is_ok_and(|answer| answer.status() == 200) }
        });
        done += futures::future::join_all(writes).await.into_iter().filter(|done| *done).count();
        if done >= MUCH {
            break;
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!("{done} of {MUCH} large writes in {} s", RECOVERY_MAX.as_secs()));
        }
        sleep(PAUSE / 10).await;
    }
    Ok(())
}

async fn resets(reset: impl Fn() + Send, stop: Arc<AtomicBool>) -> Result<(), String> {
    while !stop.load(Ordering::Relaxed) {
        reset();
        sleep(5 * PAUSE).await;
    }
    Ok(())
}

/// Writes and syncs beside the data directories, on their disk.
fn busy(path: PathBuf, stop: &AtomicBool) -> Result<(), String> {
    let write = || -> std::io::Result<()> {
        let piece = vec![0x5a; BUSY_BYTES];
        while !stop.load(Ordering::Relaxed) {
            let mut file = std::fs::File::create(&path)?;
            file.write_all(&piece)?;
            file.sync_all()?;
        }
        std::fs::remove_file(&path)
    };
    write().map_err(|e| format!("{}: {e}", path.display()))
}

/// What a node is asked to do, whatever comes of it.
type Verb = for<'c> fn(&'c Client) -> BoxFuture<'c, ()>;

/// The admin ports of all nodes.
struct Admins {
    clients: Vec<Client>,
    urls: Vec<String>,
    random: fastrand::Rng,
    stop: Arc<AtomicBool>,
}

impl Admins {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks all nodes at once, again and again.
    async fn all(self, verb: Verb) -> Result<(), String> {
        while !self.stopped() {
            let all = self.clients.iter().map(|client| timeout(Duration::from_secs(2), verb(client)));
            // Refused by a node that is frozen, blank or new, or has no room: another one comes at once.
            let _ = futures::future::join_all(all).await;
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn transfers(mut self) -> Result<(), String> {
        while !self.stopped() {
            let to = self.random.usize(..self.clients.len());
            if let Ok(Ok(Status { node_id: Some(to), .. })) = timeout(PAUSE, self.clients[to].status()).await
            {
                let verb = TransferLeader { to };
                let asked = self
                    .clients
                    .iter()
                    .map(|client| timeout(Duration::from_secs(1), client.transfer_leader(&verb)));
                let _ = futures::future::join_all(asked).await;
            }
            sleep(5 * PAUSE).await;
        }
        Ok(())
    }

    /// One member in, one out: whoever is in the cluster, its leader and the new one included.
    async fn members(mut self) -> Result<(), String> {
        while !self.stopped() {
            let blank = self.place(Role::Unassigned).await?;
            let url = self.urls[blank].clone();
            member(&self.urls, &["add", &url]).await?;
            let gone = self.record_member().await?;
            member(&self.urls, &["remove", &gone]).await?;
            let retired = self.place(Role::Retired).await?;
            reset(&self.clients[retired], &self.urls[retired]).await?;
        }
        Ok(())
    }

    /// Some node in that role, once there is one.
    async fn place(&self, role: Role) -> Result<usize, String> {
        let what = format!("a node that is {role:?}");
        let found = until(&what, RECOVERY_MAX, || async {
            for (place, client) in self.clients.iter().enumerate() {
                if let Ok(Ok(status)) = timeout(Duration::from_secs(1), client.status()).await
                    && status.role == role
                {
                    return Ok(place);
                }
            }
            Err("none".to_owned())
        });
        found.await.map_err(|e| e.to_string())
    }

    /// A member drawn from the record.
    async fn record_member(&mut self) -> Result<String, String> {
        let record = until("a majority answers", RECOVERY_MAX, || async {
            for client in &self.clients {
                if let Ok(Ok(record)) = timeout(Duration::from_secs(2), client.record()).await {
                    return Ok(record);
                }
            }
            Err("nobody answers linearizably".to_owned())
        });
        let voters: Vec<_> = record.await.map_err(|e| e.to_string())?.voters.into_iter().collect();
        let drawn = self.random.choice(voters).ok_or("a record without voters")?;
        Ok(drawn.to_string())
    }
}
