//! What `cargo bench-cluster` can be told.

use super::phase::{Target, Times, Work};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Measures three real nodes beside three real members of etcd, in turn, and reports the ratios. Run it on a quiet machine.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Only these scenes
    #[arg(long, value_delimiter = ',', default_values_t = Scene::USUAL, value_name = "SCENE")]
    pub only: Vec<Scene>,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256], value_name = "N")]
    pub clients: Vec<usize>,
    /// Lengths of values in bytes
    #[arg(long, value_delimiter = ',', default_values_t = [256], value_name = "BYTES")]
    pub values: Vec<usize>,
    /// Connections that clients of etcd share: a number or `each`. HTTP/1.1 carries one request at a time, so
    /// clients of ours always have one each
    #[arg(long, value_delimiter = ',', default_value = "each", value_parser = connections, value_name = "N|each")]
    pub connections: Vec<Connections>,
    /// Whom clients ask
    #[arg(long, value_delimiter = ',', default_value = "leader", value_name = "WHOM")]
    pub target: Vec<Target>,
    /// Keys, all written before
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub keys: u64,
    /// Length of a measured phase
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub seconds: u64,
    /// Times that each pair of phases is repeated
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub rounds: u64,
    /// Raft groups of clusters with queues, each of these numbers in turn
    #[arg(long, value_delimiter = ',', default_values_t = [1], value_parser = clap::value_parser!(u32).range(1..=16), value_name = "N")]
    pub shards: Vec<u32>,
    /// Queues that clients share
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub queues: u64,
    /// Tasks of the long queue
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub backlog: u64,
    /// Members of a codeQ that runs already: queues are measured against it
    #[arg(long, value_delimiter = ',', value_name = "URL", conflicts_with_all = ["ours_only", "against_schedia"])]
    pub peer_codeq: Vec<String>,
    /// A token that this codeQ takes from producers and workers
    #[arg(long, default_value = "dev-token", value_name = "TEXT")]
    pub codeq_token: String,
    /// Kills of the leader
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub trials: usize,
    /// Keys of the cluster that is restarted
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub restart_keys: u64,
    /// Numbers of keys to grow to
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000, 5_000_000], value_name = "N")]
    pub growth_keys: Vec<u64>,
    /// Numbers of members to grow to
    #[arg(long, value_delimiter = ',', default_values_t = [3, 5, 7], value_name = "N")]
    pub growth_members: Vec<usize>,
    /// A built `schedia` to measure; else one is built with --release
    #[arg(long, value_name = "PATH")]
    pub schedia: Option<PathBuf>,
    /// Another `schedia` in the place of etcd: two builds of ours against each other
    #[arg(long, value_name = "PATH", conflicts_with = "ours_only")]
    pub against_schedia: Option<PathBuf>,
    /// Measure no peer
    #[arg(long)]
    pub ours_only: bool,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: usize,
    /// Where servers keep their data meanwhile: a real disk [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the report goes [default: target/bench]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// One part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// Writes.
    Puts,
    /// Linearizable reads.
    Reads,
    /// One write to four reads.
    Mixed,
    /// The leader killed, until the next write.
    Failover,
    /// All members killed, until the next write.
    Restart,
    /// Writes by numbers of keys, with memory and a restart, and by numbers of members.
    Growth,
    /// Tasks created, claimed and ended.
    Cycles,
    /// Tasks created, one by one.
    Creates,
    /// Tasks created, a hundred at once.
    Batches,
    /// From a create at one member to the claim that waits at another.
    Wakes,
    /// Claims from one long queue, its memory, and a restart with it.
    Backlog,
}

impl Scene {
    const USUAL: [Scene; 2] = [Scene::Puts, Scene::Reads];

    /// What its clients do, if it is a matter of requests per second.
    pub fn work(self) -> Option<Work> {
        match self {
            Scene::Puts => Some(Work::Puts),
            Scene::Reads => Some(Work::Reads),
            Scene::Mixed => Some(Work::Mixed),
            Scene::Cycles => Some(Work::Cycles),
            Scene::Creates => Some(Work::Creates),
            Scene::Batches => Some(Work::Batches),
            Scene::Wakes => Some(Work::Wakes),
            Scene::Failover | Scene::Restart | Scene::Growth | Scene::Backlog => None,
        }
    }

    /// Whether it is about tasks, and not about keys.
    pub fn is_of_queues(self) -> bool {
        self == Scene::Backlog || self.work().is_some_and(Work::is_of_queues)
    }
}

impl std::fmt::Display for Scene {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().expect("no scene is hidden").get_name())
    }
}

/// How many connections clients share; without a number, none is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections(pub Option<usize>);

fn connections(text: &str) -> Result<Connections, String> {
    match text {
        "each" => Ok(Connections(None)),
        number => match number.parse() {
            Ok(count @ 1..) => Ok(Connections(Some(count))),
            _ => Err("must be `each` or a number from 1 on".to_owned()),
        },
    }
}

impl Options {
    /// Whether tasks are measured; those and keys are measured against different peers, and so in different runs.
    pub fn is_of_queues(&self) -> Result<bool, String> {
        let of_queues = self.only.iter().filter(|scene| scene.is_of_queues()).count();
        match of_queues {
            0 if !self.peer_codeq.is_empty() => Err("--peer-codeq is for scenes of queues".to_owned()),
            0 => Ok(false),
            some if some == self.only.len() => Ok(true),
            _ => {
                Err("scenes of keys and of queues have different peers: run them one after the other"
                    .to_owned())
            }
        }
    }

    /// The times of a phase.
    pub fn times(&self) -> Times {
        Times { warm_up: Duration::from_secs(1), window: Duration::from_secs(self.seconds) }
    }
}
