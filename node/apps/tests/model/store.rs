//! The key/value store as nobody would build it: a whole map for each revision.

use bytes::Bytes;
use schedia_apps::kv::{
    self, Change, Changed, Compare, KeyRange, KeyValue, Keys, Operation, OperationReply, Refusal, Relation,
    Revision, Target, Txn, TxnReply,
};
use std::cmp::Ordering;
use std::collections::BTreeMap;

type Map = BTreeMap<Bytes, KeyValue>;

pub(crate) struct Model {
    revisions: BTreeMap<u64, Map>,
    compacted: Option<u64>,
}

pub(crate) fn key_of(changed: &Changed) -> &Bytes {
    match &changed.change {
        Change::Put(row) => &row.key,
        Change::Delete { key } => key,
    }
}

impl Model {
    pub(crate) fn new() -> Model {
        Model { revisions: [(1, Map::new())].into(), compacted: None }
    }

    pub(crate) fn current(&self) -> u64 {
        *self.revisions.keys().next_back().unwrap()
    }

    pub(crate) fn at(&self, revision: u64) -> Result<&Map, Refusal> {
        let current = self.current();
        match self.compacted {
            _ if revision > current => Err(Refusal::FutureRevision { current }),
            Some(compacted) if revision < compacted => Err(Refusal::Compacted { compacted }),
            _ => Ok(&self.revisions[&revision]),
        }
    }

    /// The differences from revision to revision, by key, what was before where nothing of that is compacted.
    pub(crate) fn history(&self, from: u64, range: &KeyRange) -> Result<Vec<Changed>, Refusal> {
        let compacted = self.compacted.unwrap_or(0);
        if from < compacted {
            return Err(Refusal::Compacted { compacted });
        }
        let mut changes = Vec::new();
        for (revision, keys) in self.revisions.range(from.max(2)..) {
            let older = &self.revisions[&(revision - 1)];
            let put = keys.values().filter(|row| row.mod_revision == *revision);
            let puts = put.map(|row| (row.key.clone(), Change::Put(row.clone())));
            let gone = older.keys().filter(|key| !keys.contains_key(*key));
            let deletes = gone.map(|key| (key.clone(), Change::Delete { key: key.clone() }));
            let all: BTreeMap<Bytes, Change> = puts.chain(deletes).collect();
            for (key, change) in all.into_iter().filter(|(key, _)| range.contains(key)) {
                let previous = older.get(&key).filter(|_| *revision > compacted).cloned();
                changes.push(Changed { revision: Revision { main: *revision, sub: 0 }, change, previous });
            }
        }
        Ok(changes)
    }

    pub(crate) fn apply(&mut self, command: &kv::Command) -> Result<kv::Reply, Refusal> {
        let current = self.current();
        let mut keys = self.revisions[&current].clone();
        let expect = |key: &Bytes, expected: &Option<u64>| {
            let current = keys.get(key).map_or(0, |found| found.mod_revision);
            match expected {
                Some(expected) if *expected != current => Err(Refusal::ModRevisionDiffers { current }),
                _ => Ok(()),
            }
        };
        let revision = current + 1;
        let reply = match command {
            kv::Command::Put(kv::Put { key, value, if_mod_revision }) => {
                expect(key, if_mod_revision)?;
                let (create_revision, version) = put(&mut keys, key, value, revision);
                kv::Reply::Put { revision, create_revision, version }
            }
            kv::Command::Delete(kv::Delete { key, if_mod_revision }) => {
                expect(key, if_mod_revision)?;
                keys.remove(key).ok_or(Refusal::KeyNotFound)?;
                kv::Reply::Deleted { revision }
            }
            kv::Command::Compact { revision } => {
                if let Some(compacted) = self.compacted.filter(|compacted| revision <= compacted) {
                    return Err(Refusal::Compacted { compacted });
                }
                self.at(*revision.max(&1))?;
                self.compacted = Some(*revision);
                return Ok(kv::Reply::Compacted { revision: current });
            }
            kv::Command::DeleteRange(kv::DeleteRange { range, limit }) => {
                let all: Vec<Bytes> = keys.keys().filter(|key| range.contains(key)).cloned().collect();
                let limit = limit.filter(|limit| *limit > 0).map_or(usize::MAX, |limit| limit as usize);
                all.iter().take(limit).for_each(|key| drop(keys.remove(key)));
                let revision = if all.is_empty() { current } else { revision };
                let deleted = all.len().min(limit) as u64;
                kv::Reply::DeletedRange { revision, deleted, more: all.len() > limit }
            }
            kv::Command::Txn(txn) => kv::Reply::Txn(self.txn(txn, &mut keys)?),
        };
        if keys != self.revisions[&current] {
            self.revisions.insert(revision, keys);
        }
        Ok(reply)
    }

