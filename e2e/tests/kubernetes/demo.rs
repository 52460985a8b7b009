//! What tests of changing sizes say of the RaftCluster `demo`.

use schedia_apps::NodeId;
use schedia_e2e::load::{Answer, Wire};
use schedia_e2e::namespace::{Namespace, PATIENCE, pod_names};
use schedia_e2e::wait::eventually;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Writers of a load. Few: each connection is forwarded by the API server, on two cores.
pub(crate) const WRITERS: usize = 4;

/// Writes a key whose value it is itself.
pub(crate) async fn put(here: &Namespace, pod: &str, key: &str) {
    let forward = here.http(pod).await;
    let answer = Wire::new().put(&forward.url, key, key.to_owned().into()).await;
    assert!(matches!(answer, Answer::Done { .. }), "{key} at {pod}: {answer:?}");
}

/// Whether such a key is there, by a linearizable read.
pub(crate) async fn has(here: &Namespace, pod: &str, key: &str) -> bool {
    let forward = here.http(pod).await;
    let answer = Wire::new().get(&forward.url, key, false).await;
    matches!(answer, Answer::Done { value, .. } if value == key)
}

/// The volume claims of so many replicas.
pub(crate) fn claims_of(replicas: usize) -> BTreeSet<String> {
    pod_names("demo", replicas).into_iter().map(|pod| format!("data-{pod}")).collect()
}

/// The node ids of the lowest ordinals, each by its own word; of one cluster, each on a disk of its own.
pub(crate) async fn ids(here: &Namespace, replicas: usize) -> BTreeSet<u64> {
    let (mut ids, mut stores, mut clusters) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for pod in pod_names("demo", replicas) {
        let node = eventually(&format!("{pod} answers"), PATIENCE, || here.node_status(&pod)).await;
        ids.insert(node.node_id.expect("a member has an id").0);
        stores.insert(node.store_id.to_string());
        clusters.insert(node.cluster_id.map(String::from));
    }
    assert_eq!(
        (ids.len(), stores.len(), clusters.len()),
        (replicas, replicas, 1),
        "{ids:?} {stores:?} {clusters:?}"
    );
    ids
}

/// Asks demo-0 all the time and remembers the committed voters it knew, one after another, outside of joint configurations.
pub(crate) struct Witness {
    seen: Arc<Mutex<Vec<BTreeSet<NodeId>>>>,
    looking: JoinHandle<()>,
}

impl Witness {
    /// Begins.
    pub(crate) fn of(here: &Namespace) -> Witness {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (here, notes) = (here.clone(), seen.clone());
        let looking = tokio::spawn(async move {
            let (_forward, node) = here.admin("demo-0").await.unwrap();
            loop {
                if let Ok(status) = node.status().await
                    && let Some(shard) = status.shards.into_iter().next()
                    && shard.membership.committed
                    && shard.membership.joint.is_none()
                {
                    let mut notes = notes.lock().unwrap();
                    if notes.last() != Some(&shard.membership.voters) {
                        notes.push(shard.membership.voters);
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Witness { seen, looking }
    }

    /// How many voters there were, one after another.
    pub(crate) fn end(self) -> Vec<usize> {
        self.looking.abort();
        let seen = self.seen.lock().unwrap();
        assert!(!seen.is_empty(), "demo-0 never answered");
        seen.iter().map(BTreeSet::len).collect()
    }
}
