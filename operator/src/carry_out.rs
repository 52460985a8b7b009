//! Carries out the one step of a plan.
//!
//! Every step may be repeated, and its effect is seen only by the next observation: nothing is concluded from an answer but whether
//! to look again soon.

use crate::apply::write;
use crate::build;
use crate::census::Census;
use crate::failpoint::Failpoint;
use crate::latches::Latched;
use crate::members::Members;
use crate::observed::{Observed, Pod};
use crate::plan::Step;
use crate::validate::Cluster;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client, Resource};
use schedia_api::{AddLearner, Assign, ClientError, Reset};
use schedia_apps::StoreId;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Why a step was not carried out, or not certainly.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The API server refused.
    #[error("{}", crate::api_error::words(.0))]
    Kubernetes(#[from] kube::Error),
    /// There is nothing to latch to yet.
    #[error("the StatefulSet was only just created")]
    TooEarly,
    /// The node refused or did not answer.
    #[error("{pod}: {source}")]
    Node {
        /// Which node was asked.
        pod: String,
        /// What it said.
        source: ClientError,
    },
}

impl Failure {
    /// Whether the world has moved on since it was observed: looking again settles it, nobody need be told.
    pub fn is_stale(&self) -> bool {
        match self {
            Failure::Kubernetes(kube::Error::Api(status)) => status.is_conflict() || status.is_not_found(),
            Failure::Kubernetes(_) => false,
            Failure::TooEarly => true,
            Failure::Node { source, .. } => {
                matches!(source.code(), Some("stale" | "change_in_progress" | "not_leader" | "not_caught_up"))
            }
        }
    }
}

/// Everything a step may need.
pub struct Hands<'a> {
    /// The API server.
    pub client: &'a Client,
    /// The nodes.
    pub members: &'a Members,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// What the plan was made from.
    pub observed: &'a Observed,
    /// Its sum.
    pub census: &'a Census,
    /// Where the process may have to end.
    pub failpoint: &'a Failpoint,
}

impl Hands<'_> {
    /// Does it.
    pub async fn carry_out(&self, step: &Step) -> Result<(), Failure> {
        self.perform(step).await?;
        self.failpoint.after(step.kind());
        Ok(())
    }

    async fn perform(&self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Latch(latched) => self.latch(latched).await,
            Step::Recreate { pod, uid } => self.delete::<v1::Pod>(pod, uid).await,
            Step::Initialize { pod, store_id, verb } => {
                let run = async { self.on_disk(pod, store_id).await?.initialize(verb).await };
                said(pod, run.await.map(drop))
            }
            Step::Assign { leader, pod, store_id, cluster_id } => {
                let id = async { self.members.verbs(self.address(leader)?)?.new_node_id().await };
                let node_id = said(leader, id.await)?.node_id;
                self.failpoint.after("DrawNodeId");
                let verb = Assign { cluster_id: cluster_id.clone(), node_id };
                let run = async { self.on_disk(pod, store_id).await?.assign(&verb).await };
                said(pod, run.await.map(drop))
            }
            Step::Reset { pod, verb } => self.reset(pod, verb).await,
            Step::AddLearner { leader, verb } => self.add_learner(leader, verb).await,
            Step::TransferLeader { leader, verb, .. } => {
                let run = async { self.members.verbs(self.address(leader)?)?.transfer_leader(verb).await };
                said(leader, run.await)
            }
            Step::SetVoters { leader, verb } | Step::Settle { leader, verb } => {
                let run = async { self.members.verbs(self.address(leader)?)?.set_voters(verb).await };
                said(leader, run.await.map(drop))
            }
            Step::RemoveMember { leader, verb, .. } => {
                let run = async { self.members.verbs(self.address(leader)?)?.remove_learner(verb).await };
                said(leader, run.await.map(drop))
            }
            Step::DeleteClaim { claim, uid, .. } => {
                self.delete::<v1::PersistentVolumeClaim>(claim, uid).await
            }
        }
    }

    async fn add_learner(&self, leader: &str, verb: &AddLearner) -> Result<(), Failure> {
        let run = async { self.members.verbs(self.address(leader)?)?.add_learner(verb).await };
        match run.await {
            // It was removed before it had heard of being a member, so its node does not know yet.
            Err(source) if source.code() == Some("removed") => {
                let node = self.pod(&verb.name).ok().and_then(Pod::answer);
                let Some(node) = node.filter(|node| node.node_id == Some(verb.node_id)) else {
                    return said(leader, Err(source));
                };
                let Some(cluster_id) = node.cluster_id.clone() else { return said(leader, Err(source)) };
                let verb = Reset { cluster_id, node_id: verb.node_id, store_id: node.store_id.clone() };
                self.reset(&node.name, &verb).await
            }
            other => said(leader, other.map(drop)),
        }
    }

    async fn reset(&self, pod: &str, verb: &Reset) -> Result<(), Failure> {
        let run = async { self.on_disk(pod, &verb.store_id).await?.reset(verb).await };
        said(pod, run.await.map(drop))
    }

    /// Writes the latches to the StatefulSet, provided nobody has written to it since it was observed: not even this pass.
    async fn latch(&self, latched: &Latched) -> Result<(), Failure> {
        let live = &self.observed.live;
        let mut built = build::build(self.cluster, &self.census.latching(latched), live).stateful_set;
        let seen = live.stateful_set.as_ref().and_then(|set| set.metadata.resource_version.clone());
        built.metadata.resource_version = Some(seen.ok_or(Failure::TooEarly)?);
        write(self.client, &self.cluster.names.namespace, &built).await?;
        Ok(())
    }

    /// Deletes an object, provided it is still the one that was seen.
    async fn delete<K>(&self, name: &str, uid: &str) -> Result<(), Failure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), &self.cluster.names.namespace);
        let only = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        api.delete(name, &DeleteParams::default().preconditions(only)).await?;
        Ok(())
    }

    async fn on_disk(&self, pod: &str, store_id: &StoreId) -> Result<schedia_api::Client, ClientError> {
        self.members.on_disk(&self.cluster.names, self.pod(pod)?, store_id).await
    }

    fn pod(&self, name: &str) -> Result<&Pod, ClientError> {
        let pod = self.observed.pods.values().find(|pod| pod.name == name);
        pod.ok_or_else(|| ClientError::Unreachable(format!("{name} was not there when the plan was made")))
    }

    fn address(&self, name: &str) -> Result<&str, ClientError> {
        let ip = self.pod(name)?.ip.as_deref();
        ip.ok_or_else(|| ClientError::Unreachable(format!("{name} has no address")))
    }
}

fn said<T>(pod: &str, answer: Result<T, ClientError>) -> Result<T, Failure> {
    answer.map_err(|source| Failure::Node { pod: pod.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn a_step_that_is_not_allowed_says_so_in_the_words_of_the_api_server_only() {
        let text = r#"{"code": 403, "reason": "Forbidden", "message": "u cannot delete resource \"persistentvolumeclaims\""}"#;
        let status = serde_json::from_str(text).unwrap();
        let failure = Failure::Kubernetes(kube::Error::Api(Box::new(status)));
        let words =
            "not allowed, add it to the operator's role: u cannot delete resource \"persistentvolumeclaims\"";
        assert_eq!(failure.to_string(), words);
    }
}
