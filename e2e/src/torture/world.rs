//! The cluster under torture: real processes, the network between their peers, and one node more than there are members.

use super::network::{Network, Way};
use crate::process::{Clock, Cluster, binary};
use crate::wait::{TimedOut, until};
use schedia_api::{Client, Role, Status};
use schedia_apps::NodeId;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::Mutex;

/// To be whole again: elections, restarts, a snapshot, on a machine whose cores others use.
pub const RECOVERY_MAX: Duration = Duration::from_secs(90);

/// How often a leader is looked for, within half a second each.
const LEADER_LOOKS: usize = 4;

/// The cluster of a run.
pub struct World {
    /// Its processes.
    pub cluster: Cluster,
    /// The network between them.
    pub network: Network,
    /// How many vote, while nothing changes that.
    pub voters: usize,
    /// Held by a fault that has no other of its kind beside it.
    pub alone: Arc<Mutex<()>>,
    /// Held while the clock of some node lies.
    pub lying: Arc<Mutex<()>>,
    /// The clock of each node, if theirs can lie.
    pub clocks: Vec<Clock>,
    advertised: Vec<SocketAddr>,
    settings: Vec<String>,
}

impl World {
    /// `voters` members with these settings and so many shards, and with `spare` one node more that waits to become one; with `clocks`
    /// each has one that may lie.
    pub async fn new(
        voters: usize,
        spare: bool,
        clocks: bool,
        shards: u32,
        settings: &[&str],
    ) -> Result<World, String> {
        let mut world = World {
            cluster: Cluster::new(),
            network: Network::new(),
            voters,
            alone: Arc::default(),
            lying: Arc::default(),
            clocks: Vec::new(),
            advertised: Vec::new(),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
        };
        for place in 0..voters + usize::from(spare) {
            let node = world.cluster.add();
            let peer = node.peer;
            if clocks {
                world.clocks.push(node.use_clock());
            }
            let advertised = world.network.add(peer).await;
            world.advertised.push(advertised.map_err(|e| format!("no proxy before {peer}: {e}"))?);
            // By hand, not with `--join`: a node that is removed and reset would come back by itself.
            if place == 0 {
                world.start(place, &["--bootstrap", "--shards", &shards.to_string()]);
            } else {
                world.start(place, &[]);
            }
        }
        world.recovered(1).await.map_err(|e| e.to_string())?;
        let urls: Vec<String> = world.cluster.nodes.iter().map(|node| node.admin_url()).collect();
        if voters > 1 {
            let others = urls[1..voters].iter().map(String::as_str);
            let arguments: Vec<&str> = ["add"].into_iter().chain(others).collect();
            member(&urls[..1], &arguments).await?;
        }
        world.recovered(voters).await.map_err(|e| e.to_string())?;
        Ok(world)
    }

    /// Starts a node again.
    pub fn restart(&mut self, place: usize) {
        self.start(place, &[]);
    }

    fn start(&mut self, place: usize, arguments: &[&str]) {
        let advertised = self.advertised[place].to_string();
        let node = &mut self.cluster.nodes[place];
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        node.start(&[&["--advertise-peer", &advertised], &settings[..], arguments].concat());
        self.network.runs_as(place, node.pid());
    }

    /// All ways between these nodes and the others.
    pub fn both_ways(&self, places: &[usize]) -> Vec<Way> {
        let between = |(from, to): &Way| places.contains(from) != places.contains(to);
        self.all_ways().into_iter().filter(between).collect()
    }

    /// All ways between nodes.
    pub fn all_ways(&self) -> Vec<Way> {
        let count = self.cluster.nodes.len();
        let ways = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        ways.filter(|(from, to)| from != to).collect()
    }

    /// What each node says of itself, if it answers within a moment.
    pub async fn statuses(&self) -> Vec<Option<Status>> {
        let ask = self.cluster.nodes.iter().map(|node| async {
            let status = tokio::time::timeout(Duration::from_millis(500), node.status());
            status.await.ok().and_then(Result::ok)
        });
        futures::future::join_all(ask).await
    }

    /// The place of whoever leads in the newest term that a node knows of; none, if nobody does for a while.
    pub async fn leader(&self) -> Option<usize> {
        for _ in 0..LEADER_LOOKS {
            if let Some(place) = leader(&self.statuses().await) {
                return Some(place);
            }
        }
        None
    }

