//! Watches: what each one shows, and whether all answers agree with it.
//!
//! The longest watch is the history of the store. Each answer names a revision, so it must show the store of that revision:
//! linearizable reads, stale ones, those of the past.

use super::{Verdict, written};
use crate::torture::history::{
    Answer, Call, Cell, Cells, Change, Event, History, KEYS, Operation, Outcome, Watched,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(history: &History, verdict: &mut Verdict) {
    for (number, watched) in history.watches.iter().enumerate() {
        verdict.compared += watched.events.len();
        let wrong = alone(watched).into_iter().chain(watched.wrong.iter().cloned());
        verdict.violations.extend(wrong.map(|words| format!("watch {number}: {words}")));
    }
    let Some(longest) = history.watches.iter().max_by_key(|watched| watched.upto) else { return };
    for (number, watched) in history.watches.iter().enumerate() {
        if let Some(words) = differs(watched, longest) {
            verdict.violations.push(format!("watch {number}: {words}"));
        }
    }
    let log = Log::new(longest);
    let writers = history.operations.iter();
    let writers: BTreeMap<u64, &Operation> = writers
        .flat_map(|operation| written(&operation.call).into_iter().map(move |value| (value, operation)))
        .collect();
    for event in &longest.events {
        verdict.violations.extend(explained(event, &writers));
    }
    for operation in &history.operations {
        if let Outcome::Done(answer) = &operation.outcome
            && let Some(words) = log.agrees(operation, answer)
        {
            let Operation { client, node, call, .. } = operation;
            verdict.violations.push(format!("client {client} at {node}, {call:?}: {words}"));
        }
    }
}

/// Ordered, unique, nothing before its beginning.
fn alone(watched: &Watched) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut last = watched.from.saturating_sub(1);
    for event in &watched.events {
        if event.revision <= last {
            wrong.push(format!("revision {} came after {last}", event.revision));
        }
        let keys: BTreeSet<_> = event.changes.iter().map(|change| (change.group, change.key)).collect();
        if keys.len() != event.changes.len() || keys.is_empty() {
            wrong.push(format!(
                "revision {} changes a key twice, or nothing: {:?}",
                event.revision, event.changes
            ));
        }
        last = last.max(event.revision);
    }
    wrong
}

/// As far as both watches came they have shown the same.
fn differs(watched: &Watched, longest: &Watched) -> Option<String> {
    let (from, upto) = (watched.from.max(longest.from), watched.upto);
    let within = |event: &&Event| (from..=upto).contains(&event.revision);
    let (mut ours, mut theirs) = (watched.events.iter().filter(within), longest.events.iter().filter(within));
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (ours, theirs) if ours == theirs => {}
            (ours, theirs) => return Some(format!("it shows {ours:?} where another shows {theirs:?}")),
        }
    }
}

/// Each value is of a write that may have happened, in its place, and all of a transaction come together.
fn explained(event: &Event, writers: &BTreeMap<u64, &Operation>) -> Vec<String> {
    let revision = event.revision;
    let mut wrong = Vec::new();
    for change in &event.changes {
        let Some(value) = change.value else { continue };
        let Some(operation) = writers.get(&value) else {
            wrong.push(format!("revision {revision}: nobody wrote {value}"));
            continue;
        };
        if let Outcome::NotApplied(words) = &operation.outcome {
            wrong.push(format!("revision {revision}: {value} was refused as not applied: {words}"));
        }
        let whole = changes(operation);
        if whole != event.changes {
            wrong.push(format!("revision {revision}: {:?} where {whole:?} was written", event.changes));
        }
    }
    wrong
}

/// What a write changes, if it does.
fn changes(operation: &Operation) -> Vec<Change> {
    let put = |key: usize, value: u64| Change { group: operation.group, key, value: Some(value) };
    match &operation.call {
        Call::Put { key, value } | Call::PutIf { key, value, .. } => vec![put(*key, *value)],
        Call::Delete { key } => vec![Change { group: operation.group, key: *key, value: None }],
        Call::Txn { values, .. } => vec![put(0, values[0]), put(1, values[1])],
        Call::Get { .. } | Call::List | Call::Stale | Call::Past { .. } => Vec::new(),
    }
}

/// The store over all revisions of a watch.
struct Log<'a> {
    watched: &'a Watched,
    events: BTreeMap<u64, &'a Event>,
    keys: BTreeMap<(usize, usize), BTreeMap<u64, Option<u64>>>,
}

impl<'a> Log<'a> {
    fn new(watched: &'a Watched) -> Log<'a> {
        let mut log = Log { watched, events: BTreeMap::new(), keys: BTreeMap::new() };
        for event in &watched.events {
            log.events.insert(event.revision, event);
            for change in &event.changes {
                let of_key = log.keys.entry((change.group, change.key)).or_default();
                of_key.insert(event.revision, change.value);
            }
        }
        log
    }

    fn cell(&self, group: usize, key: usize, at: u64) -> Option<Cell> {
        let (revision, value) = self.keys.get(&(group, key))?.range(..=at).next_back()?;
        value.map(|value| Cell { value, revision: *revision })
    }

    fn cells(&self, group: usize, at: u64) -> Cells {
        let mut cells = Cells::default();
        (0..KEYS).for_each(|key| cells[key] = self.cell(group, key, at));
        cells
    }

    /// What is wrong with an answer, if anything is.
    fn agrees(&self, operation: &Operation, answer: &Answer) -> Option<String> {
        let at = answer.revision()?;
        // The watch begins before the first write of the round, and ends behind the last one, unless it was cut short.
        if at > self.watched.upto {
            return None;
        }
        let group = operation.group;
        let differs = |seen: &[Option<Cell>], shown: &[Option<Cell>]| {
            (seen != shown).then(|| format!("it saw {seen:?} at revision {at}, where watches show {shown:?}"))
        };
        match (answer, &operation.call) {
            (Answer::Written { .. }, _) => {
                let whole = changes(operation);
                let shown = self.events.get(&at).map(|event| &event.changes);
                (shown != Some(&whole))
                    .then(|| format!("acknowledged at revision {at}, where watches show {shown:?}"))
            }
            (Answer::Found { cell, .. }, Call::Get { key }) => {
                differs(&[*cell], &[self.cell(group, *key, at)])
            }
            (Answer::Listed { cells, .. }, _) => differs(cells, &self.cells(group, at)),
            (Answer::Otherwise { cells, .. }, _) => differs(cells, &self.cells(group, at)[..2]),
            _ => None,
        }
    }
}
