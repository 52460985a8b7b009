//! The log against a model, and on a disk that forgets.

mod writer;

use super::redb_log::RedbLog;
use super::*;
use crate::storage::crash::Disk;
use crate::storage::failure::Failed;
use crate::storage::file::DbFile;
use proptest::prelude::*;
use std::time::Duration;

const SHARD: ShardId = ShardId(3);

fn record(index: u64, term: u64, bytes: usize) -> Record {
    let id = Bytes::from(format!("{term}-{index}"));
    Record { index, id, body: Bytes::from(vec![term as u8; bytes]) }
}

fn mark(record: &Record) -> Mark {
    Mark { index: record.index, id: record.id.clone() }
}

fn small() -> Options {
    Options { entries_bytes: 1_000, queue_bytes: 4_000, ..Options::default() }
}

fn open(file: &Path) -> Log {
    Log::open(file, &small(), &volume(&Failure::new())).unwrap()
}

fn volume(failure: &Failure) -> Volume {
    Volume::new(failure.clone(), false)
}

/// A log on a disk in memory.
fn on(disk: &Disk, failure: &Failure) -> Log {
    let (file, volume) = (Path::new("log.redb"), volume(failure));
    let db = DbFile::on(disk.clone(), file, 1 << 20, &volume).unwrap();
    Log::on(RedbLog::new(file, db).unwrap(), &small(), &volume).unwrap()
}

/// Appends and waits for the disk.
async fn append(log: &ShardLog, records: Vec<Record>) -> io::Result<()> {
    let (done, flushed) = tokio::sync::oneshot::channel();
    log.append(records, |result| done.send(result).unwrap()).await?;
    flushed.await.unwrap()
}

fn read_all(log: &ShardLog) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    loop {
        let next = found.last().map_or(0, |last| last.index + 1);
        let more = log.read(next..u64::MAX, 300).unwrap();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<usize>),
    Truncate(u64),
    Purge(u64),
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => proptest::collection::vec(0..200_usize, 1..6).prop_map(Op::Append),
        1 => (0..8_u64).prop_map(Op::Truncate),
        1 => (0..12_u64).prop_map(Op::Purge),
        1 => Just(Op::Reopen),
    ];
    proptest::collection::vec(op, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Appends, cuts, purges and restarts leave what they leave in a plain list.
    #[test]
    fn a_log_is_a_list(ops in ops(), first in 0..3_u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log.redb");
        let mut log = open(&file);
        let mut shard = log.shard(SHARD).unwrap();
        let (mut entries, mut purged) = (Vec::<Record>::new(), None::<Mark>);
        for (step, op) in ops.into_iter().enumerate() {
            let next = entries.last().map(mark).or(purged.clone()).map_or(first, |last| last.index + 1);
            match op {
                Op::Append(sizes) => {
                    let new: Vec<_> = (next..).zip(sizes).map(|(i, bytes)| record(i, step as u64, bytes)).collect();
                    entries.extend(new.clone());
                    runtime.block_on(append(&shard, new)).unwrap();
                    prop_assert!(shard.flushed().covers(entries.last().unwrap().index));
                }
                Op::Truncate(back) => {
                    let from = next.saturating_sub(back);
                    entries.retain(|record| record.index < from);
                    runtime.block_on(shard.truncate_from(from)).unwrap();
                }
                Op::Purge(ahead) => {
                    let oldest = entries.first().map_or(first, |oldest| oldest.index);
                    let upto = (next + 2).saturating_sub(ahead).max(oldest);
                    if purged.as_ref().is_none_or(|purged| purged.index < upto) {
                        let known = entries.iter().find(|record| record.index == upto);
                        let upto = known.map_or_else(|| mark(&record(upto, 99, 0)), mark);
                        entries.retain(|record| record.index > upto.index);
                        purged = Some(upto.clone());
                        shard.purge(upto).unwrap();
                    }
                }
                Op::Reopen => {
                    drop((log, shard));
                    log = open(&file);
                    shard = log.shard(SHARD).unwrap();
                }
            }
            let last = entries.last().map(mark).or(purged.clone());
            prop_assert_eq!(shard.ends(), Ends { purged: purged.clone(), last: last.clone() });
            prop_assert_eq!(read_all(&shard), entries.clone());
            prop_assert_eq!(shard.recent(u64::MAX, usize::MAX), entries.first().map(|oldest| oldest.index));
            if let Some(last) = last {
                prop_assert!(!shard.flushed().covers(last.index + 1), "flushed beyond the end");
            }
        }
    }
}

#[tokio::test]
async fn a_hole_is_refused_and_nothing_is_appended() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("log.redb"));
    let shard = log.shard(SHARD).unwrap();
    append(&shard, vec![record(2, 1, 0)]).await.unwrap();
    for wrong in [vec![record(4, 1, 0)], vec![record(2, 1, 0)], vec![record(3, 1, 0), record(5, 1, 0)]] {
        let error = append(&shard, wrong).await.unwrap_err();
        assert!(error.to_string().starts_with("a hole in the log of shard 3: expected entry"), "{error}");
    }
    shard.purge(mark(&record(7, 1, 0))).unwrap();
    assert!(append(&shard, vec![record(3, 1, 0)]).await.is_err());
    append(&shard, vec![record(8, 1, 0)]).await.unwrap();
    assert_eq!(read_all(&shard), [record(8, 1, 0)]);
}

