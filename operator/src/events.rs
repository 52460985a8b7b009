//! Events on the resource: steps carried out, changes of what Ready says, and what stands in the way.
//!
//! Kubernetes folds events of one (action, reason, object) into one and keeps its first note, so the action names the pod.

use crate::plan::Step;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource};
use schedia_crds::{RaftCluster, RaftClusterStatus};

/// Publishes events; a failure is logged and costs nothing else.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// As this operator; `instance` is its pod.
    pub fn new(client: Client, instance: Option<String>) -> Events {
        let reporter =
            kube::runtime::events::Reporter { controller: crate::names::MANAGER.to_owned(), instance };
        Events { recorder: Recorder::new(client, reporter) }
    }

    /// A step was carried out.
    pub async fn step(&self, resource: &RaftCluster, step: &Step) {
        let action =
            step.pod().map_or_else(|| step.kind().to_owned(), |pod| format!("{}/{pod}", step.kind()));
        self.publish(resource, EventType::Normal, step.kind(), action, step.to_string()).await;
    }

    /// Something stands in the way.
    pub async fn warn<K: Resource<DynamicType = ()>>(&self, resource: &K, reason: &str, note: String) {
        self.publish(resource, EventType::Warning, reason, reason.to_owned(), note).await;
    }

    /// What Ready says has changed, if it has; and whatever keeps a change from going on.
    pub async fn transition(&self, resource: &RaftCluster, after: &RaftClusterStatus) {
        if let Some(now) = news(resource, after, "Progressing")
            && ["DeadlineExceeded", "ScaleDownUnsafe"].contains(&now.reason.as_str())
        {
            self.warn(resource, &now.reason, now.message.clone()).await;
        }
        let Some(now) = news(resource, after, "Ready") else { return };
        // Steps on the way have events of their own.
        let on_the_way =
            ["AddingLearner", "CatchingUp", "ChangingMembership", "TransferringLeader", "RemovingMember"];
        if on_the_way.contains(&now.reason.as_str()) {
            return;
        }
        let grave = ["Degraded", "QuorumLost", "NodesUnreachable", "Blocked", "Invalid"]
            .contains(&now.reason.as_str());
        let type_ = if grave { EventType::Warning } else { EventType::Normal };
        self.publish(resource, type_, &now.reason, format!("Ready/{}", now.reason), now.message.clone())
            .await;
    }

    async fn publish<K>(&self, resource: &K, type_: EventType, reason: &str, action: String, note: String)
    where
        K: Resource<DynamicType = ()>,
    {
        // The API server refuses notes above a kilobyte.
        let note = Some(note.chars().take(250).collect());
        let event = Event { type_, reason: reason.to_owned(), note, action, secondary: None };
        if let Err(error) = self.recorder.publish(&event, &resource.object_ref(&())).await {
            tracing::warn!(%error, reason, "an event could not be published");
        }
    }
}

/// A condition, if its reason has changed.
fn news<'a>(resource: &RaftCluster, after: &'a RaftClusterStatus, type_: &str) -> Option<&'a Condition> {
    let of = |conditions: &'a [Condition]| conditions.iter().find(|condition| condition.type_ == type_);
    let now = of(&after.conditions)?;
    let before = resource.status.iter().flat_map(|status| &status.conditions);
    let before =
        before.filter(|condition| condition.type_ == type_).map(|condition| &condition.reason).next();
    (before != Some(&now.reason)).then_some(now)
}
