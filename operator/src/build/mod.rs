//! Turns a checked cluster and the census into the Kubernetes objects that should exist. Pure; holds no client.
//!
//! Invariants:
//! * The same spec renders the same pod template in every release of the operator, unless its change is meant to roll pods
//!   (golden file per release).
//! * Nothing that changes by itself (time, counters, addresses) is rendered.

mod budget;
mod digest;
mod services;
mod stateful_set;

pub use budget::min_available;
pub use digest::digest;
pub use stateful_set::{Difference, differences};

use crate::census::Census;
use crate::diff::contains;
use crate::names::{ANNOTATION_CONFIG, MANAGER};
use crate::observed::Live;
use crate::validate::Cluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Serialize;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// Objects as they should be.
#[derive(Clone, Debug)]
pub struct Built;

/// Objects as the API server has them.
#[derive(Clone, Debug)]
pub struct Applied;

/// The objects of one cluster. `State` tells whether they are wishes ([`Built`]) or facts ([`Applied`]).
#[derive(Clone, Debug)]
pub struct Objects<State> {
    /// Runs the pods.
    pub stateful_set: StatefulSet,
    /// Names the pods, ready or not.
    pub headless: Service,
    /// For clients: ready pods only.
    pub client: Service,
    /// Limits evictions; none for a single member, whose eviction it could only forbid.
    pub budget: Option<PodDisruptionBudget>,
    state: PhantomData<State>,
}

impl<State> Objects<State> {
    pub(crate) fn new(
        stateful_set: StatefulSet,
        headless: Service,
        client: Service,
        budget: Option<PodDisruptionBudget>,
    ) -> Self {
        Objects { stateful_set, headless, client, budget, state: PhantomData }
    }
}

impl Objects<Built> {
    /// What is to be done to objects that are not as they should be: `apply Service demo`.
    pub fn differing(&self, live: &Live) -> Vec<String> {
        let Objects { stateful_set, headless, client, budget, state: _ } = self;
        let all = [
            differs(live.headless.as_ref(), Some(headless)).map(|service| format!("apply {service}")),
            differs(live.client.as_ref(), Some(client)).map(|service| format!("apply {service}")),
            differs(live.budget.as_ref(), budget.as_ref()).map(|budget| format!("apply {budget}")),
            surplus(live.budget.as_ref(), budget.as_ref()).map(|budget| format!("delete {budget}")),
            differs(live.stateful_set.as_ref(), Some(stateful_set)).map(|set| match self.resized(live) {
                Some((from, to)) => format!("apply {set} ({from} -> {to} pods)"),
                None => format!("apply {set}"),
            }),
        ];
        all.into_iter().flatten().collect()
    }

    /// The number of pods that the StatefulSet has and is to get, if they differ.
    pub fn resized(&self, live: &Live) -> Option<(i32, i32)> {
        let from = live.stateful_set.as_ref()?.spec.as_ref()?.replicas?;
        let to = self.stateful_set.spec.as_ref()?.replicas?;
        (from != to).then_some((from, to))
    }
}

fn differs<K: Resource<DynamicType = ()> + Serialize>(live: Option<&K>, built: Option<&K>) -> Option<String> {
    built.filter(|built| !is_as_built(live, built)).map(title)
}

/// An object that is there and should not be.
fn surplus<K: Resource<DynamicType = ()>>(live: Option<&K>, built: Option<&K>) -> Option<String> {
    live.filter(|live| built.is_none() && live.meta().deletion_timestamp.is_none()).map(title)
}

fn title<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}", K::kind(&()), object.meta().name.as_deref().unwrap_or_default())
}

/// Whether a live object already is what was built.
pub fn is_as_built<K: Serialize>(live: Option<&K>, built: &K) -> bool {
    let value = |object: &K| {
        serde_json::to_value(object).expect("Kubernetes objects have text keys and finite numbers")
    };
    live.is_some_and(|live| contains(&value(live), &value(built)))
}

/// Renders everything.
pub fn build(cluster: &Cluster, census: &Census, live: &Live) -> Objects<Built> {
    Objects::new(
        stateful_set::render(cluster, census, live.stateful_set.as_ref()),
        services::headless(cluster),
        services::client(cluster),
        budget::render(cluster, census, live.budget.as_ref()),
    )
}

/// The metadata every object begins with.
fn metadata(cluster: &Cluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.names.namespace.clone()),
        labels: Some(cluster.names.labels()),
        owner_references: Some(vec![cluster.owner()]),
        ..ObjectMeta::default()
    }
}

/// Adds the digest by which a later pass sees that something was taken out of the configuration, not only that something is missing.
fn seal<T: Serialize>(metadata: &mut ObjectMeta, content: &T) {
    let digest = digest(&(&metadata, content));
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(ANNOTATION_CONFIG.to_owned(), digest);
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The name under which our fields are held.
pub const FIELD_MANAGER: &str = MANAGER;

#[cfg(test)]
mod tests;
