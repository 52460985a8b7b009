//! The log against a model, and on a disk that forgets.

mod writer;

use super::segments::SegmentLog;
use super::segments::forgetful::Forgetful;
use super::*;
use crate::storage::failure::Failed;
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

/// A log in a directory, some tens of entries in each segment.
fn open(dir: &Path) -> Log {
    let volume = volume(&Failure::new());
    let patience = Patience::none(volume.clone());
    let engine = SegmentLog::open(dir, 8 << 10, patience.clone()).unwrap();
    Log::on(Box::new(engine), patience, &small(), &volume).unwrap()
}

fn volume(failure: &Failure) -> Volume {
    Volume::new(failure.clone(), false)
}

/// A log in a folder in memory, a few entries in each segment.
fn on(folder: &Forgetful, failure: &Failure) -> Log {
    let volume = volume(failure);
    let patience = Patience::none(volume.clone());
    let engine = SegmentLog::on(Arc::new(folder.clone()), 4 << 10, patience.clone()).unwrap();
    Log::on(Box::new(engine), patience, &small(), &volume).unwrap()
}

/// Appends and waits for the folder.
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
        let file = dir.path().join("log");
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
    let log = open(&dir.path().join("log"));
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
    let file = dir.path().join("log");
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
    let log = open(&dir.path().join("log"));
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
async fn a_committed_mark_beyond_the_log_is_clamped_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("log");
    let log = open(&file);
    let shard = log.shard(SHARD).unwrap();
    append(&shard, (0..5).map(|index| record(index, 1, 0)).collect()).await.unwrap();
    shard.save_committed(mark(&record(4, 1, 0))).unwrap();
    shard.truncate_from(3).await.unwrap();
    drop((log, shard));
    assert_eq!(open(&file).shard(SHARD).unwrap().committed(), Some(mark(&record(2, 1, 0))));
}

#[tokio::test]
async fn a_log_of_another_format_is_named() {
    let folder = Forgetful::default();
    append(&on(&folder, &Failure::new()).shard(SHARD).unwrap(), vec![record(0, 1, 0)]).await.unwrap();
    folder.damage("0000000001.log", |bytes| bytes[12] = 9);
    assert_eq!(
        refusal(&folder),
        "log/0000000001.log: log format 9 is not known to this release, which reads format 1"
    );
}

#[tokio::test]
async fn a_flipped_bit_in_an_entry_is_noticed() {
    let folder = Forgetful::default();
    let log = on(&folder, &Failure::new());
    let shard = log.shard(SHARD).unwrap();
    for index in 0..3 {
        append(&shard, vec![record(index, 1, 50)]).await.unwrap();
    }
    drop((shard, log));
    folder.damage("0000000001.log", |bytes| bytes[90] ^= 4);
    assert_eq!(
        refusal(&folder),
        "log/0000000001.log: a bad checksum at byte 48, though more was synced behind it"
    );
}

/// Why a log does not open.
fn refusal(folder: &Forgetful) -> String {
    let patience = Patience::none(volume(&Failure::new()));
    SegmentLog::on(Arc::new(folder.clone()), 4 << 10, patience).err().unwrap().to_string()
}

#[tokio::test]
async fn a_failing_disk_under_the_log_stops_the_node_and_acknowledges_nothing() {
    let (folder, failure) = (Forgetful::default(), Failure::new());
    let log = on(&folder, &failure);
    let shard = log.shard(SHARD).unwrap();
    append(&shard, vec![record(0, 1, 0)]).await.unwrap();
    folder.break_down();
    for _ in 0..3 {
        assert!(append(&shard, vec![record(1, 1, 0)]).await.is_err());
    }
    assert!(shard.save_vote("v".into()).await.is_err());
    assert_eq!(shard.flushed().index(), Some(0));
    let Failed { file, reason } = failure.get().unwrap();
    assert_eq!(file, Path::new("log"));
    assert!(reason.contains("the disk is on fire"), "{reason}");
}

#[tokio::test]
async fn a_full_disk_under_the_log_makes_appends_wait_and_loses_nothing() {
    let (folder, failure) = (Forgetful::default(), Failure::new());
    let log = on(&folder, &failure);
    let shard = log.shard(SHARD).unwrap();
    append(&shard, vec![record(0, 1, 0)]).await.unwrap();
    folder.set_full(true);
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
    assert_eq!(full.file, Path::new("log"));
    assert!(!waiting.is_finished(), "nothing is acknowledged");
    assert_eq!(
        (shard.flushed().index(), shard.read(0..9, 9_999).unwrap().len()),
        (Some(0), 2),
        "it can be read"
    );
    folder.set_full(false);
    let (appended, voted) = waiting.await.unwrap();
    assert!(appended.is_ok() && voted.is_ok(), "{appended:?} {voted:?}");
    assert_eq!((patience.volume().full(), failure.get()), (None, None));
    drop((shard, log));
    let shard = on(&folder, &failure).shard(SHARD).unwrap();
    assert_eq!(
        (read_all(&shard), shard.vote()),
        (vec![record(0, 1, 0), record(1, 1, 500)], Some("v".into()))
    );
}

#[tokio::test]
async fn a_log_that_is_closed_waits_for_no_room() {
    let (folder, failure) = (Forgetful::default(), Failure::new());
    let log = on(&folder, &failure);
    let shard = log.shard(SHARD).unwrap();
    folder.set_full(true);
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
    let folder = Forgetful::default();
    let log = on(&folder, &Failure::new());
    let shard = log.shard(SHARD).unwrap();
    folder.record_images();
    for index in 0..200_u64 {
        let acknowledge = folder.acknowledge(index);
        shard
            .append(vec![record(index, 1, (index as usize * 37) % 200)], move |_| acknowledge())
            .await
            .unwrap();
        if index % 3 == 0 {
            shard.save_vote(Bytes::from(index.to_string())).await.unwrap();
        }
        if index % 50 == 40 {
            shard.purge(mark(&record(index - 30, 1, 0))).unwrap();
        }
    }
    drop(log);
    let images = folder.images();
    assert!(images.len() > 100, "only {} images", images.len());
    for (n, image) in images.into_iter().enumerate() {
        let acknowledged = image.acknowledged;
        let log = on(&image.folder, &Failure::new());
        let shard = log.shard(SHARD).unwrap();
        let last = shard.ends().last.map(|last| last.index);
        assert!(last >= acknowledged, "image {n}: {last:?} is there, {acknowledged:?} was acknowledged");
        for entry in read_all(&shard) {
            assert_eq!(entry, record(entry.index, 1, (entry.index as usize * 37) % 200), "image {n}");
        }
    }
}
