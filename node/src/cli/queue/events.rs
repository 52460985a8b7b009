//! `schedia queue events`: what happens to tasks, as it happens.

use super::access::{Access, Query};
use super::{CliError, output};
use crate::cli::client::Output;
use clap::Args;
use schedia_api::{QueueEvent, QueueHeard};
use serde_json::json;

pub(super) const EXAMPLES: &str = "\
Goes on by itself after a broken connection, on the next endpoint. Then, and where the node was too fast, `gap` is printed: something
may be missing, and `schedia queue list` shows what there is.

Examples:
  schedia queue events
  schedia queue events --command MAIL --output json      one object per line";

#[derive(Args)]
pub(in crate::cli) struct Events {
    /// Only of this queue
    #[arg(long)]
    command: Option<String>,
    #[command(flatten)]
    access: Access,
}

impl Events {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let path = Query::default().with("command", self.command).after("/v1/queue/events");
        let mut events = self.access.transport()?.queue_events(&path);
        loop {
            match (events.next().await?, self.access.form()) {
                (QueueHeard::Happened(event), Output::Json) => output::json(&event)?,
                (QueueHeard::Happened(QueueEvent { change, id, command, .. }), Output::Table) => {
                    output::line(&format!("{:<10} {id} {command}", change.name()))?;
                }
                (QueueHeard::Gap, Output::Json) => output::json(&json!({ "type": "gap" }))?,
                (QueueHeard::Gap, Output::Table) => output::line("gap")?,
            }
        }
    }
}