    fn txn(&self, txn: &Txn, keys: &mut Map) -> Result<TxnReply, Refusal> {
        [&txn.success, &txn.failure].into_iter().try_for_each(|branch| changed_once(branch))?;
        let current = self.current();
        let before = keys.clone();
        let succeeded = txn.compare.iter().all(|compare| holds(compare, &before));
        let branch = if succeeded { &txn.success } else { &txn.failure };
        for operation in branch {
            if let Operation::Get { revision: Some(revision @ 1..), .. } = operation {
                self.at(*revision)?;
            }
        }
        let mut results = Vec::new();
        for operation in branch {
            let now = if *keys == before { current } else { current + 1 };
            results.push(match operation {
                Operation::Put { key, value } => {
                    let (create_revision, version) = put(keys, key, value, current + 1);
                    OperationReply::Put { create_revision, version }
                }
                Operation::Delete(doomed) => {
                    let all = named(doomed, keys);
                    all.iter().for_each(|row| drop(keys.remove(&row.key)));
                    OperationReply::Deleted { keys: all.len() as u64 }
                }
                Operation::Get { key, revision: Some(revision @ 1..) } => {
                    OperationReply::Got(self.revisions[revision].get(key).cloned())
                }
                Operation::Get { key, .. } => OperationReply::Got(keys.get(key).cloned()),
                Operation::List(list) => {
                    let rows = named(&Keys::Range(list.range.clone()), keys);
                    let count = rows.len() as u64;
                    OperationReply::Page(kv::Page {
                        revision: now,
                        at_revision: now,
                        count,
                        rows,
                        next: None,
                    })
                }
            });
        }
        let revision = if *keys == before { current } else { current + 1 };
        Ok(TxnReply { revision, succeeded, results })
    }
}

fn put(keys: &mut Map, key: &Bytes, value: &Bytes, revision: u64) -> (u64, u64) {
    let (create_revision, version) =
        keys.get(key).map_or((revision, 1), |old| (old.create_revision, old.version + 1));
    let row = KeyValue {
        key: key.clone(),
        value: value.clone(),
        create_revision,
        mod_revision: revision,
        version,
        lease: 0,
    };
    keys.insert(key.clone(), row);
    (create_revision, version)
}

fn named(named: &Keys, keys: &Map) -> Vec<KeyValue> {
    let is_named = |key: &Bytes| match named {
        Keys::One(one) => one == key,
        Keys::Range(range) => range.contains(key),
    };
    keys.values().filter(|row| is_named(&row.key)).cloned().collect()
}

fn holds(compare: &Compare, keys: &Map) -> bool {
    let ordering = |row: Option<&KeyValue>| match &compare.target {
        Target::Version(n) => Some(row.map_or(0, |row| row.version).cmp(n)),
        Target::CreateRevision(n) => Some(row.map_or(0, |row| row.create_revision).cmp(n)),
        Target::ModRevision(n) => Some(row.map_or(0, |row| row.mod_revision).cmp(n)),
        Target::Value(value) => row.map(|row| row.value.cmp(value)),
    };
    let related = |ordering: Ordering| match compare.relation {
        Relation::Equal => ordering == Ordering::Equal,
        Relation::NotEqual => ordering != Ordering::Equal,
        Relation::Greater => ordering == Ordering::Greater,
        Relation::Less => ordering == Ordering::Less,
    };
    let rows = named(&compare.keys, keys);
    let none = rows.is_empty().then_some(None);
    rows.iter().map(Some).chain(none).all(|row| ordering(row).is_some_and(related))
}

/// Pairwise, where the store sorts.
fn changed_once(branch: &[Operation]) -> Result<(), Refusal> {
    for (n, operation) in branch.iter().enumerate() {
        let Operation::Put { key, .. } = operation else { continue };
        if branch[..n]
            .iter()
            .any(|other| matches!(other, Operation::Put { key: before, .. } if before == key))
        {
            return Err(Refusal::DuplicateKey { key: key.clone() });
        }
    }
    let mut puts: Vec<&Bytes> = branch
        .iter()
        .filter_map(|operation| match operation {
            Operation::Put { key, .. } => Some(key),
            _ => None,
        })
        .collect();
    puts.sort();
    for operation in branch {
        let deleted = |key: &Bytes| match operation {
            Operation::Delete(Keys::One(one)) => one == key,
            Operation::Delete(Keys::Range(range)) => range.contains(key),
            _ => false,
        };
        if let Some(key) = puts.iter().find(|key| deleted(key)) {
            return Err(Refusal::DuplicateKey { key: (*key).clone() });
        }
    }
    Ok(())
}
