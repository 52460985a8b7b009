//! A member that was started at another address tells its cluster, so that the others find it again.
//!
//! It may know no leader: nobody reaches it where it was. So it asks every member it knows of; the one that leads
//! proposes, the others refuse.
//!
//! Not here: what writes the new address into the memberships (`plan`).

use super::super::{ShardError, Shards, forward};
use super::{Command, cluster};
use crate::raft::Leader;
use bytes::Bytes;
use schedia_apps::cluster::{Member, Record};
use schedia_apps::{Refusal, ShardId};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Between two tries to tell.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(2);
const TELL_TIMEOUT: Duration = Duration::from_secs(2);

impl Shards {
    /// This node as it should stand in the record, if it stands there otherwise. An operator's record is the operator's.
    pub(super) fn moved(&self, record: &Record) -> Option<Member> {
        let (me, hello) = (self.peers.me()?, self.peers.own_hello());
        let known = record.members.get(&me)?;
        let (address, http_url) = (hello.address.clone(), Some(hello.http_url.clone()));
        let now = Member { address, http_url, ..known.clone() };
        let ours = known.store_id.as_ref().is_none_or(|store_id| *store_id == hello.store_id);
        let may_tell = record.managed_by.is_none() && ours && says_more(&known.address, &now.address);
        (may_tell && now != *known).then_some(now)
    }

    /// Tells the cluster where this node is.
    pub(super) async fn tell(&self, member: Member, mut expected: u64) -> Result<(), ShardError> {
        tracing::info!(address = %member.address, "this node is not where its cluster knows it: telling it");
        loop {
            match self.tell_leader(&member, expected).await {
                // This node has not heard what the others agreed on meanwhile.
                Err(ShardError::Refused(Refusal::Cluster(cluster::Refusal::Stale { current })))
                    if current > expected =>
                {
                    expected = current;
                }
                told => return told,
            }
        }
    }

    async fn tell_leader(&self, member: &Member, expected: u64) -> Result<(), ShardError> {
        let command = Command::Cluster(cluster::Command::UpdateMember { member: member.clone(), expected });
        let shard = self.shard_0()?;
        if shard.is_leader() {
            return shard.propose(command, Instant::now() + TELL_TIMEOUT).await.map(drop);
        }
        let (encoded, mut told) = (Bytes::from(command.encode()), Err(ShardError::NoLeader));
        for (id, address) in shard.addresses().into_iter().filter(|(id, _)| *id != member.id) {
            let (to, deadline) = (Leader { id, address }, Instant::now() + TELL_TIMEOUT);
            told = forward::propose(&self.peers, &to, ShardId(0), encoded.clone(), deadline).await.map(drop);
            if matches!(told, Ok(()) | Err(ShardError::Refused(_))) {
                break;
            }
        }
        told
    }
}

/// Whether an address is one that others may use, as far as the one they know tells: a node started by hand without
/// `--advertise-peer` says where it listens, which on another machine means nothing.
fn says_more(known: &str, now: &str) -> bool {
    let ip = |address: &str| -> Option<IpAddr> {
        let host = address.rsplit_once(':')?.0;
        host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    };
    let local = |address: &str| ip(address).is_some_and(|ip| ip.is_loopback());
    !ip(now).is_some_and(|ip| ip.is_unspecified()) && (local(known) || !local(now))
}

#[cfg(test)]
mod tests {
    use super::says_more;

    #[test]
    fn an_address_that_means_nothing_elsewhere_is_not_told() {
        assert!(says_more("n1.example:7000", "n2.example:7000"));
        assert!(says_more("n1.example:7000", "10.0.0.7:7000"));
        assert!(says_more("127.0.0.1:7000", "127.0.0.1:7001"));
        assert!(says_more("127.0.0.1:7000", "[fd00::1]:7001"));
        for nothing in ["127.0.0.1:7000", "[::1]:7000", "0.0.0.0:7000", "[::]:7000"] {
            assert!(!says_more("n1.example:7000", nothing), "{nothing}");
        }
        assert!(!says_more("127.0.0.1:7000", "[::]:7000"));
    }
}
