//! Carries out transactions and deletions of ranges.
//!
//! Invariants:
//! * Comparisons, and the revisions that reads name, are judged by the state before the first change.
//! * What one command may look at, change and answer is bounded, whatever it names: beyond a bound it is refused whole.

use super::history;
use super::rows::{self, Live, Stamp};
use super::txn::{Compare, Keys, Operation, OperationReply, Relation, Target, Txn, TxnReply};
use super::write::Writer;
use super::{CHANGES_MAX, DeleteRange, Event, KeyRange, Kv, READ_BYTES_MAX, Refusal, Reply};
use crate::tables::Tables;
use crate::{At, Stop};
use bytes::Bytes;

/// What one transaction has left of what it may look at and answer.
struct Budget {
    keys: usize,
    bytes: usize,
}

impl Budget {
    fn new() -> Budget {
        Budget { keys: CHANGES_MAX, bytes: READ_BYTES_MAX }
    }

    fn keys(&mut self, looked_at: usize) -> Result<(), Stop> {
        match self.keys.checked_sub(looked_at) {
            Some(left) => self.keys = left,
            None => return Err(too_many_keys()),
        }
        Ok(())
    }

    fn bytes(&mut self, read: usize) -> Result<(), Stop> {
        match self.bytes.checked_sub(read) {
            Some(left) => self.bytes = left,
            None => return Err(Refusal::ReadsTooMuch { bytes_max: READ_BYTES_MAX as u64 }.into()),
        }
        Ok(())
    }
}

fn too_many_keys() -> Stop {
    Refusal::TooManyKeys { keys_max: CHANGES_MAX as u64 }.into()
}

impl Kv {
    pub(super) fn txn(
        &mut self,
        at: At,
        txn: &Txn,
        tables: &mut dyn Tables,
    ) -> Result<(Reply, Vec<Event>), Stop> {
        let mut budget = Budget::new();
        let (succeeded, branch) = self.decide(txn, tables, &mut budget)?;
        let mut writer = Writer::new(self.state, tables);
        let mut results = Vec::with_capacity(branch.len());
        for operation in branch {
            results.push(match operation {
                Operation::Put { key, value } => {
                    let previous = rows::live(writer.tables(), key)?;
                    let Stamp { create, version, lease: _ } =
                        writer.put(key.clone(), value.clone(), previous);
                    OperationReply::Put { create_revision: create, version }
                }
                Operation::Delete(keys) => {
                    let doomed = found(keys, writer.tables(), &mut budget)?;
                    let deleted = OperationReply::Deleted { keys: doomed.len() as u64 };
                    doomed.into_iter().for_each(|(key, live)| writer.delete(key, &live));
                    deleted
                }
                read => Kv { state: writer.state() }.read(read, writer.tables(), &mut budget)?,
            });
        }
        let (state, events) = writer.finish(at);
        self.state = state;
        Ok((Reply::Txn(TxnReply { revision: state.revision, succeeded, results }), events))
    }

    /// A transaction that changes nothing. One that might is answered as if its changes were not in it, so nobody asks that.
    pub(super) fn read_txn(&self, txn: &Txn, tables: &dyn Tables) -> Result<Reply, Stop> {
        if !txn.only_reads() {
            return Err(Refusal::NotOnlyReads.into());
        }
        let mut budget = Budget::new();
        let (succeeded, branch) = self.decide(txn, tables, &mut budget)?;
        let results: Result<_, Stop> =
            branch.iter().map(|read| self.read(read, tables, &mut budget)).collect();
        Ok(Reply::Txn(TxnReply { revision: self.state.revision, succeeded, results: results? }))
    }

    pub(super) fn delete_range(
        &mut self,
        at: At,
        delete: &DeleteRange,
        tables: &mut dyn Tables,
    ) -> Result<(Reply, Vec<Event>), Stop> {
        let DeleteRange { range, limit } = delete;
        let limit = match limit {
            Some(limit @ 1..) => (*limit as usize).min(CHANGES_MAX),
            _ => CHANGES_MAX,
        };
        let mut doomed = Vec::new();
        let mut more = false;
        for live in live(range, tables) {
            if doomed.len() == limit {
                more = true;
                break;
            }
            doomed.push(live?);
        }
        if more && delete.limit.is_none() {
            return Err(too_many_keys());
        }
        let deleted = doomed.len() as u64;
        let mut writer = Writer::new(self.state, tables);
        doomed.into_iter().for_each(|(key, live)| writer.delete(key, &live));
        let (state, events) = writer.finish(at);
        self.state = state;
        Ok((Reply::DeletedRange { revision: state.revision, deleted, more }, events))
    }

