//! Asks peers whether this node was removed, when no leader speaks to it any more.
//!
//! A member learns its removal from the log, unless it was away at the time: afterwards nobody sends it anything. Any
//! peer that has applied the removal says so, and `Peers` remembers it. From then on the node stands for no election.

use crate::peer::Peers;
use crate::raft::Group;
use schedia_apps::NodeId;
use std::sync::Weak;
use std::time::Duration;
use tokio::time::timeout;

/// Many elections long: a cluster that only lost its leader asks nobody.
const SILENCE: Duration = Duration::from_secs(5);

/// Runs until this node knows that it was removed, or its group ends.
pub(super) async fn ask_when_lonely(group: Weak<Group>, peers: Peers, me: NodeId) {
    while timeout(SILENCE, peers.wait_removed()).await.is_err() {
        let Some(group) = group.upgrade() else { return };
        if group.silence() < SILENCE {
            continue;
        }
        let addresses = group.addresses();
        drop(group);
        for (_, address) in addresses.into_iter().filter(|(id, _)| *id != me) {
            if let Err(error) = peers.hello(&address).await {
                tracing::debug!(%address, %error, "a peer did not say who it is");
            }
        }
    }
    if let Some(group) = group.upgrade() {
        group.stand_down();
    }
}
