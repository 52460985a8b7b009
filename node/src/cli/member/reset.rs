//! `schedia member reset`: a removed node begins anew.

use super::{ASK_EVERY, CHANGE_TIMEOUT};
use crate::cli::client::{Common, Output};
use crate::cli::{CliError, output};
use clap::Args;
use schedia_api::Client;
use std::time::Instant;

#[derive(Args)]
pub(in crate::cli) struct Reset {
    /// The admin port of the node
    #[arg(value_name = "URL")]
    node: String,
    #[command(flatten)]
    common: Common,
}

impl Reset {
    pub(in crate::cli) async fn run(self) -> Result<(), CliError> {
        let node = Client::new(std::slice::from_ref(&self.node), self.common.timeout)?;
        let status = node.status().await?;
        let (Some(cluster_id), Some(node_id)) = (status.cluster_id, status.node_id) else {
            return Err(CliError::Failed(format!("node {} is blank already", status.name)));
        };
        let verb = schedia_api::Reset { cluster_id, node_id, store_id: status.store_id };
        let store_id = node.reset(&verb).await?.store_id;
        let deadline = Instant::now() + self.common.timeout + CHANGE_TIMEOUT;
        // It answers, then ends, then begins again.
        while !node.status().await.is_ok_and(|status| status.store_id == store_id) {
            if Instant::now() > deadline {
                let words = format!("node {} is reset but has not begun again yet: see its log", status.name);
                return Err(CliError::Failed(words));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        match self.common.output {
            Output::Json => output::json(&schedia_api::ResetDone { store_id }),
            Output::Table => output::line(&format!("{} is blank, on disk {store_id}", status.name)),
        }
    }
}
