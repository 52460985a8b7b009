//! An engine for a test, its three nodes, and when they are a cluster.

use super::tool;
use schedia_api::{Overview, OverviewMember};
use schedia_e2e::engine::Engine;
use schedia_e2e::paths;
use schedia_e2e::wait::eventually;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// Many times what anything here takes on two idle cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The services.
pub(crate) const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];
/// The ports that they are published on.
pub(crate) const PORTS: [u16; 3] = [8080, 8081, 8082];
const NAME: &str = "compose";

/// One engine at a time, and one set of ports.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits until no other test of this program has an engine.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// An engine that is ended even if the test fails.
pub(crate) struct Fixture {
    pub(crate) engine: Engine,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    /// Starts the engine and loads the image.
    pub(crate) async fn up(turn: MutexGuard<'static, ()>) -> Fixture {
        let archive = paths::image_archive();
        assert!(archive.is_file(), "no image: run `cargo cluster image`: {}", archive.display());
        let fixture = Fixture { engine: Engine::new(tool::paths(NAME), tool::program()), _turn: turn };
        fixture.engine.up().await.unwrap_or_else(|e| panic!("{}", e.chain()));
        fixture.engine.load(&archive).await.unwrap_or_else(|e| panic!("{}", e.chain()));
        fixture
    }

    /// compose on `deploy/compose.yaml`.
    pub(crate) async fn compose(&self, arguments: &[&str]) {
        let mut compose = self.engine.compose(&paths::workspace().join("deploy/compose.yaml")).unwrap();
        let output = compose.args(arguments).output().await.unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "compose {arguments:?}: {words}\n{}", self.logs().await);
    }

    async fn logs(&self) -> String {
        let mut compose = self.engine.compose(&paths::workspace().join("deploy/compose.yaml")).unwrap();
        let output = compose.args(["logs", "--tail", "20"]).output().await.unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What docker prints, line by line.
    pub(crate) async fn docker(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.engine.docker().unwrap().args(arguments).output().await.unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {words}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Something of a container of `deploy/compose.yaml`, by docker's template.
    pub(crate) async fn inspect(&self, service: &str, template: &str) -> String {
        let container = format!("schedia-{service}-1");
        self.docker(&["inspect", "--format", template, &container]).await.concat()
    }

    pub(crate) async fn kill(&self, service: &str) {
        let pid = self.inspect(service, "{{.State.Pid}}").await;
        let killed = self.engine.inside().unwrap().args(["kill", "-KILL", &pid]).status().await.unwrap();
        assert!(killed.success());
    }

    /// The URLs of the nodes for this process.
    pub(crate) async fn urls(&self) -> Vec<String> {
        let mut urls = Vec::new();
        for port in PORTS {
            urls.push(format!("http://{}", self.engine.publish(port).await.unwrap()));
        }
        urls
    }

    pub(crate) async fn down(&self) {
        self.engine.down().await.unwrap_or_else(|e| panic!("{}", e.chain()));
        assert_eq!(self.engine.leftovers().unwrap(), [""; 0]);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = tool::command(NAME, &["down"]).status();
    }
}

async fn overview(url: &str) -> Result<Overview, String> {
    let answer = reqwest::get(format!("{url}/v1/status")).await.map_err(|error| error.to_string())?;
    answer.json().await.map_err(|error| error.to_string())
}

/// The leader's name, once some node knows it and all three are voters of its cluster, not behind.
pub(crate) async fn leader(urls: &[String]) -> String {
    eventually("three voters, none behind", PATIENCE, || async {
        let mut last = "nobody answers".to_owned();
        for url in urls {
            let Ok(seen) = overview(url).await else { continue };
            let whole = |m: &OverviewMember| m.voter && (Some(m.id) == seen.leader || m.lag < Some(100));
            let leader = seen.members.iter().find(|m| Some(m.id) == seen.leader);
            match leader {
                // Only the leader knows who is behind.
                Some(leader) if seen.node_id == leader.id && seen.members.len() == 3 => {
                    if seen.members.iter().all(whole) {
                        return Ok(leader.name.clone());
                    }
                    last = format!("{:?}", seen.members);
                }
                _ => {}
            }
        }
        Err(last)
    })
    .await
}

/// Waits until all three answer, as voters of one cluster under one leader.
pub(crate) async fn formed(urls: &[String]) {
    eventually("three nodes of one cluster", PATIENCE, || async {
        let mut first = None;
        for url in urls {
            let seen = overview(url).await?;
            let ids: Vec<_> = seen.members.iter().filter(|member| member.voter).map(|m| m.id).collect();
            if ids.len() != 3 || seen.members.len() != 3 || !ids.contains(&seen.node_id) {
                return Err(format!("{} sees {:?}", seen.name, seen.members));
            }
            let leader = seen.leader.ok_or_else(|| format!("{} knows no leader", seen.name))?;
            let known = first.get_or_insert((seen.cluster_id.clone(), leader));
            if *known != (seen.cluster_id, leader) {
                return Err(format!("{} sees another leader: {leader}", seen.name));
            }
        }
        Ok(())
    })
    .await;
}
