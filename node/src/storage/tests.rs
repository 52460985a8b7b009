//! A data directory as a node sees it: states against plain maps, kills, marks, trouble.

mod defragment;
mod identity;

use super::crash::Disk;
use super::file::DbFile;
use super::*;
use bytes::Bytes;
use futures::FutureExt;
use proptest::prelude::*;
use schedia_apps::Stop;
use schedia_apps::tables::{Range, Row, RowKey, Table, Tables};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

const SHARD: ShardId = ShardId(0);
const TABLES: [Table; 2] = [Table("test.a"), Table("test.b")];

/// A state in a directory, with a watermark the test moves. The directory goes last.
pub(super) struct Fixture {
    pub(super) state: State,
    pub(super) failure: Failure,
    pub(super) dir: tempfile::TempDir,
}

fn home(dir: &Path, shard: ShardId) -> Home {
    Home { shard, dir: dir.to_owned(), lock: None }
}

fn volume(failure: &Failure) -> Volume {
    Volume::new(failure.clone(), false)
}

impl Fixture {
    pub(super) fn new() -> Fixture {
        Fixture::with(Options::default(), Flushed::all(), None)
    }

    pub(super) fn with(options: Options, flushed: Flushed, sweep: Option<Sweep>) -> Fixture {
        let (dir, failure) = (tempfile::tempdir().unwrap(), Failure::new());
        let state = State::open(home(dir.path(), SHARD), options, volume(&failure), flushed, sweep).unwrap();
        Fixture { state, failure, dir }
    }

    /// As after a kill: what was not flushed is gone.
    pub(super) fn reopen(self, flushed: Flushed) -> Fixture {
        let Fixture { state, failure: _, dir } = self;
        drop(state);
        let failure = Failure::new();
        let state = State::open(home(dir.path(), SHARD), Options::default(), volume(&failure), flushed, None)
            .unwrap();
        Fixture { state, failure, dir }
    }
}

pub(super) fn applied(index: u64) -> Checkpoint {
    let mark = Mark { index, id: Bytes::from(format!("id-{index}")) };
    Checkpoint { mark: Some(mark), membership: "m".into(), time_ms: index * 10, ..Checkpoint::default() }
}

/// A put, or a delete.
type Change<'a> = (Table, &'a [u8], Option<&'a [u8]>);

/// Applies one batch.
pub(super) fn apply(state: &State, index: u64, rows: &[Change<'_>]) {
    let mut batch = state.batch();
    for (table, key, value) in rows {
        match value {
            Some(value) => batch.put(*table, key, Bytes::copy_from_slice(value)),
            None => batch.delete(*table, key),
        }
    }
    batch.commit(applied(index));
}

pub(super) fn rows(tables: &dyn Tables, table: Table) -> Vec<Row> {
    let all = Range { start: Bound::Unbounded, end: Bound::Unbounded };
    tables.scan(table, all, false).collect::<Result<_, _>>().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Table, key, value or delete.
    Batch(Vec<(bool, Vec<u8>, Option<Vec<u8>>)>),
    Flush,
    /// The flusher takes the overlay, and cannot write it yet.
    Freeze,
    Kill,
    /// A copy of the file is begun, and goes on during what comes next.
    Defragment,
    Scan(bool, Bound<Vec<u8>>, Bound<Vec<u8>>, bool),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..3_u8, 0..3)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded)]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let row = (any::<bool>(), key(), proptest::option::weighted(0.7, key()));
    let op = prop_oneof![
        6 => proptest::collection::vec(row, 0..6).prop_map(Op::Batch),
        1 => Just(Op::Flush),
        2 => Just(Op::Freeze),
        1 => Just(Op::Kill),
        2 => Just(Op::Defragment),
        6 => (any::<bool>(), bound(), bound(), any::<bool>()).prop_map(|(t, s, e, r)| Op::Scan(t, s, e, r)),
    ];
    proptest::collection::vec(op, 1..50)
}

type Model = BTreeMap<(bool, Vec<u8>), Vec<u8>>;

