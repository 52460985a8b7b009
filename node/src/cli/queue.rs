//! `schedia queue`: tasks as producers, workers and administrators see them.
//!
//! What codeQ's door does is asked there, the rest at the native routes (`/v1/queue`). A create has an idempotency key in any case, so
//! that it can be sent until its outcome is known; everything else is sent again only where it certainly was not applied, or where a
//! second time changes nothing.
//!
//! Invariant: a token is never printed, and is no part of an error.

mod access;
mod claim;
mod create;
mod dlq;
mod events;
mod lease;
mod queues;
mod requeue;
mod tasks;
mod times;
mod topics;
mod work;

use super::{CliError, confirm, output};
use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum Queue {
    /// Create a task
    #[command(after_help = create::EXAMPLES)]
    Create(create::Create),
    /// Take tasks that are ready, each under a lease
    #[command(after_help = claim::EXAMPLES)]
    Claim(claim::Claim),
    /// End a claimed task: done, or impossible
    #[command(after_help = lease::RESULT_EXAMPLES)]
    Result(lease::Finish),
    /// Say that a try failed: the task is tried again later, or is a dead letter
    #[command(after_help = lease::NACK_EXAMPLES)]
    Nack(lease::Nack),
    /// Give a claimed task back, as if it had not been claimed
    #[command(after_help = lease::ABANDON_EXAMPLES)]
    Abandon(lease::Abandon),
    /// Extend the lease of a claimed task
    #[command(after_help = lease::HEARTBEAT_EXAMPLES)]
    Heartbeat(lease::Heartbeat),
    /// Run a program for each task
    #[command(after_help = work::EXAMPLES)]
    Work(work::Work),
    /// Show one task, with its result
    #[command(after_help = tasks::GET_EXAMPLES)]
    Get(tasks::Get),
    /// Show tasks of one queue or of all
    #[command(after_help = tasks::LIST_EXAMPLES)]
    List(tasks::List),
    /// End a task that nobody wants any more
    #[command(after_help = tasks::CANCEL_EXAMPLES)]
    Cancel(tasks::Cancel),
    /// Show how many tasks are where
    #[command(after_help = queues::STATS_EXAMPLES)]
    Stats(queues::Stats),
    /// Let claims pass a queue over
    #[command(after_help = queues::PAUSE_EXAMPLES)]
    Pause(queues::Pause),
    /// Let claims take from a paused queue again
    #[command(after_help = queues::RESUME_EXAMPLES)]
    Resume(queues::Resume),
    /// Give tasks that are dead, failed, cancelled or delayed another try
    #[command(after_help = requeue::EXAMPLES)]
    Requeue(requeue::Requeue),
    /// Show what happens to tasks, as it happens
    #[command(after_help = events::EXAMPLES)]
    Events(events::Events),
    /// Show dead letters, give them another try, delete them
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    /// Show and change what holds for queues
    #[command(subcommand)]
    Topics(topics::Topics),
}

impl Queue {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let done = match self {
            Queue::Create(create) => create.run().await,
            Queue::Claim(claim) => claim.run().await,
            Queue::Result(finish) => finish.run().await,
            Queue::Nack(nack) => nack.run().await,
            Queue::Abandon(abandon) => abandon.run().await,
            Queue::Heartbeat(heartbeat) => heartbeat.run().await,
            Queue::Work(work) => work.run().await,
            Queue::Get(get) => get.run().await,
            Queue::List(list) => list.run().await,
            Queue::Cancel(cancel) => cancel.run().await,
            Queue::Stats(stats) => stats.run().await,
            Queue::Pause(pause) => pause.run().await,
            Queue::Resume(resume) => resume.run().await,
            Queue::Requeue(requeue) => requeue.run().await,
            Queue::Events(events) => events.run().await,
            Queue::Dlq(dlq) => dlq.run().await,
            Queue::Topics(topics) => topics.run().await,
        };
        done.map_err(|error| match error {
            CliError::Client(error) => CliError::Queue(error),
            error => error,
        })
    }
}
