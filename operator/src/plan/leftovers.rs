//! Question 5: what has a removed member left behind? First its pod goes, with the StatefulSet's size, which waits for the removal to
//! be read back from a quorum ([`crate::census`]); then its volume claim, if it is not to be kept.
//!
//! Invariants:
//! * No claim is deleted whose pod still exists, or whose ordinal any member or the StatefulSet has.
//! * A claim that was not made for this cluster is left alone.

use super::{Decision, Reason, Step};
use crate::census::Census;
use crate::observed::Observed;
use crate::validate::Cluster;
use schedia_crds::Reclaim;

pub(super) fn decide(cluster: &Cluster, observed: &Observed, census: &Census) -> Option<Decision> {
    let set = observed.live.stateful_set.as_ref()?;
    let live = u32::try_from(set.spec.as_ref()?.replicas?).ok()?;
    let waiting = |message: String| Decision::wait(Reason::RemovingMember, message);
    if !census.read_back {
        let surplus = live > census.target || observed.pods.keys().any(|ordinal| *ordinal >= census.target);
        let message = "members that stay have not all confirmed yet that nobody else is a member";
        return surplus.then(|| waiting(message.to_owned()));
    }
    if live > census.size {
        let message =
            format!("StatefulSet {} goes from {live} to {} pods", cluster.names.cluster, census.size);
        return Some(waiting(message));
    }
    if let Some((_, pod)) = observed.pods.range(census.size..).next_back() {
        return Some(waiting(format!("{} is no member and is stopping", pod.name)).about(pod.name.clone()));
    }
    if cluster.spec.storage.retention_policy.when_scaled == Reclaim::Retain {
        return None;
    }
    let mut surplus =
        observed.claims.range(census.size..).filter(|(_, claim)| claim.labelled && !claim.terminating);
    let (ordinal, claim) = surplus.next_back()?;
    let (pod, uid) = (cluster.names.pod(*ordinal), claim.uid.clone());
    let step = Step::DeleteClaim { pod, claim: cluster.names.claim(*ordinal), uid };
    Some(Decision::step(Reason::RemovingMember, step))
}
