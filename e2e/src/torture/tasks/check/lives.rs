//! One task from its creation to its end.

use super::super::history::{Act, Job, JobOutcome, Seen, Told};
use super::{Claim, Life, SLACK_US, Verdict, at_least_us, token_of};
use std::collections::BTreeSet;

pub(super) fn check(id: &str, life: &Life<'_>, told: Option<&Vec<String>>, verdict: &mut Verdict) {
    verdict.compared += 1 + life.claims.len() + life.said.len() + life.looks.len();
    let mut wrong = Vec::new();
    tries(life, &mut wrong);
    not_too_early(life, &mut wrong);
    one_at_a_time(life, &mut wrong);
    nobody_else_is_believed(life, &mut wrong);
    ended_once(life, &mut wrong);
    come_to(life, told, &mut wrong);
    verdict
        .violations
        .extend(wrong.into_iter().map(|words| format!("{id} (number {}): {words}", life.new.number)));
}

/// Tries are counted upwards, to the most at most; what is claimed is what was created.
fn tries(life: &Life<'_>, wrong: &mut Vec<String>) {
    let mut before = 1;
    for Claim { held, .. } in &life.claims {
        if held.attempt < before || held.attempt > life.new.attempts {
            wrong.push(format!(
                "claimed for try {} of {}, after try {before}",
                held.attempt, life.new.attempts
            ));
        }
        if held.priority != life.new.priority {
            wrong
                .push(format!("claimed with priority {}, created with {}", held.priority, life.new.priority));
        }
        before = held.attempt;
    }
    let tokens: BTreeSet<&str> = life.claims.iter().map(|claim| claim.held.token.as_str()).collect();
    if tokens.len() < life.claims.len() {
        wrong.push("one lease was given twice".to_owned());
    }
}

/// No claim before its time: that of its creation, and that which a worker who failed has named.
fn not_too_early(life: &Life<'_>, wrong: &mut Vec<String>) {
    let due_us = life.created_from_us + at_least_us(life.new.delay_s);
    if let Some(claim) = life.claims.iter().find(|claim| claim.ended_us + SLACK_US < due_us) {
        wrong.push(format!("claimed at {} us, due at {due_us} us", claim.ended_us));
    }
    for job in &life.said {
        let (Act::Nack { token, delay_s, .. }, JobOutcome::Done(_)) = (&job.act, &job.outcome) else {
            continue;
        };
        let due_us = job.begun_us + at_least_us(*delay_s);
        let next = claim_after(life, token);
        if let Some(next) = next.filter(|next| next.ended_us + SLACK_US < due_us) {
            wrong.push(format!("claimed again at {} us, nacked until {due_us} us", next.ended_us));
        }
    }
}

/// While a lease is valid for sure nobody else has the task.
fn one_at_a_time(life: &Life<'_>, wrong: &mut Vec<String>) {
    for (claim, next) in life.claims.iter().zip(life.claims.iter().skip(1)) {
        if next.ended_us < claim.begun_us {
            wrong.push(format!("lease {} comes before {}", claim.held.token, next.held.token));
        }
        let until_us = valid_until_us(life, claim);
        if next.ended_us + SLACK_US < until_us {
            wrong.push(format!(
                "lease {} of {} us is valid until {until_us} us at least, and {} was given at {} us",
                claim.held.token, claim.begun_us, next.held.token, next.ended_us
            ));
        }
    }
}

/// The least time until which a lease is valid: given or extended when it was asked for, ended when that was asked for.
fn valid_until_us(life: &Life<'_>, claim: &Claim<'_>) -> u64 {
    let of_lease = || life.said.iter().filter(|job| token_of(&job.act) == Some(&claim.held.token));
    let mut until_us = claim.begun_us + at_least_us(claim.lease_s);
    for job in of_lease() {
        if let (Act::Heartbeat { extend_s, .. }, JobOutcome::Done(_)) = (&job.act, &job.outcome) {
            until_us = until_us.max(job.begun_us + at_least_us(*extend_s));
        }
    }
    let ends = |job: &&&Job| !matches!(job.act, Act::Heartbeat { .. }) && job.outcome.may_be_done();
    until_us.min(of_lease().find(ends).map_or(u64::MAX, |job| job.begun_us))
}

