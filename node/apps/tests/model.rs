//! The applications against plain models: whatever is done, in whatever order.

#![allow(clippy::unwrap_used)] // a panic here is the message of a failed test

#[path = "model/store.rs"]
mod store;

use bytes::Bytes;
use proptest::prelude::*;
use schedia_apps::kv::{
    self, Compare, Continuation, Detail, KeyRange, Keys, List, Operation, Relation, Target, Txn,
};
use schedia_apps::tables::{Delta, MemoryTables, Range, Row, RowKey, Table, Tables};
use schedia_apps::{App, Applications, At, Command, Query, Refusal, Reply, Stop, sweep};
use std::ops::Bound;
use store::Model;

/// Few keys, some a prefix of another, some with zeros.
fn key() -> impl Strategy<Value = Bytes> {
    let keys: [&'static [u8]; 8] = [b"a", b"a\0", b"a\0\0", b"a\0\xff", b"a/b", b"b", b"\0", b"\xff\xff"];
    proptest::sample::select(keys.to_vec()).prop_map(Bytes::from_static)
}

fn precondition() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![4 => Just(None), 1 => (0u64..12).prop_map(Some)]
}

#[derive(Clone, Debug)]
enum Step {
    Command(kv::Command),
    /// Removes one bounded batch of compacted rows.
    Remove(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (key(), any::<u8>(), precondition()).prop_map(|(key, value, if_mod_revision)| {
            Step::Command(kv::Command::Put(kv::Put { key, value: vec![value].into(), if_mod_revision }))
        }),
        4 => (key(), precondition())
            .prop_map(|(key, if_mod_revision)| Step::Command(kv::Command::Delete(kv::Delete { key, if_mod_revision }))),
        1 => (0u64..40).prop_map(|revision| Step::Command(kv::Command::Compact { revision })),
        2 => (range(), proptest::option::of(0u32..4))
            .prop_map(|(range, limit)| Step::Command(kv::Command::DeleteRange(kv::DeleteRange { range, limit }))),
        5 => txn().prop_map(|txn| Step::Command(kv::Command::Txn(txn))),
        2 => (0usize..20).prop_map(Step::Remove),
        1 => Just(Step::Reopen),
    ]
}

fn range() -> impl Strategy<Value = KeyRange> {
    (key(), proptest::option::of(key())).prop_map(|(start, end)| KeyRange { start, end })
}

fn keys() -> impl Strategy<Value = Keys> {
    prop_oneof![3 => key().prop_map(Keys::One), 1 => range().prop_map(Keys::Range)]
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0u64..4).prop_map(Target::Version),
        (0u64..12).prop_map(Target::CreateRevision),
        (0u64..12).prop_map(Target::ModRevision),
        any::<u8>().prop_map(|value| Target::Value(vec![value].into())),
    ];
    let relations = vec![Relation::Equal, Relation::NotEqual, Relation::Greater, Relation::Less];
    (keys(), target, proptest::sample::select(relations)).prop_map(|(keys, target, relation)| Compare {
        keys,
        target,
        relation,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => (key(), any::<u8>()).prop_map(|(key, value)| Operation::Put { key, value: vec![value].into() }),
        2 => keys().prop_map(Operation::Delete),
        1 => (key(), proptest::option::of(0u64..12))
            .prop_map(|(key, revision)| Operation::Get { key, revision }),
        1 => range().prop_map(|range| {
            Operation::List(List { range, revision: None, after: None, limit: 0, detail: Detail::Whole })
        }),
    ]
}

fn txn() -> impl Strategy<Value = Txn> {
    let branch = || proptest::collection::vec(operation(), 0..4);
    (proptest::collection::vec(compare(), 0..3), branch(), branch())
        .prop_map(|(compare, success, failure)| Txn { compare, success, failure })
}

fn refusal(stop: Stop) -> kv::Refusal {
    match stop {
        Stop::Refused(Refusal::Kv(refusal)) => refusal,
        other => panic!("not refused by kv: {other}"),
    }
}

fn kv_reply(reply: Reply) -> kv::Reply {
    match reply {
        Reply::Kv(reply) => reply,
        other => panic!("not the reply of kv: {other:?}"),
    }
}

