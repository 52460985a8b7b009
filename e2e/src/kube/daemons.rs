//! What runs on each machine: command lines and configuration files, as pure functions of the cluster's paths.
//!
//! Every setting that is not a default is there for a reason given beside it.

use std::path::{Path, PathBuf};

use super::network::{API_SERVER, PODS, SERVICE_DNS, SERVICES, node_address, pod_range};
use super::programs::Programs;
use super::{Machine, Paths};

/// One supervised program.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) after: After,
}

/// What must be there before a daemon is first started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    /// The API server says ready. Before it has made its own roles the controller manager exits, and the scheduler
    /// comes up without request-header authentication.
    ApiServer,
    /// containerd's socket exists.
    Containerd,
}

/// The socket of a node's containerd, in the node.
pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// The daemons of a machine, in the order of their start.
pub(crate) fn daemons(machine: Machine, paths: &Paths, programs: &Programs) -> Vec<Daemon> {
    match machine {
        Machine::Switch => Vec::new(),
        Machine::ControlPlane => control_plane(paths, programs),
        Machine::Node(i) => node(i, paths, programs),
        Machine::Engine => vec![crate::engine::daemon(paths)],
    }
}

fn daemon(name: &'static str, program: PathBuf, after: After, args: &[String]) -> Daemon {
    Daemon { name, program, args: args.to_vec(), after }
}

