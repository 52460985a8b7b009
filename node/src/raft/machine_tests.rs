//! The state machine where openraft's own suite does not look.

use super::*;
use crate::storage::{Flushed, Options, Storage, Sweep};
use openraft::entry::RaftEntry;
use schedia_apps::{ShardId, kv};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const SHARD: ShardId = ShardId(0);

fn machine(dir: &TempDir, sweep: Option<Sweep>) -> Machine {
    let storage = Storage::open(dir.path(), Options::default()).unwrap();
    let state = storage.state(SHARD, Flushed::all(), sweep).unwrap();
    Machine::open(state, crate::metrics::Metrics::new().shard(SHARD)).unwrap()
}

/// As if entries up to this one were applied.
fn apply_until(machine: &Machine, index: u64) {
    let mark = mark(super::super::types::raft_log_id(LogId { term: 1, index }));
    machine.state().batch().commit(Checkpoint { mark: Some(mark), ..Checkpoint::default() });
}

async fn query(machine: &Machine) -> At {
    let machine = machine.clone();
    let answer = tokio::task::spawn_blocking(move || machine.query(Query::Kv(kv::Query::Revisions)));
    let (at, _) = timeout(PATIENCE, answer).await.expect("a query waits for no disk").unwrap().unwrap();
    at
}

/// A leader takes the index of a read from what is told to be applied: nobody may have read more.
#[tokio::test]
async fn nothing_can_be_read_before_it_is_told_to_be_applied() {
    let dir = TempDir::new().unwrap();
    let machine = machine(&dir, None);
    let blank =
        |index| Entry::new(super::super::types::raft_log_id(LogId { term: 1, index }), EntryPayload::Blank);
    let applying = std::thread::spawn({
        let machine = machine.clone();
        move || (1..=50_000).for_each(|index| drop(machine.execute(&[blank(index)]).unwrap()))
    });
    let mut reads = 0;
    while !applying.is_finished() {
        let (at, _) = machine.query(Query::Kv(kv::Query::Revisions)).unwrap();
        let told = machine.applied().borrow().map_or(0, |applied| applied.index);
        assert!(at.index <= told, "{} was read, and {told} was told", at.index);
        reads += 1;
    }
    applying.join().unwrap();
    assert!(reads > 100, "{reads} reads are few");
}

/// openraft takes the receiver to be where the snapshot ends that it handed out: the rest of another one must not go with it.
#[tokio::test]
async fn what_broke_off_is_handed_out_again_until_it_is_let_go() {
    let dir = TempDir::new().unwrap();
    let mut machine = machine(&dir, None);
    apply_until(&machine, 9);
    machine.state().flush().await.unwrap();
    let index = |snapshot: &Snapshot| snapshot.meta.last_log_id.map(|id| id.index);
    let first = machine.get_current_snapshot().await.unwrap().unwrap();
    let SnapshotData::Out(outgoing) = first.snapshot else { panic!("it is ours") };
    let mut sending = machine.kept().sending(outgoing, schedia_apps::NodeId(2));
    sending.begins(0);
    drop(sending);
    apply_until(&machine, 12);
    let built = machine.build_snapshot().await.unwrap();
    assert_eq!(index(&built), Some(12), "the log is purged by what is built");
    drop(built);
    let again = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(index(&again), Some(9));
    drop(again);
    assert_eq!(machine.holds().purgeable(Instant::now()), 9);
    machine.kept().let_go(None);
    assert_eq!(machine.holds().purgeable(Instant::now()), u64::MAX);
    let newest = machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(index(&newest), Some(12));
}

/// The disk is held up by a sweep that does not end, as it would be by one that is slow or full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_are_answered_while_a_snapshot_waits_to_be_put_in_force() {
    let [from, to] = [(); 2].map(|()| TempDir::new().unwrap());
    let source = machine(&from, None);
    apply_until(&source, 9);
    source.state().flush().await.unwrap();

    let (enter, entered) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let left = Mutex::new(left);
    let target = machine(
        &to,
        Some(Arc::new(move |_, _| {
            let _ = enter.send(());
            let _ = left.lock().unwrap().recv();
            Ok(false)
        })),
    );
    let received = copy(source.state().snapshot(), target.state()).await.unwrap();
    apply_until(&target, 2);
    tokio::task::spawn_blocking(move || entered.recv_timeout(PATIENCE)).await.unwrap().expect("a flush");
    let installing = tokio::task::spawn_blocking({
        let target = target.clone();
        move || target.install(received)
    });
    for _ in 0..50 {
        assert_eq!(query(&target).await.index, 0, "of the old state, until the new one is whole");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!installing.is_finished());
    drop(leave);
    timeout(PATIENCE, installing).await.expect("the disk goes on").unwrap().unwrap();
    assert_eq!(query(&target).await.index, 9);
    assert_eq!(target.applied().borrow().unwrap().index, 9);
}