/// What a scan of the model yields.
fn expected(
    model: &Model,
    table: bool,
    start: &Bound<Vec<u8>>,
    end: &Bound<Vec<u8>>,
    reverse: bool,
) -> Vec<Row> {
    use std::ops::RangeBounds;
    let within = |key: &Vec<u8>| (start.clone(), end.clone()).contains(key);
    let rows = model.iter().filter(|((of, key), _)| *of == table && within(key));
    let mut rows: Vec<Row> =
        rows.map(|((_, key), value)| (key.clone().into(), value.clone().into())).collect();
    if reverse {
        rows.reverse();
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Overlays above a file are one map: through batches, freezes, flushes, copies and kills, forwards and backwards.
    #[test]
    fn a_state_is_a_map(ops in ops()) {
        let runtime = runtime();
        let mut flushed = Flushed::until(u64::MAX);
        let mut fixture = Fixture::with(Options::default(), flushed.clone(), None);
        let (mut model, mut durable, mut index) = (Model::new(), Model::new(), 0);
        for op in ops {
            let state = &fixture.state;
            match op {
                Op::Batch(changes) => {
                    index += 1;
                    let mut batch = state.batch();
                    for (table, key, value) in changes {
                        match value.clone() {
                            Some(value) => batch.put(TABLES[usize::from(table)], &key, value.into()),
                            None => batch.delete(TABLES[usize::from(table)], &key),
                        }
                        let now = batch.get(TABLES[usize::from(table)], &key).unwrap();
                        prop_assert_eq!(now, value.clone().map(Bytes::from), "a batch reads its own writes");
                        match value {
                            Some(value) => drop(model.insert((table, key), value)),
                            None => drop(model.remove(&(table, key))),
                        }
                    }
                    batch.commit(applied(index));
                }
                Op::Flush => {
                    flushed.set_end(u64::MAX);
                    let checkpoint = runtime.block_on(state.flush()).unwrap();
                    prop_assert_eq!(checkpoint, state.applied());
                    durable = model.clone();
                }
                Op::Freeze => {
                    // Whatever is frozen already goes to disk first; then the log's disk stands still.
                    flushed.set_end(u64::MAX);
                    runtime.block_on(state.flush()).unwrap();
                    durable = model.clone();
                    index += 1;
                    apply(state, index, &[(TABLES[0], b"\x01", Some(b"frozen"))]);
                    model.insert((false, vec![1]), b"frozen".to_vec());
                    flushed.set_end(index);
                    let waits = runtime.block_on(async {
                        tokio::time::timeout(Duration::from_millis(2), state.flush()).await.is_err()
                    });
                    prop_assert!(waits, "a checkpoint ahead of the log");
                }
                Op::Kill => {
                    flushed = Flushed::until(u64::MAX);
                    fixture = fixture.reopen(flushed.clone());
                    model = durable.clone();
                    index = fixture.state.applied().mark.map_or(0, |mark| mark.index);
                }
                Op::Defragment => drop(state.defragment().now_or_never()),
                Op::Scan(table, start, end, reverse) => {
                    let expected = expected(&model, table, &start, &end, reverse);
                    let range = Range { start: start.map(RowKey::from_vec), end: end.map(RowKey::from_vec) };
                    let found: Result<Vec<_>, _> =
                        state.view().scan(TABLES[usize::from(table)], range, reverse).collect();
                    prop_assert_eq!(found.unwrap(), expected);
                }
            }
            for ((table, key), value) in &model {
                let found = fixture.state.view().get(TABLES[usize::from(*table)], key).unwrap();
                prop_assert_eq!(found.as_deref(), Some(value.as_slice()));
            }
        }
    }
}

#[tokio::test]
async fn a_checkpoint_waits_for_the_log_and_then_covers_what_was_frozen() {
    let flushed = Flushed::until(3);
    let fixture = Fixture::with(Options::default(), flushed.clone(), None);
    apply(&fixture.state, 5, &[(TABLES[0], b"k", Some(b"v"))]);
    assert!(tokio::time::timeout(Duration::from_millis(50), fixture.state.flush()).await.is_err());
    assert_eq!(fixture.state.checkpoint().mark, None);
    apply(&fixture.state, 6, &[(TABLES[0], b"k", Some(b"later"))]);
    flushed.set_end(6);
    until("flushed", || fixture.state.checkpoint().mark.is_some());
    assert_eq!(fixture.state.checkpoint(), applied(5));
    let fixture = fixture.reopen(flushed);
    assert_eq!(fixture.state.applied(), applied(5));
    assert_eq!(rows(&fixture.state.view(), TABLES[0]), [("k".into(), "v".into())]);
}

#[tokio::test]
async fn above_the_hard_mark_apply_waits_for_the_flusher_and_above_the_soft_one_the_leader_is_told() {
    let (flushed, options) = (Flushed::until(0), Options { overlay_bytes: 4_000, ..Options::default() });
    let fixture = Fixture::with(options, flushed.clone(), None);
    let state = &fixture.state;
    assert!(!state.is_pressed());
    apply(state, 1, &[(TABLES[0], b"a", Some(&[0; 2_000]))]);
    assert!(state.is_pressed());
    state.room().await.unwrap();
    apply(state, 2, &[(TABLES[0], b"b", Some(&[0; 2_000]))]);
    let room = state.room();
    tokio::pin!(room);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut room).await.is_err());
    flushed.set_end(3);
    room.await.unwrap();
    until("flushed", || !state.is_pressed());
    assert_eq!(rows(&state.view(), TABLES[0]).len(), 2);
}