    /// Which branch, and that its reads can be answered.
    fn decide<'t>(
        &self,
        txn: &'t Txn,
        tables: &dyn Tables,
        budget: &mut Budget,
    ) -> Result<(bool, &'t [Operation]), Stop> {
        txn.check()?;
        let mut succeeded = true;
        for compare in &txn.compare {
            if !self.holds(compare, tables, budget)? {
                succeeded = false;
                break;
            }
        }
        let branch = if succeeded { &txn.success } else { &txn.failure };
        for operation in branch {
            match operation {
                Operation::Get { revision, .. } => drop(self.readable(*revision)?),
                Operation::List(list) => {
                    let after = list.after.as_ref().map(|after| after.revision);
                    self.readable(after.or(list.revision))?;
                }
                Operation::Put { .. } | Operation::Delete(_) => {}
            }
        }
        Ok((succeeded, branch))
    }

    fn holds(&self, compare: &Compare, tables: &dyn Tables, budget: &mut Budget) -> Result<bool, Stop> {
        let mut none = true;
        match &compare.keys {
            Keys::One(key) => return compared(compare, rows::live(tables, key)?.as_ref(), tables, budget),
            Keys::Range(range) => {
                for live in live(range, tables) {
                    let (_, live) = live?;
                    none = false;
                    budget.keys(1)?;
                    if !compared(compare, Some(&live), tables, budget)? {
                        return Ok(false);
                    }
                }
            }
        }
        if none { compared(compare, None, tables, budget) } else { Ok(true) }
    }

    fn read(
        &self,
        operation: &Operation,
        tables: &dyn Tables,
        budget: &mut Budget,
    ) -> Result<OperationReply, Stop> {
        let size = |row: &super::KeyValue| row.key.len() + row.value.len();
        match operation {
            Operation::Get { key, revision } => {
                let found = self.found(key.clone(), *revision, tables)?;
                budget.bytes(found.as_ref().map_or(0, size))?;
                Ok(OperationReply::Got(found))
            }
            Operation::List(list) => {
                if budget.keys == 0 {
                    return Err(too_many_keys());
                }
                let (page, looked_at) = self.page(list, budget.keys, tables)?;
                budget.keys(looked_at)?;
                budget.bytes(page.rows.iter().map(size).sum())?;
                Ok(OperationReply::Page(page))
            }
            Operation::Put { .. } | Operation::Delete(_) => {
                Err(Stop::Broken("a change was read as if it were none".to_owned()))
            }
        }
    }
}

fn compared(
    compare: &Compare,
    live: Option<&Live>,
    tables: &dyn Tables,
    budget: &mut Budget,
) -> Result<bool, Stop> {
    let number = |of: fn(&Live) -> u64| live.map_or(0, of);
    let ordering = match &compare.target {
        Target::Version(operand) => number(|live| live.stamp.version).cmp(operand),
        Target::CreateRevision(operand) => number(|live| live.stamp.create).cmp(operand),
        Target::ModRevision(operand) => number(|live| live.revision.main).cmp(operand),
        Target::Value(operand) => match live {
            None => return Ok(false),
            Some(live) => {
                let value = history::value(tables, live.revision)?;
                budget.bytes(value.len())?;
                value.cmp(operand)
            }
        },
    };
    Ok(match compare.relation {
        Relation::Equal => ordering.is_eq(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
    })
}

/// The keys that exist now, with all changes made so far.
fn found(keys: &Keys, tables: &dyn Tables, budget: &mut Budget) -> Result<Vec<(Bytes, Live)>, Stop> {
    match keys {
        Keys::One(key) => Ok(rows::live(tables, key)?.map(|live| (key.clone(), live)).into_iter().collect()),
        Keys::Range(range) => live(range, tables)
            .map(|live| {
                budget.keys(1)?;
                live
            })
            .collect(),
    }
}

/// The keys of a range that exist.
fn live<'a>(
    range: &KeyRange,
    tables: &'a dyn Tables,
) -> impl Iterator<Item = Result<(Bytes, Live), Stop>> + use<'a> {
    let (start, end) = range.bounds(None);
    rows::lives(tables, start, end)
}
