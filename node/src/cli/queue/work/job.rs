//! One task: its program, its lease, and what is told of its end.

use super::nodes::{Told, is_lost};
use super::outcome::Outcome;
use super::program::Program;
use super::{Shared, outcome, say};
use crate::cli::CliError;
use crate::cli::queue::claim::Claimed;
use crate::cli::queue::lease::Ended;
use schedia_api::{ClientError, QueueState};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A heartbeat that nobody took is tried again after this.
const BEAT_AGAIN: Duration = Duration::from_millis(500);
/// The least that a heartbeat is waited for, even if the lease should be over by now: only the node knows.
const BEAT_MIN: Duration = Duration::from_secs(1);

/// A task that was claimed, and what is done about it.
pub(super) struct Job {
    shared: Arc<Shared>,
    task: Claimed,
    /// When the lease ends, as far as is known here.
    leased_until: Instant,
}

/// Why a program is not waited for any more.
enum Interrupted {
    /// Its lease is lost; how.
    Lost(ClientError),
    /// The worker ends.
    Ending,
}

impl Job {
    /// Of a task that was claimed just now.
    pub(super) fn new(shared: Arc<Shared>, task: Claimed) -> Job {
        let leased_until = Instant::now() + shared.lease;
        Job { shared, task, leased_until }
    }

    pub(super) async fn run(self) {
        let mut program = match Program::start(&self.shared.program, &self.task) {
            Ok(program) => program,
            Err(source) => {
                let what = self.shared.program.first().map(|name| name.to_string_lossy().into_owned());
                self.give_back().await;
                return self.shared.ending.fail(CliError::Io { what: what.unwrap_or_default(), source });
            }
        };
        let ended = tokio::select! {
            ended = program.ended() => Ok(ended),
            lost = self.keep() => Err(Interrupted::Lost(lost)),
            () = self.shared.ending.now.cancelled() => Err(Interrupted::Ending),
        };
        match ended {
            Ok(Ok(ended)) => self.tell(outcome::of(ended)).await,
            Ok(Err(error)) => self.tell(Outcome::Failed(format!("the program was lost: {error}"))).await,
            Err(Interrupted::Lost(error)) => {
                program.kill().await;
                self.lost(&error, "its program is killed");
            }
            Err(Interrupted::Ending) => {
                program.kill().await;
                self.give_back().await;
            }
        }
    }

    /// Extends the lease at each third of it; returns when it is lost.
    async fn keep(&self) -> ClientError {
        let lease = self.shared.lease;
        let (mut until, mut pause) = (self.leased_until, lease / 3);
        loop {
            sleep(pause).await;
            let sent = Instant::now();
            let left = until.saturating_duration_since(sent).max(BEAT_MIN);
            match self.shared.nodes.heartbeat(&self.task, left).await {
                Ok(()) => (until, pause) = (sent + lease, lease / 3),
                Err(error) if is_lost(&error) || Instant::now() >= until => return error,
                Err(_) => pause = BEAT_AGAIN,
            }
        }
    }

    /// Says what became of the task.
    async fn tell(&self, outcome: Outcome) {
        let lease_token = Some(self.task.lease_token.clone());
        let (word, state, body) = match outcome {
            Outcome::Done(result) => {
                let done = Ended { status: "COMPLETED", result: Some(result), error: None, lease_token };
                ("completed", QueueState::Completed, done)
            }
            Outcome::Impossible(reason) => {
                let failed = Ended { status: "FAILED", result: None, error: Some(reason), lease_token };
                ("failed", QueueState::Failed, failed)
            }
            Outcome::Failed(reason) => return self.tell_failed(&reason).await,
        };
        match self.say("result", &body).await {
            Told::Yes => self.shared.report(&self.task, word),
            // An answer that was lost on its way may have been the one that we wanted.
            Told::Lost(_) if self.shared.nodes.state(&self.task).await == Some(state) => {
                self.shared.report(&self.task, word);
            }
            Told::Lost(error) => self.lost(&error, "what its program came to is not kept"),
            Told::Refused(error) if is_of_the_worker(&error) => self.shared.ending.fail(error.into()),
            Told::Refused(error) => self.tell_failed(&format!("the result was refused: {error}")).await,
            Told::Nobody(error) => self.lost(&error, "nobody could be told what its program came to"),
        }
    }

    /// This try failed.
    async fn tell_failed(&self, reason: &str) {
        let body = json!({ "reason": reason, "leaseToken": self.task.lease_token });
        match self.say("nack", &body).await {
            Told::Yes => self.shared.report(&self.task, "retried"),
            Told::Lost(error) | Told::Nobody(error) => self.lost(&error, "it is tried again anyway"),
            Told::Refused(error) => self.shared.ending.fail(error.into()),
        }
    }

    /// As if it had not been claimed.
    async fn give_back(&self) {
        let body = json!({ "leaseToken": self.task.lease_token });
        match self.say("abandon", &body).await {
            Told::Yes => self.shared.report(&self.task, "abandoned"),
            Told::Lost(error) | Told::Nobody(error) | Told::Refused(error) => {
                self.lost(&error, "it comes back when its lease ends");
            }
        }
    }

    async fn say(&self, verb: &str, body: &impl Serialize) -> Told {
        self.shared.nodes.tell(&self.task, verb, body, &self.shared.ending.now).await
    }

    fn lost(&self, error: &ClientError, so: &str) {
        say(&format!("task {} is not this worker's any more, {so}: {error}", self.task.id));
        self.shared.report(&self.task, "lost");
    }
}

/// Whether it is the worker that may not, and not the task that is refused.
fn is_of_the_worker(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 401 | 403, .. })
}
