//! `schedia member remove`: demote, then let go of.

use super::{CHANGE_TIMEOUT, again, changeable, find, no_such, settled};
use crate::cli::client::{Admins, Output};
use crate::cli::{CliError, output};
use clap::Args;
use schedia_api::{RemoveLearner, SetVoters};
use schedia_apps::NodeId;
use schedia_apps::cluster::Record;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;

#[derive(Args)]
pub(in crate::cli) struct Remove {
    /// The names or ids of the members
    #[arg(value_name = "NAME|ID", required = true)]
    members: Vec<String>,
    #[command(flatten)]
    admins: Admins,
}

impl Remove {
    /// One change for the votes of all, then one for each member. Each may be given again after a failure.
    pub(in crate::cli) async fn run(self) -> Result<(), CliError> {
        let cluster = self.admins.client()?;
        let record = changeable(&cluster).await?;
        let leaving: Vec<(NodeId, String)> =
            self.members.iter().map(|named| who(&record, named)).collect::<Result<_, _>>()?;
        let ids: BTreeSet<NodeId> = leaving.iter().map(|(id, _)| *id).collect();
        let voters: BTreeSet<NodeId> = record.voters.difference(&ids).copied().collect();
        if voters.is_empty() {
            return Err(CliError::Failed(
                "nobody would be left to vote: to end a cluster, stop its nodes".to_owned(),
            ));
        }
        let deadline = Instant::now() + self.admins.common.timeout + CHANGE_TIMEOUT;
        if voters != record.voters {
            let verb = SetVoters { voters, expected: record.generation };
            again(deadline, || cluster.set_voters(&verb)).await?;
            for (id, name) in leaving.iter().filter(|(id, _)| record.voters.contains(id)) {
                self.say(&format!("{name} ({id}) votes no more"))?;
            }
        }
        for (node_id, name) in &leaving {
            let expected = settled(&cluster, deadline).await?.generation;
            let verb = RemoveLearner { node_id: *node_id, expected };
            again(deadline, || cluster.remove_learner(&verb)).await?;
            settled(&cluster, deadline).await?;
            match self.admins.common.output {
                Output::Json => output::json(&json!({ "node_id": node_id, "name": name, "removed": true }))?,
                Output::Table => self.say(&format!("{name} ({node_id}) is removed"))?,
            }
        }
        Ok(())
    }

    fn say(&self, words: &str) -> Result<(), CliError> {
        match self.admins.common.output {
            Output::Json => Ok(()),
            Output::Table => output::line(words),
        }
    }
}

/// A member and its name. An id that the record does not know may have been removed before: the leader knows.
fn who(record: &Record, named: &str) -> Result<(NodeId, String), CliError> {
    match find(record, named)? {
        Some(id) => Ok((id, record.members[&id].name.clone())),
        None => match named.parse() {
            Ok(number) => Ok((NodeId(number), named.to_owned())),
            Err(_) => Err(no_such(named)),
        },
    }
}
