//! `schedia queue claim`, and a claimed task as codeQ's door tells it.

use super::access::{Access, encoded};
use super::{CliError, output, times};
use crate::cli::client::Output;
use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;

pub(super) const EXAMPLES: &str = "\
Exit status 1 if there is no task. A task comes with its lease token: give it back with whatever is said of the task.

Examples:
  schedia queue claim MAIL
  schedia queue claim URGENT MAIL --lease 5m --wait 30s         of the first that has a task
  schedia queue claim MAIL --count 10 --output json";

#[derive(Args)]
pub(in crate::cli) struct Claim {
    /// Take from these queues, in this order
    #[arg(required = true, value_name = "COMMAND")]
    commands: Vec<String>,
    /// For how long each task is leased; else as the node's settings say
    #[arg(long, value_name = "TIME", value_parser = times::some_length)]
    lease: Option<Duration>,
    /// How long to wait for a task, up to 30s
    #[arg(long, value_name = "TIME", value_parser = times::wait, default_value = "0s", conflicts_with = "count")]
    wait: Duration,
    /// How many tasks at most, up to 10; more than one is not waited for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=10))]
    count: Option<u8>,
    #[command(flatten)]
    access: Access,
}

/// What a claim asks for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    pub(super) commands: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_seconds: Option<u64>,
    pub(super) wait_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u8>,
}

/// A task that was claimed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Claimed {
    pub(super) id: String,
    pub(super) command: String,
    /// JSON text.
    pub(super) payload: String,
    pub(super) lease_token: String,
    pub(super) lease_until: String,
    pub(super) attempts: u32,
    #[serde(default)]
    pub(super) max_attempts: u32,
}

#[derive(Deserialize)]
struct Several {
    tasks: Vec<Box<RawValue>>,
}

impl Claim {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Claim { commands, lease, wait, count, access } = self;
        let nothing = format!("no task is ready: {}", commands.join(", "));
        let path = if count.is_some() { "/v1/codeq/tasks/claim/batch" } else { "/v1/codeq/tasks/claim" };
        let lease_seconds = lease.map(|lease| lease.as_secs());
        let asked = Asked { commands, lease_seconds, wait_seconds: wait.as_secs(), count };
        let transport = access.transport()?;
        let patient = transport.with_timeout(transport.timeout() + wait);
        let answer = patient.send(Method::POST, path, Some(encoded(&asked))).await?;
        let tasks = match (answer.body.is_empty(), count) {
            (true, _) => return Err(CliError::Failed(nothing)),
            (false, Some(_)) => answer.json::<Several>()?.tasks,
            (false, None) => vec![answer.json()?],
        };
        for task in tasks {
            match access.form() {
                Output::Json => output::json(&task)?,
                Output::Table => output::raw(text(&task)?.as_bytes())?,
            }
        }
        Ok(())
    }
}

fn text(task: &RawValue) -> Result<String, CliError> {
    let claimed: Claimed = serde_json::from_str(task.get())
        .map_err(|error| CliError::Failed(format!("the claimed task is not understood: {error}")))?;
    let Claimed { id, command, payload, lease_token, lease_until, attempts, max_attempts } = claimed;
    Ok(format!(
        "task          {id}\ncommand       {command}\nattempt       {attempts} of {max_attempts}\n\
         lease token   {lease_token}\nlease until   {lease_until}\npayload       {payload}\n"
    ))
}
