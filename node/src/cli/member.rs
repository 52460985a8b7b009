//! `schedia member`, `schedia snapshot` and `schedia defragment`: who belongs to the cluster, and who leads it.

mod add;
mod remove;
mod reset;

use super::client::{Admins, Clients, Output};
use super::status::{member_table, overview};
use super::{CliError, output};
use clap::{Args, Subcommand};
use schedia_api::{Client, ClientError, DefragmentedShard, Done, TransferLeader};
use schedia_apps::NodeId;
use schedia_apps::cluster::{Member as Known, Record};
use serde_json::json;
use std::time::{Duration, Instant};

/// How often a change under way is asked about.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long a change may take beyond the time to wait for an endpoint: a dead member is waited for 10 s.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Subcommand)]
pub(super) enum Member {
    /// Print the members
    List(List),
    /// Make waiting nodes (started without --bootstrap, --join, --peers) members
    ///
    /// Each becomes a member without a vote and catches up; then all of them get their votes in one change.
    Add(add::Add),
    /// Take members out of the cluster, for good
    ///
    /// All of them lose their votes in one change, then the cluster lets go of them. Whoever leads hands over first.
    /// Their ids are never used again; `schedia member reset` makes their disks blank.
    Remove(remove::Remove),
    /// Make a removed node blank, so that it may become a member again
    ///
    /// Its data are moved aside, into `aside` in its data directory; those of an earlier reset are deleted.
    Reset(reset::Reset),
    /// Hand leadership to another voter
    TransferLeader(Transfer),
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    clients: Clients,
}

#[derive(Args)]
pub(super) struct Transfer {
    /// The name or the id of the leader to be
    to: String,
    #[command(flatten)]
    admins: Admins,
}

/// `schedia snapshot`.
#[derive(Args)]
pub(super) struct Snapshot {
    #[command(flatten)]
    admins: Admins,
}

/// `schedia defragment`.
#[derive(Args)]
pub(super) struct Defragment {
    #[command(flatten)]
    admins: Admins,
}

impl Member {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Member::List(list) => list.run().await,
            Member::Add(add) => add.run().await,
            Member::Remove(remove) => remove.run().await,
            Member::Reset(reset) => reset.run().await,
            Member::TransferLeader(transfer) => transfer.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), CliError> {
        let overview = overview(&self.clients).await?;
        match self.clients.common.output {
            Output::Json => output::json(&overview.members),
            Output::Table => member_table(&overview),
        }
    }
}

/// The record, if it is people who change it.
async fn changeable(cluster: &Client) -> Result<Record, CliError> {
    let record = cluster.record().await?;
    match &record.managed_by {
        Some(manager) => {
            Err(CliError::Failed(format!("membership is managed by the {manager}: change it there")))
        }
        None => Ok(record),
    }
}

/// The record once every shard follows it.
async fn settled(cluster: &Client, deadline: Instant) -> Result<Record, CliError> {
    loop {
        let record = again(deadline, || cluster.record()).await?;
        if record.settled {
            return Ok(record);
        }
        if Instant::now() > deadline {
            return Err(CliError::Failed(
                "the change is under way but not done yet: `schedia member list` shows when it is".to_owned(),
            ));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Gives a verb that may be repeated again until it is answered: a leader that leaves is not there for a moment.
async fn again<T, F: Future<Output = Result<T, ClientError>>>(
    deadline: Instant,
    mut verb: impl FnMut() -> F,
) -> Result<T, ClientError> {
    loop {
        match verb().await {
            Err(error) if nobody_answered(&error) && Instant::now() < deadline => {
                tokio::time::sleep(ASK_EVERY).await;
            }
            answered => return answered,
        }
    }
}

fn nobody_answered(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { status, .. } => matches!(status, 421 | 429 | 503 | 504),
        ClientError::Unreachable(_) | ClientError::OutcomeUnknown { .. } => true,
        ClientError::NotUnderstood { .. } | ClientError::InvalidEndpoint(_) | ClientError::InvalidToken => {
            false
        }
    }
}

/// The member of this name or id.
fn find(record: &Record, named: &str) -> Result<Option<NodeId>, CliError> {
    let is = |member: &&Known| member.name == named || member.id.to_string() == named;
    match &record.members.values().filter(is).map(|member| member.id).collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [id] => Ok(Some(*id)),
        several => {
            let ids: Vec<String> = several.iter().map(NodeId::to_string).collect();
            Err(CliError::Failed(format!(
                "several members have that name or id, name one by its id: {}",
                ids.join(", ")
            )))
        }
    }
}

fn no_such(named: &str) -> CliError {
    CliError::Failed(format!("no member has the name or id {named}"))
}

impl Transfer {
    async fn run(self) -> Result<(), CliError> {
        let client = self.admins.client()?;
        let record = client.record().await?;
        let to = find(&record, &self.to)?.ok_or_else(|| no_such(&self.to))?;
        client.transfer_leader(&TransferLeader { to }).await?;
        match self.admins.common.output {
            Output::Json => output::json(&json!({ "leader": to })),
            Output::Table => output::line(&format!("{} leads", record.members[&to].name)),
        }
    }
}

impl Snapshot {
    /// Every endpoint named, not only the first.
    pub(super) async fn run(self) -> Result<(), CliError> {
        let client = self.admins.client()?;
        for endpoint in &self.admins.admin_endpoints {
            client.to(std::slice::from_ref(endpoint))?.snapshot().await?;
            match self.admins.common.output {
                Output::Json => output::json(&Done {})?,
                Output::Table => output::line(&format!("{endpoint}: done"))?,
            }
        }
        Ok(())
    }
}

impl Defragment {
    /// Every endpoint named, one after the other: never two nodes of a cluster at once.
    pub(super) async fn run(self) -> Result<(), CliError> {
        let client = self.admins.client()?;
        for endpoint in &self.admins.admin_endpoints {
            let done = client.to(std::slice::from_ref(endpoint))?.defragment().await?;
            match self.admins.common.output {
                Output::Json => output::json(&done)?,
                Output::Table => {
                    for DefragmentedShard { shard, before_bytes, after_bytes } in done.shards {
                        output::line(&format!(
                            "{endpoint}: shard {shard}: {before_bytes} bytes are {after_bytes}"
                        ))?;
                    }
                }
            }
        }
        Ok(())
    }
}
