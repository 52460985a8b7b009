//! Segments against a plain list, and in a folder that forgets.

use super::forgetful::Forgetful;
use super::*;
use crate::storage::failure::Failure;
use crate::storage::log::Mark;
use crate::storage::volume::Volume;
use bytes::Bytes;
use proptest::prelude::*;

const A: ShardId = ShardId(0);
const B: ShardId = ShardId(3);
/// A few entries each.
const SMALL: usize = 2 << 10;

fn open(folder: &Forgetful) -> io::Result<SegmentLog> {
    SegmentLog::on(Arc::new(folder.clone()), SMALL, Patience::none(Volume::new(Failure::new(), false)))
}

fn record(index: u64, term: u64, bytes: usize) -> Record {
    Record { index, id: Bytes::from(format!("{term}-{index}")), body: Bytes::from(vec![term as u8; bytes]) }
}

fn mark(index: u64) -> Mark {
    Mark { index, id: Bytes::from(format!("at {index}")) }
}

fn commit(log: &mut SegmentLog, changes: &[(ShardId, Change)]) -> io::Result<()> {
    log.commit(&mut changes.iter().map(|(shard, change)| (*shard, change)))
}

fn all(log: &SegmentLog, shard: ShardId) -> Vec<Record> {
    log.reader().read(shard, 0..u64::MAX, usize::MAX).unwrap()
}

fn names(folder: &Forgetful) -> Vec<String> {
    folder.list().unwrap()
}

/// Power lost at any write, at any change of a name: what was acknowledged is there, in order and without a hole, and a vote
/// is never an older one; also in logs that go on from there and lose power once more.
#[test]
fn what_was_acknowledged_survives_any_loss_of_unsynced_writes_and_names() {
    let folder = Forgetful::default();
    let mut log = open(&folder).unwrap();
    folder.record_images();
    let size = |index: u64| (index as usize * 37) % 200;
    for index in 0..80_u64 {
        let mut changes = vec![(B, Change::Append(vec![record(index, 1, size(index))]))];
        changes.push((B, Change::Vote(Bytes::from(index.to_string()))));
        if index == 3 {
            changes.push((A, Change::Append((1..6).map(|i| record(i, 1, 10)).collect())));
        }
        if index % 20 == 19 {
            changes.push((B, Change::Purge(mark(index - 10))));
        }
        commit(&mut log, &changes).unwrap();
        folder.acknowledge(index)();
    }
    let images = folder.images();
    assert!(images.len() > 300, "only {} images", images.len());
    for (n, image) in images.into_iter().enumerate() {
        let mut log = open(&image.folder).unwrap_or_else(|e| panic!("image {n}: {e}"));
        let mut entries = all(&log, B);
        let last = entries.last().map(|entry| entry.index);
        assert!(
            last >= image.acknowledged,
            "image {n}: {last:?}, but {:?} was acknowledged",
            image.acknowledged
        );
        for entry in &entries {
            assert_eq!(*entry, record(entry.index, 1, size(entry.index)), "image {n}");
        }
        let saved = log.saved().unwrap().into_iter().find(|(shard, _)| *shard == B);
        let vote = saved.and_then(|(_, saved)| saved.vote);
        let vote = vote.map(|vote| String::from_utf8(vote.to_vec()).unwrap().parse::<u64>().unwrap());
        assert_eq!(vote, last, "image {n}: written with it, so there or not with it");
        if last >= Some(4) {
            assert_eq!(all(&log, A).len(), 5, "image {n}: of a shard that rests");
        }
        let next = record(last.map_or(0, |last| last + 1), 2, 10);
        commit(&mut log, &[(B, Change::Append(vec![next.clone()]))]).unwrap();
        entries.push(next);
        drop(log);
        let log = open(&image.folder).unwrap_or_else(|e| panic!("image {n}, after it went on: {e}"));
        assert_eq!(all(&log, B), entries, "image {n}, after it went on");
    }
}

#[test]
fn a_log_goes_on_after_a_torn_end_and_never_takes_what_was_torn_for_its_own() {
    let folder = Forgetful::default();
    let mut log = open(&folder).unwrap();
    commit(&mut log, &[(A, Change::Append(vec![record(1, 1, 50)]))]).unwrap();
    let torn_at = log.end.at;
    commit(&mut log, &[(A, Change::Append(vec![record(2, 1, 50)]))]).unwrap();
    folder.damage(&name(1), |bytes| bytes[torn_at] ^= 1);
    let mut log = open(&folder).unwrap();
    assert_eq!(all(&log, A), [record(1, 1, 50)]);
    commit(&mut log, &[(A, Change::Append(vec![record(2, 2, 50)]))]).unwrap();
    assert_eq!(all(&open(&folder).unwrap(), A), [record(1, 1, 50), record(2, 2, 50)]);
}

#[test]
fn damage_before_what_was_synced_later_is_named_and_nothing_is_served() {
    let folder = Forgetful::default();
    let mut log = open(&folder).unwrap();
    let at = log.end.at;
    for index in 1..4 {
        commit(&mut log, &[(A, Change::Append(vec![record(index, 1, 50)]))]).unwrap();
    }
    folder.damage(&name(1), |bytes| bytes[at + 40] ^= 4);
    let error = open(&folder).err().unwrap().to_string();
    assert_eq!(
        error,
        format!("log/0000000001.log: a bad checksum at byte {at}, though more was synced behind it")
    );
}