/// All pages of a list.
fn pages(
    apps: &Applications,
    tables: &MemoryTables,
    mut list: List,
) -> Result<(u64, Vec<kv::KeyValue>), kv::Refusal> {
    let (mut count, mut rows) = (0, Vec::new());
    loop {
        let query = Query::Kv(kv::Query::List(list.clone()));
        let kv::Reply::Page(page) = kv_reply(apps.query(At::default(), query, tables).map_err(refusal)?)
        else {
            panic!("a list is answered with a page");
        };
        assert!(list.limit == 0 || page.rows.len() <= list.limit as usize);
        assert!(page.next.is_none() || page.count > 0, "an empty page in the middle of few keys");
        count += page.count;
        rows.extend(page.rows);
        match page.next {
            Some(next) => list.after = Some(next),
            None => return Ok((count, rows)),
        }
    }
}

/// Whatever is asked for, and wherever a reader was cut off, the history is the difference of the revisions.
fn check_history(
    model: &Model,
    apps: &Applications,
    tables: &MemoryTables,
    range: &KeyRange,
) -> Result<(), TestCaseError> {
    for from in 0..=model.current() + 1 {
        let since =
            kv::Since { range: range.clone(), from: kv::Revision { main: from, sub: 0 }, previous: true };
        let found = apps.query(At::default(), Query::Kv(kv::Query::Changes(since)), tables);
        match (found.map(kv_reply).map_err(refusal), model.history(from, range)) {
            (Ok(kv::Reply::Changes(page)), Ok(expected)) => {
                prop_assert!(page.changes.is_sorted_by_key(|changed| changed.revision));
                let ahead = from.max(model.current() + 1);
                prop_assert_eq!(page.next, kv::Revision { main: ahead, sub: 0 });
                let mut found: Vec<_> = page.changes;
                found.sort_by_key(|changed| (changed.revision.main, store::key_of(changed).clone()));
                found.iter_mut().for_each(|changed| changed.revision.sub = 0);
                prop_assert_eq!(found, expected);
            }
            (Err(found), Err(expected)) => prop_assert_eq!(found, expected),
            (found, expected) => prop_assert!(false, "{:?} is not {:?}", found, expected),
        }
    }
    Ok(())
}

fn check_reads(
    model: &Model,
    apps: &Applications,
    tables: &MemoryTables,
    range: &KeyRange,
    limit: u32,
) -> Result<(), TestCaseError> {
    for revision in 1..=model.current() + 1 {
        let expected: Result<Vec<kv::KeyValue>, kv::Refusal> = model
            .at(revision)
            .map(|keys| keys.values().filter(|row| range.contains(&row.key)).cloned().collect());
        let list =
            |detail| List { range: range.clone(), revision: Some(revision), after: None, limit, detail };
        let whole = pages(apps, tables, list(Detail::Whole)).map(|(_, rows)| rows);
        prop_assert_eq!(&whole, &expected, "at revision {}", revision);
        let counted = pages(apps, tables, list(Detail::CountOnly)).map(|(count, _)| count);
        prop_assert_eq!(counted, expected.clone().map(|rows| rows.len() as u64));
        let keys = pages(apps, tables, list(Detail::KeysOnly)).map(|(_, rows)| rows);
        let strip = |row: kv::KeyValue| kv::KeyValue { value: Bytes::new(), ..row };
        prop_assert_eq!(keys, expected.map(|rows| rows.into_iter().map(strip).collect::<Vec<_>>()));
        for key in [&b"a"[..], b"a\0", b"a\0\0", b"b", b"c"] {
            let key = Bytes::from_static(key);
            let query = kv::Query::Get { key: key.clone(), revision: Some(revision) };
            let got = apps.query(At::default(), Query::Kv(query), tables).map(kv_reply).map_err(refusal);
            let expected = model
                .at(revision)
                .map(|keys| kv::Reply::Got { revision: model.current(), found: keys.get(&key).cloned() });
            prop_assert_eq!(got, expected);
        }
    }
    Ok(())
}

