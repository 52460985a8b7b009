//! Queues: `schedia queue stats | pause | resume`.

use super::access::{Access, Query, part, print};
use super::{CliError, output};
use crate::cli::client::Output;
use clap::Args;
use reqwest::Method;
use schedia_api::{QueueInfo, QueuePage, QueuePaused};
use serde_json::json;

pub(super) const STATS_EXAMPLES: &str = "\
Examples:
  schedia queue stats                    all queues of the tenant
  schedia queue stats MAIL --output json with totals, and the bounds of its topic";

pub(super) const PAUSE_EXAMPLES: &str = "\
Examples:
  schedia queue pause MAIL               its tasks stay, and more can be created";

pub(super) const RESUME_EXAMPLES: &str = "\
Examples:
  schedia queue resume MAIL";

#[derive(Args)]
pub(in crate::cli) struct Stats {
    /// Only of this queue
    command: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(in crate::cli) struct Pause {
    /// Names the queue
    command: String,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(in crate::cli) struct Resume {
    /// Names the queue
    command: String,
    #[command(flatten)]
    access: Access,
}

/// One queue.
pub(super) async fn queue(access: &Access, command: &str) -> Result<QueueInfo, CliError> {
    Ok(access.get(&format!("/v1/queue/queues/{}", part(command))).await?.json()?)
}

impl Stats {
    pub(super) async fn run(self) -> Result<(), CliError> {
        if let Some(command) = &self.command {
            return rows(&[queue(&self.access, command).await?], true, self.access.form());
        }
        let (mut next, mut first) = (None::<String>, true);
        loop {
            let path = Query::default().with("after", next).after("/v1/queue/queues");
            let page: QueuePage = self.access.get(&path).await?.json()?;
            rows(&page.queues, std::mem::take(&mut first), self.access.form())?;
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }
}

fn rows(queues: &[QueueInfo], first: bool, form: Output) -> Result<(), CliError> {
    if form == Output::Json {
        return queues.iter().try_for_each(output::json);
    }
    let row = |queue: &QueueInfo| {
        let counts = &queue.counts;
        let numbers = [
            counts.ready,
            counts.delayed,
            counts.in_progress,
            counts.dead,
            counts.completed,
            counts.failed,
            counts.cancelled,
        ];
        let [ready, delayed, in_progress, dead, completed, failed, cancelled] =
            numbers.map(|n| n.to_string());
        let oldest = queue.oldest_ready_seconds.map_or("-".to_owned(), |seconds| format!("{seconds}s"));
        let paused = if queue.paused { "paused" } else { "-" }.to_owned();
        [
            queue.command.clone(),
            ready,
            oldest,
            delayed,
            in_progress,
            dead,
            completed,
            failed,
            cancelled,
            paused,
        ]
    };
    let rows: Vec<_> = queues.iter().map(row).collect();
    let head = [
        "COMMAND",
        "READY",
        "OLDEST",
        "DELAYED",
        "IN PROGRESS",
        "DEAD",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "PAUSED",
    ];
    if first { output::table(head, &rows) } else { output::rows(&rows) }
}

impl Pause {
    pub(super) async fn run(self) -> Result<(), CliError> {
        set(&self.access, &self.command, "pause").await
    }
}

impl Resume {
    pub(super) async fn run(self) -> Result<(), CliError> {
        set(&self.access, &self.command, "resume").await
    }
}

async fn set(access: &Access, command: &str, verb: &str) -> Result<(), CliError> {
    let path = format!("/v1/queue/queues/{}/{verb}", part(command));
    // Twice is as good as once.
    let answer = access.write(Method::POST, &path, &json!({})).await?;
    let QueuePaused { command, paused, changed } = answer.json()?;
    match access.form() {
        Output::Json => print(&answer),
        Output::Table => {
            let state = if paused { "paused" } else { "not paused" };
            let before = if changed { "" } else { ", as it was before" };
            output::line(&format!("{command} is {state}{before}"))
        }
    }
}
