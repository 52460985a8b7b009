//! The local Kubernetes itself: that it is one, that faults are faults, and that it goes without a trace.
//!
//! Needs root and the programs of Kubernetes (built at the first run, ten minutes). Not part of a plain `cargo test`:
//! `cargo test --package schedia-e2e --test local_kubernetes`, or `cargo verify`.

// Helpers of tests are tests: their panic is the message.
#![allow(clippy::unwrap_used)]

mod tool;

use std::process::Stdio;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use schedia_e2e::kube::{Cluster, DaemonFault, Machine, Partition, Settings, surroundings};
use tokio::sync::{Mutex, MutexGuard};

/// One test at a time: two cores carry one cluster well.
static ALONE: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// Writes a line at each start and serves the file.
const POD: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: boots}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
---
apiVersion: v1
kind: Service
metadata: {name: boots}
spec: {selector: {app: boots}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: boots, labels: {app: boots}}
spec:
  nodeSelector: {kubernetes.io/hostname: node-2}
  terminationGracePeriodSeconds: 0
  securityContext:
    {runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: boots
    image: localhost/busybox:1
    command: [sh, -c, "nslookup boots.default.svc.cluster.local && echo boot >> /data/boots && exec busybox httpd -f -p 8080 -h /data"]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: boots}}]
"#;

/// A cluster that is taken down even if the test fails.
struct Fixture {
    cluster: Cluster,
    _alone: Option<MutexGuard<'static, ()>>,
}

fn cluster(name: &str) -> Cluster {
    Cluster::new(tool::paths(name), tool::program())
}

impl Fixture {
    async fn new(name: &str) -> Fixture {
        let alone = ALONE.lock().await;
        Fixture { cluster: cluster(name), _alone: Some(alone) }
    }

    /// Without waiting for others.
    fn beside(name: &str) -> Fixture {
        Fixture { cluster: cluster(name), _alone: None }
    }

    async fn up(&self, nodes: u8) -> Duration {
        self.cluster.build().await.unwrap_or_else(|e| panic!("{}", e.chain()));
        let started = Instant::now();
        let settings = Settings { nodes, ..Settings::default() };
        self.cluster.up(&settings).await.unwrap_or_else(|e| panic!("{}", e.chain()));
        started.elapsed()
    }

    async fn down(&self) {
        self.cluster.down().await.unwrap_or_else(|e| panic!("{}", e.chain()));
        assert_eq!(self.cluster.leftovers().unwrap(), [""; 0]);
    }

