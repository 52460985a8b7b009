//! Clusters grow and shrink by the command line, while clients write and leaders are killed in the middle of it.

use super::{PATIENCE, rounds, seed};
use schedia_api::{Role, Status};
use schedia_apps::cluster::Record;
use schedia_apps::{NodeId, StoreId};
use schedia_e2e::load::Load;
use schedia_e2e::process::{Cluster, Node, binary};
use schedia_e2e::wait::eventually;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::process::Command;
use tokio::task::JoinHandle;

const WRITERS: usize = 4;
/// How often every node is looked at: a change of voters takes several of these.
const LOOK_EVERY: Duration = Duration::from_millis(20);

type Voters = BTreeSet<NodeId>;

/// What was seen on all nodes, over all the time.
#[derive(Default)]
struct Seen {
    /// Voter sets of committed configurations, joint ones left out.
    committed: BTreeSet<Voters>,
    /// Every record, by generation.
    records: BTreeMap<u64, (BTreeSet<NodeId>, Voters)>,
    /// The disk behind each id.
    stores: BTreeMap<NodeId, StoreId>,
    violations: Vec<String>,
}

impl Seen {
    fn note(&mut self, status: &Status) {
        for shard in &status.shards {
            let membership = &shard.membership;
            // A node that has received nothing yet has no membership.
            if membership.log_id.is_some() && membership.committed && membership.joint.is_none() {
                self.committed.insert(membership.voters.clone());
            }
        }
        if let Some(record) = &status.record {
            self.note_record(record);
        }
    }

    fn note_record(&mut self, record: &Record) {
        let now = (record.members.keys().copied().collect(), record.voters.clone());
        let known = self.records.entry(record.generation).or_insert_with(|| now.clone());
        if *known != now {
            self.violations
                .push(format!("generation {} is two records: {known:?} {now:?}", record.generation));
        }
        for (id, member) in &record.members {
            let Some(store) = &member.store_id else { continue };
            if self.stores.entry(*id).or_insert_with(|| store.clone()) != store {
                self.violations.push(format!("node {id} lives on two disks"));
            }
        }
        let voting = || record.voters.iter().filter_map(|id| record.members[id].store_id.as_ref());
        if voting().collect::<BTreeSet<_>>().len() != voting().count() {
            self.violations.push(format!("two voters on one disk: {record:?}"));
        }
    }

    fn verify(&self, asked: &[Voters]) {
        assert!(self.violations.is_empty(), "{:#?}", self.violations);
        for voters in &self.committed {
            assert!(asked.contains(voters), "nobody asked for {voters:?}, only for {asked:?}");
        }
        // One change at a time: no generation does more than one thing.
        for ((_, (_, before)), (generation, (_, after))) in
            self.records.iter().zip(self.records.iter().skip(1))
        {
            assert!(asked.contains(after), "generation {generation} declares {after:?} after {before:?}");
        }
        let disks: BTreeSet<_> = self.stores.values().collect();
        assert_eq!(disks.len(), self.stores.len(), "one id, one disk: {:?}", self.stores);
    }
}

/// Looks at every node until it is dropped.
struct Watch {
    seen: Arc<Mutex<Seen>>,
    looking: JoinHandle<()>,
}