/// What a worker says is not taken once somebody else has the task, or it has ended.
fn nobody_else_is_believed(life: &Life<'_>, wrong: &mut Vec<String>) {
    for job in life.said.iter().filter(|job| matches!(job.outcome, JobOutcome::Done(_))) {
        let Some(token) = token_of(&job.act) else { continue };
        if let Some(next) = claim_after(life, token).filter(|next| next.ended_us < job.begun_us) {
            wrong.push(format!(
                "{:?} of {} us was believed, and lease {} was given before, at {} us",
                job.act, job.begun_us, next.held.token, next.ended_us
            ));
        }
    }
}

/// The next claim after that of a lease.
fn claim_after<'a, 'h>(life: &'a Life<'h>, token: &str) -> Option<&'a Claim<'h>> {
    let order = super::super::history::order(token);
    life.claims.iter().find(|claim| claim.held.order() > order)
}

/// It ends once, and nothing is done with it afterwards.
fn ended_once(life: &Life<'_>, wrong: &mut Vec<String>) {
    let done =
        |job: &&&Job| matches!(job.outcome, JobOutcome::Done(Told::Finished | Told::Nacked { dead: true }));
    let ends: Vec<&&Job> = life.said.iter().filter(done).collect();
    if ends.len() > 1 {
        wrong.push(format!("ended {} times: {:?}", ends.len(), ends));
    }
    let Some(end_us) = ends.iter().map(|job| job.ended_us).min() else { return };
    if let Some(claim) = life.claims.iter().find(|claim| claim.begun_us > end_us) {
        wrong.push(format!("ended at {end_us} us, claimed after it, at {} us", claim.begun_us));
    }
    let believed = |job: &&&Job| job.begun_us > end_us && matches!(job.outcome, JobOutcome::Done(_));
    if let Some(job) = life.said.iter().find(believed) {
        wrong.push(format!("ended at {end_us} us, and {:?} was done at {} us", job.act, job.begun_us));
    }
}

/// What is there in the end: an end, and that which a worker was told that it is.
fn come_to(life: &Life<'_>, told: Option<&Vec<String>>, wrong: &mut Vec<String>) {
    if life.looks.is_empty() {
        wrong.push("not found in the end".to_owned());
    }
    for seen in &life.looks {
        if !seen.has_ended() {
            wrong.push(format!("has not ended: {seen:?}"));
        }
        let says = |job: &&&Job| match &job.act {
            Act::Finish { result, completed, .. } => {
                Some(*result) == seen.result && *completed == (seen.status == "COMPLETED")
            }
            _ => false,
        };
        let acknowledged = life.said.iter().find(|job| job.outcome == JobOutcome::Done(Told::Finished));
        match acknowledged {
            Some(job) if !says(&job) => {
                wrong.push(format!("{:?} was acknowledged, there is {seen:?}", job.act))
            }
            None if seen.is_dead() => dead(life, seen, wrong),
            None if !life.said.iter().any(|job| job.outcome.may_be_done() && says(&job)) => {
                wrong.push(format!("nobody can have made this of it: {seen:?}"));
            }
            _ => {}
        }
        if let Some(other) = told.into_iter().flatten().find(|status| **status != seen.status) {
            wrong.push(format!("a webhook told {other}, there is {seen:?}"));
        }
    }
    if let Some(first) = life.looks.first()
        && life.looks.iter().any(|seen| seen != first)
    {
        wrong.push(format!("looks different through different nodes: {:?}", life.looks));
    }
}

/// It failed as often as it may, and no worker was told that it has ended otherwise.
fn dead(life: &Life<'_>, seen: &Seen, wrong: &mut Vec<String>) {
    if seen.attempt < life.new.attempts {
        wrong.push(format!("dead after try {} of {}", seen.attempt, life.new.attempts));
    }
}
