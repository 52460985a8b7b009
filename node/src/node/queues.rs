//! What the queue's doors need of a node.

use super::Node;
use crate::auth::{Auth, Side};
use crate::config::Config;
use crate::queues::{Queues, Settings};
use crate::shards::Shards;
use schedia_apps::NodeId;
use std::sync::Arc;

/// The queues of a node, and who may use them.
pub(super) struct NodeQueues {
    queues: Arc<Queues>,
    settings: Settings,
    auth: Auth,
}

impl NodeQueues {
    pub(super) fn new(config: &Config, auth: Auth, shards: Arc<Shards>) -> NodeQueues {
        if !auth.is_configured(Side::Producer) && !auth.is_configured(Side::Worker) {
            tracing::info!("no tokens are configured (--auth-config): the queue's door lets nobody in");
        }
        let settings = config.queue.clone();
        NodeQueues { queues: Arc::new(Queues::new(shards, &settings)), settings, auth }
    }
}

impl Node {
    /// The queues of all shards.
    pub fn queues(&self) -> &Arc<Queues> {
        &self.queues.queues
    }

    /// What holds where nobody says otherwise.
    pub fn queue_settings(&self) -> &Settings {
        &self.queues.settings
    }

    /// Who may use the queues.
    pub fn auth(&self) -> &Auth {
        &self.queues.auth
    }

    /// The client URL of a member.
    pub fn member_url(&self, id: NodeId) -> Option<String> {
        self.shards.record_here()?.members.remove(&id)?.http_url
    }
}