#[test]
fn a_missing_segment_is_named_whichever_it_is() {
    let folder = Forgetful::default();
    let mut log = open(&folder).unwrap();
    for index in 1..60 {
        commit(&mut log, &[(A, Change::Append(vec![record(index, 1, 100)]))]).unwrap();
    }
    drop(log);
    let all = names(&folder);
    assert!(all.len() > 3, "{all:?}");
    for missing in &all {
        folder.rename(missing, "elsewhere").unwrap();
        let error = open(&folder).err().unwrap_or_else(|| panic!("{missing} is not missed")).to_string();
        assert!(error.contains("missing"), "{error}");
        folder.rename("elsewhere", missing).unwrap();
    }
    assert!(open(&folder).is_ok());
}

#[test]
fn files_are_used_again_and_take_no_more_than_they_should() {
    let folder = Forgetful::default();
    let mut log = open(&folder).unwrap();
    // One that rests and would pin the first segment for good.
    commit(&mut log, &[(A, Change::Append((1..6).map(|i| record(i, 7, 20)).collect()))]).unwrap();
    for index in 1..2_000_u64 {
        let mut changes = vec![(B, Change::Append(vec![record(index, 1, 100)]))];
        if index > 20 {
            changes.push((B, Change::Purge(mark(index - 20))));
        }
        commit(&mut log, &changes).unwrap();
        while log.has_garbage() {
            commit(&mut log, &[]).unwrap();
        }
        let (files, live) = (names(&folder).len() * SMALL, log.shared.known().index.live_total() as usize);
        assert!(files <= 2 * live + 2 * SMALL, "{files} bytes of files for {live} of entries");
    }
    let log = open(&folder).unwrap();
    assert_eq!(all(&log, A), (1..6).map(|i| record(i, 7, 20)).collect::<Vec<_>>());
    assert_eq!(all(&log, B).len(), 20);
}

#[derive(Clone, Debug)]
enum Op {
    Append(ShardId, Vec<usize>),
    Truncate(ShardId, u64),
    Purge(ShardId, u64),
    Tidy,
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let shard = || prop_oneof![Just(A), Just(B)];
    let op = prop_oneof![
        6 => (shard(), proptest::collection::vec(0..300_usize, 1..12)).prop_map(|(shard, sizes)| Op::Append(shard, sizes)),
        1 => (shard(), 0..20_u64).prop_map(|(shard, back)| Op::Truncate(shard, back)),
        2 => (shard(), 0..20_u64).prop_map(|(shard, ahead)| Op::Purge(shard, ahead)),
        1 => Just(Op::Tidy),
        1 => Just(Op::Reopen),
    ];
    proptest::collection::vec(op, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn two_shards_in_segments_are_two_lists(ops in ops()) {
        let folder = Forgetful::default();
        let mut log = open(&folder).unwrap();
        let mut lists = BTreeMap::from([(A, (Vec::<Record>::new(), None::<Mark>)), (B, (Vec::new(), None))]);
        for (term, op) in ops.into_iter().enumerate() {
            match op {
                Op::Append(shard, sizes) => {
                    let (list, purged) = lists.get_mut(&shard).unwrap();
                    let last = list.last().map(|last| last.index).or(purged.as_ref().map(|purged| purged.index));
                    let next = last.map_or(1, |last| last + 1);
                    let new: Vec<_> = (next..).zip(sizes).map(|(i, bytes)| record(i, term as u64, bytes)).collect();
                    list.extend(new.clone());
                    commit(&mut log, &[(shard, Change::Append(new))]).unwrap();
                }
                Op::Truncate(shard, back) => {
                    let (list, _) = lists.get_mut(&shard).unwrap();
                    let from = list.last().map_or(0, |last| (last.index + 1).saturating_sub(back));
                    list.retain(|record| record.index < from);
                    commit(&mut log, &[(shard, Change::Truncate(from))]).unwrap();
                }
                Op::Purge(shard, ahead) => {
                    let (list, purged) = lists.get_mut(&shard).unwrap();
                    let upto = list.first().map(|first| first.index).or(purged.as_ref().map(|p| p.index)).unwrap_or(0) + ahead;
                    if purged.as_ref().is_none_or(|purged| purged.index < upto) {
                        list.retain(|record| record.index > upto);
                        *purged = Some(mark(upto));
                        commit(&mut log, &[(shard, Change::Purge(mark(upto)))]).unwrap();
                    }
                }
                Op::Tidy => {
                    while log.has_garbage() {
                        commit(&mut log, &[]).unwrap();
                    }
                }
                Op::Reopen => {
                    drop(log);
                    log = open(&folder).unwrap();
                }
            }
            for (shard, (list, purged)) in &lists {
                prop_assert_eq!(&all(&log, *shard), list);
                let saved = log.saved().unwrap().into_iter().find(|(id, _)| id == shard);
                prop_assert_eq!(&saved.and_then(|(_, saved)| saved.purged), purged);
            }
        }
    }
}
