//! `deploy/compose.yaml` on a real container engine, and codeQ's guide for compose word for word (`guide`).
//!
//! Needs root, the image (`cargo cluster image`) and the network the first time. Not part of a plain `cargo test`:
//! `cargo test --package schedia-e2e --test compose`, or `cargo verify`.

// Helpers of tests are tests: their panic is the message.
#![allow(clippy::unwrap_used)]

#[path = "compose/fixture.rs"]
mod fixture;
#[path = "compose/guide.rs"]
mod guide;
mod tool;
#[path = "compose/transcript.rs"]
mod transcript;

use fixture::{Fixture, NODES, PATIENCE, PORTS, leader};
use schedia_e2e::kube::surroundings;
use schedia_e2e::load::{History, Load};
use schedia_e2e::wait::eventually;
use std::time::Instant;

const WRITERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_lose_their_leader_and_their_containers_and_keep_what_they_acknowledged() {
    let turn = fixture::turn().await;
    let before = surroundings().unwrap();
    let began = Instant::now();
    let lap = |what: &str| println!("{:5.1} s  {what}", began.elapsed().as_secs_f32());
    let fixture = Fixture::up(turn).await;
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
    assert_eq!(fixture.docker(&volumes).await, NODES.map(|node| format!("schedia_{node}-data")));
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
    for (service, port) in NODES.into_iter().zip(PORTS) {
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
