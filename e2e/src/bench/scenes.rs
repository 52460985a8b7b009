//! The parts of a run, each on clusters of its own.
//!
//! Both sides run all the time and idle while the other is measured; rounds alternate.

use super::options::{Connections, Options};
use super::outage::{Killed, Outages};
use super::phase::{self, Load, Target, Work};
use super::queues;
use super::report::{self, Cell, Report};
use super::servers::{Build, Make, Servers};
use crate::process::auth_config;
use std::path::{Path, PathBuf};

/// Members of a cluster, where nothing else is said.
const MEMBERS: usize = 3;
/// Clients that fill; nothing of it is measured.
const FILLERS: usize = 64;
/// Clients of the growing clusters, and the length of their values.
const GROWTH: (usize, usize) = (64, 256);
/// Keys in a cluster that grows by members, or whose leader is killed.
const FEW_KEYS: u64 = 10_000;
/// Times that all members are killed.
const RESTARTS: usize = 3;
/// Given to ours beside its defaults, to find a dead leader sooner.
const FAST: [&str; 6] = ["--heartbeat-ms", "50", "--election-min-ms", "150", "--election-max-ms", "250"];

/// What a scene works with.
pub struct Stage<'a> {
    /// What was asked for.
    pub options: &'a Options,
    /// Ours, and the other side if there is one.
    pub builds: Vec<Build>,
    /// Where directories are made.
    pub place: &'a Path,
    /// Where figures go as they come.
    pub report: &'a mut Report,
}

impl Stage<'_> {
    /// Requests per second of each work, by lengths of values, targets, connections and clients.
    pub async fn loads(&mut self, works: &[Work]) -> Result<(), String> {
        let sides = self.start(MEMBERS).await?;
        for value_bytes in self.options.values.clone() {
            fill(&sides, 0..self.options.keys, value_bytes).await?;
            for load in self.every(works, value_bytes) {
                self.cell(&sides, load).await?;
            }
        }
        Ok(())
    }

    /// The leader killed, time after time.
    pub async fn failover(&mut self) -> Result<(), String> {
        let fast = Build {
            name: format!("{}, fast", self.builds[0].name),
            arguments: FAST.map(str::to_owned).to_vec(),
            ..self.builds[0].clone()
        };
        let mut sides = self.start(MEMBERS).await?;
        sides.push(Servers::start(&fast, MEMBERS, self.place).await?);
        fill(&sides, 0..FEW_KEYS, GROWTH.1).await?;
        self.outages(&mut sides, Killed::Leader, FEW_KEYS, self.options.trials).await
    }

    /// All members killed and started again, with many keys.
    pub async fn restart(&mut self) -> Result<(), String> {
        let mut sides = self.start(MEMBERS).await?;
        fill(&sides, 0..self.options.restart_keys, GROWTH.1).await?;
        self.outages(&mut sides, Killed::All, self.options.restart_keys, RESTARTS).await
    }

    /// Writes, memory and a restart while keys become more; then writes by members.
    pub async fn growth(&mut self) -> Result<(), String> {
        let (clients, value_bytes) = GROWTH;
        let load = |keys| Load {
            work: Work::Puts,
            target: Target::Leader,
            members: MEMBERS,
            clients,
            connections: None,
            keys,
            shards: 1,
            value_bytes,
        };
        let mut sizes = self.options.growth_keys.clone();
        sizes.sort_unstable();
        let (mut sides, mut filled) = (self.start(MEMBERS).await?, 0);
        for keys in sizes {
            fill(&sides, filled..keys, value_bytes).await?;
            filled = keys;
            self.cell(&sides, load(keys)).await?;
            self.outages(&mut sides, Killed::All, keys, 1).await?;
        }
        drop(sides);
        for members in self.options.growth_members.clone() {
            let sides = self.start(members).await?;
            fill(&sides, 0..FEW_KEYS, value_bytes).await?;
            self.cell(&sides, Load { members, ..load(FEW_KEYS) }).await?;
        }
        Ok(())
    }

    /// What is done with tasks, by numbers of shards, targets and clients.
    pub async fn queues(&mut self, works: &[Work]) -> Result<(), String> {
        for shards in self.options.shards.clone() {
            let sides = self.start_queues(shards).await?;
            let Options { target: targets, clients: numbers, queues, .. } = self.options;
            for (work, target) in
                works.iter().flat_map(|work| targets.iter().map(move |target| (work, target)))
            {
                for clients in numbers {
                    let load = Load {
                        work: *work,
                        target: *target,
                        members: MEMBERS,
                        clients: *clients,
                        connections: None,
                        keys: *queues,
                        shards,
                        value_bytes: 0,
                    };
                    self.cell(&sides, load).await?;
                }
            }
        }
        Ok(())
    }

    /// One long queue: claims, memory, a restart. Ours alone: a codeQ that somebody else has started is not to be killed.
    pub async fn backlog(&mut self) -> Result<(), String> {
        let tasks = self.options.backlog;
        let ours = self.start_queues(1).await?.swap_remove(0);
        eprintln!("{}: filling a queue with {tasks} tasks", ours.build().name);
        queues::fill(&ours, tasks, FILLERS).await?;
        let mut sides = vec![ours];
        for clients in self.options.clients.clone() {
            let load = Load {
                work: Work::Claims,
                target: Target::Leader,
                members: MEMBERS,
                clients,
                connections: None,
                keys: 1,
                shards: 1,
                value_bytes: 0,
            };
            self.cell(&sides, load).await?;
        }
        self.outages(&mut sides, Killed::All, tasks, RESTARTS).await
    }

    async fn start_queues(&self, shards: u32) -> Result<Vec<Servers>, String> {
        let token = &self.options.codeq_token;
        let auth = self.place.join("auth.json");
        std::fs::write(&auth, auth_config(token)).map_err(|e| format!("{}: {e}", auth.display()))?;
        let mut sides = Vec::new();
        for build in &self.builds {
            let mut build = Build { token: Some(token.clone()), ..build.clone() };
            if build.make == Make::Schedia {
                let auth = auth.display().to_string();
                build.arguments.extend([
                    "--auth-config".to_owned(),
                    auth,
                    "--shards".to_owned(),
                    shards.to_string(),
                ]);
            }
            sides.push(Servers::start(&build, MEMBERS, self.place).await?);
        }
        Ok(sides)
    }

    async fn start(&self, members: usize) -> Result<Vec<Servers>, String> {
        let mut sides = Vec::new();
        for build in &self.builds {
            sides.push(Servers::start(build, members, self.place).await?);
        }
        Ok(sides)
    }

    fn every(&self, works: &[Work], value_bytes: usize) -> Vec<Load> {
        let Options { target: targets, connections: shared, clients: numbers, keys, .. } = self.options;
        let mut loads = Vec::new();
        for work in works {
            for target in targets {
                for Connections(connections) in shared {
                    for clients in numbers {
                        let (work, target, clients, connections) = (*work, *target, *clients, *connections);
                        let (members, keys, shards) = (MEMBERS, *keys, 1);
                        loads.push(Load {
                            work,
                            target,
                            members,
                            clients,
                            connections,
                            keys,
                            shards,
                            value_bytes,
                        });
                    }
                }
            }
        }
        loads
    }

    /// One load on all sides, round after round.
    async fn cell(&mut self, sides: &[Servers], load: Load) -> Result<(), String> {
        let mut cell = Cell { load, ours: Vec::new(), theirs: Vec::new() };
        for _ in 0..self.options.rounds {
            for servers in sides {
                let phase = phase::run(servers, &cell.load, self.options.times()).await?;
                let name = &servers.build().name;
                eprintln!("{name}: {}: {}", report::describe(&cell.load), report::briefly(&phase));
                let ours = servers.build().name == self.builds[0].name;
                if ours { &mut cell.ours } else { &mut cell.theirs }.push(phase);
            }
        }
        self.report.cells.push(cell);
        Ok(())
    }

    async fn outages(
        &mut self,
        sides: &mut [Servers],
        killed: Killed,
        keys: u64,
        trials: usize,
    ) -> Result<(), String> {
        let mut outages: Vec<_> = sides.iter().map(|side| Outages::new(side, killed, keys)).collect();
        let mut ended = Ok(());
        'trials: for _ in 0..trials {
            for (servers, outages) in sides.iter_mut().zip(&mut outages) {
                ended = outages.add(servers).await;
                if ended.is_err() {
                    break 'trials;
                }
            }
        }
        // What was measured before a failure is reported all the same.
        self.report.outages.extend(outages);
        ended
    }
}

