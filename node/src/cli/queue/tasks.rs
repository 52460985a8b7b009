//! Looking at tasks, and ending one: `schedia queue get | list | cancel`.

use super::access::{Access, Query, part, print};
use super::{CliError, output, times};
use crate::cli::client::Output;
use clap::Args;
use schedia_api::{QueueState, QueueTask, QueueTasks};
use serde_json::json;
use std::time::Duration;

/// An error in a table is shown up to here.
const ERROR_CHARS_MAX: usize = 60;

/// What one request looks at, at most.
const PAGE: u64 = 1_000;

pub(super) const GET_EXAMPLES: &str = "\
Examples:
  schedia queue get $ID
  schedia queue get $ID --output json";

pub(super) const LIST_EXAMPLES: &str = "\
Examples:
  schedia queue list                                         tasks of all queues
  schedia queue list MAIL --state dead --older-than 1h       dead for an hour and longer
  schedia queue list MAIL --created-after 2026-11-23T10:00:00Z --limit 20
  schedia queue list --payloads --output json                one object per line";

pub(super) const CANCEL_EXAMPLES: &str = "\
Examples:
  schedia queue cancel $ID      a worker that has it learns so when it next speaks of it";

#[derive(Args)]
pub(in crate::cli) struct Get {
    /// The task's id
    id: String,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(in crate::cli) struct List {
    /// Only of this queue
    command: Option<String>,
    /// Only those there: ready, delayed, in-progress, dead, completed, failed or cancelled
    #[arg(long, value_name = "STATE")]
    state: Option<QueueState>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    access: Access,
}

/// Which tasks, but for queue and state, and how much of them.
#[derive(Args)]
pub(super) struct Filter {
    /// Only those created from this time on
    #[arg(long, value_name = "TIME")]
    created_after: Option<String>,
    /// Only those created before this time
    #[arg(long, value_name = "TIME")]
    created_before: Option<String>,
    /// Only those that ended from this time on
    #[arg(long, value_name = "TIME")]
    ended_after: Option<String>,
    /// Only those that ended before this time
    #[arg(long, value_name = "TIME")]
    ended_before: Option<String>,
    /// Only those older than this, 90s, 15m, 36h, 7d: with the state of one that has ended since its end, else since its creation
    #[arg(long, value_name = "TIME", value_parser = times::length)]
    older_than: Option<Duration>,
    /// Only those younger than this
    #[arg(long, value_name = "TIME", value_parser = times::length)]
    younger_than: Option<Duration>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// With what is to be done
    #[arg(long)]
    payloads: bool,
}

#[derive(Args)]
pub(in crate::cli) struct Cancel {
    /// The task's id
    id: String,
    #[command(flatten)]
    access: Access,
}

impl Get {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let answer = self.access.get(&format!("/v1/queue/tasks/{}", part(&self.id))).await?;
        match self.access.form() {
            Output::Json => print(&answer),
            Output::Table => output::raw(whole(answer.json()?).as_bytes()),
        }
    }
}

/// All that is known of a task, a line each.
fn whole(task: QueueTask) -> String {
    let attempts = format!("{} of {}", task.attempts, task.max_attempts);
    let always = [
        ("task", task.id),
        ("command", task.command),
        ("state", task.state.to_string()),
        ("priority", task.priority.to_string()),
        ("attempts", attempts),
        ("created", task.created_at),
    ];
    let json = |json: Option<Box<serde_json::value::RawValue>>| json.map(|json| json.get().to_owned());
    let artifacts = task.artifacts.iter().map(|artifact| format!("{} {}", artifact.name, artifact.url));
    let perhaps = [
        ("run at", task.run_at),
        ("worker", task.worker),
        ("lease until", task.lease_until),
        ("ended", task.ended_at),
        ("error", task.error),
        ("webhook", task.webhook),
        ("key", task.idempotency_key),
        ("payload", json(task.payload)),
        ("result", json(task.result)),
    ];
    let lines = always.into_iter().map(|(name, value)| (name, Some(value))).chain(perhaps);
    let lines = lines.chain(artifacts.map(|artifact| ("artifact", Some(artifact))));
    let line = |(name, value): (&str, Option<String>)| {
        value.map(|value| format!("{name:<12}  {}\n", output::readable(value.as_bytes(), usize::MAX / 8)))
    };
    lines.filter_map(line).collect()
}

impl List {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let List { command, state, filter, access } = self;
        filter.show(command.as_deref(), state, &access).await
    }
}

impl Filter {
    /// Prints tasks, page by page.
    pub(super) async fn show(
        self,
        command: Option<&str>,
        state: Option<QueueState>,
        access: &Access,
    ) -> Result<(), CliError> {
        let age = |age: Option<Duration>| age.map(|age| format!("{}s", age.as_secs()));
        let query = Query::default()
            .with("command", command)
            .with("state", state)
            .with("createdAfter", self.created_after)
            .with("createdBefore", self.created_before)
            .with("endedAfter", self.ended_after)
            .with("endedBefore", self.ended_before)
            .with("olderThan", age(self.older_than))
            .with("youngerThan", age(self.younger_than))
            .with("payloads", self.payloads.then_some(true));
        let (mut left, mut next, mut first) = (self.limit, None::<String>, true);
        loop {
            let page = query.clone().with("limit", left.map(|left| left.min(PAGE))).with("after", next);
            let page: QueueTasks = access.get(&page.after("/v1/queue/tasks")).await?.json()?;
            rows(&page.tasks, std::mem::take(&mut first), access.form())?;
            left = left.map(|left| left.saturating_sub(page.tasks.len() as u64));
            next = page.next;
            if next.is_none() || left == Some(0) {
                return Ok(());
            }
        }
    }
}

fn rows(tasks: &[QueueTask], first: bool, form: Output) -> Result<(), CliError> {
    if form == Output::Json {
        return tasks.iter().try_for_each(output::json);
    }
    let row = |task: &QueueTask| {
        let when = task.ended_at.as_ref().or(task.run_at.as_ref()).or(task.lease_until.as_ref());
        [
            task.id.clone(),
            task.command.clone(),
            task.state.to_string(),
            format!("{}/{}", task.attempts, task.max_attempts),
            task.created_at.clone(),
            when.cloned().unwrap_or_else(|| "-".to_owned()),
            output::readable(task.error.as_deref().unwrap_or_default().as_bytes(), ERROR_CHARS_MAX),
        ]
    };
    let rows: Vec<_> = tasks.iter().map(row).collect();
    let head = ["TASK", "COMMAND", "STATE", "TRY", "CREATED", "DUE OR ENDED", "ERROR"];
    if first { output::table(head, &rows) } else { output::rows(&rows) }
}

impl Cancel {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let path = format!("/v1/queue/tasks/{}/cancel", part(&self.id));
        let answer = self.access.post(&path, &json!({})).await?;
        match self.access.form() {
            Output::Json => print(&answer),
            Output::Table => output::line("cancelled"),
        }
    }
}