    /// Members, at this moment, among the nodes that answer.
    pub async fn members(&self) -> Vec<(usize, NodeId)> {
        let statuses = self.statuses().await.into_iter().enumerate();
        let voter = |(place, status): (usize, Option<Status>)| {
            let status = status.filter(|status| status.role == Role::Voter)?;
            Some((place, status.node_id?))
        };
        statuses.filter_map(voter).collect()
    }

    /// Waits until `voters` voters are ready and agree on a leader, nothing is under way, and every node answers.
    pub async fn recovered(&self, voters: usize) -> Result<(), TimedOut> {
        until(&format!("{voters} voters that agree"), RECOVERY_MAX, || async {
            let mut leaders = Vec::new();
            for node in self.cluster.nodes.iter().filter(|node| node.is_running()) {
                let status = node.status().await?;
                if status.role != Role::Voter {
                    continue;
                }
                let settled = status
                    .record
                    .as_ref()
                    .is_some_and(|record| record.settled && record.voters.len() == voters);
                if !status.ready || !settled {
                    return Err(format!("{}: {status:?}", node.name));
                }
                leaders.push(status.shards.iter().map(|shard| shard.leader).collect::<Vec<_>>());
            }
            let led = |shards: &Vec<_>| !shards.is_empty() && shards.iter().all(Option::is_some);
            let agreed = leaders.iter().all(|shards| led(shards) && *shards == leaders[0]);
            if leaders.len() == voters && agreed {
                Ok(())
            } else {
                Err(format!("voters and their leaders: {leaders:?}"))
            }
        })
        .await
    }

    /// How often a node was sent a snapshot since logs were forgotten, and how many of these went on where an earlier one had broken off.
    pub fn snapshots(&self) -> (usize, usize) {
        let resumed = |line: &&str| line.contains("sending a snapshot") && !line.contains("behind_block=0");
        let logs: Vec<String> = self.cluster.nodes.iter().map(|node| node.log()).collect();
        let received = logs.iter().map(|log| log.matches("receiving a snapshot").count()).sum();
        (received, logs.iter().map(|log| log.lines().filter(resumed).count()).sum())
    }

    /// Nodes whose process has ended by itself, or has panicked.
    pub fn fallen(&self) -> Vec<String> {
        let mut fallen = Vec::new();
        for node in self.cluster.nodes.iter().filter(|node| node.is_running()) {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap_or_default();
            // The state stands behind the program's name, in brackets.
            if stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])) {
                fallen.push(format!("{} has ended by itself:\n{}", node.name, node.log_tail()));
            }
        }
        for node in &self.cluster.nodes {
            if let Some(line) = node.log().lines().find(|line| line.contains("panicked at")) {
                fallen.push(format!("{} {line}", node.name));
            }
        }
        fallen
    }
}

fn leader(statuses: &[Option<Status>]) -> Option<usize> {
    let shards = statuses.iter().flatten().filter_map(|status| status.shards.first());
    let newest = shards.filter(|shard| shard.leader.is_some()).max_by_key(|shard| shard.term)?;
    statuses.iter().position(|status| status.as_ref().is_some_and(|status| status.node_id == newest.leader))
}

/// Gives a command of `schedia member` until it is done.
pub async fn member(admins: &[String], arguments: &[&str]) -> Result<(), String> {
    let what = format!("schedia member {}", arguments.join(" "));
    let admins = admins.join(",");
    let arguments = [arguments, &["--admin-endpoints", &admins]].concat();
    let done = until(&what, RECOVERY_MAX, || member_once(&arguments));
    done.await.map_err(|e| e.to_string())
}

/// Makes a removed node blank, however often that takes: a reset whose answer was lost is seen by its effect.
pub async fn reset(node: &Client, admin_url: &str) -> Result<(), String> {
    let what = format!("the reset of {admin_url}");
    let done = until(&what, RECOVERY_MAX, || async {
        let said = member_once(&["reset", admin_url]).await;
        let status = node.status().await.map_err(|e| e.to_string())?;
        if status.role == Role::Unassigned { Ok(()) } else { Err(format!("{said:?}")) }
    });
    done.await.map_err(|e| e.to_string())
}

async fn member_once(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(binary::schedia());
    command.arg("member").args(arguments).kill_on_drop(true);
    let output = command.output().await.map_err(|e| e.to_string())?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(words.trim_end().to_owned()) }
}
