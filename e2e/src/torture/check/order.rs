//! Revisions over all groups: the store has one counter, and one history.

use super::Verdict;
use crate::torture::history::{Answer, Call, History, Operation, Outcome};
use std::collections::BTreeMap;

/// Every write has a revision of its own; whoever asks after an answer gets no older revision, a write a newer one.
pub(super) fn check(history: &History, verdict: &mut Verdict) {
    let mut answered: Vec<(&Operation, u64)> = history
        .operations
        .iter()
        .filter(|operation| !matches!(operation.call, Call::Stale | Call::Past { .. }))
        .filter_map(|operation| match &operation.outcome {
            Outcome::Done(answer) => Some((operation, answer.revision()?)),
            _ => None,
        })
        .collect();
    verdict.compared += answered.len();
    let mut writes = BTreeMap::new();
    for (operation, revision) in answered.iter().filter(|(operation, _)| writes_done(operation)) {
        if let Some(other) = writes.insert(*revision, operation.client) {
            let both = format!("clients {other} and {}", operation.client);
            verdict.violations.push(format!("revision {revision} was given to two writes, of {both}"));
        }
    }
    let mut ended = answered.clone();
    ended.sort_unstable_by_key(|(operation, _)| operation.ended_us);
    answered.sort_unstable_by_key(|(operation, _)| operation.begun_us);
    let (mut ended, mut newest) = (ended.into_iter().peekable(), 0);
    for (operation, revision) in answered {
        while let Some((_, before)) = ended.next_if(|(other, _)| other.ended_us < operation.begun_us) {
            newest = newest.max(before);
        }
        if revision < newest || writes_done(operation) && revision == newest {
            let Operation { client, node, begun_us, call, .. } = operation;
            verdict.violations.push(format!(
                "client {client} was answered revision {revision} by {node} to {call:?} of {begun_us} us, after {newest} was answered"
            ));
        }
    }
}

fn writes_done(operation: &Operation) -> bool {
    matches!(operation.outcome, Outcome::Done(Answer::Written { .. }))
}
