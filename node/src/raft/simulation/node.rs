//! One node: openraft on our log and our state machine, a disk whose syncs take a time drawn from the seed, and crashes.

use super::super::config::config;
use super::super::log::{self, LogStore, mark, record};
use super::super::machine::Machine;
use super::super::snapshot::{Snapshot, SnapshotData};
use super::super::types::{Entry, RaftLogId, SnapshotMeta, StoredMembership, Types, Vote, encode_vote};
use super::network::Way;
use super::{Net, Truth};
use crate::metrics::Metrics;
use crate::shards::Timings;
use crate::storage::{Flushed, Options, ShardLog, Storage};
use futures::executor::block_on;
use futures::{Stream, TryStreamExt};
use openraft::network::RaftNetworkFactory;
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftStateMachine,
};
use openraft::{BasicNode, OptionalSend};
use schedia_apps::{Applications, ShardId};
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, sleep_until};

/// The longest that a sync takes.
const SYNC_MS_MAX: u64 = 12;
/// In real time: threads of storage end, and let go of their files.
const CLOSING: Duration = Duration::from_secs(20);

/// openraft on what is simulated.
pub(in crate::raft) type Raft = openraft::Raft<Types, Applying>;

/// A node that runs, as others reach it.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) raft: Raft,
    pub(super) machine: Machine,
    pub(super) log: ShardLog,
    /// The newest entry that it has told anybody to be committed.
    pub(super) told: Arc<AtomicU64>,
}

/// A node, running or not.
pub(in crate::raft) struct Node {
    pub(super) id: u64,
    pub(super) dir: TempDir,
    pub(super) running: Option<Running>,
    /// Whether it finds what was synced.
    honest: bool,
    /// What of its log it must find again.
    synced: Arc<Mutex<Synced>>,
}

pub(super) struct Running {
    pub(super) member: Member,
    _storage: Storage,
}

#[derive(Default)]
struct Synced {
    /// The last entry that was acknowledged.
    upto: u64,
    /// When the last sync under way ends: one after the other.
    ends: Option<Instant>,
    /// Grows with each crash: what was under way before is acknowledged to nobody.
    life: u64,
}

impl Node {
    pub(super) fn new(id: u64, honest: bool) -> Node {
        let dir = TempDir::new().expect("a temporary directory");
        Node { id, dir, running: None, honest, synced: Arc::default() }
    }

