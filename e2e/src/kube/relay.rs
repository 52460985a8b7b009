//! From a loopback port of this machine into the cluster, until `down`.
//!
//! A relay is a process of its own. A socket stays in the network namespace it was made in, so each connection is dialled
//! by a short-lived thread that has entered the namespace: the switch's for the API server, a live node's for a Service
//! (there kube-proxy turns its ClusterIP into a pod).

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::cgroup::{Cgroups, HOST};
use super::process::{Process, log_tail};
use super::{KubeError, Machine, Paths, machine, network, reenter};

/// The relay every cluster has.
pub(crate) const API: &str = "api";

/// Connections at a time of one relay; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// A node that does not answer for this long is passed over for the next one.
const DIAL: Duration = Duration::from_secs(2);

/// What a relay does, in a file beside its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// On 127.0.0.1; 0 picks a free one.
    pub(crate) port: u16,
    pub(crate) target: SocketAddrV4,
    /// Through one of that many nodes (a Service), or (0) through the switch or the container engine.
    pub(crate) nodes: u8,
}

struct Files {
    spec: PathBuf,
    pid: PathBuf,
    port: PathBuf,
    log: PathBuf,
}

fn files(paths: &Paths, name: &str) -> Files {
    let file = |kind: &str| paths.relays().join(format!("{name}.{kind}"));
    Files { spec: file("json"), pid: file("pid"), port: file("port"), log: file("log") }
}

/// Starts a relay, or finds the one that does the same already; returns its port.
pub(crate) async fn start(paths: &Paths, name: &str, spec: &Spec, program: &Path) -> Result<u16, KubeError> {
    let Files { spec: spec_file, pid, port, log: log_path } = files(paths, name);
    if let (Some(process), Ok(text)) = (Process::read(&pid), fs::read_to_string(&spec_file)) {
        let old: Option<Spec> = serde_json::from_str(&text).ok();
        let same =
            old.is_some_and(|old| old.target == spec.target && (spec.port == 0 || old.port == spec.port));
        if let (true, Some(port)) = (same, read_port(&port)) {
            return Ok(port);
        }
        process.signal(Signal::KILL);
    }
    fs::create_dir_all(paths.relays()).map_err(KubeError::io("create", paths.relays()))?;
    let _ = fs::remove_file(&port);
    let text = serde_json::to_string(spec).map_err(KubeError::api("write a relay's settings"))?;
    fs::write(&spec_file, text).map_err(KubeError::io("write", &spec_file))?;
    let log = fs::File::create(&log_path).map_err(KubeError::io("create", &log_path))?;
    let mut relay = reenter::command(program, "relay", paths, name);
    let mut child = relay
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(KubeError::io("run", program))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(port) = read_port(&port) {
            std::thread::spawn(move || child.wait());
            return Ok(port);
        }
        if Instant::now() > deadline || child.try_wait().ok().flatten().is_some() {
            let what = format!("the relay {name} does not listen on port {}", spec.port);
            return Err(KubeError::Late { what, seconds: 10, log: log_tail(&log_path), log_path });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn read_port(file: &Path) -> Option<u16> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Every relay ever started, dead or alive.
fn names(paths: &Paths) -> Vec<String> {
    let entries = fs::read_dir(paths.relays()).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.strip_suffix(".json").map(str::to_owned)).collect()
}

/// Starts the dead relays again, on the ports they had.
pub(crate) async fn revive(paths: &Paths, program: &Path) -> Result<(), KubeError> {
    for name in names(paths) {
        let Files { spec, port, .. } = files(paths, &name);
        let text = fs::read_to_string(&spec).map_err(KubeError::io("read", &spec))?;
        let old: Spec = serde_json::from_str(&text).map_err(KubeError::api("read a relay's settings"))?;
        let port = read_port(&port).unwrap_or(old.port);
        start(paths, &name, &Spec { port, ..old }, program).await?;
    }
    Ok(())
}

/// The live relays and their ports.
pub(crate) fn list(paths: &Paths) -> Vec<(String, u16)> {
    let alive = |name: String| {
        let files = files(paths, &name);
        Process::read(&files.pid)?;
        Some((name, read_port(&files.port)?))
    };
    let mut found: Vec<(String, u16)> = names(paths).into_iter().filter_map(alive).collect();
    found.sort();
    found
}

/// The hidden verb `relay`: listens and relays until it is killed.
pub(crate) fn serve(paths: &Paths, name: &str) -> Result<(), KubeError> {
    let files = files(paths, name);
    rustix::process::setsid().map_err(|e| KubeError::io("leave the session", "/")(e.into()))?;
    let myself = Process::myself().map_err(KubeError::io("read", "/proc/self"))?;
    Cgroups::detect()?.join(&paths.cgroup(), HOST, myself.pid)?;
    myself.write(&files.pid).map_err(KubeError::io("write", &files.pid))?;
    let text = fs::read_to_string(&files.spec).map_err(KubeError::io("read", &files.spec))?;
    let spec: Spec = serde_json::from_str(&text).map_err(KubeError::api("read a relay's settings"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(KubeError::io("start", "tokio"))?;
    runtime.block_on(listen(paths.clone(), spec, &files.port)).map_err(KubeError::io("relay", files.spec))
}

async fn listen(paths: Paths, spec: Spec, port_file: &Path) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, spec.port)).await?;
    let beside = port_file.with_extension("new");
    fs::write(&beside, listener.local_addr()?.port().to_string())?;
    fs::rename(beside, port_file)?;
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let turn = Arc::new(AtomicUsize::new(0));
    loop {
        let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
        let mut client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(e) => {
                eprintln!("accept: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (paths, spec, turn) = (paths.clone(), spec.clone(), turn.clone());
        tokio::spawn(async move {
            let _slot = slot;
            match connect(&paths, &spec, turn.fetch_add(1, Ordering::Relaxed)).await {
                // Either side may hang up at any time: that is its right.
                Ok(mut server) => drop(tokio::io::copy_bidirectional(&mut client, &mut server).await),
                Err(e) => eprintln!("{}: {e}", spec.target),
            }
        });
    }
}

/// Dials from the machines that can, in turn until one succeeds.
async fn connect(paths: &Paths, spec: &Spec, turn: usize) -> io::Result<TcpStream> {
    let from: Vec<Machine> = match usize::from(spec.nodes) {
        0 => vec![Machine::Switch, Machine::Engine],
        nodes => (0..nodes).map(|i| Machine::Node(((turn + i) % nodes + 1) as u8)).collect(),
    };
    let mut last = io::Error::other("no machine is running");
    for machine in from {
        let Some(process) = machine::process(paths, machine) else { continue };
        match dial(process.pid, spec.target).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Connects from inside the network namespace of process `pid`.
async fn dial(pid: i32, target: SocketAddrV4) -> io::Result<TcpStream> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
        let connect = || {
            let namespace = fs::File::open(format!("/proc/{pid}/ns/net"))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let stream = std::net::TcpStream::connect_timeout(&SocketAddr::V4(target), DIAL)?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            io::Result::Ok(stream)
        };
        // Nobody waits any more if the relay is being killed.
        let _ = answer.send(connect());
    })?;
    TcpStream::from_std(answered.await.map_err(io::Error::other)??)
}

/// The API server, from the switch.
pub(crate) fn api_server(port: u16) -> Spec {
    Spec { port, target: SocketAddrV4::new(network::API_SERVER, 6443), nodes: 0 }
}
