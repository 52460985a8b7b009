//! One pass over a cluster, and what wakes it: changes of the resource and of its objects, nodes that push, and time.

use crate::api_error::{watch_words, words};
use crate::apply::apply;
use crate::build::build;
use crate::carry_out::{Failure, Hands};
use crate::census::Census;
use crate::events::Events;
use crate::failpoint::Failpoint;
use crate::members::Members;
use crate::metrics::Metrics;
use crate::names::MANAGER;
use crate::observe::observe;
use crate::plan::{Plan, Reason, Step, plan};
use crate::push::{Pushes, WAKES_MAX};
use crate::status::{self, Outcome};
use crate::validate::validate;
use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{self, Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use schedia_apps::ClusterId;
use schedia_crds::RaftCluster;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Clusters worked on at once: each pass holds a few requests open.
const CONCURRENCY: u16 = 8;

/// Right after a step: its effect is there at once.
const AFTER_STEP: Duration = Duration::from_millis(100);
/// While something is awaited that nobody announces.
const IN_MOTION: Duration = Duration::from_secs(1);
/// While something is wrong.
const IN_TROUBLE: Duration = Duration::from_secs(5);
/// While all is well: changes announce themselves.
const STEADY: Duration = Duration::from_secs(60);
/// After an error: doubled from the first to the last.
const ERROR_MIN: Duration = Duration::from_secs(1);
const ERROR_MAX: Duration = Duration::from_secs(60);

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The API server refused or did not answer.
    #[error("{}", words(.0))]
    Kubernetes(#[from] kube::Error),
}

/// What passes are made with.
#[derive(Debug)]
pub struct Tools {
    /// The way to the nodes.
    pub members: Members,
    /// Tells people.
    pub events: Events,
    /// Tells machines.
    pub metrics: Arc<Metrics>,
    /// Where the process may have to end.
    pub failpoint: Arc<Failpoint>,
}

/// What all passes share.
struct Operator {
    client: Client,
    pushes: Pushes,
    tools: Tools,
    /// Passes that failed in a row, by resource. std Mutex: never held across an await.
    failures: Mutex<BTreeMap<(String, String), u32>>,
}

/// Runs passes until `stop` says so. With a namespace: only over clusters in it.
pub async fn run(client: Client, namespace: Option<&str>, tools: Tools, mut stop: watch::Receiver<bool>) {
    let (wake, wakes) = mpsc::channel(WAKES_MAX);
    let pushes = Pushes::new(tools.members.clone(), wake);
    let operator = Operator { client: client.clone(), pushes, tools, failures: Mutex::default() };
    let clusters = scoped::<DeserializeGuard<RaftCluster>>(&client, namespace);
    let wakes = futures::stream::unfold(wakes, |mut wakes| async {
        let woken: ObjectRef<RaftCluster> = wakes.recv().await?;
        let mut target = ObjectRef::new(&woken.name);
        target.namespace = woken.namespace;
        Some((target, wakes))
    });
    Controller::new(clusters, watcher::Config::default())
        .owns_stream(touched::<StatefulSet>(&client, namespace))
        .owns_stream(touched::<Service>(&client, namespace))
        .owns_stream(touched::<PodDisruptionBudget>(&client, namespace))
        .watches_stream(touched::<Pod>(&client, namespace), cluster_of)
        .reconcile_on(wakes)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(async move {
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .run(reconcile, error_policy, Arc::new(operator))
        .for_each(|result| async move {
            match result {
                // Nothing wakes a pass until it works again: kube retries, ever more slowly.
                Err(controller::Error::QueueError(error)) => {
                    tracing::warn!(error = %watch_words(&error), "cannot watch");
                }
                Err(error) => tracing::debug!(%error, "pass"),
                Ok(_) => {}
            }
        })
        .await;
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Changes of the operator's own objects: only their metadata, since a pass reads what it needs.
fn touched<K>(
    client: &Client,
    namespace: Option<&str>,
) -> impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + use<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + Send + Sync + serde::de::DeserializeOwned + 'static,
{
    let ours = watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}"));
    watcher(scoped::<PartialObjectMeta<K>>(client, namespace), ours).default_backoff().touched_objects()
}

/// A pod belongs to its StatefulSet; its label names the cluster.
fn cluster_of(pod: PartialObjectMeta<Pod>) -> Option<ObjectRef<DeserializeGuard<RaftCluster>>> {
    let cluster = pod.labels().get(crate::names::LABEL_CLUSTER)?;
    Some(ObjectRef::new(cluster).within(&pod.namespace()?))
}

async fn reconcile(
    resource: Arc<DeserializeGuard<RaftCluster>>,
    operator: Arc<Operator>,
) -> Result<Action, PassError> {
    let begun = Instant::now();
    // Boxed: the future holds everything one pass has seen.
    let result = Box::pin(operator.reconcile(&resource)).await;
    operator.tools.metrics.pass(result.is_ok(), begun.elapsed().as_secs_f64());
    let key = (resource.namespace().unwrap_or_default(), resource.name_any());
    let mut failures = operator.failures.lock().unwrap_or_else(PoisonError::into_inner);
    match &result {
        Ok(_) => drop(failures.remove(&key)),
        Err(_) => *failures.entry(key).or_default() += 1,
    }
    result
}

fn error_policy(
    resource: Arc<DeserializeGuard<RaftCluster>>,
    error: &PassError,
    operator: Arc<Operator>,
) -> Action {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let PassError::Kubernetes(cause) = error;
    if is_conflict(cause) {
        return Action::requeue(AFTER_STEP);
    }
    tracing::warn!(%namespace, %name, %error, "pass failed");
    let failures = operator.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let times = failures.get(&(namespace, name)).copied().unwrap_or(1).clamp(1, 16);
    Action::requeue(ERROR_MAX.min(ERROR_MIN * (1 << (times - 1))))
}

impl Operator {
    async fn reconcile(&self, cached: &DeserializeGuard<RaftCluster>) -> Result<Action, PassError> {
        let (namespace, name) = (cached.namespace().unwrap_or_default(), cached.name_any());
        let api = Api::<DeserializeGuard<RaftCluster>>::namespaced(self.client.clone(), &namespace);
        // The cache only tells that there is something to do.
        let resource = match api.get_opt(&name).await? {
            Some(DeserializeGuard(Ok(resource))) if resource.metadata.deletion_timestamp.is_none() => {
                resource
            }
            Some(DeserializeGuard(Err(invalid))) => {
                return self.malformed(&namespace, &name, &invalid.error).await;
            }
            // Gone or going: the garbage collector takes the objects, the StatefulSet's retention policy the volumes.
            Some(DeserializeGuard(Ok(_))) | None => {
                self.pushes.forget(&namespace, &name);
                self.tools.metrics.forget(&namespace, &name);
                return Ok(Action::await_change());
            }
        };
        match Box::pin(self.pass(&resource)).await {
            Err(PassError::Kubernetes(error)) if refused(&error) => self.refused(&resource, error).await,
            result => result,
        }
    }

    /// observe -> validate -> build -> plan -> apply -> carry out -> status.
    async fn pass(&self, resource: &RaftCluster) -> Result<Action, PassError> {
        let observed = Box::pin(observe(&self.client, &self.tools.members, resource)).await?;
        self.pushes.follow(&resource.namespace().unwrap_or_default(), &resource.name_any(), &observed);
        let cluster = match validate(resource) {
            Ok(cluster) => cluster,
            Err(invalid) => return self.unworkable(resource, "Invalid", &invalid.0).await,
        };
        let census = Census::of(&cluster, &observed);
        let built = build(&cluster, &census, &observed.live);
        let plan = plan(&cluster, &observed, &census, &built, &fresh_id());
        self.tools.metrics.cluster(&cluster, &observed, &census, &plan.quorum);
        let Tools { members, failpoint, .. } = &self.tools;
        let applied = Box::pin(apply(&self.client, &cluster, &observed, &plan, built, failpoint)).await?;

        let mut outcome = Outcome { latched: census.latched(), failure: None };
        if let Some(step) = plan.step_now() {
            let (client, cluster) = (&self.client, &cluster);
            let hands = Hands { client, members, cluster, observed: &observed, census: &census, failpoint };
            let result = hands.carry_out(step).await;
            outcome = self.after(resource, step, result, outcome).await;
        }
        let after = status::status(&cluster, &observed, &census, &plan, &applied, &outcome);
        self.tools.events.transition(resource, &after).await;
        let overdue = status::is_overdue(&after);
        if status::write(&self.client, resource, after).await? {
            self.tools.metrics.status_written();
            failpoint.after("WriteStatus");
        }
        Ok(Action::requeue(if overdue { IN_TROUBLE } else { pause(&plan, &outcome) }))
    }

    async fn after(
        &self,
        resource: &RaftCluster,
        step: &Step,
        result: Result<(), Failure>,
        outcome: Outcome,
    ) -> Outcome {
        let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
        self.tools.metrics.step(step.kind(), result.is_ok());
        match (result, step) {
            (Ok(()), step) => {
                tracing::info!(%namespace, %name, %step, "step");
                self.tools.events.step(resource, step).await;
                match step {
                    Step::Latch(latched) => Outcome { latched: latched.clone(), ..outcome },
                    _ => outcome,
                }
            }
            (Err(failure), step) if failure.is_stale() => {
                tracing::info!(%namespace, %name, %step, %failure, "overtaken by events");
                outcome
            }
            (Err(failure), step) => {
                tracing::warn!(%namespace, %name, %step, %failure, "step failed");
                Outcome { failure: Some(failure.to_string()), ..outcome }
            }
        }
    }

    /// The API server does not let us: that is for a person, and belongs into the status.
    async fn refused(&self, resource: &RaftCluster, error: kube::Error) -> Result<Action, PassError> {
        let reason = if is_forbidden(&error) { "Forbidden" } else { "Rejected" };
        self.unworkable(resource, reason, &words(&error)).await?;
        Err(error.into())
    }

    async fn unworkable(
        &self,
        resource: &RaftCluster,
        reason: &str,
        message: &str,
    ) -> Result<Action, PassError> {
        let after = status::unworkable(resource, reason, message, Timestamp::now());
        let known = resource.status.as_ref().is_some_and(|before| before.conditions == after.conditions);
        if !known {
            self.tools.events.warn(resource, reason, message.to_owned()).await;
        }
        if status::write(&self.client, resource, after).await? {
            self.tools.metrics.status_written();
        }
        Ok(Action::requeue(STEADY))
    }

    /// A resource that this release cannot read: written under a newer CustomResourceDefinition, perhaps.
    async fn malformed(&self, namespace: &str, name: &str, error: &str) -> Result<Action, PassError> {
        tracing::warn!(%namespace, %name, %error, "a RaftCluster cannot be read");
        if let Some(metadata) = status::mark_malformed(&self.client, namespace, name, error).await? {
            self.tools.events.warn(&metadata, "Malformed", error.to_owned()).await;
        }
        Ok(Action::requeue(STEADY))
    }
}

/// How long until the next pass, if nothing wakes it before.
fn pause(plan: &Plan, outcome: &Outcome) -> Duration {
    match plan.reason {
        _ if outcome.failure.is_some() => IN_TROUBLE,
        _ if plan.step_now().is_some() => AFTER_STEP,
        _ if plan.apply && plan.resize => AFTER_STEP,
        Reason::Ready => STEADY,
        reason if reason.is_on_the_way() => IN_MOTION,
        _ => IN_TROUBLE,
    }
}

/// Drawn for every pass and used by at most one of a cluster's life.
fn fresh_id() -> ClusterId {
    ClusterId::try_from(uuid::Uuid::new_v4().to_string())
        .expect("a uuid is lower-case hexadecimal and dashes")
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

/// Whether asking again will not help.
fn refused(error: &kube::Error) -> bool {
    is_forbidden(error)
        || matches!(error, kube::Error::Api(status) if status.code == 422 || status.code == 400)
}
