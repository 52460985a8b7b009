//! Makes the API server's objects what was built, by server-side apply with one field manager, and only where something differs.

use crate::build::{Applied, Built, FIELD_MANAGER, Objects, is_as_built};
use crate::names::LABEL_ROLE;
use crate::observed::{Live, Observed};
use crate::plan::Plan;
use crate::validate::Cluster;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// Applies everything, unless the plan holds changes back: then what lives stands for what would be applied.
pub async fn apply(
    client: &Client,
    cluster: &Cluster,
    observed: &Observed,
    plan: &Plan,
    built: Objects<Built>,
) -> kube::Result<Objects<Applied>> {
    let Live { stateful_set, headless, client: service, budget } = observed.live.clone();
    if !plan.apply {
        let budget = budget.or(built.budget);
        return Ok(Objects::new(
            stateful_set.unwrap_or(built.stateful_set),
            headless.unwrap_or(built.headless),
            service.unwrap_or(built.client),
            budget,
        ));
    }
    let namespace = &cluster.names.namespace;
    // Names before pods: a node that starts looks for the others at once.
    let headless = one(client, namespace, headless, built.headless).await?;
    let service = one(client, namespace, service, built.client).await?;
    let budget = match built.budget {
        Some(built) => Some(one(client, namespace, budget, built).await?),
        None => None,
    };
    let stateful_set = one(client, namespace, stateful_set, built.stateful_set).await?;
    label_roles(client, cluster, observed, plan).await?;
    Ok(Objects::new(stateful_set, headless, service, budget))
}

/// One object. Returns it as the API server has it.
async fn one<K>(client: &Client, namespace: &str, live: Option<K>, built: K) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let live = match live {
        Some(live) if is_as_built(Some(&live), &built) => return Ok(live),
        live => live,
    };
    let mut built = built;
    // What was compared must be what is changed: an operator that was overtaken gets a conflict and looks again.
    built.meta_mut().resource_version = live.and_then(|live| live.meta().resource_version.clone());
    tracing::info!(kind = %K::kind(&()), %namespace, name = built.name_any(), "apply");
    write(client, namespace, &built).await
}

/// Applies an object without looking first.
pub async fn write<K>(client: &Client, namespace: &str, built: &K) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    // Forced: fields that we manage are ours, whoever edited them meanwhile.
    let params = PatchParams::apply(FIELD_MANAGER).force();
    Api::<K>::namespaced(client.clone(), namespace)
        .patch(&built.name_any(), &params, &Patch::Apply(built))
        .await
}

/// Labels pods with the roles a majority has confirmed.
async fn label_roles(
    client: &Client,
    cluster: &Cluster,
    observed: &Observed,
    plan: &Plan,
) -> kube::Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), &cluster.names.namespace);
    for (ordinal, role) in &plan.roles {
        let Some(pod) = observed.pods.get(ordinal).filter(|pod| !pod.terminating) else { continue };
        if pod.role_label.as_deref() == Some(role) {
            continue;
        }
        // The uid makes it a conflict if the pod was replaced since it was read.
        let patch = json!({"metadata": {"uid": pod.uid, "labels": {LABEL_ROLE: role}}});
        match api.patch_metadata(&pod.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
