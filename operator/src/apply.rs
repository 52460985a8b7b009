//! Makes the API server's objects what was built, by server-side apply with one field manager, and only where something differs.

use crate::build::{Applied, Built, FIELD_MANAGER, Objects, is_as_built, min_available};
use crate::failpoint::Failpoint;
use crate::names::LABEL_ROLE;
use crate::observed::{Live, Observed};
use crate::plan::Plan;
use crate::validate::Cluster;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
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
    failpoint: &Failpoint,
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
    let writer = Writer { client, namespace: &cluster.names.namespace, failpoint };
    // Names before pods: a node that starts looks for the others at once.
    let headless = writer.one(headless, built.headless).await?;
    let service = writer.one(service, built.client).await?;
    // A budget that keeps more comes before the labels that it counts, one that keeps less after them: between the two no more
    // voters may be evicted than with either.
    let min_available = |budget: &Option<PodDisruptionBudget>| budget.as_ref().and_then(min_available);
    let keeps_more = min_available(&built.budget) > min_available(&budget);
    if !keeps_more {
        writer.label_roles(cluster, observed, plan).await?;
    }
    let budget = writer.budget(budget, built.budget).await?;
    if keeps_more {
        writer.label_roles(cluster, observed, plan).await?;
    }
    let stateful_set = writer.one(stateful_set, built.stateful_set).await?;
    Ok(Objects::new(stateful_set, headless, service, budget))
}

struct Writer<'a> {
    client: &'a Client,
    namespace: &'a str,
    failpoint: &'a Failpoint,
}

impl Writer<'_> {
    /// One object. Returns it as the API server has it.
    async fn one<K>(&self, live: Option<K>, built: K) -> kube::Result<K>
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
        tracing::info!(kind = %K::kind(&()), namespace = self.namespace, name = built.name_any(), "apply");
        let written = write(self.client, self.namespace, &built).await?;
        self.failpoint.after(&format!("Apply{}", K::kind(&())));
        Ok(written)
    }

    /// The budget, which a cluster of one has not.
    async fn budget(
        &self,
        live: Option<PodDisruptionBudget>,
        built: Option<PodDisruptionBudget>,
    ) -> kube::Result<Option<PodDisruptionBudget>> {
        let live = match (live, built) {
            (live, Some(built)) => return self.one(live, built).await.map(Some),
            (None, None) => return Ok(None),
            (Some(live), None) => live,
        };
        let only = Preconditions { uid: live.uid(), resource_version: live.resource_version() };
        let params = DeleteParams::default().preconditions(only);
        tracing::info!(
            kind = "PodDisruptionBudget",
            namespace = self.namespace,
            name = live.name_any(),
            "delete"
        );
        let api = Api::<PodDisruptionBudget>::namespaced(self.client.clone(), self.namespace);
        match api.delete(&live.name_any(), &params).await {
            Ok(_) => self.failpoint.after("DeletePodDisruptionBudget"),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Labels pods with the roles a majority has confirmed.
    async fn label_roles(&self, cluster: &Cluster, observed: &Observed, plan: &Plan) -> kube::Result<()> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &cluster.names.namespace);
        for (ordinal, role) in &plan.roles {
            let Some(pod) = observed.pods.get(ordinal).filter(|pod| !pod.terminating) else { continue };
            if pod.role_label.as_deref() == Some(role) {
                continue;
            }
            // The uid makes it a conflict if the pod was replaced since it was read.
            let patch = json!({"metadata": {"uid": pod.uid, "labels": {LABEL_ROLE: role}}});
            match api.patch_metadata(&pod.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => self.failpoint.after("LabelPod"),
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
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
