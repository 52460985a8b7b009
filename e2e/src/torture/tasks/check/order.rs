//! Who comes first, among tasks that were ready for sure.

use super::super::history::{Act, Job, JobOutcome, Told};
use super::{Claim, Life, Tasks, Verdict};
use std::collections::BTreeMap;

/// A task that was ready for sure from one time to another: nobody had it before its first claim.
struct Ready<'a> {
    id: &'a str,
    priority: u32,
    from_us: u64,
    to_us: u64,
}

pub(super) fn check(jobs: &[Job], tasks: &Tasks<'_>, verdict: &mut Verdict) {
    let mut ready: BTreeMap<usize, Vec<Ready<'_>>> = BTreeMap::new();
    for (id, life) in &tasks.lives {
        if let (true, Some(from_us), Some(first)) =
            (life.is_immediate(), life.created_by_us, life.first_claim())
        {
            let priority = life.new.priority;
            ready.entry(life.new.queue).or_default().push(Ready {
                id,
                priority,
                from_us,
                to_us: first.begun_us,
            });
        }
    }
    for ready in ready.values_mut() {
        ready.sort_by_key(|ready| ready.from_us);
    }
    for (id, life) in &tasks.lives {
        let Some(ready) = ready.get(&life.new.queue) else { continue };
        for claim in &life.claims {
            verdict.compared += 1;
            if let Some(passed_over) = passed_over(life, claim, ready) {
                verdict.violations.push(format!(
                    "{id} of priority {} was claimed at {} to {} us, and {} of priority {} was ready from {} to {} us",
                    life.new.priority,
                    claim.begun_us,
                    claim.ended_us,
                    passed_over.id,
                    passed_over.priority,
                    passed_over.from_us,
                    passed_over.to_us,
                ));
            }
        }
    }
    for job in jobs {
        nothing_though_something_was_there(job, &ready, verdict);
    }
}

/// One that should have been claimed instead.
fn passed_over<'r, 'a>(life: &Life<'_>, claim: &Claim<'_>, ready: &'r [Ready<'a>]) -> Option<&'r Ready<'a>> {
    // A task that was given back or tried again has a place that nobody here knows.
    let first =
        life.is_immediate() && life.first_claim().is_some_and(|first| first.held.token == claim.held.token);
    there(ready, claim.begun_us).find(|other| {
        let before = other.priority > life.new.priority
            || first && other.priority == life.new.priority && other.from_us < life.created_from_us;
        before && other.to_us > claim.ended_us
    })
}

fn nothing_though_something_was_there(
    job: &Job,
    ready: &BTreeMap<usize, Vec<Ready<'_>>>,
    verdict: &mut Verdict,
) {
    let (Act::Claim { queues, .. }, JobOutcome::Done(Told::Claimed(held))) = (&job.act, &job.outcome) else {
        return;
    };
    if !held.is_empty() {
        return;
    }
    verdict.compared += 1;
    let mut ready =
        queues.iter().filter_map(|queue| ready.get(queue)).flat_map(|ready| there(ready, job.begun_us));
    if let Some(Ready { id, from_us, to_us, .. }) = ready.find(|ready| ready.to_us > job.ended_us) {
        let Job { client, node, begun_us, ended_us, .. } = job;
        verdict.violations.push(format!(
            "client {client} claimed through {node} from {begun_us} to {ended_us} us and got nothing, and {id} was ready from {from_us} to {to_us} us"
        ));
    }
}

/// Those that were ready before a time.
fn there<'r, 'a>(ready: &'r [Ready<'a>], at_us: u64) -> impl Iterator<Item = &'r Ready<'a>> {
    ready.iter().take_while(move |ready| ready.from_us < at_us)
}
