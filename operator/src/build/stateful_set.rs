//! The StatefulSet: pods with stable names and disks, started in parallel, replaced only by the operator.
//!
//! Once the cluster exists its pod template and its volume claims stay as they are in the live object, until this operator can roll
//! pods and grow volumes: a new template would otherwise reach whichever pod happens to be recreated.

use super::{digest, map, metadata, seal};
use crate::census::Census;
use crate::names::{ANNOTATION_TEMPLATE, LABEL_CLUSTER, PORT_ADMIN, PORT_HTTP, PORT_PEER, VOLUME};
use crate::validate::Cluster;
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector,
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodAffinityTerm, PodAntiAffinity, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, SeccompProfile, SecurityContext, TopologySpreadConstraint, VolumeMount,
    VolumeResourceRequirements, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The user and group of the nodes: no name, no rights.
const USER: i64 = 65_532;
const MOUNT: &str = "/data";
/// Below the mount, where some file systems keep a directory of their own.
const DATA_DIR: &str = "/data/schedia";

/// What the spec asks for and the live StatefulSet does not give, because changing it is not supported yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The pods would have to be recreated from another template.
    pub template: bool,
    /// The volumes would have to grow.
    pub storage: bool,
}

/// Compares the spec with the StatefulSet of a cluster that exists.
pub fn differences(cluster: &Cluster, census: &Census, live: Option<&StatefulSet>) -> Difference {
    let Some(live) = live else { return Difference::default() };
    let template = census.exists() && in_force(live).is_some_and(|old| *old != digest(&template(cluster)));
    let size = |claims: &[PersistentVolumeClaim]| {
        let requests = claims.first()?.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        crate::diff::bytes(&requests.get("storage")?.0)
    };
    let live_size = live.spec.as_ref().and_then(|spec| size(spec.volume_claim_templates.as_deref()?));
    let storage = live_size.is_some() && live_size != crate::diff::bytes(&cluster.spec.storage.size.0);
    Difference { template, storage }
}

fn in_force(live: &StatefulSet) -> Option<&String> {
    live.metadata.annotations.as_ref()?.get(ANNOTATION_TEMPLATE)
}

pub(super) fn render(cluster: &Cluster, census: &Census, live: Option<&StatefulSet>) -> StatefulSet {
    let Difference { template: template_differs, storage: _ } = differences(cluster, census, live);
    let live_spec = live.and_then(|set| set.spec.as_ref());
    let rendered = template(cluster);
    let (template, template_digest) =
        match live.filter(|_| template_differs).and_then(in_force).zip(live_spec) {
            Some((digest, spec)) => (spec.template.clone(), digest.clone()),
            None => (rendered.clone(), digest(&rendered)),
        };
    let claims = claims(cluster, live_spec);
    let spec = StatefulSetSpec {
        replicas: i32::try_from(census.size).ok(),
        service_name: Some(cluster.names.headless()),
        selector: LabelSelector { match_labels: Some(cluster.names.selector()), ..LabelSelector::default() },
        // OrderedReady would wait for pod 0 to be ready, which waits for its cluster.
        pod_management_policy: Some("Parallel".to_owned()),
        // Which pod goes next is a question of consensus, not of ordinals.
        update_strategy: Some(StatefulSetUpdateStrategy {
            type_: Some("OnDelete".to_owned()),
            rolling_update: None,
        }),
        persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
            when_deleted: Some(cluster.spec.storage.retention_policy.when_deleted.as_str().to_owned()),
            // Always kept here: a stray `kubectl scale sts` must not cost a voter its disk.
            when_scaled: Some("Retain".to_owned()),
        }),
        template: PodTemplateSpec::default(),
        volume_claim_templates: Some(claims),
        ..StatefulSetSpec::default()
    };
    let mut metadata = metadata(cluster, cluster.names.cluster.clone());
    let mut annotations = census.latched().annotations();
    annotations.insert(ANNOTATION_TEMPLATE.to_owned(), template_digest);
    metadata.annotations = Some(annotations);
    // Sealed before the template goes in: its digest stands for it.
    seal(&mut metadata, &spec);
    StatefulSet { metadata, spec: Some(StatefulSetSpec { template, ..spec }), status: None }
}

/// Kubernetes never lets claim templates change: where the live ones are not what is asked for, they stay as they are.
fn claims(cluster: &Cluster, live: Option<&StatefulSetSpec>) -> Vec<PersistentVolumeClaim> {
    let wanted = vec![claim(cluster)];
    let value = |claims: &Vec<_>| serde_json::to_value(claims).unwrap_or_default();
    match live.and_then(|spec| spec.volume_claim_templates.as_ref()) {
        Some(live) if !crate::diff::contains(&value(live), &value(&wanted)) => {
            live.iter().cloned().map(|claim| PersistentVolumeClaim { status: None, ..claim }).collect()
        }
        _ => wanted,
    }
}

