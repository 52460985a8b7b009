//! Topics: `schedia queue topics list | get | put | delete`.

use super::access::{Access, Query, part, print};
use super::{CliError, output, times};
use crate::cli::client::Output;
use clap::{Args, Subcommand};
use reqwest::Method;
use schedia_api::{QueuePolicy, QueueTopic, QueueTopics};
use serde_json::json;
use std::time::Duration;

#[derive(Subcommand)]
pub(in crate::cli) enum Topics {
    /// Show all topics of the tenant
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Show one topic
    #[command(after_help = GET_EXAMPLES)]
    Get(Get),
    /// Write a topic: what holds for the queue of its name
    #[command(after_help = PUT_EXAMPLES)]
    Put(Put),
    /// Delete a topic; its queue stays
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(Delete),
}

const LIST_EXAMPLES: &str = "\
Examples:
  schedia queue topics list
  schedia queue topics list --output json      one object per line";

const GET_EXAMPLES: &str = "\
Examples:
  schedia queue topics get process-order";

const PUT_EXAMPLES: &str = "\
The name is that of the command in lower case, with _ . : and blanks as -: process-order is the topic of PROCESS_ORDER.

Examples:
  schedia queue topics put process-order --max-attempts 3
  schedia queue topics put process-order --max-attempts 3 --retention 7d --max-consumers 10";

const DELETE_EXAMPLES: &str = "\
Examples:
  schedia queue topics delete process-order";

#[derive(Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(in crate::cli) struct Get {
    /// Its name
    name: String,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(in crate::cli) struct Put {
    /// Its name
    name: String,
    /// How many claims of a task may fail at most
    #[arg(long, value_name = "N")]
    max_attempts: u32,
    /// How long tasks are kept after their end; else as the node's settings say
    #[arg(long, value_name = "TIME", value_parser = times::some_length)]
    retention: Option<Duration>,
    /// How many tasks may be in progress at a time; else any number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_consumers: Option<u32>,
    /// Kept and told, changes nothing
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "0")]
    priority_tiers: Vec<i64>,
    /// Kept and told, changes nothing; else the name with -dlq
    #[arg(long, value_name = "NAME")]
    dead_letter_topic: Option<String>,
    #[command(flatten)]
    access: Access,
}

#[derive(Args)]
pub(in crate::cli) struct Delete {
    /// Its name
    name: String,
    #[command(flatten)]
    access: Access,
}

fn path(name: &str) -> String {
    format!("/v1/codeq/admin/topics/{}", part(name))
}

impl Topics {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Topics::List(list) => list.run().await,
            Topics::Get(Get { name, access }) => {
                let answer = access.get(&path(&name)).await?;
                match access.form() {
                    Output::Json => print(&answer),
                    Output::Table => rows(&[answer.json()?], true, Output::Table),
                }
            }
            Topics::Put(put) => put.run().await,
            Topics::Delete(Delete { name, access }) => {
                let path = format!("{}?deletionPolicy=Delete", path(&name));
                access.write(Method::DELETE, &path, &json!({})).await?;
                match access.form() {
                    Output::Json => output::json(&json!({ "topicName": name, "deleted": true })),
                    Output::Table => output::line(&format!("there is no topic {name}")),
                }
            }
        }
    }
}

impl List {
    async fn run(self) -> Result<(), CliError> {
        let (mut next, mut first) = (None::<String>, true);
        loop {
            let path = Query::default().with("after", next).after("/v1/queue/topics");
            let page: QueueTopics = self.access.get(&path).await?.json()?;
            rows(&page.topics, std::mem::take(&mut first), self.access.form())?;
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }
}

impl Put {
    async fn run(self) -> Result<(), CliError> {
        let Put { name, max_attempts, retention, max_consumers, priority_tiers, dead_letter_topic, access } =
            self;
        let policy = QueuePolicy {
            priority_tiers,
            max_attempts,
            dead_letter_topic_ref: dead_letter_topic.unwrap_or_else(|| format!("{name}-dlq")),
            retention_seconds: retention.map_or(0, |kept| u32::try_from(kept.as_secs()).unwrap_or(u32::MAX)),
            max_consumers: max_consumers.unwrap_or(0),
        };
        // The same policy again changes nothing.
        let answer = access.write(Method::PUT, &path(&name), &policy).await?;
        match access.form() {
            Output::Json => print(&answer),
            Output::Table => {
                let topic: QueueTopic = answer.json()?;
                output::line(&format!("{} is at version {}", topic.topic_name, topic.version))
            }
        }
    }
}

fn rows(topics: &[QueueTopic], first: bool, form: Output) -> Result<(), CliError> {
    if form == Output::Json {
        return topics.iter().try_for_each(output::json);
    }
    let some = |number: u32, unit: &str| if number == 0 { "-".to_owned() } else { format!("{number}{unit}") };
    let row = |topic: &QueueTopic| {
        let policy = &topic.policy;
        [
            topic.topic_name.clone(),
            topic.version.to_string(),
            policy.max_attempts.to_string(),
            some(policy.retention_seconds, "s"),
            some(policy.max_consumers, ""),
            topic.updated_at.clone(),
        ]
    };
    let rows: Vec<_> = topics.iter().map(row).collect();
    let head = ["TOPIC", "VERSION", "MAX ATTEMPTS", "RETENTION", "MAX CONSUMERS", "UPDATED"];
    if first { output::table(head, &rows) } else { output::rows(&rows) }
}
