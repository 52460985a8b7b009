//! What the queue must have kept to. Pure, as all of [`crate::torture::check`].
//!
//! * `lives`: each task is one task, in one worker's hands at a time, not before it is due, ended once, with the result that was
//!   acknowledged; none is lost;
//! * `order`: among those that were ready for sure, whoever has the higher priority was claimed first, then whoever was there first;
//!   and no claim came back without a task that was ready for sure.
//!
//! An act takes effect between its call and its answer: only what holds for every moment in between is a violation.

mod lives;
mod order;
#[cfg(test)]
mod tests;

use super::history::{Act, Held, Job, JobOutcome, New, Seen, Told};
use crate::torture::check::Verdict;
use std::collections::BTreeMap;

/// Clocks of nodes and of this process do not beat alike.
const SLACK_US: u64 = 300_000;
const SECOND_US: u64 = 1_000_000;

/// The least time in which so many seconds of log time pass: it may go faster by a tenth, to catch up with the clocks.
fn at_least_us(seconds: u64) -> u64 {
    seconds * SECOND_US * 10 / 11
}

/// Judges the queue of a round, in which webhooks told these statuses.
pub(in crate::torture) fn check(jobs: &[Job], told: &BTreeMap<String, Vec<String>>, verdict: &mut Verdict) {
    for job in jobs {
        if let JobOutcome::Wrong(words) = &job.outcome {
            let Job { client, node, act, .. } = job;
            verdict.violations.push(format!("client {client} asked {node} for {act:?} and got {words}"));
        }
    }
    let tasks = Tasks::gather(jobs, verdict);
    for (id, life) in &tasks.lives {
        lives::check(id, life, told.get(id), verdict);
    }
    for id in told.keys().filter(|id| !tasks.lives.contains_key(*id)) {
        verdict.violations.push(format!("a webhook told of a task that nobody was told of: {id}"));
    }
    order::check(jobs, &tasks, verdict);
}

/// A claim of one task.
#[derive(Clone, Debug)]
struct Claim<'h> {
    begun_us: u64,
    ended_us: u64,
    lease_s: u64,
    held: &'h Held,
}

/// All that is known of one task.
#[derive(Debug)]
struct Life<'h> {
    new: &'h New,
    /// When it was asked for, the first time.
    created_from_us: u64,
    /// When somebody was told that it is there; none: nobody was.
    created_by_us: Option<u64>,
    /// In the order of their leases.
    claims: Vec<Claim<'h>>,
    /// What was said of it by workers, in the order of asking.
    said: Vec<&'h Job>,
    looks: Vec<&'h Seen>,
}

/// All tasks of a round.
struct Tasks<'h> {
    lives: BTreeMap<String, Life<'h>>,
}

impl<'h> Tasks<'h> {
    fn gather(jobs: &'h [Job], verdict: &mut Verdict) -> Tasks<'h> {
        let mut news: BTreeMap<u64, (&New, u64)> = BTreeMap::new();
        for job in jobs {
            if let Act::Create(new) = &job.act {
                let (_, begun_us) = news.entry(new.number).or_insert((new, job.begun_us));
                *begun_us = job.begun_us.min(*begun_us);
            }
        }
        let mut tasks = Tasks { lives: BTreeMap::new() };
        let mut ids: BTreeMap<u64, String> = BTreeMap::new();
        for job in jobs {
            for (id, number) in told_of(job) {
                let Some((new, from_us)) = news.get(&number) else {
                    verdict.violations.push(format!("{id} has number {number}, which nobody created"));
                    continue;
                };
                let other = ids.entry(number).or_insert_with(|| id.to_owned());
                if *other != id {
                    verdict
                        .violations
                        .push(format!("number {number} was created twice: as {other} and as {id}"));
                }
                let life = tasks.lives.entry(id.to_owned()).or_insert_with(|| Life::new(new, *from_us));
                if life.new.number != number {
                    let both = format!("{} and {number}", life.new.number);
                    verdict.violations.push(format!("{id} is of two creates: {both}"));
                }
                life.add(id, job);
            }
        }
        for job in jobs {
            if let Some(life) = said_of(&job.act).and_then(|id| tasks.lives.get_mut(id)) {
                life.said.push(job);
            }
        }
        for life in tasks.lives.values_mut() {
            life.claims.sort_by_key(|claim| claim.held.order());
            life.said.sort_by_key(|job| job.begun_us);
        }
        tasks
    }
}

impl<'h> Life<'h> {
    fn new(new: &'h New, created_from_us: u64) -> Life<'h> {
        Life {
            new,
            created_from_us,
            created_by_us: None,
            claims: Vec::new(),
            said: Vec::new(),
            looks: Vec::new(),
        }
    }

    fn add(&mut self, id: &str, job: &'h Job) {
        match (&job.act, &job.outcome) {
            (Act::Create(_), _) => {
                let by_us = self.created_by_us.get_or_insert(job.ended_us);
                *by_us = job.ended_us.min(*by_us);
            }
            (Act::Claim { lease_s, .. }, JobOutcome::Done(Told::Claimed(held))) => {
                let Job { begun_us, ended_us, .. } = *job;
                let held = held.iter().filter(|held| held.task == id);
                self.claims.extend(held.map(|held| Claim { begun_us, ended_us, lease_s: *lease_s, held }));
            }
            (_, JobOutcome::Done(Told::Seen(seen))) => self.looks.push(seen),
            _ => {}
        }
    }

    /// The claim after which it was certainly ready from the moment it was there: nobody had it before.
    fn first_claim(&self) -> Option<&Claim<'h>> {
        self.claims.first().filter(|claim| claim.held.attempt == 1)
    }

    /// Whether it could be claimed as soon as it was there.
    fn is_immediate(&self) -> bool {
        self.new.delay_s == 0
    }
}

/// The tasks that an answer tells of, with their numbers.
fn told_of(job: &Job) -> Vec<(&str, u64)> {
    match (&job.act, &job.outcome) {
        (Act::Create(new), JobOutcome::Done(Told::Created { task })) => vec![(task, new.number)],
        (_, JobOutcome::Done(Told::Claimed(held))) => {
            held.iter().map(|held| (held.task.as_str(), held.number)).collect()
        }
        (Act::Look { task }, JobOutcome::Done(Told::Seen(seen))) => vec![(task, seen.number)],
        _ => Vec::new(),
    }
}

/// The task that a worker says something of.
fn said_of(act: &Act) -> Option<&str> {
    match act {
        Act::Heartbeat { task, .. }
        | Act::Abandon { task, .. }
        | Act::Nack { task, .. }
        | Act::Finish { task, .. } => Some(task),
        Act::Create(_) | Act::Claim { .. } | Act::Look { .. } => None,
    }
}

/// The lease by which something is said.
fn token_of(act: &Act) -> Option<&str> {
    match act {
        Act::Heartbeat { token, .. }
        | Act::Abandon { token, .. }
        | Act::Nack { token, .. }
        | Act::Finish { token, .. } => Some(token),
        Act::Create(_) | Act::Claim { .. } | Act::Look { .. } => None,
    }
}
