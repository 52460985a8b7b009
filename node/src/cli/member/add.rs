//! `schedia member add`: the steps of an operator, by hand.

use super::{CHANGE_TIMEOUT, again, changeable, settled};
use crate::cli::client::{Admins, Output};
use crate::cli::{CliError, output};
use clap::Args;
use schedia_api::{AddLearner, Assign, Client, Role, SetVoters};
use schedia_apps::{ClusterId, NodeId};
use serde_json::json;
use std::time::Instant;

#[derive(Args)]
pub(in crate::cli) struct Add {
    /// The admin ports of the nodes to add
    #[arg(value_name = "URL", required = true)]
    nodes: Vec<String>,
    /// Leave them without a vote
    #[arg(long)]
    learner: bool,
    #[command(flatten)]
    admins: Admins,
}

impl Add {
    /// An id, the node told it, a learner; then the votes of all. Each may be given again after a failure.
    pub(in crate::cli) async fn run(self) -> Result<(), CliError> {
        let cluster = self.admins.client()?;
        changeable(&cluster).await?;
        let cluster_id = cluster_id(&cluster, &self.admins.admin_endpoints).await?;
        let deadline = Instant::now() + self.admins.common.timeout + CHANGE_TIMEOUT;
        let mut added = Vec::new();
        for node in &self.nodes {
            added.push(add(&cluster, &cluster_id, node, deadline).await?);
        }
        let mut record = settled(&cluster, deadline).await?;
        if !self.learner {
            let new = added.iter().map(|(id, _)| *id);
            let verb = SetVoters {
                voters: record.voters.iter().copied().chain(new).collect(),
                expected: record.generation,
            };
            again(deadline, || cluster.set_voters(&verb)).await?;
            record = settled(&cluster, deadline).await?;
        }
        for (id, name) in added {
            let place = if record.voters.contains(&id) { "voter" } else { "learner" };
            match self.admins.common.output {
                Output::Json => output::json(&json!({ "node_id": id, "name": name, "role": place }))?,
                Output::Table => output::line(&format!("{name} is {place} {id}"))?,
            }
        }
        Ok(())
    }
}

/// The cluster of the first endpoint that is in touch with its majority: others may be blank, or were members once.
async fn cluster_id(cluster: &Client, endpoints: &[String]) -> Result<ClusterId, CliError> {
    for endpoint in endpoints {
        let one = cluster.to(std::slice::from_ref(endpoint))?;
        if one.record().await.is_ok()
            && let Some(id) = one.status().await?.cluster_id
        {
            return Ok(id);
        }
    }
    Err(CliError::Failed("none of the admin endpoints is a member's".to_owned()))
}

/// Makes a node a member without a vote; its id and name.
async fn add(
    cluster: &Client,
    cluster_id: &ClusterId,
    node: &str,
    deadline: Instant,
) -> Result<(NodeId, String), CliError> {
    let node = cluster.to(&[node.to_owned()])?;
    let status = node.status().await?;
    if status.role == Role::Retired {
        return Err(CliError::Failed(format!(
            "node {} was removed from its cluster: make it blank with `schedia member reset` first",
            status.name
        )));
    }
    if status.cluster_id.as_ref().is_some_and(|id| id != cluster_id) {
        return Err(CliError::Failed(format!(
            "node {} belongs to another cluster: start it on an empty data directory",
            status.name
        )));
    }
    let node_id = match status.node_id {
        Some(id) => id,
        None => cluster.new_node_id().await?.node_id,
    };
    node.assign(&Assign { cluster_id: cluster_id.clone(), node_id }).await?;
    let verb = AddLearner {
        node_id,
        name: status.name.clone(),
        address: status.address,
        http_url: Some(status.http_url),
        store_id: Some(status.store_id),
        expected: settled(cluster, deadline).await?.generation,
    };
    again(deadline, || cluster.add_learner(&verb)).await?;
    Ok((node_id, status.name))
}