#[tokio::test]
async fn a_batch_that_was_not_committed_is_never_flushed() {
    let fixture = Fixture::new();
    apply(&fixture.state, 1, &[(TABLES[0], b"a", Some(b"1"))]);
    fixture.state.flush().await.unwrap();
    fixture.state.batch().put(TABLES[0], b"b", "2".into());
    let error = fixture.state.flush().await.unwrap_err();
    assert_eq!(error.to_string(), "shard 0 halted inside a batch");
    assert_eq!(fixture.failure.get(), None, "the disk is fine");
    let fixture = fixture.reopen(Flushed::all());
    assert_eq!(rows(&fixture.state.view(), TABLES[0]), [("a".into(), "1".into())]);
}

#[tokio::test]
async fn the_flusher_makes_a_checkpoint_by_itself() {
    let fixture = Fixture::new();
    apply(&fixture.state, 1, &[(TABLES[0], b"a", Some(b"1"))]);
    until("a checkpoint of index 1", || fixture.state.checkpoint() == applied(1));
    apply(&fixture.state, 2, &[]);
    until("a checkpoint of an entry without rows", || fixture.state.checkpoint() == applied(2));
    assert_eq!(fixture.state.overlay_bytes(), 0);
}

#[tokio::test]
async fn a_flipped_bit_in_a_row_is_never_served_and_stops_the_node() {
    let fixture = Fixture::new();
    apply(&fixture.state, 1, &[(TABLES[0], b"a", Some(b"1")), (TABLES[0], b"b", Some(NEEDLE))]);
    fixture.state.close().await.unwrap();
    let fixture = flip_a_bit(fixture);
    assert_eq!(fixture.state.view().get(TABLES[0], b"a"), Ok(Some("1".into())));
    let Err(Stop::Broken(words)) = fixture.state.view().get(TABLES[0], b"b") else { panic!("served") };
    assert!(words.contains("bad checksum in table test.a, key [62]"), "{words}");
    assert!(fixture.failure.get().unwrap().file.ends_with("state.redb"));
    assert!(fixture.state.flush().await.is_err(), "nothing goes on");
}

/// A value that occurs nowhere else in a file.
pub(super) const NEEDLE: &[u8] = b"a needle in a file";

/// Flips a bit of [`NEEDLE`] wherever it lies in the file of a state, and opens it again.
pub(super) fn flip_a_bit(fixture: Fixture) -> Fixture {
    let Fixture { state, failure: _, dir } = fixture;
    drop(state);
    let file = dir.path().join(state::FILE);
    let mut bytes = fs::read(&file).unwrap();
    let found: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(NEEDLE)).collect();
    assert!(!found.is_empty(), "the needle is not in the file");
    for at in found {
        bytes[at] ^= 1;
    }
    fs::write(&file, bytes).unwrap();
    let failure = Failure::new();
    let (options, flushed) = (Options::default(), Flushed::all());
    let state = State::open(home(dir.path(), SHARD), options, volume(&failure), flushed, None).unwrap();
    Fixture { state, failure, dir }
}