#[tokio::test]
async fn shards_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log.redb");
    let log = open(&file);
    for shard in 0..3 {
        append(&log.shard(ShardId(shard)).unwrap(), vec![record(shard.into(), 1, 0)]).await.unwrap();
    }
    log.shard(ShardId(1)).unwrap().truncate_from(0).await.unwrap();
    log.shard(ShardId(0)).unwrap().save_vote("v".into()).await.unwrap();
    drop(log);
    let log = open(&file);
    assert_eq!(read_all(&log.shard(ShardId(0)).unwrap()), [record(0, 1, 0)]);
    assert_eq!(read_all(&log.shard(ShardId(1)).unwrap()), []);
    assert_eq!(read_all(&log.shard(ShardId(2)).unwrap()), [record(2, 1, 0)]);
    assert_eq!(log.shard(ShardId(0)).unwrap().vote(), Some("v".into()));
    assert_eq!(log.shard(ShardId(2)).unwrap().vote(), None);
}

#[tokio::test]
async fn entries_beyond_the_memory_bound_are_read_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("log.redb"));
    let shard = log.shard(SHARD).unwrap();
    let entries: Vec<_> = (0..100).map(|index| record(index, 1, 100)).collect();
    for entry in &entries {
        append(&shard, vec![entry.clone()]).await.unwrap();
    }
    assert_eq!(shard.read(0..100, usize::MAX).unwrap(), entries);
    assert_eq!(shard.read(10..12, usize::MAX).unwrap(), entries[10..12]);
    assert_eq!(shard.read(10..100, 0).unwrap(), entries[10..11], "one at least");
    assert_eq!(shard.recent(u64::MAX, usize::MAX), Some(0));
    assert_eq!(shard.recent(50, usize::MAX), Some(50), "what is on disk only counts too");
    assert_eq!(shard.recent(u64::MAX, 50 * entries[99].bytes()), Some(50));
    assert_eq!(shard.recent(u64::MAX, 1), Some(99), "the last at least");
    shard.truncate_from(40).await.unwrap();
    assert_eq!(shard.recent(10, usize::MAX), Some(30));
    shard.purge(mark(&entries[35])).unwrap();
    assert_eq!(shard.recent(10, usize::MAX), Some(36));
    shard.purge(mark(&entries[39])).unwrap();
    assert_eq!(shard.recent(10, usize::MAX), None);
}

#[tokio::test]
async fn a_large_purge_is_tidied_up_behind_the_scenes_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log.redb");
    let log = open(&file);
    let shard = log.shard(SHARD).unwrap();
    append(&shard, (0..5_000).map(|index| record(index, 1, 0)).collect()).await.unwrap();
    shard.purge(mark(&record(4_000, 1, 0))).unwrap();
    assert_eq!(shard.read(0..9_999, usize::MAX).unwrap().len(), 999);
    drop((log, shard));
    let log = open(&file);
    assert_eq!(log.shard(SHARD).unwrap().read(0..9_999, usize::MAX).unwrap().len(), 999);
    let rows = || log.reader.read(SHARD, 0..u64::MAX, usize::MAX).unwrap().len();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while rows() > 999 {
        assert!(std::time::Instant::now() < deadline, "{} rows are left", rows());
        std::thread::yield_now();
    }
    assert_eq!(rows(), 999);
}

#[tokio::test]
async fn a_committed_mark_beyond_the_log_is_clamped_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log.redb");
    let log = open(&file);
    let shard = log.shard(SHARD).unwrap();
    append(&shard, (0..5).map(|index| record(index, 1, 0)).collect()).await.unwrap();
    shard.save_committed(mark(&record(4, 1, 0))).unwrap();
    shard.truncate_from(3).await.unwrap();
    drop((log, shard));
    assert_eq!(open(&file).shard(SHARD).unwrap().committed(), Some(mark(&record(2, 1, 0))));
}

#[test]
fn a_log_of_another_format_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log.redb");
    let db = redb::Database::create(&file).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(redb::TableDefinition::<&str, u32>::new("format")).unwrap().insert("log", 9).unwrap();
    txn.commit().unwrap();
    drop(db);
    let error = RedbLog::open(&file, 1 << 20, &volume(&Failure::new())).err().unwrap();
    assert_eq!(error.to_string(), "log format 9 is not known to this release, which reads format 1");
}

