//! RaftClusters in a namespace: applying, waiting, reaching their nodes.

use super::{Forward, IMAGE, Namespace, PATIENCE};
use crate::wait::eventually;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use schedia_api::{Client as NodeClient, Status, TransferLeader};
use schedia_crds::RaftCluster;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const PORT_HTTP: u16 = 8080;
const PORT_ADMIN: u16 = 8081;

impl Namespace {
    /// The objects of one kind here.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Applies a RaftCluster whose spec has an image, small requests, and what `more` says.
    pub async fn apply_raft(&self, name: &str, more: Value) -> RaftCluster {
        self.try_apply_raft(name, more).await.unwrap_or_else(|e| panic!("{name} is not accepted: {e}"))
    }

    /// The same, if the API server likes it.
    pub async fn try_apply_raft(&self, name: &str, more: Value) -> Result<RaftCluster, kube::Error> {
        let mut spec = json!({ "image": image() });
        let fields = more.as_object().expect("fields of a spec").clone();
        spec.as_object_mut().expect("an object").extend(fields);
        let object = json!({
            "apiVersion": "schedia.dev/v1alpha1", "kind": "RaftCluster", "metadata": { "name": name }, "spec": spec,
        });
        let params = PatchParams::apply("schedia-e2e").force();
        self.api::<RaftCluster>().patch(name, &params, &Patch::Apply(&object)).await
    }

    /// The RaftCluster as it is now.
    pub async fn raft(&self, name: &str) -> Result<RaftCluster, String> {
        self.api().get(name).await.map_err(|e| e.to_string())
    }

    /// Waits until the RaftCluster satisfies `holds`; prints what its status said last if it never does.
    pub async fn await_raft(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        holds: impl Fn(&RaftCluster) -> bool,
    ) -> RaftCluster {
        eventually(&format!("{name}: {what}"), within, || async {
            let raft = self.raft(name).await?;
            if holds(&raft) { Ok(raft) } else { Err(serde_json::to_string(&raft.status).unwrap_or_default()) }
        })
        .await
    }

    /// Waits until the RaftCluster is Ready as it is specified now.
    pub async fn ready(&self, name: &str) -> RaftCluster {
        self.await_raft(name, "Ready", PATIENCE, is_ready).await
    }

    /// Changes `spec` of a RaftCluster, as `kubectl patch` does; the API server must like it.
    pub async fn edit(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let edited = self.api::<RaftCluster>().patch(name, &PatchParams::default(), &patch).await;
        edited.unwrap_or_else(|e| panic!("{name} cannot be edited: {e}"));
    }

    /// Waits until the RaftCluster is Ready with so many voters and nothing is left to do.
    pub async fn ready_with(&self, name: &str, voters: i32) -> RaftCluster {
        self.await_raft(name, &format!("Ready with {voters} voters"), PATIENCE, |raft| {
            raft.spec.replicas == voters
                && is_ready(raft)
                && raft
                    .status
                    .as_ref()
                    .is_some_and(|status| status.voters == voters && status.operation.is_none())
        })
        .await
    }

    /// The names of the volume claims that are not being deleted.
    pub async fn claims(&self) -> BTreeSet<String> {
        let claims = self.api::<PersistentVolumeClaim>().list(&ListParams::default()).await;
        let claims = claims.unwrap_or_else(|e| panic!("claims cannot be listed: {e}")).items;
        let staying = claims.iter().filter(|claim| claim.metadata.deletion_timestamp.is_none());
        staying.map(ResourceExt::name_any).collect()
    }

    /// Makes the node in a pod the leader of its cluster. No operator is needed.
    pub async fn make_leader(&self, pod: &str) {
        eventually(&format!("{pod} leads"), PATIENCE, || async {
            let node = self.node_status(pod).await?;
            let leader = node.shards.first().and_then(|shard| shard.leader).ok_or("nobody leads")?;
            let to = node.node_id.ok_or("it has no node id")?;
            if leader == to {
                return Ok(());
            }
            let record = node.record.ok_or("it has no cluster record")?;
            let leader = &record.members.get(&leader).ok_or("a stranger leads")?.name;
            let (_forward, client) = self.admin(leader).await?;
            let handed = client.transfer_leader(&TransferLeader { to }).await;
            Err(format!("{leader} leads, asked to hand over: {handed:?}"))
        })
        .await
    }

    /// A port of this machine that leads to the client port of a pod.
    pub async fn http(&self, pod: &str) -> Forward {
        Forward::new(self.api::<Pod>(), pod, PORT_HTTP).await
    }

    /// The same for each pod of a cluster of this size: what must be kept for them, and where they are.
    pub async fn forwards(&self, name: &str, replicas: usize) -> (Vec<Forward>, Vec<String>) {
        let mut forwards = Vec::new();
        for pod in pod_names(name, replicas) {
            forwards.push(self.http(&pod).await);
        }
        let urls = forwards.iter().map(|forward| forward.url.clone()).collect();
        (forwards, urls)
    }

    /// Waits until somebody leads by the status; that pod.
    pub async fn leader(&self, name: &str) -> String {
        let leader = |raft: &RaftCluster| raft.status.as_ref().and_then(|status| status.leader.clone());
        let raft = self.await_raft(name, "a leader", PATIENCE, |raft| leader(raft).is_some()).await;
        leader(&raft).expect("just seen")
    }

    /// What the node in a pod says of itself.
    pub async fn node_status(&self, pod: &str) -> Result<Status, String> {
        let (_forward, client) = self.admin(pod).await?;
        client.status().await.map_err(|e| format!("{pod}: {e}"))
    }

    /// The admin API of the node in a pod, as long as the port leads to it.
    pub async fn admin(&self, pod: &str) -> Result<(Forward, NodeClient), String> {
        let forward = Forward::new(self.api::<Pod>(), pod, PORT_ADMIN).await;
        let client = NodeClient::new(std::slice::from_ref(&forward.url), Duration::from_secs(5));
        Ok((forward, client.map_err(|e| e.to_string())?))
    }
}

/// Waits until all these pods are gone.
pub async fn no_pods(pods: &Api<Pod>) {
    eventually("no pod is left", PATIENCE, || async {
        let left = pods.list(&ListParams::default()).await.map_err(|e| e.to_string())?.items;
        if left.is_empty() { Ok(()) } else { Err(format!("{} pods", left.len())) }
    })
    .await;
}

/// The image under test: [`IMAGE`], or what `E2E_IMAGE` names.
pub fn image() -> String {
    std::env::var("E2E_IMAGE").unwrap_or_else(|_| IMAGE.to_owned())
}

/// The names of the pods of a cluster of this size.
pub fn pod_names(name: &str, replicas: usize) -> Vec<String> {
    (0..replicas).map(|ordinal| format!("{name}-{ordinal}")).collect()
}

/// A condition of a RaftCluster.
pub fn condition<'a>(raft: &'a RaftCluster, type_: &str) -> Option<&'a Condition> {
    raft.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether it is Ready, and that is said of the spec as it is now.
pub fn is_ready(raft: &RaftCluster) -> bool {
    let observed = raft.status.as_ref().and_then(|status| status.observed_generation);
    observed == raft.metadata.generation
        && condition(raft, "Ready").is_some_and(|ready| ready.status == "True")
}
