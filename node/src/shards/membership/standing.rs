//! Whether a node is still in some shard: asked by one that was removed, answered by the leader of shard 0.
//!
//! Invariant: `Gone` is answered only by a leader that a majority has just confirmed, of a record that every shard follows.

use super::super::{Consistency, Shard, ShardError, Shards};
use super::{Query, Reply, cluster};
use crate::peer::{Kind, Request, Target};
use bytes::Bytes;
use schedia_apps::{NodeId, ShardId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long a leader looks for its majority.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(3);

/// What a member answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::shards) enum Answer {
    /// In no shard, and never again: removed by the entry of this index.
    Gone(u64),
    /// No: the words say why not.
    Not(String),
    /// Another one knows.
    Elsewhere(String),
}

impl Shards {
    /// The entry that removed this node, `me`, if the leader of its cluster confirms that it is in no shard any more.
    /// Otherwise in words why not.
    pub async fn confirm_removed(&self, me: NodeId, deadline: Instant) -> Result<u64, String> {
        let shards: Vec<Shard> = self.iter().cloned().collect();
        // Whoever leads is a member, and knows that better than the others.
        if shards.first().is_some_and(Shard::is_leader)
            && let Ok(Answer::Not(reason)) = standing(&shards, me).await
        {
            return Err(reason);
        }
        let mut addresses = BTreeMap::new();
        for shard in &shards {
            addresses.extend(shard.addresses());
        }
        if let Some(record) = self.record_here() {
            addresses.extend(record.members.into_values().map(|member| (member.id, member.address)));
        }
        addresses.remove(&me);
        let asked = addresses.iter().map(|(id, address)| self.ask(*id, address, deadline));
        let mut elsewhere = Vec::new();
        for answer in futures::future::join_all(asked).await {
            match answer {
                Answer::Gone(index) => return Ok(index),
                Answer::Not(reason) => return Err(reason),
                Answer::Elsewhere(reason) => elsewhere.push(reason),
            }
        }
        match elsewhere.is_empty() {
            true => Err("this node knows no other member of its cluster to ask".to_owned()),
            false => Err(format!("no leader could be asked: {}", elsewhere.join("; "))),
        }
    }

    async fn ask(&self, id: NodeId, address: &str, deadline: Instant) -> Answer {
        let target = Target { id, address };
        let answer = self.peers.call(target, Kind::Standing, ShardId(0), Bytes::new(), deadline).await;
        let unreadable = |error: postcard::Error| Answer::Elsewhere(format!("{address}: {error}"));
        match answer {
            Ok(answer) => postcard::from_bytes(&answer).unwrap_or_else(unreadable),
            Err(error) => Answer::Elsewhere(format!("{address}: {error}")),
        }
    }
}

/// Answers a node that asks about itself.
pub(in crate::shards) async fn serve(shards: Vec<Shard>, request: Request) -> Bytes {
    let answer = match standing(&shards, request.from).await {
        Ok(answer) => answer,
        Err(error) => Answer::Elsewhere(error.to_string()),
    };
    postcard::to_stdvec(&answer).expect("plain data, which postcard always encodes").into()
}

async fn standing(shards: &[Shard], id: NodeId) -> Result<Answer, ShardError> {
    let Some(shard_0) = shards.first().filter(|shard| shard.is_leader()) else {
        return Ok(Answer::Elsewhere("the node asked does not lead".to_owned()));
    };
    let query = Query::Cluster(cluster::Query::Record);
    let read = shard_0.read(query, Consistency::Linearizable, Instant::now() + CONFIRM_TIMEOUT).await?;
    let record = match read.value {
        Reply::Cluster(cluster::Reply::Record(Some(record))) => record,
        other => return Err(ShardError::wrong_reply(&other)),
    };
    if record.members.contains_key(&id) {
        return Ok(Answer::Not(format!("node {id} is a member of its cluster: remove it first")));
    }
    let Some(index) = shard_0.removed(id) else {
        return Ok(Answer::Not(format!("the cluster knows nothing of a node {id}")));
    };
    let named = |shard: &Shard| {
        let membership = shard.membership();
        !membership.committed || membership.voters.contains(&id) || membership.learners.contains(&id)
    };
    if !record.settled || shards.len() != record.shards as usize || shards.iter().any(named) {
        return Ok(Answer::Not(format!("the removal of node {id} is still under way")));
    }
    Ok(Answer::Gone(index))
}