    async fn kubectl(&self, args: &[&str]) -> String {
        let output = self.cluster.kubectl().args(args).output().await.unwrap();
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether node `from` gets an answer from node `to`.
    async fn hears(&self, from: u8, to: u8) -> bool {
        let path = "jsonpath={.status.addresses[?(@.type=='InternalIP')].address}";
        let address = self.kubectl(&["get", "node", &Machine::Node(to).to_string(), "-o", path]).await;
        let mut ping = self.cluster.inside(Machine::Node(from)).unwrap();
        ping.args(["busybox", "ping", "-c", "1", "-W", "1", &address]).stdout(Stdio::null());
        ping.status().await.unwrap().success()
    }

    /// SIGKILL to a machine's process 1, as nobody planned it.
    async fn crash(&self, machine: Machine) {
        let pid = rustix::process::Pid::from_raw(self.pid(machine).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        eventually("the machine is dead", async || {
            let status = self.cluster.status().await.unwrap();
            status.machines.contains(&(machine, None)).then_some(())
        })
        .await;
    }

    fn pid(&self, machine: Machine) -> Option<i32> {
        let text =
            std::fs::read_to_string(self.cluster.paths().state().join(machine.to_string()).join("init.pid"));
        text.ok()?.split(' ').next()?.parse().ok()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = tool::command(self.cluster.paths().name(), &["down"]).status();
    }
}

/// Asks until the answer is there, for at most a minute.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_serves_a_pod_with_a_volume_through_faults_and_goes_without_a_trace() {
    let before = surroundings().unwrap();
    let fixture = Fixture::new("whole").await;
    let cluster = &fixture.cluster;
    println!("cluster up: {:.1} s", fixture.up(3).await.as_secs_f32());
    assert!(cluster.status().await.unwrap().is_whole());
    assert_eq!(surroundings().unwrap(), before, "a cluster that is up shows nowhere outside its namespaces");

    cluster.apply(POD).await.unwrap();
    fixture.kubectl(&["wait", "--for=condition=Ready", "pod/boots", "--timeout=60s"]).await;
    let address = cluster.publish("default", "boots", 80, 0).await.unwrap();
    assert_eq!(
        cluster.publish("default", "boots", 80, 0).await.unwrap(),
        address,
        "the same again is the same port"
    );
    let boots = async || {
        let answer = reqwest::get(format!("http://{address}/boots")).await.ok()?.error_for_status().ok()?;
        answer.text().await.ok()
    };
    assert_eq!(eventually("the Service answers", boots).await, "boot\n");

    let node = Machine::Node(2);
    let old = fixture.pid(node);
    cluster.kill(node).unwrap();
    assert_eq!(boots().await, None, "the pod is dead with its node");
    cluster.start(node).await.unwrap();
    cluster.ready().await.unwrap();
    assert_ne!(fixture.pid(node), old);
    let twice = async || boots().await.filter(|text| text == "boot\nboot\n");
    eventually("the pod is back with its data", twice).await;

    assert!(fixture.hears(1, 3).await);
    cluster.partition(&Partition::Cut { a: 1, b: 3 }).await.unwrap();
    assert!(!fixture.hears(1, 3).await && !fixture.hears(3, 1).await);
    assert!(fixture.hears(1, 2).await && fixture.hears(2, 3).await);
    cluster.heal().await.unwrap();
    eventually("node 1 hears node 3", async || fixture.hears(1, 3).await.then_some(())).await;
    cluster.partition(&Partition::Isolate(Machine::Node(1))).await.unwrap();
    assert!(!fixture.hears(1, 2).await && !fixture.hears(3, 1).await);
    cluster.heal().await.unwrap();
    eventually("node 1 hears node 2", async || fixture.hears(1, 2).await.then_some(())).await;
    assert!(cluster.partition(&Partition::Cut { a: 1, b: 4 }).await.is_err(), "there is no node 4");

    let log = || std::fs::read_to_string(cluster.log(Machine::ControlPlane, "kube-apiserver")).unwrap();
    cluster.daemon(Machine::ControlPlane, "kube-apiserver", DaemonFault::Kill).unwrap();
    eventually("the API server is seen to end", async || {
        log().contains("--- kube-apiserver ended").then_some(())
    })
    .await;
    cluster.ready().await.unwrap();

    fixture.down().await;
    assert_eq!(surroundings().unwrap(), before);
    assert_eq!(boots().await, None, "the relay is gone");
    assert!(cluster.kubeconfig().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_cluster_is_mended_or_replaced_by_the_next_up_and_its_neighbour_does_not_notice() {
    let fixture = Fixture::new("crashed").await;
    let neighbour = Fixture::beside("neighbour");
    fixture.up(1).await;
    neighbour.up(1).await;
    fixture.kubectl(&["create", "configmap", "mark"]).await;
    let marked = async || {
        let maps = fixture.kubectl(&["get", "configmaps", "-o", "name"]).await;
        maps.contains("configmap/mark")
    };

    fixture.crash(Machine::ControlPlane).await;
    assert!(!fixture.cluster.status().await.unwrap().is_whole());
    fixture.up(1).await;
    assert!(fixture.cluster.status().await.unwrap().is_whole());
    assert!(marked().await, "as long as the switch lives, up mends and loses nothing");

    fixture.crash(Machine::Switch).await;
    assert!(!fixture.cluster.status().await.unwrap().is_whole());
    fixture.up(1).await;
    assert!(fixture.cluster.status().await.unwrap().is_whole());
    assert!(!marked().await, "a new cluster knows nothing of the old one");
    fixture.down().await;
    assert!(neighbour.cluster.status().await.unwrap().is_whole());
    neighbour.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_that_was_killed_half_way_leaves_nothing_that_down_does_not_find() {
    let fixture = Fixture::new("half").await;
    fixture.cluster.build().await.unwrap();
    let mut up = tool::command("half", &["up", "--nodes", "1"]).spawn().unwrap();
    eventually("the node is started", async || fixture.pid(Machine::Node(1))).await;
    up.kill().unwrap();
    up.wait().unwrap();
    assert!(!fixture.cluster.leftovers().unwrap().is_empty());
    assert!(fixture.cluster.kubeconfig().is_err(), "a cluster half up is not up");
    fixture.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_small_volumes_runs_out_of_space_and_leaves_no_loop_device() {
    let fixture = Fixture::new("small").await;
    fixture.cluster.build().await.unwrap();
    fixture.cluster.up(&Settings { nodes: 1, volumes_mib: Some(32), ..Settings::default() }).await.unwrap();
    let mut fill = fixture.cluster.inside(Machine::Node(1)).unwrap();
    let output = fill
        .args(["dd", "if=/dev/zero", "of=/opt/local-path-provisioner/full", "bs=1M", "count=64"])
        .output()
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left on device"));
    fixture.down().await;
}
