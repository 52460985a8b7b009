//! The peer: real etcd members beside ours, with etcd's defaults.
//!
//! Invariant: no process outlives its [`Etcd`].

use crate::wait;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// For an election on busy cores, or for a restart that reads a large log.
const PATIENCE: Duration = Duration::from_secs(120);
/// The default of 2 GiB ends a run with millions of keys; it changes nothing else.
const QUOTA_BYTES: &str = "17179869184";

/// A cluster of etcd.
pub struct Etcd {
    members: Vec<Member>,
    program: PathBuf,
    dir: TempDir,
}

struct Member {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    child: Option<Child>,
}

impl Etcd {
    /// Started, with a leader. Directories are made in `place`.
    pub async fn start(program: &Path, count: usize, place: &Path) -> Result<Etcd, String> {
        let dir = tempfile::Builder::new().prefix("etcd-").tempdir_in(place).map_err(|e| e.to_string())?;
        // An address of its own, so that a killed member's port is taken by nobody else.
        let [a, b] = [fastrand::u8(1..255), fastrand::u8(..)];
        let member = |number: usize| -> std::io::Result<Member> {
            let address = Ipv4Addr::new(127, a, b, number as u8);
            let free = [TcpListener::bind((address, 0))?, TcpListener::bind((address, 0))?];
            let [client, peer] = [free[0].local_addr()?, free[1].local_addr()?];
            Ok(Member { name: format!("e{number}"), client, peer, child: None })
        };
        let members = (1..=count).map(member).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let mut etcd = Etcd { members, program: program.to_owned(), dir };
        for place in 0..count {
            etcd.start_member(place)?;
        }
        etcd.leader().await?;
        Ok(etcd)
    }

    /// Starts a member that does not run.
    pub fn start_member(&mut self, place: usize) -> Result<(), String> {
        let cluster: Vec<_> = self.members.iter().map(|m| format!("{}=http://{}", m.name, m.peer)).collect();
        let member = &mut self.members[place];
        let log = self.dir.path().join(format!("{}.log", member.name));
        let log = File::options().create(true).append(true).open(log).map_err(|e| e.to_string())?;
        let (client, peer) = (format!("http://{}", member.client), format!("http://{}", member.peer));
        let mut command = Command::new(&self.program);
        command.args(["--name", &member.name, "--initial-cluster", &cluster.join(",")]);
        command.arg("--data-dir").arg(self.dir.path().join(&member.name));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--quota-backend-bytes", QUOTA_BYTES]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD_")) {
            command.env_remove(name);
        }
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        member.child = Some(child.map_err(|e| format!("{}: {e}", self.program.display()))?);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self, place: usize) {
        self.members[place].kill();
    }

    /// The place of the member that says it leads.
    pub async fn leader(&self) -> Result<usize, String> {
        let look = || async {
            let mut seen = Vec::new();
            for (place, member) in self.members.iter().enumerate().filter(|(_, m)| m.child.is_some()) {
                let metrics = member.metrics().await?;
                if crate::metrics::sum(&metrics, "etcd_server_is_leader") == 1.0 {
                    return Ok(place);
                }
                seen.push(member.name.clone());
            }
            Err(format!("none of {seen:?} leads"))
        };
        wait::until("an etcd member that leads", PATIENCE, look).await.map_err(|e| e.to_string())
    }

    /// Waits until every member says that it serves.
    pub async fn whole(&self) -> Result<(), String> {
        let look = || async {
            for member in &self.members {
                let answer = member.get("health").await?;
                if !answer.contains("\"true\"") {
                    return Err(format!("{}: {answer}", member.name));
                }
            }
            Ok(())
        };
        wait::until("every etcd member healthy", PATIENCE, look).await.map_err(|e| e.to_string())
    }

    /// Where clients reach the members.
    pub fn clients(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// The processes that run.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.child.as_ref()).map(Child::id).collect()
    }

    /// A member's metrics, in the text format of Prometheus.
    pub async fn metrics(&self, place: usize) -> Result<String, String> {
        self.members[place].metrics().await
    }
}

impl Member {
    async fn metrics(&self) -> Result<String, String> {
        self.get("metrics").await
    }

    async fn get(&self, path: &str) -> Result<String, String> {
        let url = format!("http://{}/{path}", self.client);
        let answer = reqwest::get(url).await.map_err(|e| format!("{}: {e}", self.name))?;
        answer.text().await.map_err(|e| format!("{}: {e}", self.name))
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself: its end is taken note of all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
