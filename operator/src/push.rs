//! Lets the nodes push: one waiting status call per member, whose answer wakes the reconcile of its cluster.
//!
//! The answer itself is thrown away: the pass that it wakes asks everybody anew.
//!
//! Invariants:
//! * There is at most one waiting call per member, and none for a member that the last pass did not see.
//! * Only the holder of the Lease waits, since only it runs passes.

use crate::members::Members;
use crate::observed::{Observed, Pod};
use kube::runtime::reflector::ObjectRef;
use schedia_crds::RaftCluster;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long one call waits. A node whose machine is gone is noticed when the answer is overdue.
const WAIT: Duration = Duration::from_secs(10);
/// How soon a node that fell silent is asked again, doubled up to the maximum.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Wake-ups that the controller has not taken yet. It takes them at once; beyond this the waiting calls wait too.
pub const WAKES_MAX: usize = 256;

/// A cluster: namespace and name.
type Key = (String, String);

/// The waiting calls of all clusters.
#[derive(Debug)]
pub struct Pushes {
    members: Members,
    wake: mpsc::Sender<ObjectRef<RaftCluster>>,
    /// std Mutex: never held across an await.
    waiting: Mutex<BTreeMap<Key, BTreeMap<String, Waiting>>>,
}

/// One waiting call; dropping it ends the call.
#[derive(Debug)]
struct Waiting {
    uid: String,
    ip: String,
    task: JoinHandle<()>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pushes {
    /// Sends wake-ups to `wake`.
    pub fn new(members: Members, wake: mpsc::Sender<ObjectRef<RaftCluster>>) -> Pushes {
        Pushes { members, wake, waiting: Mutex::default() }
    }

    /// Waits on exactly the members that a pass has seen.
    pub fn follow(&self, namespace: &str, cluster: &str, observed: &Observed) {
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = all.entry((namespace.to_owned(), cluster.to_owned())).or_default();
        waiting.retain(|name, waiting| {
            let pod = observed.pods.values().find(|pod| &pod.name == name);
            pod.is_some_and(|pod| pod.uid == waiting.uid && pod.ip.as_ref() == Some(&waiting.ip))
        });
        for pod in observed.pods.values() {
            let Some(ip) = pod.ip.clone().filter(|_| !waiting.contains_key(&pod.name)) else { continue };
            let target = ObjectRef::new(cluster).within(namespace);
            let task = tokio::spawn(follow(
                self.members.clone(),
                pod.clone(),
                ip.clone(),
                target,
                self.wake.clone(),
            ));
            waiting.insert(pod.name.clone(), Waiting { uid: pod.uid.clone(), ip, task });
        }
    }

    /// Waits on no member of a cluster any more.
    pub fn forget(&self, namespace: &str, cluster: &str) {
        let mut all = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(namespace.to_owned(), cluster.to_owned()));
    }
}

/// Wakes the reconcile whenever the node says something new, falls silent, or speaks again.
async fn follow(
    members: Members,
    pod: Pod,
    ip: String,
    cluster: ObjectRef<RaftCluster>,
    wake: mpsc::Sender<ObjectRef<RaftCluster>>,
) {
    let mut seen = pod.answer().map(|status| status.revision.clone());
    let mut retry = RETRY_MIN;
    loop {
        let Ok(node) = members.reader(&ip) else { return };
        let answer = match &seen {
            Some(revision) => node.status_after(revision, WAIT).await,
            None => node.status().await,
        };
        let now = answer.ok().map(|status| status.revision);
        let spoke = now.is_some();
        let changed = now != seen;
        seen = now;
        if changed && wake.send(cluster.clone()).await.is_err() {
            return;
        }
        if spoke {
            retry = RETRY_MIN;
        } else {
            tokio::time::sleep(retry).await;
            retry = RETRY_MAX.min(retry * 2);
        }
    }
}
