//! The checker is shown what no correct queue does: it must refuse each, and accept the right history beside it.

use super::*;

const SECOND: u64 = SECOND_US;

fn job(begun_s: u64, act: Act, outcome: JobOutcome) -> Job {
    let begun_us = begun_s * SECOND;
    Job { client: 1, node: "n1".to_owned(), begun_us, ended_us: begun_us + 1_000, act, outcome }
}

fn new(number: u64) -> New {
    New { number, queue: 0, priority: 5, delay_s: 0, attempts: 9, webhook: false }
}

fn created(at_s: u64, task: &str, new: New) -> Job {
    job(at_s, Act::Create(new), JobOutcome::Done(Told::Created { task: task.to_owned() }))
}

fn held(task: &str, number: u64, attempt: u32, lease: u64) -> Held {
    Held { task: task.to_owned(), number, priority: 5, attempt, token: format!("0.{lease}") }
}

fn claimed(at_s: u64, held: Vec<Held>) -> Job {
    let claim = Act::Claim { queues: vec![0], lease_s: 5, count: 1 };
    job(at_s, claim, JobOutcome::Done(Told::Claimed(held)))
}

fn finish(at_s: u64, task: &str, lease: u64, result: u64, outcome: JobOutcome) -> Job {
    let (task, token) = (task.to_owned(), format!("0.{lease}"));
    job(at_s, Act::Finish { task, token, result, completed: true }, outcome)
}

fn finished(at_s: u64, task: &str, lease: u64, result: u64) -> Job {
    finish(at_s, task, lease, result, JobOutcome::Done(Told::Finished))
}

fn nacked(at_s: u64, task: &str, lease: u64, delay_s: u64, dead: bool) -> Job {
    let (task, token) = (task.to_owned(), format!("0.{lease}"));
    job(at_s, Act::Nack { task, token, delay_s }, JobOutcome::Done(Told::Nacked { dead }))
}

fn seen(task: &str, number: u64, status: &str, result: Option<u64>) -> Job {
    let (status, location) = (status.to_owned(), "NONE".to_owned());
    let seen = Seen { status, location, number, attempt: 1, result };
    job(90, Act::Look { task: task.to_owned() }, JobOutcome::Done(Told::Seen(seen)))
}

/// A task's life as it should be: created at 1 s, claimed at 3 s, done at 4 s.
fn life() -> Vec<Job> {
    vec![
        created(1, "a", new(1)),
        claimed(3, vec![held("a", 1, 1, 1)]),
        finished(4, "a", 1, 100),
        seen("a", 1, "COMPLETED", Some(100)),
    ]
}

fn judge(jobs: &[Job]) -> Vec<String> {
    let mut verdict = Verdict::default();
    check(jobs, &BTreeMap::new(), &mut verdict);
    verdict.violations
}

#[track_caller]
fn accepted(jobs: Vec<Job>) {
    assert_eq!(judge(&jobs), Vec::<String>::new());
}

#[track_caller]
fn refused(jobs: Vec<Job>, words: &str) {
    let violations = judge(&jobs);
    assert!(violations.iter().any(|violation| violation.contains(words)), "{words}: {violations:#?}");
}

fn with(jobs: impl IntoIterator<Item = Job>) -> Vec<Job> {
    life().into_iter().chain(jobs).collect()
}

/// The life without one of its jobs.
fn without(place: usize) -> Vec<Job> {
    let mut jobs = life();
    jobs.remove(place);
    jobs
}

#[test]
fn a_life_as_it_should_be_is_accepted() {
    accepted(life());
    // Failed twice, claimed again when it may be, ended by an answer that was lost.
    accepted(vec![
        created(1, "a", new(1)),
        claimed(3, vec![held("a", 1, 1, 1)]),
        nacked(4, "a", 1, 2, false),
        claimed(7, vec![held("a", 1, 2, 2)]),
        claimed(13, vec![held("a", 1, 3, 3)]),
        finish(14, "a", 3, 100, JobOutcome::Unknown(String::new())),
        seen("a", 1, "COMPLETED", Some(100)),
    ]);
}

#[test]
fn a_task_that_is_lost_is_seen() {
    refused(without(3), "not found in the end");
    refused(vec![created(1, "a", new(1)), seen("a", 1, "PENDING", None)], "has not ended");
}

#[test]
fn two_tasks_of_one_create_are_seen() {
    refused(with([created(2, "b", new(1))]), "created twice: as a and as b");
    refused(with([created(2, "a", new(2))]), "of two creates: 1 and 2");
    refused(with([claimed(5, vec![held("c", 7, 1, 2)])]), "which nobody created");
}

#[test]
fn one_task_in_two_hands_is_seen() {
    let mut jobs = without(2);
    jobs.push(claimed(6, vec![held("a", 1, 2, 2)]));
    refused(jobs.clone(), "is valid until 7545454 us at least");
    // It was given back: nobody holds it.
    let abandon = Act::Abandon { task: "a".to_owned(), token: "0.1".to_owned() };
    jobs.push(job(5, abandon, JobOutcome::Unknown(String::new())));
    jobs.push(finished(7, "a", 2, 100));
    accepted(jobs);
}