impl Watch {
    fn start(nodes: &[Node]) -> Watch {
        let (seen, clients) = (Arc::new(Mutex::new(Seen::default())), nodes.iter().map(Node::client));
        let (noted, clients) = (seen.clone(), clients.collect::<Vec<_>>());
        let looking = tokio::spawn(async move {
            loop {
                let looks = clients.iter().map(|client| client.status());
                for status in futures::future::join_all(looks).await.into_iter().flatten() {
                    noted.lock().unwrap().note(&status);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Watch { seen, looking }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// A cluster that is being scaled.
struct Scaled {
    cluster: Cluster,
    random: fastrand::Rng,
    asked: Vec<Voters>,
    killed: usize,
}

impl Scaled {
    /// The first node is a cluster of one; the others run and wait.
    async fn new(nodes: usize, shards: &str, seed: u64) -> Scaled {
        let mut cluster = Cluster::new();
        cluster.add().start(&["--bootstrap", "--shards", shards]);
        cluster.settled(1).await;
        for _ in 1..nodes {
            cluster.add().start(&[]);
        }
        let asked = vec![[NodeId(1)].into()];
        Scaled { cluster, random: fastrand::Rng::with_seed(seed), asked, killed: 0 }
    }

    fn admins(&self) -> String {
        let urls: Vec<_> = self.cluster.nodes.iter().map(Node::admin_url).collect();
        urls.join(",")
    }

    async fn record(&self) -> Record {
        eventually("a majority answers", PATIENCE, || async {
            for node in &self.cluster.nodes {
                if let Ok(record) = node.client().record().await {
                    return Ok(record);
                }
            }
            Err("nobody answers linearizably".to_owned())
        })
        .await
    }

    /// The place of the node with an id.
    async fn place(&self, id: NodeId) -> usize {
        eventually(&format!("node {id} answers"), PATIENCE, || async {
            for (place, node) in self.cluster.nodes.iter().enumerate() {
                if node.status().await.is_ok_and(|status| status.node_id == Some(id)) {
                    return Ok(place);
                }
            }
            Err("no node has that id".to_owned())
        })
        .await
    }

    async fn leader(&self) -> NodeId {
        eventually("somebody leads", PATIENCE, || async {
            let mut newest = None;
            for node in self.cluster.nodes.iter().filter(|node| node.is_running()) {
                let Ok(status) = node.status().await else { continue };
                let leads = status.shards.first().filter(|shard| shard.leader == status.node_id);
                newest = newest.max(leads.map(|shard| (shard.term, shard.leader)));
            }
            newest.and_then(|(_, leader)| leader).ok_or_else(|| "nobody".to_owned())
        })
        .await
    }

    /// Gives a command until it is done, and kills the leader while it is under way.
    async fn command(&mut self, arguments: &[&str]) {
        let before = self.record().await.generation;
        let leader = self.place(self.leader().await).await;
        let admins = self.admins();
        let run = || {
            let mut command = Command::new(binary::schedia());
            command.args(["member"]).args(arguments).args(["--admin-endpoints", &admins]).kill_on_drop(true);
            command.output()
        };
        let first = tokio::spawn(run());
        // Sometimes at the very beginning, sometimes once the change is under way.
        if self.random.bool() {
            eventually("the change has begun", PATIENCE, || async {
                let status = self.cluster.nodes[leader].status().await?;
                let now = status.record.map_or(0, |record| record.generation);
                if now > before || first.is_finished() { Ok(()) } else { Err(format!("generation {now}")) }
            })
            .await;
        }
        self.cluster.nodes[leader].kill();
        self.cluster.nodes[leader].start(&[]);
        self.killed += 1;
        let mut output = first.await.unwrap().unwrap();
        while !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            println!("schedia member {}: {}", arguments.join(" "), words.trim_end());
            assert!(!words.contains("unexpected argument"), "{words}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            output = tokio::time::timeout(PATIENCE, run()).await.expect("it ends").unwrap();
        }
    }

    /// Makes as many waiting nodes voters as are missing.
    async fn grow(&mut self, count: usize) {
        let before = self.record().await.voters.len();
        let mut urls = Vec::new();
        for node in &self.cluster.nodes {
            let status = eventually("it answers", PATIENCE, || node.status()).await;
            if status.role == Role::Unassigned {
                urls.push(node.admin_url());
            }
        }
        urls.truncate(count - before);
        let arguments: Vec<_> = ["add"].into_iter().chain(urls.iter().map(String::as_str)).collect();
        self.command(&arguments).await;
        self.changed(count).await;
    }

    /// Removes members until `count` are left: whoever leads and others drawn at random.
    async fn shrink(&mut self, count: usize) {
        let (leader, voters) = (self.leader().await, self.record().await.voters);
        let mut leaving: Vec<_> = voters.iter().copied().filter(|id| *id != leader).collect();
        self.random.shuffle(&mut leaving);
        leaving.push(leader);
        leaving.drain(..count);
        let ids: Vec<_> = leaving.iter().map(NodeId::to_string).collect();
        let arguments: Vec<_> = ["remove"].into_iter().chain(ids.iter().map(String::as_str)).collect();
        self.asked.push(voters.into_iter().filter(|id| !leaving.contains(id)).collect());
        self.command(&arguments).await;
        self.changed(count).await;
        for id in leaving {
            let place = self.place(id).await;
            eventually(&format!("node {id} knows that it was removed"), PATIENCE, || async {
                let status = self.cluster.nodes[place].status().await?;
                if status.role == Role::Retired && !status.ready {
                    Ok(())
                } else {
                    Err(format!("{status:?}"))
                }
            })
            .await;
        }
    }

    async fn changed(&mut self, count: usize) {
        let record = self.record().await;
        assert!(record.settled && record.voters.len() == count, "{count} voters: {record:?}");
        assert_eq!(record.members.len(), count, "{record:?}");
        self.asked.push(record.voters);
    }

    /// Where members answer clients.
    async fn endpoints(&self) -> Vec<String> {
        let record = self.record().await;
        record.members.into_values().filter_map(|member| member.http_url).collect()
    }

    /// The nodes that are no members become blank again.
    async fn reset_removed(&self) {
        for node in &self.cluster.nodes {
            let status = eventually("it answers", PATIENCE, || node.status()).await;
            if status.role == Role::Retired {
                let output =
                    Command::new(binary::schedia()).args(["member", "reset", &node.admin_url()]).output();
                let output = output.await.unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                let blank = node.status().await.unwrap();
                assert_eq!((blank.role, blank.node_id), (Role::Unassigned, None));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_and_shrinks_under_writes_while_leaders_are_killed() {
    grows_and_shrinks("1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_of_four_shards() {
    grows_and_shrinks("4").await;
}

async fn grows_and_shrinks(shards: &str) {
    let seed = seed();
    let full = rounds(1) > 1;
    let sizes: &[usize] = if full { &[3, 5, 7, 9, 7, 5, 3, 1] } else { &[3, 5, 3, 1] };
    let most = sizes.iter().copied().max().unwrap();
    let mut scaled = Scaled::new(most, shards, seed).await;
    // The second time with ids and disks that the first has used up.
    for round in 0..rounds(1).min(2) {
        let watch = Watch::start(&scaled.cluster.nodes);
        let load = Load::start(&scaled.cluster.endpoints(), WRITERS, seed + round);
        load.progress(20, PATIENCE).await;
        for size in sizes {
            match *size > scaled.record().await.voters.len() {
                true => scaled.grow(*size).await,
                false => scaled.shrink(*size).await,
            }
            load.progress(20, PATIENCE).await;
        }
        let history = load.stop().await;
        let endpoints = scaled.endpoints().await;
        history.verify(&endpoints).await;
        watch.seen.lock().unwrap().verify(&scaled.asked);
        drop(watch);
        scaled.reset_removed().await;
    }
    println!(
        "scaling: {shards} shards, seed {seed}, {} leaders killed, voters {:?}",
        scaled.killed, scaled.asked
    );
}
