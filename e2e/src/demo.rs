//! `cargo demo`: from nothing to a quorum that answers and grows while it is written to, on a local Kubernetes that stays up.
//!
//! Each step may find its work done: running it again is fine. A failure says where to look.

mod grow;

use crate::chart;
use crate::image::{self, Archive};
use crate::kube::{Cluster, KubeError, Settings};
use crate::load::{Answer, Wire};
use crate::namespace::{Forward, OPERATOR, OPERATOR_NAMESPACE, condition, is_ready, pod_names};
use crate::paths::workspace;
use crate::preflight::{self, Needs};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use schedia_crds::RaftCluster;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Where the example lives on the local cluster.
const NAMESPACE: &str = "default";
/// From apply to Ready, on two cores that do something else as well.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The machine lacks something.
    #[error("{0}")]
    Preflight(#[from] preflight::NotReady),
    /// The local Kubernetes.
    #[error("{}\nlook at: cargo cluster status; cargo cluster logs control-plane kube-apiserver", .0.chain())]
    Cluster(#[from] KubeError),
    /// The image.
    #[error("the image could not be built: {0}")]
    Image(#[from] image::ImageError),
    /// The operator or its cluster.
    #[error(
        "{0}\nlook at: cargo cluster kubectl describe raft; cargo cluster kubectl get pods -A; \
             cargo cluster kubectl logs -n {OPERATOR_NAMESPACE} deployment/{OPERATOR}"
    )]
    Product(String),
}

fn product(e: impl std::fmt::Display) -> DemoError {
    DemoError::Product(e.to_string())
}

/// What was measured on the way.
struct Figures {
    up: Duration,
    installed: Duration,
    ready: Duration,
    /// `None`: it was that large already.
    grown: Option<grow::Growth>,
}

/// Builds, starts, installs, applies, writes, reads, and says how to go on.
pub async fn run(cluster: &Cluster, may_install: bool) -> Result<(), DemoError> {
    preflight::check(Needs::Cluster, may_install)?;
    say("building Kubernetes (ten minutes the first time, then nothing)");
    cluster.build().await?;
    say("building the image");
    let archive = image::build(workspace()).await?;
    say("starting the local Kubernetes");
    let started = Instant::now();
    cluster.up(&Settings::default()).await?;
    let up = started.elapsed();
    cluster.load_image(&archive).await?;
    let client = cluster.client().await?;
    say("installing the operator: helm upgrade --install schedia charts/schedia");
    let installed = install_operator(cluster, &archive).await?;
    let (raft, ready) = apply_example(&client).await?;
    let name = raft.name_any();
    let address = cluster.publish(NAMESPACE, &name, 8080, 0).await?;
    write_and_read(&client, &raft, address).await?;
    let grown = if raft.spec.replicas < grow::REPLICAS {
        Some(grow::grow(&client, &raft, address).await?)
    } else {
        None
    };
    farewell(cluster, &name, address, &Figures { up, installed, ready, grown }).await
}

fn say(text: &str) {
    println!("==> {text}");
}

/// The image keeps its name when it is built anew: its digest in the pod's annotations makes the operator follow.
async fn install_operator(cluster: &Cluster, archive: &Archive) -> Result<Duration, DemoError> {
    let started = Instant::now();
    let image = format!("podAnnotations.schedia\\.dev/image={}", archive.digest);
    let more = ["--set-string", image.as_str()];
    chart::install(cluster.helm(), chart::dir(), &more).await.map_err(DemoError::Product)?;
    Ok(started.elapsed())
}

