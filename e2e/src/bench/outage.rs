//! What a cluster needs to serve again: after its leader was killed, and after all of it was.
//!
//! Writes are tried at every running member each 10 ms, without waiting for the ones before, since a member that has no leader may keep
//! a request for seconds. The first acknowledgement of a write begun after the kill ends the outage.
//!
//! Invariant: a kill is SIGKILL, and whoever was killed runs again before the next one.

use super::phase::{key, value};
use super::servers::Servers;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Between two tries at one member, and so the resolution of a figure.
const PAUSE: Duration = Duration::from_millis(10);
/// A try is given up after this, so that a hundred a member are under way at most.
const TRY: Duration = Duration::from_secs(1);
/// An outage that lasts longer is a failure of the run.
const PATIENCE: Duration = Duration::from_secs(120);
/// Followers need a while until they would notice the next loss: longer than any election.
const SETTLE: Duration = Duration::from_secs(3);
const VALUE_BYTES: usize = 256;

/// The outages of one side.
#[derive(Clone, Debug, Serialize)]
pub struct Outages {
    /// Whose.
    pub side: String,
    /// What was killed.
    pub killed: Killed,
    /// Keys in the store.
    pub keys: u64,
    /// Members of the cluster.
    pub members: usize,
    /// From the kill, or from the start of the first member, to the first acknowledged write.
    pub milliseconds: Vec<f64>,
    /// Bytes of memory of the largest member before the first kill.
    pub resident_before: u64,
    /// Bytes of memory of the largest member after the last return, `SETTLE` later.
    pub resident_after: u64,
}

/// What was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Killed {
    /// The leader; the clock starts with the kill.
    Leader,
    /// Every member; the clock starts when they are started.
    All,
}

impl Outages {
    /// None yet, of a cluster that is whole and has `keys`.
    pub fn new(servers: &Servers, killed: Killed, keys: u64) -> Outages {
        let side = servers.build().name.clone();
        let members = servers.addresses().len();
        let resident = servers.resident_bytes().into_iter().max().unwrap_or_default();
        let (resident_before, resident_after) = (resident, resident);
        let milliseconds = Vec::new();
        Outages { side, killed, keys, members, milliseconds, resident_before, resident_after }
    }

    /// One more. The cluster is whole again afterwards.
    pub async fn add(&mut self, servers: &mut Servers) -> Result<(), String> {
        let outage = match self.killed {
            Killed::Leader => leader(servers).await?,
            Killed::All => all(servers).await?,
        };
        eprintln!("{}: {:?} killed: {} ms", self.side, self.killed, outage.as_millis());
        self.milliseconds.push(outage.as_secs_f64() * 1e3);
        servers.whole().await?;
        tokio::time::sleep(SETTLE).await;
        self.resident_after = servers.resident_bytes().into_iter().max().unwrap_or_default();
        Ok(())
    }
}

async fn leader(servers: &mut Servers) -> Result<Duration, String> {
    let leader = servers.leader().await?;
    let begun = Instant::now();
    servers.kill(leader);
    let others: Vec<_> = (0..servers.addresses().len()).filter(|place| *place != leader).collect();
    first_write(servers, &others, begun).await?;
    let outage = begun.elapsed();
    servers.start_member(leader)?;
    Ok(outage)
}

async fn all(servers: &mut Servers) -> Result<Duration, String> {
    let places: Vec<_> = (0..servers.addresses().len()).collect();
    for place in &places {
        servers.kill(*place);
    }
    let begun = Instant::now();
    for place in &places {
        servers.start_member(*place)?;
    }
    first_write(servers, &places, begun).await?;
    Ok(begun.elapsed())
}

/// Returns with the first acknowledgement.
async fn first_write(servers: &Servers, places: &[usize], begun: Instant) -> Result<(), String> {
    let value = value(VALUE_BYTES);
    let mut tries = JoinSet::new();
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = "nothing was tried".to_owned();
    while begun.elapsed() < PATIENCE {
        tokio::select! {
            Some(ended) = tries.join_next() => match ended {
                Ok(Ok(Ok(()))) => return Ok(()),
                Ok(Ok(Err(e))) => last = e,
                Ok(Err(_)) => last = format!("no answer within {} s", TRY.as_secs()),
                Err(e) => last = e.to_string(),
            },
            _ = ticks.tick() => for place in places {
                let (connecting, value) = (servers.connecting(*place), value.clone());
                tries.spawn(timeout(TRY, async move {
                    connecting.await?.put(&key(VALUE_BYTES, 0), &value).await
                }));
            },
        }
    }
    Err(format!("{}: no write within {} s; the last try: {last}", servers.build().name, PATIENCE.as_secs()))
}
