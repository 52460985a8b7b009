//! The disruption budget: one voter is drained at a time.

use super::{map, metadata, seal};
use crate::census::Census;
use crate::names::LABEL_ROLE;
use crate::validate::Cluster;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// For the voters there are, not for those asked for; while no majority tells who votes, the budget stays as it is. None for one
/// voter: it could only forbid every drain of its machine.
pub(super) fn render(
    cluster: &Cluster,
    census: &Census,
    live: Option<&PodDisruptionBudget>,
) -> Option<PodDisruptionBudget> {
    let voters = census.voters.and_then(|voters| i32::try_from(voters).ok());
    // Not maxUnavailable: that counts anew while the membership changes.
    let all_but_one = voters.filter(|voters| *voters >= 3).map(|voters| voters - 1);
    let min_available = if voters.is_some() { all_but_one } else { live.and_then(min_available) }?;
    let mut selector = cluster.names.selector();
    // Confirmed voters only: learners beside them must not make room for evicting two.
    selector.extend(map([(LABEL_ROLE, "voter")]));
    let spec = PodDisruptionBudgetSpec {
        min_available: Some(IntOrString::Int(min_available)),
        selector: Some(LabelSelector { match_labels: Some(selector), ..LabelSelector::default() }),
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    let mut metadata = metadata(cluster, cluster.names.cluster.clone());
    seal(&mut metadata, &spec);
    Some(PodDisruptionBudget { metadata, spec: Some(spec), status: None })
}

/// How many voters a budget keeps.
pub fn min_available(budget: &PodDisruptionBudget) -> Option<i32> {
    match budget.spec.as_ref()?.min_available {
        Some(IntOrString::Int(number)) => Some(number),
        _ => None,
    }
}