proptest! {
    /// Two members apply the same log; one removes rows and is opened anew at any time. Nobody can tell them apart.
    #[test]
    fn kv_is_a_map_per_revision_and_removal_shows_nowhere(
        steps in proptest::collection::vec(step(), 1..60),
        start in key(), end in proptest::option::of(key()), limit in 0u32..4,
    ) {
        let mut model = Model::new();
        let (mut tables, mut tidy) = (MemoryTables::default(), MemoryTables::default());
        let mut apps = Applications::open(&tables).unwrap();
        let mut tidy_apps = apps.clone();
        for (index, step) in steps.into_iter().enumerate() {
            match step {
                Step::Command(command) => {
                    let at = At { index: index as u64, time_ms: index as u64 * 25_000, ..At::default() };
                    let before = Applications::digest(&tables).unwrap();
                    let expected = model.apply(&command);
                    let found = apps.apply(at, Command::Kv(command.clone()), &mut tables);
                    let tidy_found = tidy_apps.apply(at, Command::Kv(command), &mut tidy);
                    prop_assert_eq!(&found, &tidy_found);
                    match found {
                        Ok((reply, _)) => prop_assert_eq!(Ok(kv_reply(reply)), expected),
                        Err(stop) => {
                            prop_assert_eq!(Err(refusal(stop)), expected);
                            prop_assert_eq!(Applications::digest(&tables).unwrap(), before);
                        }
                    }
                }
                Step::Remove(rows_max) => drop(sweep(&mut tidy, rows_max).unwrap()),
                Step::Reopen => tidy_apps = Applications::open(&tidy).unwrap(),
            }
            prop_assert_eq!(Applications::digest(&tables).unwrap(), Applications::digest(&tidy).unwrap());
            prop_assert_eq!(&apps, &tidy_apps);
        }
        for keep_ms in [0, 100_000, 500_000] {
            let query = Query::Kv(kv::Query::Compactable { now_ms: 1_000_000, keep_ms, keep_revisions: 3 });
            let found = apps.query(At::default(), query.clone(), &tables);
            prop_assert_eq!(found, tidy_apps.query(At::default(), query, &tidy));
        }
        let range = KeyRange { start, end };
        check_reads(&model, &apps, &tables, &range, limit)?;
        check_reads(&model, &tidy_apps, &tidy, &range, limit)?;
        check_history(&model, &apps, &tables, &range)?;
        check_history(&model, &tidy_apps, &tidy, &range)?;
    }

    /// Once removal is through, what is left is what the readable revisions need, and no more.
    #[test]
    fn removal_leaves_one_change_of_a_key_below_the_compaction(
        steps in proptest::collection::vec(step(), 1..80), rows_max in 0usize..30,
    ) {
        let mut tables = MemoryTables::default();
        let mut apps = Applications::open(&tables).unwrap();
        for (index, step) in steps.into_iter().enumerate() {
            let at = At { index: index as u64, time_ms: index as u64 * 25_000, ..At::default() };
            match step {
                Step::Command(command) => drop(apps.apply(at, Command::Kv(command), &mut tables)),
                Step::Remove(rows_max) => drop(sweep(&mut tables, rows_max).unwrap()),
                Step::Reopen => {}
            }
        }
        while sweep(&mut tables, rows_max).unwrap() {}
        prop_assert_eq!(kv::removable(&tables, rows_max).unwrap(), None);
        let query = |query| kv_reply(apps.query(At::default(), Query::Kv(query), &tables).unwrap());
        let kv::Reply::Revisions { revision, compacted } = query(kv::Query::Revisions) else { unreachable!() };
        let oldest = compacted.unwrap_or(1).max(1);
        let list = |revision| List {
            range: KeyRange::all(), revision: Some(revision), after: None, limit: 0, detail: Detail::Whole,
        };
        let kv::Reply::Page(readable) = query(kv::Query::List(list(oldest))) else { unreachable!() };
        let rows = |table| tables.scan(Table(table), Range::all(), false).count() as u64;
        let since = |main| kv::Since {
            range: KeyRange::all(), from: kv::Revision { main, sub: 0 }, previous: false,
        };
        let kv::Reply::Changes(kept) = query(kv::Query::Changes(since(oldest))) else { unreachable!() };
        let newer = kept.changes.iter().filter(|changed| changed.revision.main > oldest).count() as u64;
        // Tombstones at the compaction itself are kept for who watches from there.
        let deletes = kept.changes.iter().filter(|changed| {
            changed.revision.main == oldest && matches!(changed.change, kv::Change::Delete { .. })
        });
        prop_assert!(kept.changes.iter().all(|changed| changed.revision.main <= revision));
        prop_assert_eq!(rows("kv.history"), readable.count + deletes.count() as u64 + newer);
        let tombstones = kept.changes.iter().filter(|changed| {
            changed.revision.main >= oldest && matches!(changed.change, kv::Change::Delete { .. })
        });
        prop_assert_eq!(rows("kv.ended"), tombstones.count() as u64);
    }

    /// Changes in a delta read like changes made, and are made by merging.
    #[test]
    fn a_delta_reads_like_the_tables_it_becomes(
        under in rows(), changes in rows(), start in bound(), end in bound(),
    ) {
        let table = Table("test");
        let mut tables = MemoryTables::default();
        for (key, value) in under {
            tables.put(table, &key, value.unwrap_or_default());
        }
        let mut expected = tables.clone();
        let mut delta = Delta::new(&tables);
        for (key, value) in changes {
            let targets: [&mut dyn Tables; 2] = [&mut expected, &mut delta];
            for target in targets {
                match &value {
                    Some(value) => target.put(table, &key, value.clone()),
                    None => target.delete(table, &key),
                }
            }
        }
        let range = Range { start, end };
        for reverse in [false, true] {
            prop_assert_eq!(scanned(&delta, &range, reverse), scanned(&expected, &range, reverse));
        }
        for key in 0..KEYS {
            prop_assert_eq!(delta.get(table, &[key]), expected.get(table, &[key]));
        }
        delta.into_changes().merge_into(&mut tables);
        prop_assert_eq!(scanned(&tables, &Range::all(), false), scanned(&expected, &Range::all(), false));
    }
}

