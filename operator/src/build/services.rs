//! The two Services: one that names every pod, one for clients.

use super::{metadata, seal};
use crate::names::{PORT_ADMIN, PORT_HTTP, PORT_PEER};
use crate::validate::Cluster;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schedia_crds::ServiceType;

/// Gives each pod its DNS name, before it is ready too: members must find each other to become ready.
pub(super) fn headless(cluster: &Cluster) -> Service {
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        ip_family_policy: Some("PreferDualStack".to_owned()),
        selector: Some(cluster.names.selector()),
        ports: Some(vec![port("http", PORT_HTTP), port("peer", PORT_PEER), port("admin", PORT_ADMIN)]),
        ..ServiceSpec::default()
    };
    service(cluster, cluster.names.headless(), spec, None)
}

/// Leads clients to ready nodes; any node serves any request.
pub(super) fn client(cluster: &Cluster) -> Service {
    let schedia_crds::ServiceSpec { type_, annotations } = &cluster.spec.service;
    let spec = ServiceSpec {
        type_: Some(type_.as_str().to_owned()),
        ip_family_policy: Some("PreferDualStack".to_owned()),
        selector: Some(cluster.names.selector()),
        ports: Some(vec![port("http", PORT_HTTP)]),
        // Without it kube-proxy may send a client of a NodePort to another machine and hide its address; both are wanted here.
        external_traffic_policy: (*type_ != ServiceType::ClusterIP).then(|| "Cluster".to_owned()),
        ..ServiceSpec::default()
    };
    service(cluster, cluster.names.cluster.clone(), spec, Some(annotations.clone()).filter(|a| !a.is_empty()))
}

fn service(
    cluster: &Cluster,
    name: String,
    spec: ServiceSpec,
    annotations: Option<std::collections::BTreeMap<String, String>>,
) -> Service {
    let mut metadata = metadata(cluster, name);
    metadata.annotations = annotations;
    seal(&mut metadata, &spec);
    Service { metadata, spec: Some(spec), status: None }
}

fn port(name: &str, port: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        // By number: the pod template declares no ports, so that a later one rolls no pod.
        target_port: Some(IntOrString::Int(i32::from(port))),
        ..ServicePort::default()
    }
}
