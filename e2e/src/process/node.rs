//! One node: a process, its directory, its addresses.

use super::{Clock, SmallDisk, binary};
use crate::wait::eventually;
use rustix::process::{Pid, Signal, kill_process};
use schedia_api::{Client, Status};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A status is a local read: a node that takes longer is as good as dead for the one who waits.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// For a hundred mebibytes, with both cores busy.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(120);

/// One node, running or not. Its addresses stay the same over restarts.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub http: SocketAddr,
    /// Where the operator reaches it.
    pub admin: SocketAddr,
    /// Where its peers reach it.
    pub peer: SocketAddr,
    data_dir: PathBuf,
    log: PathBuf,
    program: Option<PathBuf>,
    disk: Option<SmallDisk>,
    clock: Option<Clock>,
    child: Option<Child>,
}

impl Node {
    /// A node that does not run yet, with free ports on `address` and its directory below `dir`.
    pub fn new(name: &str, address: Ipv4Addr, dir: &Path) -> Node {
        let [http, admin, peer] = free_ports(address);
        let data_dir = dir.join(name);
        let log = dir.join(format!("{name}.log"));
        let name = name.to_owned();
        Node { name, http, admin, peer, data_dir, log, program: None, disk: None, clock: None, child: None }
    }

    /// Starts `schedia serve` with the node's own settings and `arguments`. Its log goes on where it ended.
    pub fn start(&mut self, arguments: &[&str]) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).expect("the log can be written");
        let mut words = self.disk.map(|disk| disk.prefix(&self.data_dir)).unwrap_or_default();
        words.push(self.program.as_deref().unwrap_or_else(|| binary::schedia()).into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("serve")
            .args(["--name", &self.name])
            .arg("--data-dir")
            .arg(&self.data_dir);
        for (option, address) in [("--http", self.http), ("--admin", self.admin), ("--peer", self.peer)] {
            command.arg(option).arg(address.to_string());
        }
        // What a person's shell sets is not part of the test.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SCHEDIA_"))
        {
            command.env_remove(name);
        }
        command.envs(self.clock.iter().flat_map(Clock::variables));
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("schedia cannot be started: {e}")));
    }

    /// From the next start on it runs this build of `schedia`.
    pub fn use_program(&mut self, program: &Path) {
        self.program = Some(program.to_owned());
    }

    /// From the next start on it has such a disk.
    pub fn use_disk(&mut self, disk: SmallDisk) {
        self.disk = Some(disk);
    }

    /// From the next start on it is told the time by a clock that may lie, and runs a build that believes it.
    pub fn use_clock(&mut self) -> Clock {
        let clock = Clock::new(self.log.with_extension("clock"));
        self.clock = Some(clock.clone());
        clock
    }

    /// The URL for clients.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// The URL for operators.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// A client of the node's admin API.
    pub fn client(&self) -> Client {
        Client::new(&[self.admin_url()], STATUS_TIMEOUT).expect("the node's address makes a URL")
    }

    /// What the node says of itself, or why not.
    pub async fn status(&self) -> Result<Status, String> {
        self.client().status().await.map_err(|e| format!("{}: {e}", self.name))
    }

    /// Makes a checkpoint. A large one may take the disk longer than a request waits, and asking again is harmless.
    pub async fn checkpoint(&self) {
        let made = || async { self.client().snapshot().await.map_err(|e| e.to_string()) };
        eventually(&format!("a checkpoint of {}", self.name), CHECKPOINT_TIMEOUT, made).await;
    }

    /// Its metrics, in the text format of Prometheus.
    pub async fn metrics(&self) -> Result<String, String> {
        let answer =
            reqwest::get(format!("{}/metrics", self.admin_url())).await.map_err(|e| e.to_string())?;
        answer.text().await.map_err(|e| e.to_string())
    }

    /// Whether its process was started and not yet ended by us.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }

    /// Where it keeps its data.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// All it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log, for a person.
    pub fn log_tail(&self) -> String {
        crate::verify::exec::tail(&self.log, 40)
    }

    /// Begins its log anew: a long run forgets what it has judged.
    pub fn forget_log(&self) {
        // It is appended to, so a running node goes on at the new end.
        let emptied = File::options().write(true).open(&self.log).and_then(|log| log.set_len(0));
        emptied.unwrap_or_else(|e| panic!("{}: {e}", self.log.display()));
    }

    /// SIGKILL: nothing of it runs on.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself: then there is nothing to kill, and its end is taken note of all the same.
            let _ = child.kill();
            child.wait().expect("a child can be waited for");
        }
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on as if nothing had happened.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, without waiting for anything.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGINT, as Ctrl-C in a terminal.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// SIGTERM, and its answer: the exit status.
    pub async fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(within).await
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let mut child = self.child.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        let ended = crate::wait::until(&format!("{} ends", self.name), within, || {
            let status = child.try_wait().expect("a child can be asked");
            async move { status.ok_or_else(|| "still running".to_owned()) }
        })
        .await;
        if ended.is_err() {
            self.child = Some(child);
        }
        ended.unwrap_or_else(|e| panic!("{e}\n{}", self.log_tail()))
    }

    /// Takes its disk away.
    pub fn wipe(&self) {
        assert!(self.child.is_none(), "{} still runs", self.name);
        std::fs::remove_dir_all(&self.data_dir)
            .unwrap_or_else(|e| panic!("{}: {e}", self.data_dir.display()));
    }

    /// Memory of its process in bytes, as the kernel counts it.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(self.pid())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("the id of a process is not 0");
        kill_process(pid, signal).unwrap_or_else(|e| panic!("{}: signal {signal:?}: {e}", self.name));
    }
}

/// Memory of a process in bytes, as the kernel counts it; 0 if it has ended.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0u64) * 1024
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three free ports of an address that is ours alone, so that they stay free.
fn free_ports(address: Ipv4Addr) -> [SocketAddr; 3] {
    let listeners =
        [0; 3].map(|port| TcpListener::bind((address, port)).expect("a loopback address has free ports"));
    listeners.map(|listener| listener.local_addr().expect("a listener has an address"))
}
