//! Linearizability of each group, by porcupine-rs.

use super::{Seen, Verdict};
use crate::torture::history::{Call, History, Noted, Operation, Outcome};
use crate::torture::model::{Group, Step};
use porcupine_rs::{Annotation, CheckResult, check_operations_info_timeout, check_operations_timeout};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A search takes a fraction of a second, unless very much is open at once.
const SEARCH_MAX: Duration = Duration::from_secs(30);

/// Behind everything.
const OPEN: u64 = i64::MAX as u64;

type Checked = porcupine_rs::Operation<Group>;

pub(super) fn check(history: &History, seen: &Seen, verdict: &mut Verdict) {
    for group in groups(history) {
        let steps = steps(history, group, seen, None);
        verdict.compared += steps.len();
        match check_operations_timeout(&steps, SEARCH_MAX) {
            CheckResult::Ok => {}
            CheckResult::Unknown => verdict.undecided += 1,
            CheckResult::Illegal => {
                let words = format!("group {group} is not linearizable: {} operations", steps.len());
                verdict.violations.push(words);
                verdict.refused_groups.push(group);
            }
        }
    }
}

/// Draws a group that was refused: the shortest beginning of the history that is refused already. An HTML page.
pub fn visualize(history: &History, group: usize, path: &Path) -> std::io::Result<()> {
    let seen = Seen::gather(history, &mut Verdict::default());
    let ends: BTreeSet<u64> = history.operations.iter().map(|operation| operation.ended_us).collect();
    let ends: Vec<u64> = ends.into_iter().collect();
    let refused = |until: u64| {
        let steps = steps(history, group, &seen, Some(until));
        check_operations_timeout(&steps, SEARCH_MAX) == CheckResult::Illegal
    };
    let first = ends.partition_point(|until| !refused(*until));
    let until = ends.get(first).copied();
    // With a time limit it tells a refusal from a search cut short no more: only its drawing is used.
    let (_, mut info) = check_operations_info_timeout(&steps(history, group, &seen, until), SEARCH_MAX);
    let faults = history.faults.iter().filter(|fault| until.is_none_or(|until| fault.at_us <= until));
    info.add_annotations(faults.map(annotation).collect());
    porcupine_rs::visualize_path(&info, path)
}

fn annotation(fault: &Noted) -> Annotation {
    Annotation {
        tag: Some("faults".to_owned()),
        start: fault.at_us as i64,
        description: fault.what.clone(),
        ..Annotation::default()
    }
}

fn groups(history: &History) -> BTreeSet<usize> {
    history.operations.iter().map(|operation| operation.group).collect()
}

/// A group's operations for the checker; with `until`, as they were known at that time.
fn steps(history: &History, group: usize, seen: &Seen, until: Option<u64>) -> Vec<Checked> {
    let until = until.unwrap_or(u64::MAX);
    let begun = |operation: &&Operation| operation.group == group && operation.begun_us <= until;
    history.operations.iter().filter(begun).filter_map(|operation| step(operation, seen, until)).collect()
}

fn step(operation: &Operation, seen: &Seen, until: u64) -> Option<Checked> {
    let Operation { client, node, call, begun_us, ended_us, outcome, copies: _, group: _ } = operation;
    let reads = matches!(call, Call::Get { .. } | Call::List);
    let (answer, end) = match outcome {
        // Not linearizable, nor meant to be: compared with the watches.
        _ if matches!(call, Call::Stale | Call::Past { .. }) => return None,
        Outcome::NotApplied(_) | Outcome::Wrong(_) => return None,
        Outcome::Done(answer) if *ended_us <= until => (Some(answer.clone()), *ended_us),
        Outcome::Done(_) | Outcome::Unknown(_) if reads || seen.has_not_happened(operation) => return None,
        // It has happened when somebody is told of its revision, or of a later one.
        Outcome::Done(_) | Outcome::Unknown(_) => {
            (None, seen.end(call).filter(|end| *end <= until).unwrap_or(OPEN))
        }
    };
    let op = Step { call: call.clone(), answer, seen: seen.of(call) };
    let metadata = Some(format!("asked {node}"));
    let (call_time, return_time) = (*begun_us as i64, end.min(OPEN) as i64);
    Some(Checked { client_id: Some(*client), call_time, return_time, op, metadata })
}
