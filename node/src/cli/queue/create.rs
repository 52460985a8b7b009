//! `schedia queue create`.

use super::access::{Access, Given, json_argument, print};
use super::{CliError, output, times};
use crate::cli::client::Output;
use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;

pub(super) const EXAMPLES: &str = "\
Prints the task's id. Whatever happens on the way, one task is created: the task has an idempotency key, one of its own if
none is given.

Examples:
  schedia queue create MAIL '{\"to\":\"ann\"}'
  schedia queue create MAIL @mail.json --priority 5 --max-attempts 3
  date +'\"%F\"' | schedia queue create REPORT - --delay 15m
  schedia queue create MAIL '{}' --idempotency-key order-17     the same task, however often it is given";

#[derive(Args)]
pub(in crate::cli) struct Create {
    /// What is to be done: names the queue
    command: String,
    /// JSON for whoever does it; @FILE reads a file, `-` standard input
    payload: Given,
    /// 0 to 9; 9 is claimed first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// How many claims may fail
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// Not before this time from now has passed: 90s, 15m, 36h, 7d
    #[arg(long, value_name = "TIME", value_parser = times::length, conflicts_with = "run_at")]
    delay: Option<Duration>,
    /// Not before this time: 2026-11-23T10:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Called with the result
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Under a key that is known already nothing is created, and the first task is shown
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    command: String,
    payload: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
    idempotency_key: String,
}

#[derive(Deserialize)]
struct Created {
    id: String,
}

impl Create {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let Create {
            command,
            payload,
            priority,
            max_attempts,
            delay,
            run_at,
            webhook,
            idempotency_key,
            access,
        } = self;
        let body = Body {
            command,
            payload: json_argument("payload", &payload)?,
            priority,
            max_attempts,
            delay_seconds: delay.map(|delay| delay.as_secs()),
            run_at,
            webhook,
            idempotency_key: idempotency_key.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        };
        let answer = access.write(Method::POST, "/v1/codeq/tasks", &body).await?;
        match access.form() {
            Output::Table => output::line(&answer.json::<Created>()?.id),
            Output::Json => print(&answer),
        }
    }
}
