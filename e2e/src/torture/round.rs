//! One round: clients and watchers at work, faults by a plan drawn from a seed, then peace, a last look, and the verdict.
//!
//! Each round has keys of its own, so that it is judged by itself and then forgotten.

use super::background::Background;
use super::check::{Verdict, check};
use super::client::{Client, Shared};
use super::fault::{Fault, Kind};
use super::history::{Answer, Call, History, Noted, Operation, Outcome, Watched};
use super::tasks::{Receiver, Work};
use super::watcher::Watcher;
use super::wire::Wire;
use super::world::{RECOVERY_MAX, World};
use crate::wait::until;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Groups of keys that clients share.
const GROUPS: usize = 5;
/// One more, for the last write of a round.
const MARKS: usize = GROUPS;
const WATCHERS: usize = 3;
/// Faults begin and end within this.
const FAULTS_END: Duration = Duration::from_secs(14);
/// How long a fault may last.
const FAULT_MS: std::ops::Range<u64> = 500..7_000;
/// Faults of a round.
const FAULTS: std::ops::RangeInclusive<usize> = 1..=4;
/// In peace again, each client gets so many answers, on average.
const ANSWERS_IN_PEACE: u64 = 20;

/// What a round is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Faults to draw from; none: peace.
    pub faults: Vec<Kind>,
    /// Concurrent clients of keys.
    pub clients: usize,
    /// Producers of tasks, and as many workers.
    pub workers: usize,
}

/// What a round has come to.
pub struct Round {
    /// All of it.
    pub history: History,
    /// Faults that had something to do.
    pub faults: BTreeMap<Kind, u64>,
    /// What the checks say, and whether the cluster came back.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// From the last fault's end until it was whole again.
    pub recovery: Duration,
    /// Snapshots that nodes were sent.
    pub snapshots: usize,
    /// Those that went on where an earlier one had broken off.
    pub resumed: usize,
    /// What judging it took.
    pub judged: Duration,
}

/// Plays a round.
pub async fn play(
    world: &mut World,
    settings: &Settings,
    receiver: &Receiver,
    seed: u64,
) -> Result<Round, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let shared = Arc::new(shared(world, seed).await?);
    let from = shared.oldest + 1;
    let (goal, goals) = watch::channel(None);
    let watchers: Vec<_> = (0..WATCHERS as u64)
        .map(|number| tokio::spawn(watcher(&shared, from, seed + number).run(goals.clone(), RECOVERY_MAX)))
        .collect();
    let clients = (0..settings.clients as u32)
        .map(|number| tokio::spawn(Client::new(number, seed, shared.clone()).run()));
    let clients: Vec<_> = clients.collect();
    let work = Work::begin(&shared, settings.workers, receiver.url(), seed);

    let mut round = Round {
        history: History { seed, ..History::default() },
        faults: BTreeMap::new(),
        verdict: Verdict::default(),
        took: Duration::ZERO,
        recovery: Duration::ZERO,
        snapshots: 0,
        resumed: 0,
        judged: Duration::ZERO,
    };
    let unfinished = play_faults(world, settings, &shared, &mut random, &mut round).await;
    let peace = Instant::now();
    for (what, background) in unfinished {
        if let Err(words) = background.ended().await {
            round.verdict.violations.push(format!("{what} came to no end: {words}"));
        }
    }
    if let Err(timed_out) = world.recovered(world.voters).await {
        round.verdict.violations.push(format!("the cluster does not recover: {timed_out}"));
    }
    round.recovery = peace.elapsed();
    sleep_until(&shared, FAULTS_END).await;
    let answers = shared.done.load(Ordering::Relaxed) + ANSWERS_IN_PEACE * settings.clients as u64;
    let answered = until("clients are answered in peace", RECOVERY_MAX, || async {
        let now = shared.done.load(Ordering::Relaxed);
        if now >= answers { Ok(()) } else { Err(format!("{} answers are missing", answers - now)) }
    });
    if let Err(timed_out) = answered.await {
        round.verdict.violations.push(timed_out.to_string());
    }
    shared.stop.store(true, Ordering::Relaxed);
    for client in clients {
        round.history.operations.extend(client.await.map_err(|e| format!("a client panicked: {e}"))?);
    }
    let places: Vec<usize> = world.members().await.into_iter().map(|(place, _)| place).collect();
    let (jobs, unended) = work.end(&places, receiver).await?;
    (round.history.jobs, round.history.told) = (jobs, receiver.take());
    round.verdict.violations.extend(unended);
    let end = last_look(world, &shared, settings.clients as u32, &mut round).await;
    goal.send_replace(Some(end));
    for watcher in watchers {
        let watched: Watched = watcher.await.map_err(|e| format!("a watcher panicked: {e}"))?;
        if watched.upto < end {
            round
                .verdict
                .violations
                .push(format!("a watch came to revision {} only, not to {end}", watched.upto));
        }
        round.history.watches.push(watched);
    }
    round.verdict.violations.extend(world.fallen());
    (round.snapshots, round.resumed) = world.snapshots();
    let judging = Instant::now();
    let (history, verdict) = tokio::task::spawn_blocking({
        let history = std::mem::take(&mut round.history);
        move || {
            let verdict = check(&history);
            (history, verdict)
        }
    })
    .await
    .map_err(|e| format!("a check panicked: {e}"))?;
    round.history = history;
    let before = std::mem::replace(&mut round.verdict, verdict);
    round.verdict.violations.splice(0..0, before.violations);
    round.judged = judging.elapsed();
    round.took = shared.started.elapsed();
    Ok(round)
}

