//! What a worker says of a task that it has claimed: `schedia queue result | nack | abandon | heartbeat`.

use super::access::{Access, Given, json_argument, part, print};
use super::{CliError, output, times};
use crate::cli::client::Output;
use clap::Args;
use reqwest::Method;
use schedia_api::Answer;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::time::Duration;

pub(super) const RESULT_EXAMPLES: &str = "\
Examples:
  schedia queue result $ID '{\"ok\":true}' --lease-token $TOKEN
  schedia queue result $ID @report.json --lease-token $TOKEN
  schedia queue result $ID --failed 'no such address' --lease-token $TOKEN";

pub(super) const NACK_EXAMPLES: &str = "\
Examples:
  schedia queue nack $ID --reason 'the mail server is away' --lease-token $TOKEN
  schedia queue nack $ID --delay 15m";

pub(super) const ABANDON_EXAMPLES: &str = "\
Examples:
  schedia queue abandon $ID --lease-token $TOKEN      ready again in its old place; no try is counted";

pub(super) const HEARTBEAT_EXAMPLES: &str = "\
Examples:
  schedia queue heartbeat $ID --extend 5m --lease-token $TOKEN      the lease ends 5 minutes from now";

/// Which task, by which lease.
#[derive(Args)]
struct OfLease {
    /// The task's id
    id: String,
    /// That of the claim: then only this lease is believed. Without it any lease of this worker is
    #[arg(long, value_name = "TOKEN")]
    lease_token: Option<String>,
}

impl OfLease {
    fn path(&self, verb: &str) -> String {
        format!("/v1/codeq/tasks/{}/{verb}", part(&self.id))
    }

    fn body(&self, mut body: serde_json::Value) -> serde_json::Value {
        if let Some(token) = &self.lease_token {
            body["leaseToken"] = token.as_str().into();
        }
        body
    }
}

#[derive(Args)]
pub(in crate::cli) struct Finish {
    #[command(flatten)]
    of: OfLease,
    /// What came of it, a JSON object; @FILE reads a file, `-` standard input
    #[arg(required_unless_present = "failed")]
    result: Option<Given>,
    /// It cannot be done, and is not tried again; why
    #[arg(long, value_name = "REASON")]
    failed: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(in crate::cli) struct Nack {
    #[command(flatten)]
    of: OfLease,
    /// What went wrong: the error of the task, should it be a dead letter now
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// When to try again; else as the node's settings say
    #[arg(long, value_name = "TIME", value_parser = times::some_length)]
    delay: Option<Duration>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(in crate::cli) struct Abandon {
    #[command(flatten)]
    of: OfLease,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(in crate::cli) struct Heartbeat {
    #[command(flatten)]
    of: OfLease,
    /// The lease ends so long from now; else as the node's settings say
    #[arg(long, value_name = "TIME", value_parser = times::some_length)]
    extend: Option<Duration>,
    #[command(flatten)]
    access: Access,
}

/// How a task ends. A result is sent byte by byte as it was given.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ended {
    /// `COMPLETED` or `FAILED`.
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_token: Option<String>,
}

impl Finish {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Finish { of, result, failed, access } = self;
        let status = if failed.is_some() { "FAILED" } else { "COMPLETED" };
        let result = result.map(|result| json_argument("result", &result)).transpose()?;
        let body = Ended { status, result, error: failed, lease_token: of.lease_token.clone() };
        let answer = access.post(&of.path("result"), &body).await?;
        said(&access, &answer, status.to_lowercase())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Nacked {
    status: String,
    delay_seconds: u64,
}

impl Nack {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Nack { of, reason, delay, access } = self;
        let delay_s = delay.map_or(0, |delay| delay.as_secs());
        let body = of.body(json!({ "reason": reason, "delaySeconds": delay_s }));
        let answer = access.post(&of.path("nack"), &body).await?;
        let Nacked { status, delay_seconds } = answer.json()?;
        let text = match status.as_str() {
            "dlq" => "dead: no try is left".to_owned(),
            _ => format!("tried again in {delay_seconds} s"),
        };
        said(&access, &answer, text)
    }
}

impl Abandon {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let answer = self.access.post(&self.of.path("abandon"), &self.of.body(json!({}))).await?;
        said(&self.access, &answer, "given back".to_owned())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extended {
    lease_until: String,
}

impl Heartbeat {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Heartbeat { of, extend, access } = self;
        let extend_s = extend.map_or(0, |extend| extend.as_secs());
        let body = of.body(json!({ "extendSeconds": extend_s }));
        // Twice is as good as once.
        let answer = access.write(Method::POST, &of.path("heartbeat"), &body).await?;
        let Extended { lease_until } = answer.json()?;
        said(&access, &answer, format!("leased until {lease_until}"))
    }
}

fn said(access: &Access, answer: &Answer, text: String) -> Result<(), CliError> {
    match access.form() {
        Output::Table => output::line(&text),
        Output::Json => print(answer),
    }
}
