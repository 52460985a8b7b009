//! The way into a cluster of a node that is started without one to name: it begins one when it is first used, or comes
//! into one when a member invites it.
//!
//! Invariants:
//! * Of beginning and coming one is done, and the other finds it done.
//! * An invited node is let in as any other that joins: its disk decides which member it is.

use super::{Admission, JoinError};
use crate::peer::{CallError, Invite, InviteAnswer};
use schedia_apps::cluster::Member;
use schedia_apps::{ClusterId, NodeId};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the record is looked at while an invited node comes. A look is local.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How far an invited node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invited {
    /// It votes.
    Votes,
    /// It is on its way: a member without a vote, or not yet one.
    Comes,
}

/// Why nobody was invited.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// Nobody answers there.
    #[error("no node answers at {address}, nothing was changed: {reason}")]
    Silent {
        /// Where.
        address: String,
        /// What was heard instead.
        reason: String,
    },
    /// It belongs to another cluster.
    #[error("the node at {address} belongs to another cluster already: {cluster_id}")]
    OtherCluster {
        /// Where it is.
        address: String,
        /// Its cluster.
        cluster_id: ClusterId,
    },
    /// Another node is there.
    #[error("the node at {address} is {is}, not {meant}")]
    OtherNode {
        /// Where.
        address: String,
        /// Who is there.
        is: String,
        /// Who was meant.
        meant: String,
    },
    /// Its disk is blank, and it was not started to be invited.
    #[error("the node at {address} waits for no invitation: start it with `schedia balsa`")]
    Declined {
        /// Where.
        address: String,
    },
    /// This node cannot invite.
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl Admission {
    /// Begins a cluster of one if the disk is blank, finishes one that was not quite begun. Repeatable.
    pub async fn begin_if_blank(&self, deadline: Instant) -> Result<(), JoinError> {
        let _choosing = self.choosing.lock().await;
        match self.storage.identity().assigned {
            // As with --bootstrap: who was a member once begins no cluster.
            None if self.storage.identity().former.is_some() => Err(JoinError::Unassigned),
            None => self.begin_anew(deadline).await,
            Some(assigned) => match assigned.seed {
                Some(note) => self.finish(&note, deadline).await,
                None => Ok(()),
            },
        }
    }

    /// Waits for an invitation and follows it.
    pub(super) async fn come_when_invited(&self) -> Result<(), String> {
        let url = self.peers.invitation().await;
        let _choosing = self.choosing.lock().await;
        if self.storage.identity().assigned.is_some() {
            return Ok(());
        }
        tracing::info!(by = %url, "invited");
        self.ask(&[url]).await
    }

    /// Invites the node called `name` at peer address `address` into this node's cluster; returns when it votes, or at
    /// the deadline. Repeatable.
    pub async fn invite(&self, name: &str, address: &str, deadline: Instant) -> Result<Invited, InviteError> {
        let assigned = self.storage.identity().assigned.ok_or(JoinError::Unassigned)?;
        let there = address.to_owned();
        let invite = Invite { name: name.to_owned(), http_url: self.me.http_url.clone() };
        let id = match self.peers.invite(address, &invite).await {
            Ok(InviteAnswer::Comes) => None,
            Ok(InviteAnswer::Member { cluster_id, node_id }) if cluster_id == assigned.cluster_id => {
                Some(node_id)
            }
            Ok(InviteAnswer::Member { cluster_id, .. }) => {
                return Err(InviteError::OtherCluster { address: there, cluster_id });
            }
            Ok(InviteAnswer::Other { name: is }) => {
                return Err(InviteError::OtherNode { address: there, is, meant: invite.name });
            }
            Ok(InviteAnswer::Declines) => return Err(InviteError::Declined { address: there }),
            Err(CallError::NotSent(reason) | CallError::Lost(reason)) => {
                return Err(InviteError::Silent { address: there, reason });
            }
            Err(CallError::Refused(refused)) => {
                return Err(InviteError::Silent { address: there, reason: refused.to_string() });
            }
        };
        loop {
            match self.guest(id, name, address) {
                Some((member, _)) if member.name != name => {
                    return Err(InviteError::OtherNode {
                        address: there,
                        is: member.name,
                        meant: invite.name,
                    });
                }
                Some((_, true)) => return Ok(Invited::Votes),
                _ if Instant::now() >= deadline => return Ok(Invited::Comes),
                _ => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// The invited member, as the record here knows it, and whether its vote is settled.
    fn guest(&self, id: Option<NodeId>, name: &str, address: &str) -> Option<(Member, bool)> {
        let record = self.shards.record_here()?;
        // Of two with the same name at the same place the newer one is there.
        let found = record.members.values().rev().find(|member| match id {
            Some(id) => member.id == id,
            None => member.name == name && member.address == address,
        })?;
        Some((found.clone(), record.settled && record.voters.contains(&found.id)))
    }
}
