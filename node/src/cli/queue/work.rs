//! `schedia queue work`: a program is run for each task.
//!
//! # The life of a task here
//! 1. `Nodes::claim` waits for one on the first node that answers, while there is room for another program.
//! 2. `Program::start` runs the program with the payload on its standard input; `Job::keep` extends the lease at each third of it.
//! 3. The program ends: `outcome::of` makes of it a result, a failure for good, or a failed try, and `Nodes::tell` says so.
//! 4. Or the lease is lost: the program is killed, since somebody else may have the task by now.
//! 5. Told to end (SIGTERM, SIGINT) the worker claims no more, and gives what runs `--grace` to end; then it kills it and gives the
//!    tasks back.
//!
//! Invariants:
//! * No program runs on once its lease is known to be lost, or could not be extended in its time.
//! * What a program writes is kept up to a bound; the rest is read and thrown away, so that it never waits for us.
//! * A node that is away is no reason to end: the next one is asked, with pauses that grow up to a bound.
//!
//! A worker that is itself killed leaves its programs running: their tasks come back when the leases end, and may be done twice.

mod job;
mod nodes;
mod outcome;
mod program;

use super::access::Access;
use super::{CliError, output, times};
use crate::cli::client::Output;
use clap::Args;
use job::Job;
use nodes::Nodes;
use serde_json::json;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(super) const EXAMPLES: &str = "\
The program has the payload on its standard input, and SCHEDIA_TASK_ID, SCHEDIA_TASK_COMMAND and SCHEDIA_TASK_ATTEMPT in its
environment. Its exit status says what came of the task:
  0      done; the result is the JSON object on its standard output, or {\"stdout\": what is there}
  65     it cannot be done, and is not tried again; the last line of standard error says why
  other  this try failed; the task is tried again later, or is a dead letter

Its lease is extended while it runs. If it is lost, the program is killed. SIGTERM: no more tasks are taken, and what runs has
--grace to end; the second one does not wait.

Examples:
  schedia queue work --command MAIL -- ./send-mail --quiet
  schedia queue work --command URGENT --command MAIL --parallel 4 --lease 5m -- sh -c 'jq -r .to | xargs ./send'";

/// How soon a node that has no task is asked again, however short it is asked to wait.
const ASK_EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(in crate::cli) struct Work {
    /// Take tasks of this queue; may be given several times, the first ones go first
    #[arg(long = "command", value_name = "COMMAND", required = true)]
    commands: Vec<String>,
    /// How many programs run at a time
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// For how long a task is leased each time: so long it stays away if this machine dies
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = times::lease)]
    lease: Duration,
    /// How long one question for a task waits at the node
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = times::wait)]
    wait: Duration,
    /// How long programs may take to end once the worker is told to
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = times::length)]
    grace: Duration,
    #[command(flatten)]
    access: Access,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

/// What all tasks of a worker share.
struct Shared {
    nodes: Nodes,
    lease: Duration,
    program: Vec<OsString>,
    form: Output,
    ending: Ending,
}

/// How a worker comes to its end.
#[derive(Default)]
struct Ending {
    /// No more tasks are taken.
    stop: CancellationToken,
    /// What runs is not waited for.
    now: CancellationToken,
    /// Why nothing can be done here. std Mutex: never held across an await.
    failure: Mutex<Option<CliError>>,
}

impl Ending {
    /// Nothing can be done here: takes no more tasks.
    fn fail(&self, error: CliError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop.cancel();
    }
}

impl Work {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Work { commands, parallel, lease, wait, grace, access, program } = self;
        let nodes = Nodes::new(access.transport()?, commands, lease, wait);
        let ending = Ending::default();
        let shared = Arc::new(Shared { nodes, lease, program, form: access.form(), ending });
        let mut jobs = JoinSet::new();
        tokio::spawn(listen(
            shared.clone(),
            handler(SignalKind::terminate())?,
            handler(SignalKind::interrupt())?,
        ));
        take(&shared, usize::from(parallel), &mut jobs).await;
        finish(&shared, grace, &mut jobs).await;
        match shared.ending.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn handler(kind: SignalKind) -> Result<Signal, CliError> {
    signal(kind).map_err(|source| CliError::Io { what: "listening for signals".to_owned(), source })
}

/// The first signal stops taking tasks, the second one does not wait for what runs.
async fn listen(shared: Arc<Shared>, mut terminate: Signal, mut interrupt: Signal) {
    for token in [&shared.ending.stop, &shared.ending.now] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
    }
}

/// Takes tasks until told to stop.
async fn take(shared: &Arc<Shared>, parallel: usize, jobs: &mut JoinSet<()>) {
    let (slots, stop) = (Arc::new(Semaphore::new(parallel)), shared.ending.stop.clone());
    while let Some(slot) = stop.run_until_cancelled(slots.clone().acquire_owned()).await {
        while jobs.try_join_next().is_some() {}
        let again = Instant::now() + ASK_EVERY;
        // Dropped when told to stop: a task that is given to us in that very moment comes back when its lease ends.
        match stop.run_until_cancelled(shared.nodes.claim()).await {
            Some(Ok(Some(task))) => {
                let job = Job::new(shared.clone(), task);
                jobs.spawn(async move {
                    job.run().await;
                    drop(slot);
                });
            }
            Some(Ok(None)) => _ = stop.run_until_cancelled(sleep_until(again)).await,
            Some(Err(error)) => shared.ending.fail(error),
            None => return,
        }
    }
}

/// Lets what runs end; what does not in time is killed, and its task given back.
async fn finish(shared: &Shared, grace: Duration, jobs: &mut JoinSet<()>) {
    if jobs.is_empty() {
        return;
    }
    let all = async { while jobs.join_next().await.is_some() {} };
    let waited = tokio::time::timeout(grace, shared.ending.now.run_until_cancelled(all)).await;
    if !matches!(waited, Ok(Some(()))) {
        shared.ending.now.cancel();
        while jobs.join_next().await.is_some() {}
    }
}

impl Shared {
    /// What became of a task, on standard output. Whoever reads it may have gone.
    fn report(&self, task: &super::claim::Claimed, outcome: &str) {
        let super::claim::Claimed { id, command, attempts, .. } = task;
        let _ = match self.form {
            Output::Table => output::line(&format!("{outcome} {id} {command} {attempts}")),
            Output::Json => output::json(
                &json!({ "outcome": outcome, "id": id, "command": command, "attempt": attempts }),
            ),
        };
    }
}

/// Something for the person who started the worker. The last resort of words: that it cannot be written changes nothing.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "schedia: {text}");
}
