//! Talks to the nodes: one admin call each, to the pod's address.
//!
//! By address, not by DNS name: the address comes from the pod as read in this very pass, needs no name service between the operator
//! and a node, and is there before DNS has caught up. Every answer carries the node's name and the DNS name its peers use, and one
//! from another pod that has inherited the address counts as silence.

use crate::names::{Names, PORT_ADMIN};
use crate::observed::{Pod, Silence};
use schedia_api::{Client, ClientError, Status};
use schedia_apps::StoreId;
use std::net::IpAddr;
use std::time::Duration;

/// A node answers from memory: silence for this long is silence.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// A membership verb waits for a majority, and for a removed member to hear of it.
const VERB_TIMEOUT: Duration = Duration::from_secs(15);

/// The way to every node. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Members {
    reads: Client,
    verbs: Client,
}

impl Members {
    /// With connections of its own.
    pub fn new() -> Result<Members, ClientError> {
        let nobody = [endpoint("127.0.0.1")];
        Ok(Members { reads: Client::new(&nobody, READ_TIMEOUT)?, verbs: Client::new(&nobody, VERB_TIMEOUT)? })
    }

    /// A node by address, for reads: two seconds.
    pub fn reader(&self, ip: &str) -> Result<Client, ClientError> {
        self.reads.to(&[endpoint(ip)])
    }

    /// A node by address, for verbs: fifteen seconds.
    pub fn verbs(&self, ip: &str) -> Result<Client, ClientError> {
        self.verbs.to(&[endpoint(ip)])
    }

    /// What the node in a pod says of itself.
    pub async fn status(&self, names: &Names, pod: &str, ip: Option<&str>) -> Result<Status, Silence> {
        let ip = ip.ok_or_else(|| Silence("it has no address yet".to_owned()))?;
        let answer = async { self.reader(ip)?.status().await }.await;
        let status = answer.map_err(|e| Silence(e.to_string()))?;
        if status.name == pod && status.address == names.peer_address(pod) {
            Ok(status)
        } else {
            Err(Silence(format!("{} ({}) answers at its address {ip}", status.name, status.address)))
        }
    }

    /// Makes sure, right before a verb that only one disk may receive, that the pod still runs on that disk.
    pub async fn on_disk(&self, names: &Names, pod: &Pod, store_id: &StoreId) -> Result<Client, ClientError> {
        let ip = pod.ip.as_deref().unwrap_or_default();
        let status = self.status(names, &pod.name, Some(ip)).await;
        let status = status.map_err(|silence| ClientError::Unreachable(silence.0))?;
        if &status.store_id != store_id {
            let reason = format!("{} is now on disk {}, not on {store_id}", pod.name, status.store_id);
            return Err(ClientError::Unreachable(reason));
        }
        self.verbs(ip)
    }
}

fn endpoint(ip: &str) -> String {
    match ip.parse() {
        Ok(IpAddr::V6(_)) => format!("http://[{ip}]:{PORT_ADMIN}"),
        _ => format!("http://{ip}:{PORT_ADMIN}"),
    }
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn both_families_of_addresses_make_urls() {
        assert_eq!(endpoint("10.0.0.7"), "http://10.0.0.7:8081");
        assert_eq!(endpoint("fd00::7"), "http://[fd00::7]:8081");
    }
}
