//! `cargo demo`: from nothing to a quorum that answers and grows while it is written to, on a Kubernetes that stays up.
//!
//! Each step may find its work done: running it again is fine. A failure says where to look. Which Kubernetes it is only
//! [`Place`] knows.

mod grow;
mod place;

pub use place::Place;
use place::Words;

use crate::chart;
use crate::image::{self, Archive};
use crate::kube::KubeError;
use crate::load::{Answer, Wire};
use crate::namespace::{Forward, OPERATOR, OPERATOR_NAMESPACE, condition, is_ready, pod_names};
use crate::paths::workspace;
use crate::preflight;
use crate::wait::until;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use schedia_crds::RaftCluster;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Where the example lives.
const NAMESPACE: &str = "default";
/// From apply to Ready, on two cores that do something else as well.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// From a Service to a node of it, once it is there.
const REACHED_WITHIN: Duration = Duration::from_secs(30);

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The machine lacks something.
    #[error("{0}")]
    Preflight(#[from] preflight::NotReady),
    /// kind is there, and what one needs beside it is not.
    #[error(
        "missing on this machine: {0}\n  install it, or let `cargo cluster build` build it (ten minutes; needs Go)"
    )]
    Clients(String),
    /// The Kubernetes it runs on.
    #[error("{}", .0.chain())]
    Cluster(#[from] KubeError),
    /// The image.
    #[error("the image could not be built: {0}")]
    Image(#[from] image::ImageError),
    /// The operator or its cluster.
    #[error("{0}")]
    Product(String),
}

impl DemoError {
    /// Where to look, if the error itself does not tell.
    pub fn advice(&self, place: &Place) -> Option<String> {
        let Words { kubectl, look, down, .. } = place.words();
        match self {
            DemoError::Preflight(_) => place.needs_less().map(str::to_owned),
            DemoError::Clients(_) | DemoError::Image(_) => None,
            DemoError::Cluster(_) => Some(format!("look at: {look}\nor begin anew: {down}")),
            DemoError::Product(_) => Some(format!(
                "look at: {kubectl} describe raft; {kubectl} get pods -A; \
                 {kubectl} logs -n {OPERATOR_NAMESPACE} deployment/{OPERATOR}"
            )),
        }
    }
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
pub async fn run(place: &Place, may_install: bool) -> Result<(), DemoError> {
    say(&format!("on {}", place.name()));
    place.prepare(may_install).await?;
    say("building the image");
    let archive = image::build(workspace()).await?;
    say("starting the cluster");
    let started = Instant::now();
    place.up().await?;
    let up = started.elapsed();
    place.load_image(&archive).await?;
    let client = place.client().await?;
    say("installing the operator: helm upgrade --install schedia charts/schedia");
    let installed = install_operator(place, &archive).await?;
    let (raft, ready) = apply_example(&client).await?;
    let name = raft.name_any();
    let address = place.publish(&name).await?;
    write_and_read(&client, &raft, address).await?;
    let grown = if raft.spec.replicas < grow::REPLICAS {
        Some(grow::grow(&client, &raft, address).await?)
    } else {
        None
    };
    farewell(place, &name, address, &Figures { up, installed, ready, grown }).await
}

fn say(text: &str) {
    println!("==> {text}");
}

/// The image keeps its name when it is built anew: its digest in the pod's annotations makes the operator follow.
async fn install_operator(place: &Place, archive: &Archive) -> Result<Duration, DemoError> {
    let started = Instant::now();
    let image = format!("podAnnotations.schedia\\.dev/image={}", archive.digest);
    let more = ["--set-string", image.as_str()];
    chart::install(place.helm(), chart::dir(), &more).await.map_err(DemoError::Product)?;
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
    let raft = until(&format!("{name} is Ready"), READY_WITHIN, || async {
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
    // Nodes hear of a Service a moment after it was made.
    let revision = until("a write through the Service is acknowledged", REACHED_WITHIN, || async {
        match wire.put(&format!("http://{address}"), "greeting", "hello from outside".into()).await {
            Answer::Done { revision, .. } => Ok(revision),
            other => Err(format!("{other:?}")),
        }
    });
    let revision = revision.await.map_err(product)?;
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
    place: &Place,
    name: &str,
    address: SocketAddr,
    figures: &Figures,
) -> Result<(), DemoError> {
    let output = place.kubectl().args(["get", "raft", "-o", "wide"]).output().await.map_err(product)?;
    let kubeconfig = place.kubeconfig()?;
    let Figures { up, installed, ready, grown } = figures;
    let grown = grown.as_ref().map_or_else(String::new, grow::Growth::sentence);
    let Words { kubectl, helm, down, .. } = place.words();
    println!(
        "\n$ kubectl get raft -o wide\n{table}
cluster up {up:.1} s; helm install to a ready operator {installed:.1} s; apply to Ready {ready:.1} s{grown}

The client Service is at http://{address} until the cluster goes down. Go on with:
  export KUBECONFIG={kubeconfig}
  curl http://{address}/v1/kv/greeting
  curl -X PUT --data 'anything' http://{address}/v1/kv/my/key
  {schedia} status --endpoints http://{address}
  {kubectl} get raft -w          # in another terminal, then:
  {kubectl} delete pod {name}-0
  {kubectl} scale raft {name} --replicas=4   # refused, and says why
  {kubectl} scale raft {name} --replicas=3   # members lose their votes, then their pods and disks
  {helm} list -A
Stop everything with:
  {down}",
        table = String::from_utf8_lossy(&output.stdout),
        up = up.as_secs_f64(),
        installed = installed.as_secs_f64(),
        ready = ready.as_secs_f64(),
        kubeconfig = kubeconfig.display(),
        schedia = crate::paths::static_schedia().display(),
    );
    Ok(())
}