    fn synced(&self) -> MutexGuard<'_, Synced> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it, on what is on its disk.
    pub(super) async fn start(&mut self, net: &Net) {
        let options = Options { unsafe_no_fsync: true, ..Options::default() };
        let begun = std::time::Instant::now();
        // The threads of the life before hold its files until they have ended. No time passes for the others meanwhile.
        let storage = loop {
            match Storage::open(self.dir.path(), options.clone()) {
                Ok(storage) => break storage,
                Err(error) => assert!(begun.elapsed() < CLOSING, "node {}: {error}", self.id),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let log = storage.log(ShardId(0)).expect("the log opens");
        let state = storage.state(ShardId(0), Flushed::all(), None).expect("the state opens");
        let machine = Machine::open(state, Metrics::new().shard(ShardId(0))).expect("the state is whole");
        let disk = Disk { log: log.clone(), net: net.clone(), id: self.id, synced: self.synced.clone() };
        let applying = Applying { machine: machine.clone(), truth: net.truth.clone(), id: self.id };
        let config = Arc::new(config(Timings::default()).expect("settings that are valid"));
        let factory = Factory { net: net.clone(), me: self.id };
        let raft = openraft::Raft::new(self.id, config, factory, disk, applying).await;
        let raft = raft.expect("it starts");
        let member = Member { raft, machine, log, told: Arc::default() };
        net.lock().nodes.insert(self.id, member.clone());
        net.truth.note(|| format!("{} starts", self.id));
        self.running = Some(Running { member, _storage: storage });
    }

    /// Power is lost: of what was not synced a part drawn from the seed is there, and the state is that of its last checkpoint,
    /// or of none.
    pub(super) async fn crash(&mut self, net: &Net) {
        let Some(Running { member, _storage }) = self.running.take() else { return };
        let Member { raft, machine, log, told: _ } = member;
        net.lock().nodes.remove(&self.id);
        self.synced().life += 1;
        raft.shutdown().await.expect("it ends");
        let last = log.ends().last.map_or(0, |mark| mark.index);
        let upto = if self.honest { self.synced().upto.min(last) } else { 0 };
        let (kept, checkpoint) = {
            let random = &mut net.lock().random;
            (random.u64(upto..=last), random.bool() && self.honest)
        };
        if kept < last {
            block_on(log.truncate_from(kept + 1)).expect("the log is cut");
        }
        net.truth.note(|| format!("{} crashes: of {last} entries {upto} were synced, {kept} stay", self.id));
        if checkpoint {
            block_on(machine.state().flush()).expect("a checkpoint");
        }
        drop((raft, machine, log, _storage));
        if !checkpoint {
            let shard = self.dir.path().join("shards");
            std::fs::remove_dir_all(shard).expect("the state goes");
        }
    }
}

/// Makes the ways of one node.
struct Factory {
    net: Net,
    me: u64,
}

impl RaftNetworkFactory<Types> for Factory {
    type Network = Way;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Way {
        Way { net: self.net.clone(), from: self.me, to: target }
    }
}

/// The log on its disk. Whoever writes waits for the writer's thread at once, so that nothing else happens meanwhile; the time a
/// sync takes passes afterwards.
#[derive(Clone)]
struct Disk {
    log: ShardLog,
    net: Net,
    id: u64,
    synced: Arc<Mutex<Synced>>,
}

impl Disk {
    fn synced(&self) -> MutexGuard<'_, Synced> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes(&self) -> Duration {
        Duration::from_millis(self.net.lock().random.u64(1..=SYNC_MS_MAX))
    }
}

impl RaftLogReader<Types> for Disk {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.log.read(log::indexes(range), usize::MAX)?.into_iter().map(log::entry).collect()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        LogStore::new(self.log.clone()).read_vote().await
    }
}

impl RaftLogStorage<Types> for Disk {
    type LogReader = Disk;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        LogStore::new(self.log.clone()).get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Disk {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        block_on(self.log.save_vote(encode_vote(*vote)))?;
        let id = self.id;
        self.net.truth.note(|| format!("{id} votes {vote}"));
        sleep(self.takes()).await;
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        committed.map_or(Ok(()), |committed| self.log.save_committed(mark(committed)))
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        LogStore::new(self.log.clone()).read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<_> = entries.into_iter().map(|entry| record(&entry)).collect();
        let last = records.last().map_or(0, |record| record.index);
        let (tell, told) = std::sync::mpsc::channel();
        block_on(self.log.append(records, move |written| drop(tell.send(written))))?;
        let written = told.recv().map_err(io::Error::other)?;
        let (life, ends) = {
            let (takes, synced) = (self.takes(), &mut *self.synced());
            let begins = synced.ends.map_or_else(Instant::now, |ends| ends.max(Instant::now()));
            synced.ends = Some(begins + takes);
            (synced.life, begins + takes)
        };
        let disk = self.clone();
        tokio::spawn(async move {
            sleep_until(ends).await;
            if disk.synced().life != life {
                return;
            }
            let upto = &mut disk.synced().upto;
            *upto = (*upto).max(last);
            callback.io_completed(written);
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        let last = last.map_or(0, |last| last.index);
        block_on(self.log.truncate_from(last + 1))?;
        let mut synced = self.synced();
        synced.upto = synced.upto.min(last);
        Ok(())
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        panic!("node {} purges up to {upto}", self.id)
    }
}

/// The state machine, looked at.
pub(in crate::raft) struct Applying {
    machine: Machine,
    truth: Truth,
    id: u64,
}

impl RaftStateMachine<Types> for Applying {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        self.machine.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let (truth, id) = (self.truth.clone(), self.id);
        let seen = entries.inspect_ok(move |(entry, _)| truth.applies(id, entry));
        self.machine.apply(seen).await?;
        let applied = self.machine.state().applied().mark.map_or(0, |mark| mark.index);
        let digest = Applications::digest(&self.machine.state().view()).map_err(io::Error::other)?;
        self.truth.has_applied(self.id, applied, digest.to_string());
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.machine.get_snapshot_builder().await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        self.machine.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(None)
    }
}
