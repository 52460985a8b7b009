//! A run: rounds until the time is over, one line for each, and the sum of all.

use super::check::check;
use super::fault::Kind;
use super::history::{History, Outcome};
use super::keep::keep;
use super::round::{Round, Settings, play};
use super::tasks::Receiver;
use super::tasks::history::{Act, Job, JobOutcome, Told};
use super::world::World;
use crate::process::{TOKEN, auth_config};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::AddAssign;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a person asked for.
#[derive(Clone, Debug)]
pub struct Run {
    /// No round begins after that.
    pub lasts: Duration,
    /// At most so many rounds.
    pub rounds: u64,
    /// The seed of the first round; each further round has the next one.
    pub seed: u64,
    /// Members of the cluster.
    pub nodes: usize,
    /// Groups that queues are on.
    pub shards: u32,
    /// Whether leaders read by their lease.
    pub lease_reads: bool,
    /// What a round is made of.
    pub settings: Settings,
}

/// The sum of all rounds.
#[derive(Debug, Default)]
struct Sum {
    rounds: u64,
    counts: Counts,
    compared: usize,
    undecided: usize,
    snapshots: usize,
    resumed: usize,
    recovery_max: Duration,
    faults: BTreeMap<Kind, u64>,
}

/// Runs; an error is what went wrong, and where it is kept.
pub async fn run(run: &Run) -> Result<(), String> {
    let Run { lasts, rounds, seed, nodes, shards, lease_reads, settings } = run;
    let spare = settings.faults.contains(&Kind::Members);
    println!(
        "torture: seed {seed}, {nodes} nodes, {shards} shards{}, {} clients, {} producers and as many workers, faults: {}",
        if *lease_reads { " with lease reads" } else { "" },
        settings.clients,
        settings.workers,
        list(&settings.faults)
    );
    let begun = Instant::now();
    let clocks = settings.faults.iter().any(|kind| kind.is_of_a_clock());
    let auth = auth_file().map_err(|e| format!("the settings of tokens cannot be written: {e}"))?;
    let auth_path = auth.path().display().to_string();
    let receiver = Receiver::begin().await.map_err(|e| format!("webhooks cannot be received: {e}"))?;
    let mut arguments = vec!["--auth-config", &auth_path, "--queue-webhooks-local"];
    // What expired comes back while the round lasts.
    arguments.extend(["--queue-backoff-base-seconds", "1", "--queue-backoff-max-seconds", "2"]);
    arguments.extend(lease_reads.then_some("--lease-reads"));
    let mut world = World::new(*nodes, spare, clocks, *shards, &arguments).await?;
    let mut sum = Sum::default();
    while sum.rounds < *rounds && (sum.rounds == 0 || begun.elapsed() < *lasts) {
        let seed = seed + sum.rounds;
        let round = play(&mut world, settings, &receiver, seed)
            .await
            .map_err(|words| format!("round of seed {seed}: {words}"))?;
        println!("{}", line(&round));
        sum.add(&round);
        if !round.verdict.violations.is_empty() {
            let kept = keep(&world, &round).map_err(|e| format!("the round cannot be kept: {e}"))?;
            let history = kept.join("history.jsonl");
            return Err(format!(
                "{}\nseed {seed}, kept in {}\nlook again:  cargo torture --replay {}\nplay again:  cargo torture --rounds 1 --seed {seed} --nodes {nodes} --shards {shards} --lease-reads {lease_reads} --clients {} --workers {} --nemesis {}",
                round.verdict.words(),
                kept.display(),
                history.display(),
                settings.clients,
                settings.workers,
                list(&settings.faults),
            ));
        }
        world.cluster.nodes.iter().for_each(|node| node.forget_log());
    }
    println!("{}", sum.words(begun.elapsed()));
    Ok(())
}

/// Who may use the queue, for as long as the file is there.
fn auth_file() -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("schedia-torture-").suffix(".json").tempfile()?;
    file.write_all(auth_config(TOKEN).as_bytes())?;
    Ok(file)
}

/// Judges a kept history again.
pub fn replay(path: &Path) -> Result<(), String> {
    let history = History::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let verdict = check(&history);
    let counts = Counts::of(&history);
    println!(
        "seed {}: {} operations, {} changes watched, {} acts on tasks, {} compared, {} undecided",
        history.seed, counts.operations, counts.changes, counts.acts, verdict.compared, verdict.undecided
    );
    for group in &verdict.refused_groups {
        let page = path.with_file_name(format!("group-{group}.html"));
        super::check::visualize(&history, *group, &page).map_err(|e| format!("{}: {e}", page.display()))?;
        println!("group {group}: {}", page.display());
    }
    if verdict.violations.is_empty() { Ok(()) } else { Err(verdict.words()) }
}

/// What histories hold.
#[derive(Debug, Default)]
struct Counts {
    operations: usize,
    done: usize,
    refused: usize,
    unknown: usize,
    copies: usize,
    changes: usize,
    connections: u64,
    acts: usize,
    created: usize,
    claimed: usize,
    ended: usize,
    told: usize,
}