#[test]
fn a_lease_that_was_extended_is_valid() {
    let heartbeat = Act::Heartbeat { task: "a".to_owned(), token: "0.1".to_owned(), extend_s: 6 };
    let mut jobs = without(2);
    jobs.extend([job(7, heartbeat, JobOutcome::Done(Told::Extended)), claimed(10, vec![held("a", 1, 2, 2)])]);
    refused(jobs, "is valid until 12454545 us at least");
}

#[test]
fn two_ends_of_one_task_are_seen() {
    refused(with([finished(4, "a", 1, 101)]), "ended 2 times");
    refused(with([claimed(10, vec![held("a", 1, 2, 2)])]), "claimed after it");
    refused(with([nacked(5, "a", 1, 1, false)]), "was done at 5000000 us");
    refused(with([nacked(5, "a", 1, 1, true)]), "ended 2 times");
}

#[test]
fn a_worker_whose_lease_went_to_another_is_not_believed() {
    let mut jobs = without(2);
    jobs.extend([claimed(9, vec![held("a", 1, 2, 2)]), finished(10, "a", 1, 100)]);
    refused(jobs, "was believed, and lease 0.2 was given before");
}

#[test]
fn another_result_than_the_acknowledged_one_is_seen() {
    let mut jobs = without(3);
    jobs.push(seen("a", 1, "COMPLETED", Some(101)));
    refused(jobs, "was acknowledged, there is");
    let mut jobs = without(2);
    jobs.retain(|job| !matches!(job.act, Act::Finish { .. }));
    refused(jobs, "nobody can have made this of it");
    let mut jobs = life();
    jobs.push(seen("a", 1, "FAILED", Some(100)));
    refused(jobs, "looks different through different nodes");
}

#[test]
fn a_claim_before_its_time_is_seen() {
    let late = New { delay_s: 4, ..new(1) };
    let mut jobs = without(0);
    jobs.insert(0, created(1, "a", late));
    refused(jobs, "due at 4636363 us");
    refused(
        vec![
            created(1, "a", new(1)),
            claimed(3, vec![held("a", 1, 1, 1)]),
            nacked(4, "a", 1, 3, false),
            claimed(6, vec![held("a", 1, 2, 2)]),
        ],
        "nacked until 6727272 us",
    );
}

#[test]
fn tries_beyond_the_most_and_backwards_are_seen() {
    let short = New { attempts: 1, ..new(1) };
    refused(vec![created(1, "a", short), claimed(3, vec![held("a", 1, 2, 1)])], "try 2 of 1");
    let backwards = [claimed(3, vec![held("a", 1, 2, 1)]), claimed(9, vec![held("a", 1, 1, 2)])];
    refused([vec![created(1, "a", new(1))], backwards.to_vec()].concat(), "after try 2");
    refused(with([claimed(9, vec![held("a", 1, 1, 1)])]), "given twice");
}

/// `b`, claimed and done at 6 s, beside `a`, which was claimed at 3 s.
fn two(b: New, b_created_s: u64) -> Vec<Job> {
    with([
        created(b_created_s, "b", b),
        claimed(6, vec![held("b", 2, 1, 2)]),
        finished(7, "b", 2, 200),
        seen("b", 2, "COMPLETED", Some(200)),
    ])
}

#[test]
fn a_higher_priority_that_was_passed_over_is_seen() {
    let priority = |priority| {
        let mut jobs = two(New { priority, ..new(2) }, 2);
        for job in &mut jobs {
            if let JobOutcome::Done(Told::Claimed(held)) = &mut job.outcome {
                held.iter_mut().filter(|held| held.task == "b").for_each(|held| held.priority = priority);
            }
        }
        jobs
    };
    accepted(priority(5));
    accepted(priority(4));
    refused(priority(6), "b of priority 6 was ready");
}

#[test]
fn one_that_was_there_first_and_was_passed_over_is_seen() {
    accepted(two(new(2), 2));
    refused(two(new(2), 0), "b of priority 5 was ready");
}

#[test]
fn nothing_though_something_was_ready_is_seen() {
    accepted(with([claimed(5, Vec::new())]));
    refused(with([claimed(2, Vec::new())]), "got nothing, and a was ready");
}

#[test]
fn a_task_that_died_too_early_and_a_webhook_that_lied_are_seen() {
    let dead = |attempts| {
        let mut last = seen("a", 1, "FAILED", None);
        if let JobOutcome::Done(Told::Seen(seen)) = &mut last.outcome {
            seen.location = "DLQ_SET".to_owned();
        }
        let jobs = [created(1, "a", New { attempts, ..new(1) }), claimed(3, vec![held("a", 1, 1, 1)])];
        [jobs.to_vec(), vec![nacked(4, "a", 1, 1, true), last]].concat()
    };
    accepted(dead(1));
    refused(dead(2), "dead after try 1 of 2");
    let mut verdict = Verdict::default();
    let told = [("a".to_owned(), vec!["FAILED".to_owned()]), ("z".to_owned(), Vec::new())];
    check(&life(), &told.into(), &mut verdict);
    assert_eq!(verdict.violations.len(), 2, "{verdict:?}");
}
