//! What must hold between the tables, whatever was done: every row is recomputed from the tasks.

use super::super::hints::Walk;
use super::super::position::{self, Kind, Position};
use super::super::rows::{self, HookRow, KeyRow, Meta, QueueRow, TaskRow};
use super::super::{Counts, Place, QueueName, Queues, Subscription, TaskId};
use crate::tables::{MemoryTables, Range, Table, Tables};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

fn keys(tables: &MemoryTables, table: Table) -> BTreeSet<Bytes> {
    tables.scan(table, Range::all(), false).map(|row| row.unwrap().0).collect()
}

fn all<T: DeserializeOwned>(tables: &MemoryTables, table: Table) -> Vec<(Bytes, T)> {
    let row = |row: Result<(Bytes, Bytes), _>| {
        let (key, row) = row.unwrap();
        let row = rows::parse(table, &key, &row).unwrap();
        (key, row)
    };
    tables.scan(table, Range::all(), false).map(row).collect()
}

fn tasks(tables: &MemoryTables) -> Vec<(TaskId, TaskRow)> {
    all(tables, rows::TASKS)
        .into_iter()
        .map(|(key, row)| (TaskId(key[..].try_into().unwrap()), row))
        .collect()
}

/// Panics with what does not hold.
pub(super) fn verify(tables: &MemoryTables) {
    let tasks = tasks(tables);
    let owned = |key: &[u8]| Bytes::copy_from_slice(key);
    let places =
        tasks.iter().map(|(id, task)| owned(&task.position.place_key(task.queue, task.priority, *id)));
    assert_eq!(keys(tables, rows::PLACES), places.collect(), "each task in one place");
    let due = tasks.iter().filter_map(|(id, task)| task.position.due(task.retention_ms, *id));
    let due = due.map(|(_, _, key)| owned(&key));
    let key_due = all::<KeyRow>(tables, rows::KEYS)
        .into_iter()
        .map(|(key, row)| owned(&position::due_key(Kind::Key, row.expires_ms, &key)));
    let subscriptions: Vec<(Bytes, Subscription)> = all(tables, rows::SUBSCRIPTIONS);
    let ends = subscriptions
        .iter()
        .map(|(key, row)| owned(&position::due_key(Kind::Subscription, row.expires_ms, key)));
    assert_eq!(keys(tables, rows::DUE), due.chain(key_due).chain(ends).collect(), "what is due");
    let ids = tasks.iter().map(|(id, _)| owned(&id.0));
    assert_eq!(keys(tables, rows::BODIES), ids.collect(), "a body for each task");
    let with_result = |task: &TaskRow| matches!(task.position.place(), Place::Completed | Place::Failed);
    let results = tasks.iter().filter(|(_, task)| with_result(task)).map(|(id, _)| owned(&id.0));
    assert_eq!(keys(tables, rows::RESULTS), results.collect(), "a result for each task that a worker ended");
    hooks(tables, &tasks);
    let queues: Vec<(Bytes, QueueRow)> = all(tables, rows::QUEUES);
    let Meta { queues: count, next_queue, next: _, subscriptions: subscribed, grace_until_ms: _ } =
        rows::meta(tables).unwrap();
    assert!(queues.iter().all(|(_, row)| row.number < next_queue && !row.is_unused()));
    assert_eq!((count as usize, subscribed as usize), (queues.len(), subscriptions.len()), "counted");
    counts(tables, &tasks, queues);
}

fn hooks(tables: &MemoryTables, tasks: &[(TaskId, TaskRow)]) {
    let mut expected = BTreeMap::new();
    for (id, task) in tasks {
        let Some(due_ms) = task.hook_ms else { continue };
        let Position::Ended { number, .. } = task.position else {
            panic!("a hook of a task that has not ended")
        };
        assert!(task.webhook, "a hook without an address");
        expected.insert(Bytes::copy_from_slice(&rows::hook_key(due_ms, *id)), number);
    }
    let found = all::<HookRow>(tables, rows::HOOKS).into_iter().map(|(key, row)| (key, row.end));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
}

fn counts(tables: &MemoryTables, tasks: &[(TaskId, TaskRow)], queues: Vec<(Bytes, QueueRow)>) {
    let mut numbers = BTreeSet::new();
    for (key, row) in queues {
        let name: QueueName = rows::name(tables, row.number).unwrap();
        assert_eq!(*rows::name_key(&name.tenant, &name.command), *key, "a name for each queue");
        let mut counts = Counts::default();
        for (_, task) in tasks.iter().filter(|(_, task)| task.queue == row.number) {
            match task.position.place() {
                Place::Ready => counts.ready[usize::from(task.priority)] += 1,
                Place::Delayed => counts.delayed += 1,
                Place::InProgress => counts.in_progress += 1,
                Place::Dead => counts.dead += 1,
                Place::Completed => counts.completed += 1,
                Place::Failed => counts.failed += 1,
                Place::Cancelled => counts.cancelled += 1,
            }
            for number in used(&task.position) {
                assert!(number < row.next, "a number that was not given yet");
                assert!(numbers.insert((row.number, number)), "a number that was given twice");
            }
        }
        assert_eq!(row.counts, counts, "of {name:?}");
    }
}

fn used(position: &Position) -> Vec<u64> {
    match position {
        Position::Ready { number } | Position::Delayed { number, .. } | Position::Ended { number, .. } => {
            vec![*number]
        }
        Position::InProgress { ready, lease } => vec![*ready, lease.token.number],
    }
}

/// There is no row below a hint.
pub(super) fn hints(queues: &Queues, tables: &MemoryTables) {
    for (_, task) in tasks(tables) {
        if let Position::Ready { number } = task.position {
            assert!(queues.hints.first(Walk::Ready(task.queue, task.priority)) <= number);
        }
    }
    for key in keys(tables, rows::DUE) {
        let (due_ms, _) = position::take_due(&key).unwrap();
        assert!(queues.hints.first(Walk::Due(key[0])) <= due_ms);
    }
    for key in keys(tables, rows::HOOKS) {
        let due_ms = u64::from_be_bytes(key[..8].try_into().unwrap());
        assert!(queues.hints.first(Walk::Hooks) <= due_ms);
    }
}
