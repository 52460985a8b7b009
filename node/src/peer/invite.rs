//! Invitations: a member asks a node that waits for one to come into its cluster.
//!
//! The invited node is told whom to ask, and asks by itself: it is let in as any node that joins. An invitation carries
//! the name of the node that is meant, so that a mistaken address brings nobody in.
//!
//! Invariants:
//! * A node takes invitations only if it was started to, and only while its disk is blank.
//! * The newest invitation replaces one that was not looked at yet.

use super::frame::Kind;
use super::{CallError, Member, Peers, Refused, encode, stream};
use bytes::Bytes;
use schedia_apps::{ClusterId, NodeId, ShardId};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// What a member says to a node it wants in its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// The name of the node that is meant.
    pub name: String,
    /// Whom to ask to be let in: a member's client URL.
    pub http_url: String,
}

/// What the invited node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InviteAnswer {
    /// It asks to be let in.
    Comes,
    /// Its disk is blank, and it waits for no invitation.
    Declines,
    /// It is another node.
    Other {
        /// Its name.
        name: String,
    },
    /// It belongs to a cluster already.
    Member {
        /// Which one.
        cluster_id: ClusterId,
        /// Its id in it.
        node_id: NodeId,
    },
}

/// The invitations of this node.
#[derive(Default)]
pub(super) struct Invitations {
    taken: AtomicBool,
    /// The client URL of the newest. std Mutex: never held across an await.
    newest: Mutex<Option<String>>,
    came: Notify,
}

impl Peers {
    /// From now on this node takes invitations, while it belongs to no cluster.
    pub fn take_invitations(&self) {
        self.0.invitations.taken.store(true, Relaxed);
    }

    /// The next invitation: whom to ask to be let in.
    pub async fn invitation(&self) -> String {
        let Invitations { taken: _, newest, came } = &self.0.invitations;
        loop {
            if let Some(url) = newest.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return url;
            }
            came.notified().await;
        }
    }

    /// Invites the node at `address` (host:port). Members only.
    pub async fn invite(&self, address: &str, invite: &Invite) -> Result<InviteAnswer, CallError> {
        let me = self.0.me.get().ok_or_else(super::unassigned)?;
        let frame = me.frame(NodeId(0), Kind::Invite, ShardId(0), 0, encode(invite));
        let body = stream::exchange(address, frame, &self.0.counters).await?;
        postcard::from_bytes(&body)
            .map_err(|error| CallError::Lost(format!("no answer to an invitation: {error}")))
    }

    /// Handles an invitation.
    pub(super) fn invited(&self, body: &[u8]) -> Result<Bytes, Refused> {
        let Invite { name, http_url } =
            postcard::from_bytes(body).map_err(|error| Refused::Invalid { reason: error.to_string() })?;
        let Invitations { taken, newest, came } = &self.0.invitations;
        let answer = match self.0.me.get().cloned() {
            Some(Member { cluster_id, node_id }) => InviteAnswer::Member { cluster_id, node_id },
            None if !taken.load(Relaxed) => InviteAnswer::Declines,
            None if name != self.0.hello.name => InviteAnswer::Other { name: self.0.hello.name.clone() },
            None => {
                *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(http_url);
                came.notify_one();
                InviteAnswer::Comes
            }
        };
        Ok(encode(&answer))
    }
}
