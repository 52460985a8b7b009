//! `schedia member` and `schedia snapshot`: who belongs to the cluster, and who leads it.

use super::client::{Admins, Clients, Output};
use super::status::{member_table, overview};
use super::{CliError, output};
use clap::{Args, Subcommand};
use schedia_api::{AddLearner, Assign, Client, Done, Role, SetVoters, TransferLeader};
use schedia_apps::NodeId;
use schedia_apps::cluster::Record;
use serde_json::json;
use std::time::{Duration, Instant};

/// How often a change under way is asked about.
const ASK_EVERY: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub(super) enum Member {
    /// Print the members
    List(List),
    /// Make a waiting node (started without --bootstrap, --join, --peers) a member
    Add(Add),
    /// Hand leadership to another voter
    TransferLeader(Transfer),
}

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    clients: Clients,
}

#[derive(Args)]
pub(super) struct Add {
    /// The admin port of the node to add
    #[arg(value_name = "URL")]
    node: String,
    /// Leave it without a vote
    #[arg(long)]
    learner: bool,
    #[command(flatten)]
    admins: Admins,
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

impl Member {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Member::List(list) => list.run().await,
            Member::Add(add) => add.run().await,
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

impl Add {
    /// The steps of an operator: an id, the node told it, a learner, a voter. Each may be given again after a failure.
    async fn run(self) -> Result<(), CliError> {
        let cluster = self.admins.client()?;
        let node = cluster.to(std::slice::from_ref(&self.node))?;
        let record = cluster.record().await?;
        if let Some(manager) = &record.managed_by {
            return Err(CliError::Failed(format!("membership is managed by the {manager}: change it there")));
        }
        let cluster_id = cluster.status().await?.cluster_id;
        let cluster_id =
            cluster_id.ok_or_else(|| CliError::Failed("the cluster has no id yet".to_owned()))?;
        let status = node.status().await?;
        if status.cluster_id.as_ref().is_some_and(|id| *id != cluster_id) || status.role == Role::Retired {
            return Err(CliError::Failed(format!(
                "node {} belonged to a cluster before ({:?}): start it on an empty data directory",
                status.name, status.role
            )));
        }
        let node_id = match status.node_id {
            Some(id) => id,
            None => cluster.new_node_id().await?.node_id,
        };
        node.assign(&Assign { cluster_id, node_id }).await?;
        cluster
            .add_learner(&AddLearner {
                node_id,
                name: status.name.clone(),
                address: status.address,
                http_url: Some(status.http_url),
                store_id: Some(status.store_id),
                expected: record.generation,
            })
            .await?;
        let deadline = Instant::now() + self.admins.common.timeout;
        let mut record = settled(&cluster, deadline).await?;
        if !self.learner {
            let voters = record.voters.iter().copied().chain([node_id]).collect();
            cluster.set_voters(&SetVoters { voters, expected: record.generation }).await?;
            record = settled(&cluster, deadline).await?;
        }
        let place = if record.voters.contains(&node_id) { "voter" } else { "learner" };
        match self.admins.common.output {
            Output::Json => output::json(&json!({ "node_id": node_id, "name": status.name, "role": place })),
            Output::Table => output::line(&format!("{} is {place} {node_id}", status.name)),
        }
    }
}

/// The record once every shard follows it.
async fn settled(cluster: &Client, deadline: Instant) -> Result<Record, CliError> {
    loop {
        let record = cluster.record().await?;
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

impl Transfer {
    async fn run(self) -> Result<(), CliError> {
        let client = self.admins.client()?;
        let record = client.record().await?;
        let named = |id: &NodeId| {
            record.members.get(id).is_some_and(|m| m.name == self.to) || id.to_string() == self.to
        };
        let Some(to) = record.members.keys().copied().find(named) else {
            return Err(CliError::Failed(format!("no member has the name or id {}", self.to)));
        };
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
