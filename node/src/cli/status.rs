//! `schedia status`: the cluster at a glance.

use super::client::{Clients, Output};
use super::{CliError, output};
use clap::Args;
use reqwest::Method;
use schedia_api::{Overview, OverviewMember};

#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    clients: Clients,
}

impl Status {
    pub(super) async fn run(self) -> Result<(), CliError> {
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
        let OverviewMember { id, name, address, http_url, voter, lag } = member;
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
            address.clone(),
            http_url.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<_> = overview.members.iter().map(row).collect();
    output::table(["ID", "NAME", "ROLE", "BEHIND", "PEER", "HTTP"], &rows)
}
