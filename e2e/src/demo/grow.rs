//! From three voters to five while clients write, and the check that nothing acknowledged was lost.

use super::{DemoError, NAMESPACE, READY_WITHIN, product, progress, say};
use crate::load::{History, Load};
use crate::namespace::{Forward, is_ready};
use crate::wait::until;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use schedia_crds::RaftCluster;
use serde_json::json;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What it grows to.
pub(super) const REPLICAS: i32 = 5;
/// Few: every write is asked for again at the end.
const WRITERS: usize = 2;
/// Acknowledged before the growth begins, and after it.
const WRITES: u64 = 100;

/// How growing went.
pub(super) struct Growth {
    /// From the change of replicas to Ready with all voters.
    took: Duration,
    history: History,
}

impl Growth {
    /// To follow other figures.
    pub(super) fn sentence(&self) -> String {
        let (took, gap) = (self.took.as_secs_f64(), self.history.longest_gap().as_millis());
        let writes = self.history.acknowledged();
        format!(
            "; 3 to {REPLICAS} voters {took:.1} s, none of {writes} acknowledged writes lost, longest write gap {gap} ms"
        )
    }
}

/// Scales to [`REPLICAS`] under writes through the Service; then asks the newest node for every write.
pub(super) async fn grow(
    client: &Client,
    raft: &RaftCluster,
    address: SocketAddr,
) -> Result<Growth, DemoError> {
    let name = raft.name_any();
    say(&format!(
        "growing to {REPLICAS} while {WRITERS} clients write: kubectl scale raft {name} --replicas={REPLICAS}"
    ));
    let load = Load::start(&[format!("http://{address}")], WRITERS, fastrand::u64(..1 << 32));
    acknowledged(&load).await?;
    let api: Api<RaftCluster> = Api::namespaced(client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({ "spec": { "replicas": REPLICAS } }));
    let begun = Instant::now();
    api.patch_scale(&name, &PatchParams::default(), &patch).await.map_err(product)?;
    let shown = RefCell::new(String::new());
    until(&format!("{name} has {REPLICAS} voters and is Ready"), READY_WITHIN, || async {
        let raft = api.get(&name).await.map_err(|e| e.to_string())?;
        let voters = raft.status.as_ref().map_or(0, |status| status.voters);
        let now = format!("{voters} voters, {}", progress(&raft));
        if now != *shown.borrow() {
            println!(
                "    {:>5.1} s  {now}, {} writes acknowledged",
                begun.elapsed().as_secs_f64(),
                load.acknowledged()
            );
            shown.replace(now.clone());
        }
        if is_ready(&raft) && voters == REPLICAS { Ok(()) } else { Err(now) }
    })
    .await
    .map_err(product)?;
    let took = begun.elapsed();
    acknowledged(&load).await?;
    let history = load.stop().await;
    let newest = format!("{name}-{}", REPLICAS - 1);
    say(&format!("asking {newest} for every one of {} acknowledged writes", history.acknowledged()));
    let forward = Forward::new(Api::namespaced(client.clone(), NAMESPACE), &newest, 8080).await;
    history.verify(std::slice::from_ref(&forward.url)).await;
    Ok(Growth { took, history })
}

/// Waits for [`WRITES`] more acknowledged writes.
async fn acknowledged(load: &Load) -> Result<(), DemoError> {
    let goal = load.acknowledged() + WRITES;
    let done = until("the clients' writes are acknowledged", READY_WITHIN, || async {
        let now = load.acknowledged();
        if now >= goal { Ok(()) } else { Err(format!("{now} of {goal}")) }
    });
    done.await.map_err(product)
}