#[tokio::test]
async fn a_sweep_removes_rows_in_bounded_batches_and_goes_on_by_itself() {
    let sweep: Sweep = Arc::new(|tables, rows_max| {
        let left = rows(tables, TABLES[0]);
        for (key, _) in left.iter().take(rows_max.min(10)) {
            tables.delete(TABLES[0], key);
        }
        Ok(left.len() > 10)
    });
    let fixture = Fixture::with(Options::default(), Flushed::all(), Some(sweep));
    let keys: Vec<_> = (0..25_u8).map(|n| [n]).collect();
    let puts: Vec<_> = keys.iter().map(|key| (TABLES[0], key.as_slice(), Some(&b"v"[..]))).collect();
    apply(&fixture.state, 1, &puts);
    fixture.state.flush().await.unwrap();
    assert_eq!(rows(&fixture.state.view(), TABLES[0]).len(), 15);
    until("swept", || rows(&fixture.state.view(), TABLES[0]).is_empty());
    assert_eq!(fixture.state.checkpoint(), applied(1));
}

#[tokio::test]
async fn a_sweep_that_finds_the_state_broken_ends_the_shard_and_not_the_node() {
    let sweep: Sweep = Arc::new(|_, _| Err(Stop::Broken("no such row".into())));
    let fixture = Fixture::with(Options::default(), Flushed::all(), Some(sweep));
    apply(&fixture.state, 1, &[(TABLES[0], b"a", Some(b"1"))]);
    let error = fixture.state.flush().await.unwrap_err();
    assert!(error.to_string().contains("no such row"), "{error}");
    assert_eq!(fixture.failure.get(), None);
    assert_eq!(rows(&fixture.state.view(), TABLES[0]).len(), 1, "it can still be read");
}

/// A state on a disk in memory.
fn on(disk: &Disk, failure: &Failure) -> State {
    let volume = volume(failure);
    let db = DbFile::on(disk.clone(), &Path::new("shard").join("state.redb"), 1 << 20, &volume).unwrap();
    let base = base::prepare(db, SHARD).unwrap();
    let (options, flushed) = (Options::default(), Flushed::all());
    State::start(home(Path::new("shard"), SHARD), base, options, volume, flushed, None).unwrap()
}

#[tokio::test]
async fn a_failing_disk_under_the_state_stops_the_node_and_says_where() {
    let (disk, failure) = (Disk::default(), Failure::new());
    let state = on(&disk, &failure);
    apply(&state, 1, &[(TABLES[0], b"a", Some(b"1"))]);
    state.flush().await.unwrap();
    disk.break_down();
    apply(&state, 2, &[(TABLES[0], b"a", Some(b"2"))]);
    let error = state.flush().await.unwrap_err();
    assert!(error.to_string().contains("the disk is on fire"), "{error}");
    assert_eq!(failure.get().unwrap().file, Path::new("shard").join("state.redb"));
    assert!(state.flush().await.is_err(), "not retried");
    assert_eq!(state.checkpoint(), applied(1));
    assert_eq!(rows(&state.view(), TABLES[0]), [("a".into(), "2".into())], "what was applied can be read");
}

#[tokio::test]
async fn a_full_disk_under_the_state_makes_checkpoints_wait_and_reads_go_on() {
    let (disk, failure) = (Disk::default(), Failure::new());
    let state = on(&disk, &failure);
    apply(&state, 1, &[(TABLES[0], b"a", Some(b"1"))]);
    state.flush().await.unwrap();
    disk.set_full(true);
    apply(&state, 2, &[(TABLES[0], b"a", Some(b"2"))]);
    until("the checkpoint waits for room", || state.full().is_some());
    assert_eq!(state.checkpoint(), applied(1));
    assert_eq!(rows(&state.view(), TABLES[0]), [("a".into(), "2".into())]);
    apply(&state, 3, &[(TABLES[0], b"b", Some(b"3"))]);
    disk.set_full(false);
    assert_eq!(state.flush().await.unwrap(), applied(3));
    assert_eq!((state.full(), failure.get()), (None, None));
    drop(state);
    let state = on(&disk, &failure);
    assert_eq!(rows(&state.view(), TABLES[0]), [("a".into(), "2".into()), ("b".into(), "3".into())]);
}

