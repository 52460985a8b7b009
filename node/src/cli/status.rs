//! `schedia status`: the cluster at a glance, or whether one node is ready.

use super::client::{Clients, Output};
use super::{CliError, output};
use clap::Args;
use reqwest::Method;
use schedia_api::{ClientError, Overview, OverviewMember, Transport};
use schedia_apps::ShardId;

#[derive(Args)]
pub(super) struct Status {
    /// Ask only whether a node takes requests, at its admin port: exit status 0 if it does. For health checks of
    /// containers, as the image holds no other program that could ask
    #[arg(long)]
    ready: bool,
    /// The admin port that --ready asks
    #[arg(
        long,
        env = "SCHEDIA_ADMIN_ENDPOINTS",
        value_name = "URL,...",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8081"
    )]
    admin_endpoints: Vec<String>,
    #[command(flatten)]
    clients: Clients,
}

impl Status {
    pub(super) async fn run(self) -> Result<(), CliError> {
        if self.ready {
            return ready(&Transport::new(&self.admin_endpoints, self.clients.common.timeout)?).await;
        }
        let overview = overview(&self.clients).await?;
        match self.clients.common.output {
            Output::Json => output::json(&overview),
            Output::Table => show(&overview),
        }
    }
}

/// What the first endpoint that answers knows of its cluster.
pub(super) async fn overview(clients: &Clients) -> Result<Overview, CliError> {
    Ok(clients.transport()?.send(Method::GET, "/v1/status", None).await?.json()?)
}

/// The reason is the node's own, without advice: whoever asks this asks again by itself.
async fn ready(admin: &Transport) -> Result<(), CliError> {
    match admin.send(Method::GET, "/readyz", None).await {
        Ok(_) => output::line("ready"),
        Err(ClientError::Refused { status: 503, info }) => {
            Err(CliError::Failed(format!("not ready: {} ({})", info.message, info.code)))
        }
        Err(error) => Err(error.into()),
    }
}

fn show(overview: &Overview) -> Result<(), CliError> {
    let Overview { cluster_id, name, leader, term, revision, can_lose, members, .. } = overview;
    let voters = members.iter().filter(|member| member.voter).count();
    let named = |id| members.iter().find(|m| Some(m.id) == id).map_or("none", |m| m.name.as_str());
    output::line(&format!("cluster    {cluster_id}"))?;
    output::line(&format!("leader     {} (term {term})", named(*leader)))?;
    output::line(&format!("voters     {voters}, can lose {can_lose}"))?;
    output::line(&format!("revision   {revision}"))?;
    output::line(&format!("asked      {name}\n"))?;
    member_table(overview)
}

pub(super) fn member_table(overview: &Overview) -> Result<(), CliError> {
    let row = |member: &OverviewMember| {
        let OverviewMember { id, name, address, http_url, voter, lag, leads } = member;
        let role = match (Some(*id) == overview.leader, voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "learner",
        };
        [
            id.to_string(),
            name.clone(),
            role.to_owned(),
            lag.map_or("-".to_owned(), |lag| lag.to_string()),
            list(leads),
            address.clone(),
            http_url.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<_> = overview.members.iter().map(row).collect();
    output::table(["ID", "NAME", "ROLE", "BEHIND", "LEADS", "PEER", "HTTP"], &rows)
}

/// Shards as a person reads them.
fn list(shards: &[ShardId]) -> String {
    let shards: Vec<_> = shards.iter().map(ShardId::to_string).collect();
    if shards.is_empty() { "-".to_owned() } else { shards.join(",") }
}