#[tokio::test]
async fn a_flipped_bit_in_an_entry_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log.redb");
    append(&open(&file).shard(SHARD).unwrap(), vec![record(0, 1, 0)]).await.unwrap();
    let db = redb::Database::open(&file).unwrap();
    let txn = db.begin_write().unwrap();
    {
        let mut rows = txn.open_table(redb::TableDefinition::<&[u8; 12], &[u8]>::new("records")).unwrap();
        let key = [0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut value = redb::ReadableTable::get(&rows, &key).unwrap().unwrap().value().to_vec();
        value[3] ^= 4;
        rows.insert(&key, value.as_slice()).unwrap();
    }
    txn.commit().unwrap();
    drop(db);
    let error = Log::open(&file, &small(), &volume(&Failure::new())).err().unwrap();
    assert!(error.to_string().starts_with("bad checksum in table records"), "{error}");
}

#[tokio::test]
async fn a_failing_disk_under_the_log_stops_the_node_and_acknowledges_nothing() {
    let (disk, failure) = (Disk::default(), Failure::new());
    let log = on(&disk, &failure);
    let shard = log.shard(SHARD).unwrap();
    append(&shard, vec![record(0, 1, 0)]).await.unwrap();
    disk.break_down();
    for _ in 0..3 {
        assert!(append(&shard, vec![record(1, 1, 0)]).await.is_err());
    }
    assert!(shard.save_vote("v".into()).await.is_err());
    assert_eq!(shard.flushed().index(), Some(0));
    let Failed { file, reason } = failure.get().unwrap();
    assert_eq!(file, Path::new("log.redb"));
    assert!(reason.contains("the disk is on fire"), "{reason}");
}

#[tokio::test]
async fn a_full_disk_under_the_log_makes_appends_wait_and_loses_nothing() {
    let (disk, failure) = (Disk::default(), Failure::new());
    let log = on(&disk, &failure);
    let shard = log.shard(SHARD).unwrap();
    append(&shard, vec![record(0, 1, 0)]).await.unwrap();
    disk.set_full(true);
    let waiting = tokio::spawn({
        let shard = shard.clone();
        async move { (append(&shard, vec![record(1, 1, 500)]).await, shard.save_vote("v".into()).await) }
    });
    let patience = log.patience.clone().unwrap();
    let full = loop {
        match patience.volume().full() {
            Some(full) => break full,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    assert_eq!(full.file, Path::new("log.redb"));
    assert!(!waiting.is_finished(), "nothing is acknowledged");
    assert_eq!(
        (shard.flushed().index(), shard.read(0..9, 9_999).unwrap().len()),
        (Some(0), 2),
        "it can be read"
    );
    disk.set_full(false);
    let (appended, voted) = waiting.await.unwrap();
    assert!(appended.is_ok() && voted.is_ok(), "{appended:?} {voted:?}");
    assert_eq!((patience.volume().full(), failure.get()), (None, None));
    drop((shard, log));
    let shard = on(&disk, &failure).shard(SHARD).unwrap();
    assert_eq!(
        (read_all(&shard), shard.vote()),
        (vec![record(0, 1, 0), record(1, 1, 500)], Some("v".into()))
    );
}

#[tokio::test]
async fn a_log_that_is_closed_waits_for_no_room() {
    let (disk, failure) = (Disk::default(), Failure::new());
    let log = on(&disk, &failure);
    let shard = log.shard(SHARD).unwrap();
    disk.set_full(true);
    let waiting = tokio::spawn(async move { append(&shard, vec![record(0, 1, 0)]).await });
    let volume = log.patience.clone().unwrap().volume().clone();
    while volume.full().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::task::spawn_blocking(|| drop(log)).await.unwrap();
    assert!(waiting.await.unwrap().is_err(), "it was never acknowledged");
    assert!(failure.get().is_some(), "and nothing is from now on");
}

/// Power lost at any write: what was acknowledged is there, without a hole, whatever of the unsynced got through.
#[tokio::test]
async fn acknowledged_entries_and_votes_survive_any_loss_of_unsynced_writes() {
    let disk = Disk::default();
    let log = on(&disk, &Failure::new());
    let shard = log.shard(SHARD).unwrap();
    disk.record_images();
    for index in 0..60_u64 {
        let acknowledge = disk.acknowledge(index);
        shard
            .append(vec![record(index, 1, (index as usize * 37) % 200)], move |_| acknowledge())
            .await
            .unwrap();
        if index % 3 == 0 {
            shard.save_vote(Bytes::from(index.to_string())).await.unwrap();
        }
        if index == 40 {
            shard.purge(mark(&record(10, 1, 0))).unwrap();
        }
    }
    drop(log);
    let images = disk.images();
    assert!(images.len() > 100, "only {} images", images.len());
    for (n, image) in images.into_iter().enumerate() {
        let acknowledged = image.acknowledged;
        let log = on(&image.disk, &Failure::new());
        let shard = log.shard(SHARD).unwrap();
        let last = shard.ends().last.map(|last| last.index);
        assert!(last >= acknowledged, "image {n}: {last:?} is there, {acknowledged:?} was acknowledged");
        for entry in read_all(&shard) {
            assert_eq!(entry, record(entry.index, 1, (entry.index as usize * 37) % 200), "image {n}");
        }
    }
}