fn scanned(tables: &dyn Tables, range: &Range, reverse: bool) -> Vec<Row> {
    tables.scan(Table("test"), range.clone(), reverse).map(Result::unwrap).collect()
}

/// One byte each.
const KEYS: u8 = 40;

/// Few changes and many: a delta keeps them differently.
fn rows() -> impl Strategy<Value = Vec<(Bytes, Option<Bytes>)>> {
    let value = proptest::option::of(any::<u8>().prop_map(|byte| Bytes::from(vec![byte])));
    proptest::collection::vec(((0..KEYS).prop_map(|byte| Bytes::from(vec![byte])), value), 0..60)
}

fn bound() -> impl Strategy<Value = Bound<RowKey>> {
    let key = || (0..KEYS).prop_map(|byte| RowKey::from_slice(&[byte]));
    prop_oneof![Just(Bound::Unbounded), key().prop_map(Bound::Included), key().prop_map(Bound::Excluded)]
}

#[test]
fn a_long_range_comes_in_pages_of_a_thousand_rows() {
    let mut tables = MemoryTables::default();
    let mut apps = Applications::open(&tables).unwrap();
    let put = |n: u32| {
        let key = Bytes::from(format!("{n:06}"));
        Command::Kv(kv::Command::Put(kv::Put { key, value: Bytes::new(), if_mod_revision: None }))
    };
    for n in 0..10_500 {
        apps.apply(At::default(), put(n), &mut tables).unwrap();
    }
    let page = |detail, revision, after: Option<Continuation>| {
        let list = List { range: KeyRange::all(), revision, after, limit: 5_000, detail };
        match apps.query(At::default(), Query::Kv(kv::Query::List(list)), &tables).map(kv_reply) {
            Ok(kv::Reply::Page(page)) => page,
            other => panic!("no page: {other:?}"),
        }
    };
    for revision in [None, Some(10_400)] {
        assert_eq!(page(Detail::Whole, revision, None).rows.len(), kv::PAGE_ROWS_MAX);
        let counted = page(Detail::CountOnly, revision, None);
        assert_eq!((counted.count, counted.rows.len()), (10_000, 0), "a count comes in pages too");
        let rest = page(Detail::CountOnly, revision, counted.next);
        assert_eq!((rest.count, rest.next), (revision.map_or(500, |at| at - 1 - 10_000), None));
    }
}