fn control_plane(paths: &Paths, programs: &Programs) -> Vec<Daemon> {
    let pki = paths.pki();
    let pki = pki.display();
    let data = paths.machine(Machine::ControlPlane).join("etcd");
    let loopback = "http://127.0.0.1";
    let kubeconfigs = |name: &str| {
        ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
            .map(|option| format!("--{option}={pki}/{name}.conf"))
            .to_vec()
    };
    let etcd = [
        "--name=etcd".to_owned(),
        format!("--data-dir={}", data.display()),
        // The page cache outlives a killed machine; the data need not outlive more.
        "--unsafe-no-fsync".to_owned(),
        // Plain HTTP, as it is heard only on the loopback of this network namespace.
        format!("--listen-client-urls={loopback}:2379"),
        format!("--advertise-client-urls={loopback}:2379"),
        format!("--listen-peer-urls={loopback}:2380"),
        format!("--initial-advertise-peer-urls={loopback}:2380"),
        format!("--initial-cluster=etcd={loopback}:2380"),
        "--log-level=warn".to_owned(),
    ];
    let api_server = [
        // Required, as there is no default route to derive it from.
        format!("--advertise-address={API_SERVER}"),
        "--secure-port=6443".to_owned(),
        format!("--etcd-servers={loopback}:2379"),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--allow-privileged=true".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--kubelet-certificate-authority={pki}/ca.crt"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt"),
        format!("--kubelet-client-key={pki}/apiserver-kubelet-client.key"),
        format!("--requestheader-client-ca-file={pki}/front-proxy-ca.crt"),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--proxy-client-cert-file={pki}/front-proxy-client.crt"),
        format!("--proxy-client-key-file={pki}/front-proxy-client.key"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={pki}/sa.pub"),
        format!("--service-account-signing-key-file={pki}/sa.key"),
        // Webhooks are dialled at their pods: ClusterIPs work only where kube-proxy runs, which is not here.
        "--enable-aggregator-routing=true".to_owned(),
        // Pods leave a dead node in seconds instead of five minutes.
        "--default-not-ready-toleration-seconds=15".to_owned(),
        "--default-unreachable-toleration-seconds=15".to_owned(),
        "--profiling=false".to_owned(),
    ];
    let mut controller_manager = kubeconfigs("controller-manager");
    controller_manager.extend([
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={pki}/sa.key"),
        format!("--root-ca-file={pki}/ca.crt"),
        format!("--cluster-signing-cert-file={pki}/ca.crt"),
        format!("--cluster-signing-key-file={pki}/ca.key"),
        // The nodes' pod ranges are in their network configuration.
        "--allocate-node-cidrs=false".to_owned(),
        format!("--cluster-cidr={PODS}"),
        format!("--service-cluster-ip-range={SERVICES}"),
        // With the default of 20 and 30 the controllers need seconds longer to start.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
        // A dead node is NotReady after 15 s instead of 50.
        "--node-monitor-period=2s".to_owned(),
        "--node-monitor-grace-period=16s".to_owned(),
        "--profiling=false".to_owned(),
    ]);
    let mut scheduler = kubeconfigs("scheduler");
    scheduler
        .extend(["--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false"].map(str::to_owned));
    vec![
        daemon("etcd", programs.etcd(), After::Nothing, &etcd),
        daemon("kube-apiserver", programs.kubernetes("kube-apiserver"), After::Nothing, &api_server),
        daemon(
            "kube-controller-manager",
            programs.kubernetes("kube-controller-manager"),
            After::ApiServer,
            &controller_manager,
        ),
        daemon("kube-scheduler", programs.kubernetes("kube-scheduler"), After::ApiServer, &scheduler),
    ]
}

fn node(i: u8, paths: &Paths, programs: &Programs) -> Vec<Daemon> {
    let machine = Machine::Node(i);
    let dir = paths.machine(machine);
    let dir = dir.display();
    let kubelet = [
        format!("--config={dir}/kubelet.yaml"),
        format!("--kubeconfig={}/{machine}.conf", paths.pki().display()),
        format!("--hostname-override={machine}"),
        format!("--node-ip={}", node_address(i)),
        format!("--node-labels=topology.kubernetes.io/zone=zone-{i}"),
    ];
    let kube_proxy = [format!("--config={dir}/kube-proxy.yaml"), format!("--hostname-override={machine}")];
    vec![
        daemon(
            "containerd",
            PathBuf::from("containerd"),
            After::Nothing,
            &["--config".to_owned(), format!("{dir}/containerd.toml")],
        ),
        daemon("kubelet", programs.kubernetes("kubelet"), After::Containerd, &kubelet),
        daemon("kube-proxy", programs.kubernetes("kube-proxy"), After::Nothing, &kube_proxy),
    ]
}

/// The files a node's daemons read, relative to its directory.
pub(crate) fn node_files(i: u8, paths: &Paths, cni_plugins: &Path) -> [(&'static str, String); 4] {
    [
        ("root/etc/cni/net.d/10-bridge.conflist", cni(i)),
        ("containerd.toml", containerd(cni_plugins)),
        ("kubelet.yaml", kubelet(i, paths)),
        ("kube-proxy.yaml", kube_proxy(paths)),
    ]
}

/// Leases of pod addresses are in /run: they must not survive a reboot, else addresses leak.
fn cni(i: u8) -> String {
    let range = pod_range(i);
    serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": "/run/cni-ipam",
                "ranges": [[{ "subnet": range }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
    .to_string()
}

/// `restrict_oom_score_adj`: without CAP_SYS_RESOURCE no sandbox starts otherwise (its pause wants -998), and the error
/// does not say so.
fn containerd(cni_plugins: &Path) -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{}"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#,
        cni_plugins.display()
    )
}

fn kubelet(i: u8, paths: &Paths) -> String {
    let pki = paths.pki();
    let pki = pki.display();
    let machine = Machine::Node(i);
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: "{pki}/ca.crt"}}}}
authorization: {{mode: Webhook}}
tlsCertFile: "{pki}/{machine}.crt"
tlsPrivateKeyFile: "{pki}/{machine}.key"
containerRuntimeEndpoint: unix://{CONTAINERD_SOCKET}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDNS: [{SERVICE_DNS}]
clusterDomain: cluster.local
resolvConf: ""
# The disk is the developer's: never evict pods or collect images for its sake, nobody could pull them again.
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: "50Mi", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}}
# With the controller manager's grace period: a dead node is NotReady after 15 s.
nodeStatusUpdateFrequency: 4s
nodeLeaseDurationSeconds: 12
syncFrequency: 10s
configMapAndSecretChangeDetectionStrategy: Watch
volumePluginDir: /var/lib/kubelet/volume-plugins
maxPods: 60
"#
    )
}

/// The conntrack settings are global and read-only outside the first network namespace: zero leaves them alone.
fn kube_proxy(paths: &Paths) -> String {
    format!(
        r#"apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {{kubeconfig: "{}/proxy.conf"}}
mode: nftables
clusterCIDR: {PODS}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
nodePortAddresses: [primary]
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"#,
        paths.pki().display()
    )
}
