//! Names, labels, annotations and ports: everything that must be spelled the same in two places.

use schedia_crds::RaftCluster;
use std::collections::BTreeMap;

/// The field manager of every write, and the value of `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "schedia-operator";

/// On every object of a cluster: its name. Part of the selector, so it never changes.
pub const LABEL_CLUSTER: &str = "schedia.dev/cluster";
/// On a pod: `voter` or `learner`, as its cluster confirmed. The disruption budget selects by it.
pub const LABEL_ROLE: &str = "schedia.dev/role";

/// On the StatefulSet, the first latch: the id the cluster was or will be initialized with.
pub const ANNOTATION_CLUSTER_ID: &str = "schedia.dev/cluster-id";
/// On the StatefulSet, the second latch: a node has confirmed that id.
pub const ANNOTATION_INITIALIZED: &str = "schedia.dev/initialized";
/// On every object: a digest of what the operator wants it to be. Without a difference nothing is written.
pub const ANNOTATION_CONFIG: &str = "schedia.dev/config";
/// On the StatefulSet: a digest of the pod template in force.
pub const ANNOTATION_TEMPLATE: &str = "schedia.dev/template";

/// Clients.
pub const PORT_HTTP: u16 = 8080;
/// Probes, metrics, the operator.
pub const PORT_ADMIN: u16 = 8081;
/// Members among each other.
pub const PORT_PEER: u16 = 7000;

/// The volume claim template: claims are called `data-<pod>`.
pub const VOLUME: &str = "data";

/// The names that follow from a cluster's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The RaftCluster, its StatefulSet, its client Service and its disruption budget.
    pub cluster: String,
    /// Where all of them live.
    pub namespace: String,
}

impl Names {
    /// Of this resource. One without a namespace cannot come from an API server.
    pub fn of(resource: &RaftCluster) -> Names {
        Names {
            cluster: resource.metadata.name.clone().unwrap_or_default(),
            namespace: resource.metadata.namespace.clone().unwrap_or_default(),
        }
    }

    /// The Service that gives each pod a DNS name, ready or not.
    pub fn headless(&self) -> String {
        format!("{}-nodes", self.cluster)
    }

    /// The pod of an ordinal.
    pub fn pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.cluster)
    }

    /// The volume claim of a pod.
    pub fn claim(&self, ordinal: u32) -> String {
        format!("{VOLUME}-{}", self.pod(ordinal))
    }

    /// The ordinal of a pod (or member) of this cluster; `None` for any other name.
    pub fn ordinal(&self, pod: &str) -> Option<u32> {
        let digits = pod.strip_prefix(&self.cluster)?.strip_prefix('-')?;
        let ordinal = digits.parse().ok()?;
        // "+1" and "01" parse, but name no pod.
        (self.pod(ordinal) == pod).then_some(ordinal)
    }

    /// The DNS name of a pod, without the cluster's domain: every pod resolves it by its search path.
    pub fn host(&self, pod: &str) -> String {
        format!("{pod}.{}.{}.svc", self.headless(), self.namespace)
    }

    /// Where a pod's peers reach it.
    pub fn peer_address(&self, pod: &str) -> String {
        format!("{}:{PORT_PEER}", self.host(pod))
    }

    /// Where clients inside Kubernetes reach one pod.
    pub fn http_url(&self, pod: &str) -> String {
        format!("http://{}:{PORT_HTTP}", self.host(pod))
    }

    /// The labels that select the pods of the cluster.
    pub fn selector(&self) -> BTreeMap<String, String> {
        let pairs = [("app.kubernetes.io/name", "schedia"), (LABEL_CLUSTER, &self.cluster)];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// The selector as text, as `kubectl` and the scale subresource take it.
    pub fn selector_text(&self) -> String {
        let pairs: Vec<_> = self.selector().iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(",")
    }

    /// The labels of every object of the cluster.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert("app.kubernetes.io/instance".to_owned(), self.cluster.clone());
        labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names { cluster: "demo".to_owned(), namespace: "apps".to_owned() }
    }

    #[test]
    fn an_ordinal_is_read_only_from_the_name_of_an_own_pod() {
        let ordinals: Vec<_> =
            ["demo-0", "demo-12", "demo-", "demo", "demo-01", "demo-+1", "demo-x", "other-0", "demo-nodes-0"]
                .map(|pod| names().ordinal(pod))
                .into_iter()
                .collect();
        assert_eq!(ordinals, [Some(0), Some(12), None, None, None, None, None, None, None]);
    }

    #[test]
    fn a_pod_is_called_by_a_name_without_the_domain_of_the_cluster() {
        assert_eq!(names().peer_address("demo-1"), "demo-1.demo-nodes.apps.svc:7000");
        assert_eq!(names().http_url("demo-1"), "http://demo-1.demo-nodes.apps.svc:8080");
    }
}
