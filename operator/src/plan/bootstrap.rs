//! Question 2: has a node confirmed the cluster yet? If not, make it, exactly once.
//!
//! The intent (a cluster id) is written to both latches before any node is initialized with it. It is written only when **every** pod
//! that the spec asks for answers from a blank disk and no volume claim is older than the resource: whatever could know of an
//! earlier cluster has then said that it does not.

use super::{Decision, Reason, Step};
use crate::census::Census;
use crate::latches::Latched;
use crate::observed::{Observed, Pod};
use crate::validate::Cluster;
use schedia_api::{Initialize, Role};
use schedia_apps::ClusterId;

pub(super) fn decide(
    cluster: &Cluster,
    observed: &Observed,
    census: &Census,
    fresh: &ClusterId,
) -> Option<Decision> {
    let latches = census.latches.as_ref().ok()?;
    if let (Some(id), true) = (&census.cluster_id, census.exists()) {
        // Confirmed, by a latch or by a node: adopt what exists before anything else, whoever may have wiped a latch.
        let wanted = Latched { cluster_id: Some(id.clone()), initialized: true };
        let complete = latches.complete && latches.union == wanted;
        return (!complete).then(|| Decision::step(Reason::Bootstrapping, Step::Latch(wanted)));
    }
    if let Some(step) = outdated(observed) {
        return Some(Decision::step(Reason::Bootstrapping, step));
    }
    let mut pods = Vec::new();
    for ordinal in 0..census.target {
        match present(cluster, observed, ordinal) {
            Ok(pod) => pods.push(pod),
            Err(waiting) => {
                let waiting = Decision::wait(Reason::Bootstrapping, waiting);
                return Some(waiting.about(cluster.names.pod(ordinal)));
            }
        }
    }
    if census.cluster_id.is_none()
        && let Some((ordinal, _)) = observed.claims.iter().find(|(_, claim)| claim.created < cluster.created)
    {
        let claim = cluster.names.claim(*ordinal);
        return Some(Decision::blocked(
            "OldVolumes",
            format!(
                "volume claim {claim} is older than this resource and may hold data of an earlier cluster: delete it to start anew"
            ),
        ));
    }
    let id = census.cluster_id.as_ref().unwrap_or(fresh);
    let intent = Latched { cluster_id: Some(id.clone()), initialized: false };
    if !latches.complete || latches.union != intent {
        return Some(Decision::step(Reason::Bootstrapping, Step::Latch(intent)));
    }
    Some(initialize(cluster, id, &pods))
}

fn initialize(cluster: &Cluster, id: &ClusterId, pods: &[(&Pod, &schedia_api::Status)]) -> Decision {
    let others = pods.iter().skip(1).find(|(_, status)| status.role != Role::Unassigned);
    if let Some((pod, _)) = others {
        // Only an initialized cluster gives out node ids, yet none answers for it.
        let message =
            format!("{} was assigned to cluster {id}, but no node answers for that cluster", pod.name);
        return Decision::wait(Reason::NodesUnreachable, message);
    }
    let Some((pod, status)) = pods.first() else {
        return Decision::wait(Reason::Bootstrapping, "no pods are asked for");
    };
    let verb = Initialize {
        cluster_id: id.clone(),
        name: pod.name.clone(),
        address: cluster.names.peer_address(&pod.name),
        shards: cluster.shards,
        managed_by: Some("operator".to_owned()),
    };
    let store_id = status.store_id.clone();
    Decision::step(Reason::Bootstrapping, Step::Initialize { pod: pod.name.clone(), store_id, verb })
}

/// A pod and its answer; `Err`: what it is waited for.
fn present<'a>(
    cluster: &Cluster,
    observed: &'a Observed,
    ordinal: u32,
) -> Result<(&'a Pod, &'a schedia_api::Status), String> {
    let name = cluster.names.pod(ordinal);
    let pod = observed.pods.get(&ordinal).ok_or_else(|| format!("{name} does not exist yet"))?;
    if pod.terminating {
        return Err(format!("{name} is being replaced"));
    }
    match (&pod.node, &pod.trouble) {
        (Ok(status), _) => Ok((pod, status)),
        (Err(_), Some(trouble)) => Err(format!("{name} does not run: {trouble}")),
        (Err(_), None) if !pod.running => Err(format!("{name} is starting")),
        (Err(silence), None) => Err(format!("{name} does not answer: {}", silence.0)),
    }
}

/// A pod of an older template. There is no cluster yet, so replacing it costs nothing; its disk stays.
fn outdated(observed: &Observed) -> Option<Step> {
    let status = observed.live.stateful_set.as_ref()?;
    let newest = crate::observed::newest_revision(status)?;
    let pod = observed
        .pods
        .values()
        .find(|pod| !pod.terminating && pod.revision.as_deref().is_some_and(|r| r != newest))?;
    Some(Step::Recreate { pod: pod.name.clone(), uid: pod.uid.clone() })
}
