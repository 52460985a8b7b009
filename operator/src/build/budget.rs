//! The disruption budget: one voter is drained at a time.

use super::{map, metadata, seal};
use crate::census::Census;
use crate::names::LABEL_ROLE;
use crate::validate::Cluster;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// None for one voter: it could only forbid every drain of its machine.
pub(super) fn render(cluster: &Cluster, census: &Census) -> Option<PodDisruptionBudget> {
    let voters = i32::try_from(census.target).ok().filter(|voters| *voters >= 3)?;
    let mut selector = cluster.names.selector();
    // Confirmed voters only: learners beside them must not make room for evicting two.
    selector.extend(map([(LABEL_ROLE, "voter")]));
    let spec = PodDisruptionBudgetSpec {
        // Not maxUnavailable: that counts anew while the membership changes.
        min_available: Some(IntOrString::Int(voters - 1)),
        selector: Some(LabelSelector { match_labels: Some(selector), ..LabelSelector::default() }),
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    let mut metadata = metadata(cluster, cluster.names.cluster.clone());
    seal(&mut metadata, &spec);
    Some(PodDisruptionBudget { metadata, spec: Some(spec), status: None })
}