#[tokio::test]
async fn a_sync_that_finds_no_room_is_never_tried_again() {
    let (disk, failure) = (Disk::default(), Failure::new());
    let state = on(&disk, &failure);
    disk.fail_syncs(std::io::ErrorKind::StorageFull);
    apply(&state, 1, &[(TABLES[0], b"a", Some(b"1"))]);
    assert!(state.flush().await.is_err());
    assert!(failure.get().is_some(), "what the kernel could not write may be gone");
}

/// Power lost at any write: the state is that of one checkpoint, not older than the last one reported.
#[tokio::test]
async fn a_checkpoint_is_whole_whatever_of_the_unsynced_writes_is_lost() {
    let disk = Disk::default();
    let state = on(&disk, &Failure::new());
    disk.record_images();
    for index in 1..30_u64 {
        // Every row of checkpoint n holds n.
        let value = index.to_string();
        let keys: Vec<_> = (0..index as u8).map(|key| [key]).collect();
        let puts: Vec<_> =
            keys.iter().map(|key| (TABLES[0], key.as_slice(), Some(value.as_bytes()))).collect();
        apply(&state, index, &puts);
        state.flush().await.unwrap();
        disk.acknowledge(index)();
    }
    drop(state);
    let images = disk.images();
    assert!(images.len() > 200, "only {} images", images.len());
    for (n, image) in images.into_iter().enumerate() {
        let state = on(&image.disk, &Failure::new());
        let index = state.applied().mark.map(|mark| mark.index);
        assert!(index >= image.acknowledged, "image {n}: {index:?} is older than {:?}", image.acknowledged);
        let rows = rows(&state.view(), TABLES[0]);
        assert_eq!(rows.len() as u64, index.unwrap_or(0), "image {n}");
        let value = index.unwrap_or(0).to_string();
        assert!(rows.iter().all(|(_, is)| *is == value.as_bytes()), "image {n}: rows of two checkpoints");
    }
}

#[test]
fn a_state_of_another_shard_is_refused() {
    let Fixture { state, failure, dir } = Fixture::new();
    drop(state);
    let error =
        State::open(home(dir.path(), ShardId(4)), Options::default(), volume(&failure), Flushed::all(), None)
            .err()
            .unwrap();
    assert_eq!(error.to_string(), "the state file belongs to another shard than 4");
}

/// Writes go to the log, are applied, and the process is killed with or without a checkpoint in between.
#[tokio::test]
async fn after_a_kill_the_log_brings_the_state_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    for round in 0..4_u64 {
        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        let log = storage.log(SHARD).unwrap();
        let state = storage.state(SHARD, log.flushed(), None).unwrap();
        let covered = state.applied().mark.map_or(0, |mark| mark.index + 1);
        let last = log.ends().last.map_or(0, |last| last.index + 1);
        assert_eq!(last, next, "the log has everything acknowledged");
        for record in log.read(covered..last, usize::MAX).unwrap() {
            apply(&state, record.index, &[(TABLES[0], &record.id, Some(&record.body))]);
        }
        assert_eq!(rows(&state.view(), TABLES[0]).len() as u64, next);
        for _ in 0..20 {
            let (id, body) = (Bytes::from(format!("{next:03}")), Bytes::from(format!("value {next}")));
            let (done, flushed) = tokio::sync::oneshot::channel();
            let record = Record { index: next, id: id.clone(), body: body.clone() };
            log.append(vec![record], |result| done.send(result).unwrap()).await.unwrap();
            flushed.await.unwrap().unwrap();
            apply(&state, next, &[(TABLES[0], &id, Some(&body))]);
            next += 1;
            if round % 2 == 0 && next % 20 == 10 {
                state.flush().await.unwrap();
            }
        }
    }
}
