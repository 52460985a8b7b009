//! `deploy/compose.yaml` on a real container engine.
//!
//! Needs root, the image (`cargo cluster image`) and the network the first time. Not part of a plain `cargo test`:
//! `cargo test --package schedia-e2e --test compose`, or `cargo verify`.

// Helpers of tests are tests: their panic is the message.
#![allow(clippy::unwrap_used)]

mod tool;

use schedia_api::{Overview, OverviewMember};
use schedia_e2e::engine::Engine;
use schedia_e2e::kube::surroundings;
use schedia_e2e::load::{History, Load};
use schedia_e2e::paths;
use schedia_e2e::wait::eventually;
use std::time::{Duration, Instant};

/// Many times what anything here takes on two idle cores.
const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: usize = 4;
/// The ports that `deploy/compose.yaml` publishes.
const PORTS: [u16; 3] = [8080, 8082, 8084];
const NAME: &str = "compose";

/// An engine that is ended even if the test fails.
struct Fixture {
    engine: Engine,
}

impl Fixture {
    async fn up() -> Fixture {
        let archive = paths::image_archive();
        assert!(archive.is_file(), "no image: run `cargo cluster image`: {}", archive.display());
        let fixture = Fixture { engine: Engine::new(tool::paths(NAME), tool::program()) };
        fixture.engine.up().await.unwrap_or_else(|e| panic!("{}", e.chain()));
        fixture.engine.load(&archive).await.unwrap_or_else(|e| panic!("{}", e.chain()));
        fixture
    }

    async fn compose(&self, arguments: &[&str]) {
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
    async fn docker(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.engine.docker().unwrap().args(arguments).output().await.unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {words}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Something of a container, by docker's template.
    async fn inspect(&self, service: &str, template: &str) -> String {
        let container = format!("schedia-{service}-1");
        self.docker(&["inspect", "--format", template, &container]).await.concat()
    }

    async fn kill(&self, service: &str) {
        let pid = self.inspect(service, "{{.State.Pid}}").await;
        let killed = self.engine.inside().unwrap().args(["kill", "-KILL", &pid]).status().await.unwrap();
        assert!(killed.success());
    }

    /// The loopback URLs of n1, n2, n3.
    async fn urls(&self) -> Vec<String> {
        let mut urls = Vec::new();
        for port in PORTS {
            urls.push(format!("http://{}", self.engine.publish(port).await.unwrap()));
        }
        urls
    }

    async fn down(&self) {
        self.engine.down().await.unwrap_or_else(|e| panic!("{}", e.chain()));
        assert_eq!(self.engine.leftovers().unwrap(), [""; 0]);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = tool::command(NAME, &["down"]).status();
    }
}

/// The leader's name, once some node knows it and all three are voters of its cluster, not behind.
async fn leader(urls: &[String]) -> String {
    eventually("three voters, none behind", PATIENCE, || async {
        let mut last = "nobody answers".to_owned();
        for url in urls {
            let Ok(answer) = reqwest::get(format!("{url}/v1/status")).await else { continue };
            let Ok(seen) = answer.json::<Overview>().await else { continue };
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

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_lose_their_leader_and_their_containers_and_keep_what_they_acknowledged() {
    let before = surroundings().unwrap();
    let began = Instant::now();
    let lap = |what: &str| println!("{:5.1} s  {what}", began.elapsed().as_secs_f32());
    let fixture = Fixture::up().await;
    lap("engine up, image loaded");
    fixture.compose(&["up", "--detach", "--wait"]).await;
    lap("compose up: all healthy");
    assert_eq!(surroundings().unwrap(), before, "an engine that is up shows nowhere outside its namespaces");
    nothing_more_is_allowed_than_needed(&fixture).await;

    let urls = fixture.urls().await;
    let history = faults(&fixture, &urls).await;
    lap("a stopped leader and a killed one");

    fixture.compose(&["down"]).await;
    assert_eq!(fixture.docker(&["ps", "--all", "--quiet"]).await, [""; 0]);
    let volumes = ["volume", "ls", "--format", "{{.Name}}"];
    assert_eq!(fixture.docker(&volumes).await, ["schedia_n1", "schedia_n2", "schedia_n3"]);
    fixture.compose(&["up", "--detach", "--wait"]).await;
    leader(&urls).await;
    history.verify(&urls).await;
    lap("down and up: nothing is lost");

    fixture.compose(&["down", "--volumes"]).await;
    assert_eq!(fixture.docker(&volumes).await, [""; 0]);
    let networks = fixture.docker(&["network", "ls", "--format", "{{.Name}}"]).await;
    assert!(networks.iter().all(|name| !name.contains("schedia")), "{networks:?}");
    lap("down --volumes: nothing is there");

    fixture.down().await;
    assert_eq!(surroundings().unwrap(), before);
    lap("engine down");
}

/// Under load: the leader's container is stopped and started again, then the leader's process is killed, which the
/// engine notices by itself.
async fn faults(fixture: &Fixture, urls: &[String]) -> History {
    let load = Load::start(urls, WRITERS, fastrand::u64(..1 << 32));
    load.progress(200, PATIENCE).await;
    let first = leader(urls).await;
    fixture.compose(&["stop", &first]).await;
    let status = fixture.inspect(&first, "{{.State.Status}} {{.State.ExitCode}}").await;
    assert_eq!(status, "exited 0", "it ended by itself, within its grace period");
    load.progress(200, PATIENCE).await;
    fixture.compose(&["start", "--wait", &first]).await;
    let second = leader(urls).await;
    load.progress(200, PATIENCE).await;

    fixture.kill(&second).await;
    load.progress(200, PATIENCE).await;
    eventually("the engine has started it again", PATIENCE, || async {
        let state = fixture.inspect(&second, "{{.RestartCount}} {{.State.Health.Status}}").await;
        if state == "1 healthy" { Ok(()) } else { Err(state) }
    })
    .await;
    leader(urls).await;
    load.progress(200, PATIENCE).await;
    load.stop().await
}

/// As the kernel sees it, not as the file says it.
async fn nothing_more_is_allowed_than_needed(fixture: &Fixture) {
    for (service, port) in ["n1", "n2", "n3"].into_iter().zip(PORTS) {
        let pid = fixture.inspect(service, "{{.State.Pid}}").await;
        let mut cat = fixture.engine.inside().unwrap();
        let status = cat.args(["cat", &format!("/proc/{pid}/status")]).output().await.unwrap();
        let status = String::from_utf8(status.stdout).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
            line.unwrap_or_else(|| panic!("no {name}: {status}"))
                .split_whitespace()
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!((field("Uid"), field("Gid")), ("65532".to_owned(), "65532".to_owned()));
        assert_eq!((field("CapBnd"), field("NoNewPrivs")), ("0".repeat(16), "1".to_owned()));
        let mut mounts = fixture.engine.inside().unwrap();
        let mounts = mounts.args(["cat", &format!("/proc/{pid}/mounts")]).output().await.unwrap();
        let mounts = String::from_utf8(mounts.stdout).unwrap();
        let options = |at: &str| {
            let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(at));
            line.and_then(|line| line.split(' ').nth(3)?.split(',').next()).map(str::to_owned)
        };
        assert_eq!((options("/").as_deref(), options("/data").as_deref()), (Some("ro"), Some("rw")));
        let ports = fixture.docker(&["port", &format!("schedia-{service}-1")]).await;
        assert_eq!(ports, [format!("8080/tcp -> 127.0.0.1:{port}")], "only clients, only from this machine");
    }
}
