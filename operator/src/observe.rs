//! Reads everything a pass needs, live: objects and pods from the API server, then each node's own answer, then the cluster record
//! from the leader by a linearizable read. Changes nothing.

mod ask;

use crate::members::Members;
use crate::names::{LABEL_CLUSTER, LABEL_ROLE, Names, VOLUME};
use crate::observed::{Claim, Live, Observed, Pod, Probe};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{self, PersistentVolumeClaim, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use schedia_api::Status;
use schedia_crds::RaftCluster;
use std::collections::{BTreeMap, BTreeSet};

/// One pass's look at everything.
pub async fn observe(client: &Client, members: &Members, resource: &RaftCluster) -> kube::Result<Observed> {
    let names = Names::of(resource);
    let namespace = &names.namespace;
    let pods = Api::<v1::Pod>::namespaced(client.clone(), namespace);
    let selected = ListParams::default().labels(&names.selector_text());
    let (live, pods, claims) =
        tokio::try_join!(live(client, &names), pods.list(&selected), claims(client, &names))?;
    let pods = pods.items.into_iter().filter_map(|pod| Some((names.ordinal(&pod.name_any())?, view(pod))));
    let silent = silent_before(resource);
    let pods = ask::all(members, &names, pods.collect(), &silent).await;
    let record = probe(members, &pods).await;
    Ok(Observed { live, pods, claims, record, now: Timestamp::now() })
}

async fn live(client: &Client, names: &Names) -> kube::Result<Live> {
    let Names { cluster, namespace } = names;
    let headless = names.headless();
    let stateful_sets = Api::<StatefulSet>::namespaced(client.clone(), namespace);
    let services = Api::<Service>::namespaced(client.clone(), namespace);
    let budgets = Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace);
    let (stateful_set, headless, client, budget) = tokio::try_join!(
        stateful_sets.get_opt(cluster),
        services.get_opt(&headless),
        services.get_opt(cluster),
        budgets.get_opt(cluster),
    )?;
    Ok(Live { stateful_set, headless, client, budget })
}

/// By name, not by label: a StatefulSet takes whichever claim has the name.
async fn claims(client: &Client, names: &Names) -> kube::Result<BTreeMap<u32, Claim>> {
    let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &names.namespace);
    let claims = api.list_metadata(&ListParams::default()).await?;
    let ours = claims.items.into_iter().filter_map(|claim| {
        let metadata = claim.metadata;
        let pod = metadata.name.as_deref()?.strip_prefix(VOLUME)?.strip_prefix('-')?;
        let label = metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_CLUSTER));
        let claim = Claim {
            uid: metadata.uid.clone()?,
            created: metadata.creation_timestamp.as_ref()?.0,
            terminating: metadata.deletion_timestamp.is_some(),
            labelled: label == Some(&names.cluster),
        };
        Some((names.ordinal(pod)?, claim))
    });
    Ok(ours.collect())
}

/// Pods whose node did not answer in the pass before.
fn silent_before(resource: &RaftCluster) -> BTreeSet<String> {
    let members = resource.status.iter().flat_map(|status| &status.members);
    members.filter(|member| member.role.is_none()).map(|member| member.name.clone()).collect()
}

fn view(pod: v1::Pod) -> Pod {
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.as_deref().unwrap_or_default().first();
    let state = container.and_then(|container| container.state.as_ref());
    let running = state.is_some_and(|state| state.running.is_some());
    let conditions = status.conditions.as_deref().unwrap_or_default();
    Pod {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        ip: status.pod_ip.clone().filter(|ip| !ip.is_empty()),
        running,
        ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        revision: pod.labels().get("controller-revision-hash").cloned(),
        role_label: pod.labels().get(LABEL_ROLE).cloned(),
        trouble: if running { None } else { trouble(&status) },
        node: Err(crate::observed::Silence("not asked yet".to_owned())),
    }
}

/// Why a pod does not run, as Kubernetes says it: the container's reason, else why it is not scheduled.
fn trouble(status: &v1::PodStatus) -> Option<String> {
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let state = containers.first().and_then(|container| container.state.as_ref());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let said =
        |reason: &Option<String>, message: &Option<String>| match (reason.as_deref(), message.as_deref()) {
            // What every start goes through is no trouble.
            (None | Some("ContainerCreating" | "PodInitializing"), _) => None,
            (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
            (Some(reason), None) => Some(reason.to_owned()),
        };
    waiting.and_then(|waiting| said(&waiting.reason, &waiting.message)).or_else(|| {
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        said(&scheduled.reason, &scheduled.message)
    })
}

/// Asks the leader for the record. Of two nodes that believe to lead, the one of the older term cannot answer.
async fn probe(members: &Members, pods: &BTreeMap<u32, Pod>) -> Option<Probe> {
    let leads = |status: &Status| {
        let shard = status.shards.first()?;
        (shard.leader.is_some() && shard.leader == status.node_id).then_some(shard.term)
    };
    let leaders = pods.values().filter_map(|pod| Some((leads(pod.answer()?)?, pod)));
    let (_, pod) = leaders.max_by_key(|(term, _)| *term)?;
    let answer = async { members.reader(pod.ip.as_deref().unwrap_or_default())?.record().await }.await;
    match answer {
        Ok(record) => Some(Probe { leader: pod.answer()?.node_id?, record }),
        Err(error) => {
            tracing::debug!(pod = pod.name, %error, "the leader did not confirm the record");
            None
        }
    }
}