fn claim(cluster: &Cluster) -> PersistentVolumeClaim {
    let storage = &cluster.spec.storage;
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(VOLUME.to_owned()),
            labels: Some(cluster.names.labels()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), storage.size.clone())].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// The pod template of the spec.
fn template(cluster: &Cluster) -> PodTemplateSpec {
    let spec = &cluster.spec;
    let mut labels = cluster.names.labels();
    labels.extend(spec.pod_labels.clone());
    let annotations = Some(spec.pod_annotations.clone()).filter(|annotations| !annotations.is_empty());
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), annotations, ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            containers: vec![container(cluster)],
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                // A big volume is not walked at every start.
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(runtime_default()),
                ..PodSecurityContext::default()
            }),
            // Nodes do not talk to Kubernetes.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(spec.termination_grace_period_seconds),
            image_pull_secrets: non_empty(&spec.image_pull_secrets),
            service_account_name: spec.service_account_name.clone(),
            priority_class_name: spec.priority_class_name.clone(),
            node_selector: Some(spec.node_selector.clone()).filter(|selector| !selector.is_empty()),
            tolerations: non_empty(&spec.tolerations),
            affinity: Some(spec.affinity.clone().unwrap_or_else(|| apart(cluster))),
            topology_spread_constraints: Some(
                non_empty(&spec.topology_spread_constraints).unwrap_or_else(|| vec![over_zones(cluster)]),
            ),
            ..PodSpec::default()
        }),
    }
}

fn container(cluster: &Cluster) -> Container {
    let spec = &cluster.spec;
    Container {
        name: "schedia".to_owned(),
        image: Some(spec.image.clone()),
        image_pull_policy: spec.image_pull_policy.map(|policy| policy.as_str().to_owned()),
        args: Some(arguments(cluster)),
        env: Some(vec![EnvVar {
            name: "POD_NAME".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.name".to_owned(),
                }),
                ..EnvVarSource::default()
            }),
            value: None,
        }]),
        resources: spec.resources.clone(),
        volume_mounts: Some(vec![VolumeMount {
            name: VOLUME.to_owned(),
            mount_path: MOUNT.to_owned(),
            ..VolumeMount::default()
        }]),
        // Opening a store replays its log: ten minutes before the pod counts as hung.
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            failure_threshold: Some(600),
            ..probe("/livez")
        }),
        readiness_probe: Some(Probe {
            period_seconds: Some(2),
            failure_threshold: Some(2),
            ..probe("/readyz")
        }),
        // Only whether the process answers: a lost quorum must not restart the nodes that are left.
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            failure_threshold: Some(6),
            ..probe("/livez")
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            seccomp_profile: Some(runtime_default()),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// `$(POD_NAME)` is filled in by Kubernetes.
fn arguments(cluster: &Cluster) -> Vec<String> {
    let raft = &cluster.spec.raft;
    let pod = "$(POD_NAME)";
    let settings = [
        ("--name", pod.to_owned()),
        ("--data-dir", DATA_DIR.to_owned()),
        ("--http", format!("[::]:{PORT_HTTP}")),
        ("--admin", format!("[::]:{PORT_ADMIN}")),
        ("--peer", format!("[::]:{PORT_PEER}")),
        ("--advertise-http", cluster.names.http_url(pod)),
        ("--advertise-peer", cluster.names.peer_address(pod)),
        ("--heartbeat-ms", raft.heartbeat_milliseconds.to_string()),
        ("--election-min-ms", raft.election_timeout_min_milliseconds.to_string()),
        ("--election-max-ms", raft.election_timeout_max_milliseconds.to_string()),
    ];
    let settings = settings.into_iter().map(|(name, value)| format!("{name}={value}"));
    // Only where asked for: the template of a cluster that does not ask is that of the first release.
    let lease_reads = raft.lease_reads.then(|| "--lease-reads".to_owned());
    std::iter::once("serve".to_owned()).chain(settings).chain(lease_reads).collect()
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(i32::from(PORT_ADMIN)),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

fn pods_of(cluster: &Cluster) -> LabelSelector {
    LabelSelector {
        match_labels: Some(map([(LABEL_CLUSTER, &cluster.names.cluster)])),
        ..LabelSelector::default()
    }
}

/// Members prefer machines of their own; on a cluster with fewer machines they still run.
fn apart(cluster: &Cluster) -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(pods_of(cluster)),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: term,
            }]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn over_zones(cluster: &Cluster) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "topology.kubernetes.io/zone".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(pods_of(cluster)),
        ..TopologySpreadConstraint::default()
    }
}

fn non_empty<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list.to_vec()) }
}
