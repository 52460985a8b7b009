//! A scene in YAML: what one pass sees, in a few words per pod.

use super::{answering, blank, id, latch_status, member, pod, record};
use crate::build::build;
use crate::census::Census;
use crate::latches::Latched;
use crate::observed::{Claim, Live, Observed, Pod, Probe, Silence};
use crate::validate::Cluster;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use schedia_api::{Alarm, Joint, Role};
use schedia_apps::NodeId;
use schedia_apps::cluster::Record;
use schedia_crds::{Operation, Reclaim};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What stands above the line of a golden script.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scene {
    #[serde(default = "three")]
    replicas: u32,
    /// Raft groups asked for; a record has one.
    #[serde(default = "one")]
    shards: u32,
    #[serde(default)]
    paused: bool,
    #[serde(default = "image")]
    image: String,
    latched: Option<SceneLatch>,
    /// `{replicas: 3, image: schedia:1, owner: somebody}`; `null`: there is none.
    #[serde(default)]
    set: SceneSet,
    /// By ordinal: `blank`, `leader 1`, `voter 2`, `learner 5`, `assigned 5`, `retired 5`, `believes 5`, `silent`, `starting`, `pulling`; further words: see `pod`.
    #[serde(default)]
    pods: BTreeMap<u32, String>,
    record: Option<SceneRecord>,
    /// Ordinals of volume claims older than the resource.
    #[serde(default)]
    old_claims: Vec<u32>,
    /// Ordinals of volume claims as the StatefulSet made them.
    #[serde(default)]
    claims: Vec<u32>,
    /// Those that are being deleted.
    #[serde(default)]
    going_claims: Vec<u32>,
    /// Those that somebody else made.
    #[serde(default)]
    foreign_claims: Vec<u32>,
    /// `Retain` or `Delete`.
    when_scaled: Option<Reclaim>,
    /// The type of the operation that the status tells of.
    operation: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SceneLatch {
    id: String,
    #[serde(default)]
    initialized: bool,
    #[serde(default = "yes")]
    status: bool,
    #[serde(default = "yes")]
    annotation: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SceneSet {
    #[serde(default)]
    absent: bool,
    replicas: Option<u32>,
    owner: Option<String>,
    image: Option<String>,
    size: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SceneRecord {
    generation: u64,
    /// Ordinals by node id.
    members: BTreeMap<u64, u32>,
    voters: Vec<u64>,
    #[serde(default = "yes")]
    settled: bool,
    /// Whether the leader answers a linearizable read.
    #[serde(default = "yes")]
    confirmed: bool,
    /// Voters being left, while a joint configuration is open.
    joint: Option<Vec<u64>>,
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

fn image() -> String {
    "schedia:1".to_owned()
}

fn yes() -> bool {
    true
}

fn now() -> Timestamp {
    "2026-01-02T04:00:00Z".parse().unwrap()
}

impl Scene {
    /// The checked cluster and the observation.
    pub(crate) fn stage(&self) -> (Cluster, Observed) {
        let mut cluster = super::cluster(self.replicas);
        (cluster.shards, cluster.spec.paused) = (self.shards, self.paused);
        if let Some(when_scaled) = self.when_scaled {
            cluster.spec.storage.retention_policy.when_scaled = when_scaled;
        }
        cluster.status.operation = self.operation.clone().map(|type_| Operation {
            type_,
            step: "ChangingMembership".to_owned(),
            member: None,
            started_at: Time(now()),
        });
        let latched = self
            .latched
            .as_ref()
            .map(|latch| Latched { cluster_id: Some(id(&latch.id)), initialized: latch.initialized });
        let annotated =
            latched.clone().filter(|_| self.latched.as_ref().is_some_and(|latch| latch.annotation));
        if let Some(latched) = latched.filter(|_| self.latched.as_ref().is_some_and(|latch| latch.status)) {
            latch_status(&mut cluster, &latched);
        }
        let live = self.live(&cluster, annotated.unwrap_or_default());
        cluster.spec.image.clone_from(&self.image);
        let record = self.record.as_ref().map(SceneRecord::record);
        let pods =
            self.pods.iter().map(|(ordinal, words)| (*ordinal, self.pod(*ordinal, words, record.as_ref())));
        let pods: BTreeMap<u32, Pod> = pods.collect();
        let leader = pods.values().find_map(|pod| {
            let status = pod.answer()?;
            status.node_id.filter(|id| status.shards.first().is_some_and(|shard| shard.leader == Some(*id)))
        });
        let confirmed = self.record.as_ref().is_some_and(|record| record.confirmed);
        let record =
            record.zip(leader).filter(|_| confirmed).map(|(record, leader)| Probe { leader, record });
        (cluster, Observed { live, pods, claims: self.claims(), record, now: now() })
    }

    fn claims(&self) -> BTreeMap<u32, Claim> {
        let claim = |ordinal: &u32| {
            let uid = format!("uid-claim-{ordinal}");
            (*ordinal, Claim { uid, created: now(), terminating: false, labelled: true })
        };
        let old = Timestamp::from_second(0).unwrap();
        let old = self.old_claims.iter().map(claim).map(|(o, c)| (o, Claim { created: old, ..c }));
        let going = self.going_claims.iter().map(claim).map(|(o, c)| (o, Claim { terminating: true, ..c }));
        let foreign = self.foreign_claims.iter().map(claim).map(|(o, c)| (o, Claim { labelled: false, ..c }));
        self.claims.iter().map(claim).chain(old).chain(going).chain(foreign).collect()
    }

    /// The objects as an earlier pass would have applied them.
    fn live(&self, cluster: &Cluster, annotated: Latched) -> Live {
        let SceneSet { absent, replicas, owner, image, size } = &self.set;
        if *absent {
            return Live::default();
        }
        let mut before = cluster.clone();
        if let Some(image) = image {
            before.spec.image.clone_from(image);
        }
        if let Some(size) = size {
            before.spec.storage.size.0.clone_from(size);
        }
        let voters = self.record.as_ref().map(|record| u32::try_from(record.voters.len()).unwrap());
        let census = Census::of(&before, &Observed::default()).latching(&annotated);
        // As many pods as are seen or are members, unless it is said.
        let members = self.record.iter().flat_map(|record| record.members.values());
        let seen = self.pods.keys().chain(members).max().map_or(self.replicas, |ordinal| ordinal + 1);
        let census = Census { voters, size: replicas.unwrap_or(seen), ..census };
        let mut built = build(&before, &census, &Live::default());
        if let Some(owner) = owner {
            let metadata = &mut built.stateful_set.metadata;
            metadata.labels = None;
            metadata.owner_references = (owner != "nobody").then(|| {
                let (kind, name) = ("Deployment".to_owned(), owner.clone());
                vec![OwnerReference {
                    kind,
                    name,
                    uid: "other".to_owned(),
                    controller: Some(true),
                    ..Default::default()
                }]
            });
        }
        built.stateful_set.metadata.generation = Some(1);
        built.stateful_set.status = Some(k8s_openapi::api::apps::v1::StatefulSetStatus {
            observed_generation: Some(1),
            update_revision: Some("new".to_owned()),
            ..Default::default()
        });
        Live {
            stateful_set: Some(built.stateful_set),
            headless: Some(built.headless),
            client: Some(built.client),
            budget: built.budget,
        }
    }

    /// Further words: `unready`, `outdated`, `stopping`, `alarm`, `lag=N` (of everybody else, on the leader), `cluster=ID`, `knows=N` (its
    /// membership is another one).
    fn pod(&self, ordinal: u32, words: &str, record: Option<&Record>) -> Pod {
        let name = format!("demo-{ordinal}");
        let store = format!("disk-{ordinal}");
        let mut words = words.split_whitespace();
        let kind = words.next().unwrap();
        let mut found = match kind {
            "silent" => pod(ordinal),
            "starting" => Pod { running: false, node: Err(Silence("no address".to_owned())), ..pod(ordinal) },
            "pulling" => {
                let trouble = Some("ImagePullBackOff: no such image".to_owned());
                Pod { running: false, trouble, ..pod(ordinal) }
            }
            "blank" => answering(ordinal, blank(&name, &store)),
            role => {
                let node = NodeId(words.next().unwrap().parse().unwrap());
                let empty = super::record(0, &[], &[], false);
                let record = record.unwrap_or(&empty);
                let leader = self.leader();
                let cluster = id(self.latched.as_ref().map_or("c1", |latch| &latch.id));
                let mut status = member(&name, &store, &cluster, node, record, leader);
                if role == "assigned" {
                    (status.role, status.record) = (Role::Assigned, None);
                }
                if role == "retired" {
                    status.role = Role::Retired;
                }
                if role == "believes" {
                    // An old disk: by what it last heard it votes.
                    status.role = Role::Voter;
                }
                if let Some(joint) = self.record.as_ref().and_then(|record| record.joint.as_ref()) {
                    let old = joint.iter().map(|id| NodeId(*id)).collect();
                    let membership = &mut status.shards[0].membership;
                    membership.joint = Some(Joint { old, new: membership.voters.clone() });
                }
                answering(ordinal, status)
            }
        };
        for word in words {
            self.adjust(&mut found, word);
        }
        found
    }

    fn adjust(&self, pod: &mut Pod, word: &str) {
        let (word, value) = word.split_once('=').unwrap_or((word, ""));
        match (word, &mut pod.node) {
            ("outdated", _) => pod.revision = Some("old".to_owned()),
            ("stopping", _) => pod.terminating = true,
            ("unready", Ok(status)) => {
                (pod.ready, status.ready) = (false, false);
                status.ready_reason = Some("no leader is known".to_owned());
            }
            ("alarm", Ok(status)) => {
                let message = "the disk is nearly full".to_owned();
                status.alarms.push(Alarm { code: "disk_low".to_owned(), message });
            }
            ("lag", Ok(status)) => {
                let lag = value.parse().unwrap();
                status.shards[0].lag.values_mut().for_each(|entries| *entries = lag);
            }
            ("knows", Ok(status)) => {
                status.shards[0].membership.voters = [NodeId(value.parse().unwrap())].into()
            }
            ("cluster", Ok(status)) => status.cluster_id = Some(id(value)),
            other => panic!("a word that scenes do not know: {other:?}"),
        }
    }

    fn leader(&self) -> Option<NodeId> {
        let leader = self.pods.values().find_map(|words| words.strip_prefix("leader "))?;
        Some(NodeId(leader.split_whitespace().next()?.parse().unwrap()))
    }
}

impl SceneRecord {
    fn record(&self) -> Record {
        let members: Vec<_> = self.members.iter().map(|(id, ordinal)| (*id, *ordinal)).collect();
        record(self.generation, &members, &self.voters, self.settled)
    }
}
