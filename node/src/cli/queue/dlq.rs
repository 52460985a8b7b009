//! Dead letters: `schedia queue dlq list | replay | purge`.

use super::access::{Access, part};
use super::queues::queue;
use super::requeue::Again;
use super::tasks::Filter;
use super::{CliError, confirm, output, times};
use crate::cli::client::Output;
use clap::{Args, Subcommand};
use schedia_api::{QueuePurge, QueuePurged, QueueState};
use serde_json::json;
use std::time::Duration;

#[derive(Subcommand)]
pub(in crate::cli) enum Dlq {
    /// Show dead letters of one queue or of all, the oldest first
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Give dead letters another try, as if they were new
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(Replay),
    /// Delete dead letters for good
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(Purge),
}

const LIST_EXAMPLES: &str = "\
Examples:
  schedia queue dlq list MAIL
  schedia queue dlq list MAIL --older-than 1h --payloads --output json";

const REPLAY_EXAMPLES: &str = "\
Examples:
  schedia queue dlq replay MAIL
  schedia queue dlq replay MAIL --id $ID
  schedia queue dlq replay MAIL --limit 10";

const PURGE_EXAMPLES: &str = "\
Examples:
  schedia queue dlq purge MAIL                     asks first, and says how many
  schedia queue dlq purge MAIL --older-than 7d --yes";

#[derive(Args)]
pub(in crate::cli) struct List {
    /// Only of this queue
    command: Option<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(in crate::cli) struct Replay {
    #[command(flatten)]
    again: Again,
}

#[derive(Args)]
pub(in crate::cli) struct Purge {
    /// Names the queue
    command: String,
    /// Only those that have been dead for longer: 90s, 15m, 36h, 7d
    #[arg(long, value_name = "TIME", value_parser = times::length, conflicts_with = "ended_before")]
    older_than: Option<Duration>,
    /// Only those that died before this time: 2026-11-23T10:00:00Z
    #[arg(long, value_name = "TIME")]
    ended_before: Option<String>,
    /// Delete without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    access: Access,
}

impl Dlq {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Dlq::List(List { command, filter, access }) => {
                filter.show(command.as_deref(), Some(QueueState::Dead), &access).await
            }
            Dlq::Replay(Replay { again }) => again.run(QueueState::Dead).await,
            Dlq::Purge(purge) => purge.run().await,
        }
    }
}

impl Purge {
    async fn run(self) -> Result<(), CliError> {
        let Purge { command, older_than, ended_before, yes, access } = self;
        if !yes {
            let dead = queue(&access, &command).await?.counts.dead;
            let all = older_than.is_none() && ended_before.is_none();
            let what = confirm::counted(dead, "dead letter");
            confirm::deletion(&if all { what } else { format!("the old ones of {what}") })?;
        }
        let path = format!("/v1/queue/queues/{}/purge", part(&command));
        let older_than = older_than.map(|age| format!("{}s", age.as_secs()));
        let (mut removed, mut after) = (0, None);
        loop {
            let body = QueuePurge {
                place: QueueState::Dead,
                ended_before: ended_before.clone(),
                older_than: older_than.clone(),
                limit: None,
                after,
            };
            let step: QueuePurged = access.post(&path, &body).await?.json()?;
            removed += u64::from(step.removed);
            after = step.next;
            if after.is_none() {
                break;
            }
        }
        match access.form() {
            Output::Json => output::json(&json!({ "removed": removed })),
            Output::Table => output::line(&format!("deleted {removed}")),
        }
    }
}
