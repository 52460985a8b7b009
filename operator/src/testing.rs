//! What tests share: clusters, nodes and scenes made by hand.

mod scene;

pub(crate) use scene::Scene;

use crate::latches::Latched;
use crate::observed::{Pod, Silence};
use crate::validate::{Cluster, validate};
use schedia_api::{Membership, Role, ShardStatus, Status};
use schedia_apps::cluster::{Member, Record};
use schedia_apps::{ClusterId, Epoch, Level, NodeId, ShardId};
use schedia_crds::RaftCluster;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The resource `default/demo` with an image and nothing else.
pub(crate) fn resource(replicas: u32) -> RaftCluster {
    serde_json::from_value(json!({
        "apiVersion": "schedia.dev/v1alpha1",
        "kind": "RaftCluster",
        "metadata": {
            "name": "demo", "namespace": "default", "uid": "uid-demo", "generation": 1,
            "resourceVersion": "1", "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": {"image": "schedia:1", "replicas": replicas},
    }))
    .unwrap()
}

/// The same, checked. Checked once: evaluating the rules takes longer than a thousand plans.
pub(crate) fn cluster(replicas: u32) -> Cluster {
    static CHECKED: LazyLock<Cluster> = LazyLock::new(|| validate(&resource(3)).unwrap());
    let mut cluster = CHECKED.clone();
    cluster.replicas = replicas;
    cluster.spec.replicas = i32::try_from(replicas).unwrap();
    cluster
}

/// As if the status had been written with these latches.
pub(crate) fn latch_status(cluster: &mut Cluster, latched: &Latched) {
    cluster.latched_id = latched.cluster_id.clone();
    cluster.status.cluster_id = latched.cluster_id.as_ref().map(ToString::to_string);
    cluster.status.initialized = latched.initialized;
}

pub(crate) fn id(text: &str) -> ClusterId {
    text.parse().unwrap()
}

/// A node that knows no cluster.
pub(crate) fn blank(name: &str, store: &str) -> Status {
    Status {
        revision: "r.1".to_owned(),
        name: name.to_owned(),
        address: format!("{name}.demo-nodes.default.svc:7000"),
        http_url: format!("http://{name}.demo-nodes.default.svc:8080"),
        version: "0.1.0".to_owned(),
        role: Role::Unassigned,
        store_id: store.parse().unwrap(),
        cluster_id: None,
        node_id: None,
        level_min: Level(1),
        level_max: Level(1),
        epoch: Epoch(0),
        ready: false,
        ready_reason: Some("unassigned".to_owned()),
        record: None,
        shards: Vec::new(),
        disk: schedia_api::DiskStatus::default(),
        alarms: Vec::new(),
    }
}

/// A node of a cluster, which has applied this record and knows this leader.
pub(crate) fn member(
    name: &str,
    store: &str,
    cluster: &ClusterId,
    node: NodeId,
    record: &Record,
    leader: Option<NodeId>,
) -> Status {
    let role = match (record.voters.contains(&node), record.members.contains_key(&node)) {
        (true, _) => Role::Voter,
        (false, true) => Role::Learner,
        (false, false) => Role::Assigned,
    };
    let known = role != Role::Assigned;
    let log_id = schedia_api::LogId { term: 1, index: record.generation };
    let learners: BTreeSet<_> =
        record.members.keys().filter(|id| !record.voters.contains(id)).copied().collect();
    let others = record.members.keys().filter(|id| **id != node);
    let shard = ShardStatus {
        shard: ShardId(0),
        leader,
        term: 1,
        last: Some(log_id),
        committed: Some(log_id),
        applied: Some(log_id),
        membership: Membership {
            log_id: known.then_some(log_id),
            committed: true,
            voters: record.voters.clone(),
            learners,
            joint: None,
        },
        lag: if leader == Some(node) { others.map(|id| (*id, 0)).collect() } else { BTreeMap::new() },
        stopped: None,
    };
    Status {
        role,
        cluster_id: Some(cluster.clone()),
        node_id: Some(node),
        ready: role == Role::Voter && leader.is_some(),
        ready_reason: (role != Role::Voter).then(|| "not a voter".to_owned()),
        record: known.then(|| record.clone()),
        shards: vec![shard],
        ..blank(name, store)
    }
}

/// A record whose members are pods of `demo`, by id and ordinal.
pub(crate) fn record(generation: u64, members: &[(u64, u32)], voters: &[u64], settled: bool) -> Record {
    let members = members.iter().map(|(id, ordinal)| {
        let name = format!("demo-{ordinal}");
        let address = format!("{name}.demo-nodes.default.svc:7000");
        (NodeId(*id), Member { id: NodeId(*id), name, address, http_url: None, store_id: None })
    });
    Record {
        generation,
        members: members.collect(),
        voters: voters.iter().map(|id| NodeId(*id)).collect(),
        joining: BTreeSet::new(),
        settled,
        shards: 1,
        level: Level(1),
        epoch: Epoch(0),
        managed_by: Some("operator".to_owned()),
    }
}

/// A running pod whose node does not answer.
pub(crate) fn pod(ordinal: u32) -> Pod {
    Pod {
        name: format!("demo-{ordinal}"),
        uid: format!("uid-{ordinal}"),
        ip: Some(format!("10.0.0.{ordinal}")),
        running: true,
        ready: false,
        terminating: false,
        revision: Some("new".to_owned()),
        role_label: None,
        trouble: None,
        node: Err(Silence("connection refused".to_owned())),
    }
}

/// A pod with an answer.
pub(crate) fn answering(ordinal: u32, status: Status) -> Pod {
    Pod { ready: status.ready, node: Ok(status), ..pod(ordinal) }
}
