//! Another try for many tasks: `schedia queue requeue`, and `schedia queue dlq replay`.

use super::access::{Access, part};
use super::queues::queue;
use super::{CliError, output};
use crate::cli::client::Output;
use clap::Args;
use schedia_api::{QueueRequeue, QueueRequeued, QueueState};
use serde_json::json;

pub(super) const EXAMPLES: &str = "\
What has ended begins anew, with no failed tries; what is delayed becomes ready.

Examples:
  schedia queue requeue MAIL --from failed
  schedia queue requeue MAIL --from dead --limit 10
  schedia queue requeue MAIL --from cancelled --id $ID --id $OTHER
  schedia queue requeue MAIL --from dead --run-at 2026-11-23T22:00:00Z";

/// The most tasks of one request.
const STEP: u64 = 1_000;

#[derive(Args)]
pub(in crate::cli) struct Requeue {
    /// Where they are: dead, failed, cancelled or delayed
    #[arg(long, value_name = "STATE")]
    from: QueueState,
    #[command(flatten)]
    again: Again,
}

/// Which tasks of a queue have another try, and when.
#[derive(Args)]
pub(super) struct Again {
    /// Names the queue
    command: String,
    /// Only this task; may be given many times
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Not before this time: 2026-11-23T10:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// At most this many, the oldest first; without it all there are now
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    access: Access,
}

impl Requeue {
    pub(super) async fn run(self) -> Result<(), CliError> {
        self.again.run(self.from).await
    }
}

impl Again {
    pub(super) async fn run(self, from: QueueState) -> Result<(), CliError> {
        let Again { command, ids, run_at, limit, access } = self;
        // Tasks that end again meanwhile are not moved a second time: it would never end.
        let counts = queue(&access, &command).await?.counts;
        let there = match from {
            QueueState::Dead => counts.dead,
            QueueState::Failed => counts.failed,
            QueueState::Cancelled => counts.cancelled,
            QueueState::Delayed => counts.delayed,
            // What cannot be moved is refused by the node, in its words.
            QueueState::Ready | QueueState::InProgress | QueueState::Completed => 1,
        };
        let mut left = limit.unwrap_or(u64::MAX).min(there);
        let path = format!("/v1/queue/queues/{}/requeue", part(&command));
        let ids = Some(ids).filter(|ids| !ids.is_empty());
        let (mut requeued, mut more) = (0, false);
        while left > 0 {
            let limit = Some(left.min(STEP) as u32);
            let body = QueueRequeue { from, ids: ids.clone(), run_at: run_at.clone(), limit };
            let step: QueueRequeued = access.post(&path, &body).await?.json()?;
            requeued += u64::from(step.requeued);
            left = left.saturating_sub(step.requeued.into());
            more = step.more;
            if !more || step.requeued == 0 {
                break;
            }
        }
        match access.form() {
            Output::Json => output::json(&json!({ "requeued": requeued, "more": more })),
            Output::Table => output::line(&format!(
                "requeued {requeued}{}",
                if more { ", and there are more" } else { "" }
            )),
        }
    }
}