async fn shared(world: &World, seed: u64) -> Result<Shared, String> {
    let prefix = format!("torture/{seed}-{:08x}", fastrand::u32(..));
    let nodes: Vec<_> = world.cluster.nodes.iter().map(|node| (node.name.clone(), node.http_url())).collect();
    let wire = Wire::new(&prefix);
    let oldest = until("the store names its revision", RECOVERY_MAX, || async {
        // Any member: the first node may be the one that waits.
        let mut said = Vec::new();
        for (_, url) in &nodes {
            match wire.send(url, MARKS, &Call::List, None).await {
                Outcome::Done(Answer::Listed { revision, .. }) => return Ok(revision),
                other => said.push(other),
            }
        }
        Err(format!("{said:?}"))
    });
    let oldest = oldest.await.map_err(|e| e.to_string())?;
    // What the rounds before have left: nobody asks for it any more, and a long run must not fill the disk.
    wire.compact(&nodes, oldest).await;
    Ok(Shared {
        wire,
        prefix,
        nodes,
        groups: GROUPS,
        started: Instant::now(),
        stop: AtomicBool::new(false),
        done: AtomicU64::new(0),
        newest: AtomicU64::new(oldest),
        oldest,
    })
}

fn watcher(shared: &Shared, from: u64, seed: u64) -> Watcher {
    let urls = shared.nodes.iter().map(|(_, url)| url.clone()).collect();
    Watcher { urls, prefix: shared.prefix.clone(), from, random: fastrand::Rng::with_seed(seed) }
}

/// A fault's place in the plan.
struct Planned {
    kind: Kind,
    begin: Duration,
    end: Duration,
}

fn plan(settings: &Settings, random: &mut fastrand::Rng) -> Vec<Planned> {
    if settings.faults.is_empty() {
        return Vec::new();
    }
    let count = random.usize(FAULTS);
    let mut planned: Vec<_> = (0..count)
        .map(|_| {
            let kind = settings.faults[random.usize(..settings.faults.len())];
            let lasts = Duration::from_millis(random.u64(FAULT_MS));
            let begin = Duration::from_millis(random.u64(500..(FAULTS_END - lasts).as_millis() as u64));
            Planned { kind, begin, end: begin + lasts }
        })
        .collect();
    planned.sort_by_key(|fault| fault.begin);
    planned
}

/// Begins and ends the faults of a plan; what goes on to its own end.
async fn play_faults(
    world: &mut World,
    settings: &Settings,
    shared: &Shared,
    random: &mut fastrand::Rng,
    round: &mut Round,
) -> Vec<(String, Background)> {
    let mut planned = plan(settings, random).into_iter().peekable();
    let mut active: Vec<(Duration, Fault)> = Vec::new();
    let mut unfinished = Vec::new();
    loop {
        let ending =
            active.iter().enumerate().min_by_key(|(_, (end, _))| *end).map(|(place, (end, _))| (place, *end));
        let beginning = planned.peek().map(|fault| fault.begin);
        match (beginning, ending) {
            (None, None) => break,
            (Some(begin), ending) if ending.is_none_or(|(_, end)| begin <= end) => {
                sleep_until(shared, begin).await;
                let Some(Planned { kind, end, .. }) = planned.next() else { break };
                if let Some(fault) = Fault::begin(kind, world, random).await {
                    *round.faults.entry(kind).or_default() += 1;
                    round.history.faults.push(note(shared, &fault.what));
                    active.push((end, fault));
                }
            }
            (_, Some((place, end))) => {
                sleep_until(shared, end).await;
                let (_, fault) = active.swap_remove(place);
                let what = fault.what.clone();
                round.history.faults.push(note(shared, &format!("end of {what}")));
                unfinished.extend(fault.end(world).map(|background| (what, background)));
            }
            (Some(_), None) => unreachable!("a fault begins when none is active"),
        }
    }
    unfinished
}

fn note(shared: &Shared, what: &str) -> Noted {
    Noted { at_us: shared.now_us(), what: what.to_owned() }
}

async fn sleep_until(shared: &Shared, at: Duration) {
    tokio::time::sleep_until((shared.started + at).into()).await;
}

/// A last write; then what every member shows of everything, linearizably and as it has it. The last write's revision.
async fn last_look(world: &World, shared: &Shared, client: u32, round: &mut Round) -> u64 {
    let members = world.members().await;
    let mark = mark(shared, members.first().map_or(0, |(place, _)| *place), client, round).await;
    for (place, _) in members {
        for group in 0..=MARKS {
            for call in [Call::List, Call::Stale] {
                let operation = shared.send(client, place, group, call.clone()).await;
                if !matches!(operation.outcome, Outcome::Done(_)) {
                    let Operation { node, outcome, .. } = &operation;
                    round
                        .verdict
                        .violations
                        .push(format!("{node} in peace does not answer {call:?}: {outcome:?}"));
                }
                round.history.operations.push(operation);
            }
        }
    }
    mark
}

/// Writes until a write is acknowledged; its revision.
async fn mark(shared: &Shared, place: usize, client: u32, round: &mut Round) -> u64 {
    let deadline = Instant::now() + RECOVERY_MAX;
    for value in u64::from(client + 1) * 1_000_000.. {
        let operation = shared.send(client, place, MARKS, Call::Put { key: 0, value }).await;
        let outcome = operation.outcome.clone();
        round.history.operations.push(operation);
        if let Outcome::Done(Answer::Written { revision }) = outcome {
            return revision;
        }
        if Instant::now() > deadline {
            round.verdict.violations.push(format!("in peace no write is acknowledged: {outcome:?}"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    shared.oldest
}