/// The two sides. Builds what is missing.
pub async fn builds(options: &Options) -> Result<Vec<Build>, String> {
    use crate::kube::programs::{PEER, Programs};
    use crate::{paths, process};
    let schedia = |name: &str, program: &Path| match program.is_file() {
        true => Ok(Build {
            name: name.to_owned(),
            make: Make::Schedia,
            program: program.to_owned(),
            arguments: Vec::new(),
            token: None,
        }),
        false => Err(format!("no such program: {}", program.display())),
    };
    let ours = match &options.schedia {
        Some(program) => schedia("schedia", program)?,
        None => schedia("schedia", &process::binary::build(&["--release"]))?,
    };
    if let [_, ..] = options.peer_codeq.as_slice() {
        let arguments = options.peer_codeq.clone();
        let (name, make, program) = ("codeQ".to_owned(), Make::Codeq, PathBuf::new());
        return Ok(vec![ours, Build { name, make, program, arguments, token: None }]);
    }
    if options.ours_only || options.is_of_queues()? && options.against_schedia.is_none() {
        return Ok(vec![ours]);
    }
    if let Some(program) = &options.against_schedia {
        return Ok(vec![ours, schedia("the other schedia", program)?]);
    }
    let programs = Programs::new(&paths::cache());
    programs.build_peer(|line| eprintln!("{line}")).await.map_err(|e| e.to_string())?;
    let name = format!("etcd {}", PEER.trim_start_matches('v'));
    Ok(vec![
        ours,
        Build { name, make: Make::Etcd, program: programs.etcd_peer(), arguments: Vec::new(), token: None },
    ])
}

async fn fill(sides: &[Servers], range: std::ops::Range<u64>, value_bytes: usize) -> Result<(), String> {
    for servers in sides {
        let keys = range.end - range.start;
        eprintln!("{}: filling {keys} keys of {value_bytes} B", servers.build().name);
        phase::fill(servers, range.clone(), value_bytes, FILLERS).await?;
    }
    Ok(())
}