impl Counts {
    fn of(history: &History) -> Counts {
        let count = |is: fn(&Outcome) -> bool| {
            history.operations.iter().filter(|operation| is(&operation.outcome)).count()
        };
        let tasks: BTreeSet<_> = history.jobs.iter().map(created).collect();
        Counts {
            operations: history.operations.len(),
            done: count(|outcome| matches!(outcome, Outcome::Done(_))),
            refused: count(|outcome| matches!(outcome, Outcome::NotApplied(_))),
            unknown: count(|outcome| matches!(outcome, Outcome::Unknown(_))),
            copies: history.operations.iter().map(|operation| operation.copies as usize - 1).sum(),
            changes: history.watches.iter().map(|watched| watched.events.len()).sum(),
            connections: history.watches.iter().map(|watched| watched.connections).sum(),
            acts: history.jobs.len(),
            created: tasks.iter().filter(|task| task.is_some()).count(),
            claimed: history.jobs.iter().map(claims).sum(),
            ended: history.jobs.iter().filter(|job| is_end(job)).count(),
            told: history.told.values().map(Vec::len).sum(),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        let Counts {
            operations,
            done,
            refused,
            unknown,
            copies,
            changes,
            connections,
            acts,
            created,
            claimed,
            ended,
            told,
        } = more;
        self.operations += operations;
        self.done += done;
        self.refused += refused;
        self.unknown += unknown;
        self.copies += copies;
        self.changes += changes;
        self.connections += connections;
        self.acts += acts;
        self.created += created;
        self.claimed += claimed;
        self.ended += ended;
        self.told += told;
    }
}

/// The task that an act has created, or was told of again.
fn created(job: &Job) -> Option<&str> {
    match &job.outcome {
        JobOutcome::Done(Told::Created { task }) => Some(task),
        _ => None,
    }
}

/// How many tasks were leased.
fn claims(job: &Job) -> usize {
    match &job.outcome {
        JobOutcome::Done(Told::Claimed(held)) => held.len(),
        _ => 0,
    }
}

/// Whether a worker was told that a task has ended.
fn is_end(job: &Job) -> bool {
    matches!(job.act, Act::Finish { .. }) && matches!(job.outcome, JobOutcome::Done(_))
}

/// One line of a round.
fn line(round: &Round) -> String {
    let Counts {
        operations,
        done,
        refused,
        unknown,
        copies,
        changes,
        connections,
        acts: _,
        created,
        claimed,
        ended,
        told,
    } = Counts::of(&round.history);
    let faults: Vec<_> = round.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let undecided = match round.verdict.undecided {
        0 => String::new(),
        groups => format!(", {groups} groups undecided"),
    };
    format!(
        "seed {}: {operations} operations ({done} done, {refused} refused, {unknown} unknown, {copies} copies), {changes} changes over {connections} watches; {created} tasks ({claimed} claims, {ended} ended, {told} told); faults: {}; {} snapshots received, {} resumed, recovered in {:.1} s; {} checks{undecided} in {:.1} s, {} violations; {:.0} s",
        round.history.seed,
        if faults.is_empty() { "none".to_owned() } else { faults.join(", ") },
        round.snapshots,
        round.resumed,
        round.recovery.as_secs_f64(),
        round.verdict.compared,
        round.judged.as_secs_f64(),
        round.verdict.violations.len(),
        round.took.as_secs_f64(),
    )
}

impl Sum {
    fn add(&mut self, round: &Round) {
        self.rounds += 1;
        self.counts += Counts::of(&round.history);
        self.compared += round.verdict.compared;
        self.undecided += round.verdict.undecided;
        self.snapshots += round.snapshots;
        self.resumed += round.resumed;
        self.recovery_max = self.recovery_max.max(round.recovery);
        for (kind, count) in &round.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
    }

    fn words(&self, took: Duration) -> String {
        let Sum { rounds, counts, compared, undecided, snapshots, resumed, .. } = self;
        let Counts {
            operations,
            done,
            refused,
            unknown,
            copies,
            changes,
            connections,
            acts,
            created,
            claimed,
            ended,
            told,
        } = counts;
        let faults: Vec<_> =
            self.faults.iter().map(|(kind, count)| format!("  {kind:<16} {count}")).collect();
        format!(
            "{rounds} rounds in {} s: {operations} operations ({done} done, {refused} refused as not applied, {unknown} unknown, {copies} copies under a key), \
             {changes} changes over {connections} watches, {created} tasks created, {claimed} claims of them, {ended} ended by a worker, {told} webhooks, {acts} acts on tasks, {compared} checks, {undecided} groups undecided, {snapshots} snapshots received, {resumed} of them resumed, slowest recovery {:.1} s, no violation\n{}",
            took.as_secs(),
            self.recovery_max.as_secs_f64(),
            faults.join("\n"),
        )
    }
}

fn list(faults: &[Kind]) -> String {
    match faults {
        [] => "none".to_owned(),
        faults => faults.iter().map(Kind::to_string).collect::<Vec<_>>().join(","),
    }
}
