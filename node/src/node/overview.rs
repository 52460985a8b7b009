//! The cluster as a client sees it.

use super::Node;
use crate::shards::{Consistency, ShardError};
use schedia_api::{Overview, OverviewMember, Status};
use schedia_apps::cluster::Record;
use schedia_apps::{Query, Reply, ShardId, kv};
use std::collections::BTreeMap;
use tokio::time::Instant;

impl Node {
    /// The cluster as this node sees it, its leader asked for the revision.
    pub async fn overview(&self, deadline: Instant) -> Result<Overview, ShardError> {
        let shard = self.shard(ShardId(0))?;
        let revisions = Query::Kv(kv::Query::Revisions);
        let revision = match shard.read(revisions, Consistency::Linearizable, deadline).await?.value {
            Reply::Kv(kv::Reply::Revisions { revision, .. }) => revision,
            other => return Err(ShardError::wrong_reply(&other)),
        };
        let Status { cluster_id, node_id, name, role, version, record, shards, .. } = self.status().await;
        let (Some(cluster_id), Some(node_id), Some(record)) = (cluster_id, node_id, record) else {
            return Err(ShardError::Unavailable {
                reason: "this node has not seen the cluster record yet".into(),
            });
        };
        let led =
            |id| shards.iter().filter(|shard| shard.leader == Some(id)).map(|shard| shard.shard).collect();
        let (leader, term, lag) =
            shards.first().map_or((None, 0, BTreeMap::new()), |s| (s.leader, s.term, s.lag.clone()));
        let Record { generation, members, voters, .. } = record;
        let can_lose = voters.len().saturating_sub(1) / 2;
        let members = members
            .into_values()
            .map(|member| OverviewMember {
                id: member.id,
                voter: voters.contains(&member.id),
                lag: lag.get(&member.id).copied(),
                leads: led(member.id),
                name: member.name,
                address: member.address,
                http_url: member.http_url,
            })
            .collect();
        Ok(Overview {
            cluster_id,
            node_id,
            name,
            role,
            version,
            leader,
            term,
            revision,
            generation,
            members,
            can_lose,
        })
    }
}