/// Applies `deploy/examples/quorum.yaml` and waits until it is Ready, saying what the operator does meanwhile.
async fn apply_example(client: &Client) -> Result<(RaftCluster, Duration), DemoError> {
    let path = workspace().join("deploy/examples/quorum.yaml");
    say("applying deploy/examples/quorum.yaml");
    let text = std::fs::read_to_string(&path).map_err(product)?;
    let mut example: RaftCluster = serde_yaml::from_str(&text).map_err(product)?;
    let name = example.name_any();
    let api: Api<RaftCluster> = Api::namespaced(client.clone(), NAMESPACE);
    if let Some(there) = api.get_opt(&name).await.map_err(product)? {
        // What an earlier demo has grown is not shrunk again.
        example.spec.replicas = there.spec.replicas;
    }
    let params = PatchParams::apply("cargo-demo").force();
    let started = Instant::now();
    api.patch(&name, &params, &Patch::Apply(&example)).await.map_err(product)?;
    let shown = std::cell::RefCell::new(String::new());
    let raft = crate::wait::until(&format!("{name} is Ready"), READY_WITHIN, || async {
        let raft = api.get(&name).await.map_err(|e| e.to_string())?;
        let now = progress(&raft);
        if now != *shown.borrow() {
            println!("    {:>5.1} s  {now}", started.elapsed().as_secs_f64());
            shown.replace(now.clone());
        }
        if is_ready(&raft) { Ok(raft) } else { Err(now) }
    })
    .await
    .map_err(product)?;
    Ok((raft, started.elapsed()))
}

fn progress(raft: &RaftCluster) -> String {
    let reason =
        condition(raft, "Ready").map_or("not seen by the operator yet", |ready| ready.reason.as_str());
    match raft.status.as_ref().and_then(|status| status.next_action.as_deref()) {
        Some(next) if next != "none" => format!("{reason}: {next}"),
        _ => reason.to_owned(),
    }
}

/// A value put from outside, through the Service, is read on each node.
async fn write_and_read(client: &Client, raft: &RaftCluster, address: SocketAddr) -> Result<(), DemoError> {
    let wire = Wire::new();
    let answer = wire.put(&format!("http://{address}"), "greeting", "hello from outside".into()).await;
    let Answer::Done { revision, .. } = answer else {
        return Err(product(format_args!("the write through the Service failed: {answer:?}")));
    };
    say(&format!("put greeting through the Service: revision {revision}"));
    for pod in pod_names(&raft.name_any(), raft.spec.replicas as usize) {
        let forward = Forward::new(Api::namespaced(client.clone(), NAMESPACE), &pod, 8080).await;
        match wire.get(&forward.url, "greeting", false).await {
            Answer::Done { value, .. } => println!("    {pod} says: {}", String::from_utf8_lossy(&value)),
            other => return Err(product(format_args!("{pod} does not have it: {other:?}"))),
        }
    }
    Ok(())
}

async fn farewell(
    cluster: &Cluster,
    name: &str,
    address: SocketAddr,
    figures: &Figures,
) -> Result<(), DemoError> {
    let output = cluster.kubectl().args(["get", "raft", "-o", "wide"]).output().await.map_err(product)?;
    let kubeconfig = cluster.kubeconfig()?;
    let Figures { up, installed, ready, grown } = figures;
    let grown = grown.as_ref().map_or_else(String::new, grow::Growth::sentence);
    println!(
        "\n$ kubectl get raft -o wide\n{table}
cluster up {up:.1} s; helm install to a ready operator {installed:.1} s; apply to Ready {ready:.1} s{grown}

The client Service is at http://{address} until the cluster goes down. Go on with:
  export KUBECONFIG={kubeconfig}
  curl http://{address}/v1/kv/greeting
  curl -X PUT --data 'anything' http://{address}/v1/kv/my/key
  {schedia} status --endpoints http://{address}
  cargo cluster kubectl get raft -w          # in another terminal, then:
  cargo cluster kubectl delete pod {name}-0
  cargo cluster kubectl scale raft {name} --replicas=4   # refused, and says why
  cargo cluster kubectl scale raft {name} --replicas=3   # members lose their votes, then their pods and disks
  cargo cluster helm list -A
Stop everything with:
  cargo cluster down",
        table = String::from_utf8_lossy(&output.stdout),
        up = up.as_secs_f64(),
        installed = installed.as_secs_f64(),
        ready = ready.as_secs_f64(),
        kubeconfig = kubeconfig.display(),
        schedia = crate::paths::static_schedia().display(),
    );
    Ok(())
}