#[test]
fn a_range_is_deleted_in_steps_if_it_is_too_much_for_one_command() {
    let mut tables = MemoryTables::default();
    let mut apps = Applications::open(&tables).unwrap();
    let mut apply = |command| apps.apply(At::default(), Command::Kv(command), &mut tables);
    for n in 0..=kv::CHANGES_MAX {
        let key = Bytes::from(format!("{n:06}"));
        apply(kv::Command::Put(kv::Put { key, value: Bytes::new(), if_mod_revision: None })).unwrap();
    }
    let delete = |limit| kv::Command::DeleteRange(kv::DeleteRange { range: KeyRange::all(), limit });
    let refused = apply(delete(None)).map(drop).map_err(refusal);
    assert_eq!(refused, Err(kv::Refusal::TooManyKeys { keys_max: 10_000 }));
    let all = Operation::Delete(Keys::Range(KeyRange::all()));
    let txn = Txn { success: vec![all], ..Txn::default() };
    let refused = apply(kv::Command::Txn(txn)).map(drop).map_err(refusal);
    assert_eq!(refused, Err(kv::Refusal::TooManyKeys { keys_max: 10_000 }));
    let done = |deleted, more, revision| Reply::Kv(kv::Reply::DeletedRange { revision, deleted, more });
    assert_eq!(apply(delete(Some(0))).unwrap().0, done(10_000, true, 10_003));
    assert_eq!(apply(delete(Some(10))).unwrap().0, done(1, false, 10_004));
    // All of a revision in one page, however many its changes are.
    let since =
        |main, previous| kv::Since { range: KeyRange::all(), from: kv::Revision { main, sub: 0 }, previous };
    let query = Query::Kv(kv::Query::Changes(since(10_003, true)));
    let kv::Reply::Changes(page) = kv_reply(apps.query(At::default(), query, &tables).unwrap()) else {
        panic!("no page");
    };
    assert_eq!((page.changes.len(), page.next), (10_000, kv::Revision { main: 10_004, sub: 0 }));
}

#[test]
fn only_a_revision_too_large_for_a_page_is_split() {
    let mut tables = MemoryTables::default();
    let mut apps = Applications::open(&tables).unwrap();
    for key in ["a", "b", "c", "d"] {
        let value = Bytes::from(vec![0; kv::VALUE_BYTES_MAX]);
        let put = kv::Put { key: Bytes::from(key), value, if_mod_revision: None };
        apps.apply(At::default(), Command::Kv(kv::Command::Put(put)), &mut tables).unwrap();
    }
    let delete = kv::DeleteRange { range: KeyRange::all(), limit: None };
    apps.apply(At::default(), Command::Kv(kv::Command::DeleteRange(delete)), &mut tables).unwrap();
    let (mut from, mut pages) = (kv::Revision { main: 2, sub: 0 }, Vec::new());
    while from.main <= 6 {
        let since = kv::Since { range: KeyRange::all(), from, previous: true };
        let query = Query::Kv(kv::Query::Changes(since));
        let kv::Reply::Changes(page) = kv_reply(apps.query(At::default(), query, &tables).unwrap()) else {
            panic!("no page");
        };
        from = page.next;
        pages.push((page.changes.len(), from.main, from.sub));
    }
    // A put fills a page by itself; three values of the deletion fill one, the fourth begins another.
    assert_eq!(pages, [(1, 3, 0), (1, 4, 0), (1, 5, 0), (1, 6, 0), (3, 6, 3), (1, 7, 0)]);
}

#[test]
fn a_transaction_counts_no_key_whose_rows_may_be_gone() {
    let mut tables = MemoryTables::default();
    let mut apps = Applications::open(&tables).unwrap();
    let mut apply = |command| apps.apply(At::default(), Command::Kv(command), &mut tables).unwrap();
    const KEYS: u64 = 6_000;
    for n in 0..KEYS {
        let key = Bytes::from(format!("{n:06}"));
        apply(kv::Command::Put(kv::Put { key, value: Bytes::new(), if_mod_revision: None }));
    }
    apply(kv::Command::DeleteRange(kv::DeleteRange { range: KeyRange::all(), limit: None }));
    for _ in 0..2 {
        let put = kv::Put { key: Bytes::from("kept"), value: Bytes::new(), if_mod_revision: None };
        apply(kv::Command::Put(put));
    }
    let revision = KEYS + 3;
    apply(kv::Command::Compact { revision });
    let (mut tidy, mut tidy_apps) = (tables.clone(), apps.clone());
    while sweep(&mut tidy, 40_000).unwrap() {}
    let list = List {
        range: KeyRange::all(),
        revision: Some(revision),
        after: None,
        limit: 0,
        detail: Detail::CountOnly,
    };
    let put = Operation::Put { key: Bytes::from("new"), value: Bytes::new() };
    let lists = std::iter::repeat_n(Operation::List(list), 3);
    let txn = Command::Kv(kv::Command::Txn(Txn { success: lists.chain([put]).collect(), ..Txn::default() }));
    let found = apps.apply(At::default(), txn.clone(), &mut tables).unwrap();
    assert_eq!(found, tidy_apps.apply(At::default(), txn, &mut tidy).unwrap());
}
