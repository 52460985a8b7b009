//! What all commands that talk to nodes have in common: where, how long, in which form.

use super::CliError;
use clap::{Args, ValueEnum};
use schedia_api::{Client, Transport};
use std::time::Duration;

/// Where clients are served, and how to show the answer.
#[derive(Args)]
pub(super) struct Clients {
    /// Client ports of the cluster; one suffices
    #[arg(
        long,
        env = "SCHEDIA_ENDPOINTS",
        value_name = "URL,...",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8080"
    )]
    endpoints: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Where the admin API is served.
#[derive(Args)]
pub(super) struct Admins {
    /// Admin ports of the cluster; the leader's among them for what only the leader does
    #[arg(
        long,
        env = "SCHEDIA_ADMIN_ENDPOINTS",
        value_name = "URL,...",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8081"
    )]
    pub(super) admin_endpoints: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Args)]
pub(super) struct Common {
    /// How to show the answer
    #[arg(long, env = "SCHEDIA_OUTPUT", value_name = "FORM", default_value = "table")]
    pub(super) output: Output,
    /// How long to wait for an endpoint, or to repeat a write in doubt: 5s, 500ms
    #[arg(long, env = "SCHEDIA_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(super) timeout: Duration,
}

/// The form of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl Clients {
    pub(super) fn transport(&self) -> Result<Transport, CliError> {
        Ok(Transport::new(&self.endpoints, self.common.timeout)?)
    }
}

impl Admins {
    pub(super) fn client(&self) -> Result<Client, CliError> {
        Ok(Client::new(&self.admin_endpoints, self.common.timeout)?)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parse = || {
        let (number, unit) = match text.strip_suffix("ms") {
            Some(number) => (number, 1),
            None => (text.strip_suffix('s').unwrap_or(text), 1_000),
        };
        number.parse::<u32>().ok()?.checked_mul(unit).filter(|ms| *ms > 0)
    };
    let ms = parse().ok_or("a time is a number above 0 with s or ms, like 5s")?;
    Ok(Duration::from_millis(ms.into()))
}
