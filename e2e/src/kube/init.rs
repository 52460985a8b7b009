//! Process 1 of a machine: builds its world, waits for its network, then keeps its daemons running.
//!
//! What is under the machine's state directory survives its "reboot"; `/run` does not. Nothing it writes reaches the real
//! `/etc`, `/var`, `/opt`, nor any setting of the kernel that all machines share.
//!
//! One loop does it all (start, reap, restart), so that no lock or order of signals matters. It never ends by itself:
//! SIGKILL to this process is how a machine dies, and everything in it dies with it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Pid, WaitOptions};

use super::cgroup::Cgroups;
use super::daemons::{After, CONTAINERD_SOCKET, Daemon, daemons};
use super::process::Process;
use super::programs::Programs;
use super::settings::Settings;
use super::{KubeError, Machine, Paths};

/// How long a daemon that ended waits for its restart.
const RESTART: Duration = Duration::from_millis(500);
/// How often the loop looks.
const TICK: Duration = Duration::from_millis(50);

/// Kernel settings that kubelet insists on. They are global: it is shown files that already hold what it wants, so that
/// it writes nothing and the real machine keeps its own values.
pub(crate) const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Runs the machine. Called in fresh namespaces; returns only if it could not be set up.
pub(crate) fn run(paths: &Paths, machine: Machine) -> Result<(), KubeError> {
    let dir = paths.machine(machine);
    let myself = Process::myself().map_err(KubeError::io("read", "/proc/self"))?;
    match machine {
        Machine::Switch => write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0")?,
        Machine::ControlPlane | Machine::Engine => build_world(&dir, machine, None)?,
        Machine::Node(_) => {
            build_world(&dir, machine, Settings::read(paths)?.volumes_mib)?;
            write("/proc/sys/net/ipv4/ip_forward", "1")?;
            write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1")?;
        }
    }
    // Only now the machine counts as started: whoever started it plugs it in.
    let pid_file = dir.join("init.pid");
    myself.write(&pid_file).map_err(KubeError::io("write", pid_file))?;
    while !dir.join("network").exists() {
        std::thread::sleep(TICK);
    }
    let ready = Arc::new(AtomicBool::new(false));
    if machine == Machine::ControlPlane {
        let (ready, kubeconfig) = (ready.clone(), paths.pki().join("admin.conf"));
        std::thread::spawn(move || await_api_server(&kubeconfig, &ready));
    }
    supervise(daemons(machine, paths, &Programs::new(paths.cache())), &dir, &ready)
}

fn write(path: &str, value: &str) -> Result<(), KubeError> {
    fs::write(path, value).map_err(KubeError::io("write", path))
}

fn build_world(dir: &Path, machine: Machine, volumes_mib: Option<u32>) -> Result<(), KubeError> {
    // Found before its mounts are covered.
    let cgroups = Cgroups::detect()?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(failed("make private", "/"))?;
    write("/proc/sys/kernel/hostname", &machine.to_string())?;
    mount_fresh("proc", "/proc", c"")?;
    for (name, value) in SYSCTLS.iter().filter(|_| matches!(machine, Machine::Node(_))) {
        let file = dir.join("sysctl").join(name);
        create_dir(file.parent().unwrap_or(dir))?;
        fs::write(&file, value).map_err(KubeError::io("write", &file))?;
        bind(&file, &Path::new("/proc/sys").join(name))?;
    }
    mount_fresh("sysfs", "/sys", c"")?;
    cgroups.mount_inside()?;
    for top in ["etc", "var", "opt"] {
        let (upper, work) = (dir.join("upper").join(top), dir.join("work").join(top));
        create_dir(&upper)?;
        create_dir(&work)?;
        let options = format!("lowerdir=/{top},upperdir={},workdir={}", upper.display(), work.display());
        let options = std::ffi::CString::new(options).map_err(|e| KubeError::Refused(e.to_string()))?;
        let at = format!("/{top}");
        mount("overlay", &at, "overlay", MountFlags::empty(), options.as_c_str())
            .map_err(failed("overlay", &at))?;
    }
    // An overlay's upper layer cannot lie on an overlay: what holds containers' layers needs plain directories.
    let plain: &[&str] = match machine {
        Machine::Engine => &["var/lib/docker"],
        _ => &["var/lib/kubelet", "var/lib/containerd", "etc/cni/net.d", "opt/local-path-provisioner"],
    };
    for plain in plain {
        let (from, to) = (dir.join("root").join(plain), Path::new("/").join(plain));
        create_dir(&from)?;
        create_dir(&to)?;
        bind(&from, &to)?;
    }
    for needed in ["/var/log/pods", "/var/log/containers", "/var/lib/cni"] {
        create_dir(Path::new(needed))?;
    }
    if let Some(mib) = volumes_mib {
        mount_volumes(dir, mib)?;
    }
    mount_fresh("tmpfs", "/run", c"mode=755")?;
    create_dir(Path::new("/run/lock"))?;
    create_dir(Path::new("/run/containerd"))?;
    // kubelet's mounts must reach its pods. The peer group exists in this mount namespace only.
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    mount_change("/", shared).map_err(failed("make shared", "/"))
}

/// Puts the node's volumes on a file system of their own, so that a test can fill it.
fn mount_volumes(dir: &Path, mib: u32) -> Result<(), KubeError> {
    let file = dir.join("volumes.ext4");
    if !file.exists() {
        let make = || fs::File::create(&file)?.set_len(u64::from(mib) << 20);
        make().map_err(KubeError::io("create", &file))?;
        tool(Command::new("mkfs.ext4").arg("-q").arg(&file), "formatting the volumes")?;
    }
    let at = "/opt/local-path-provisioner";
    tool(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(at), "mounting the volumes")
}

fn tool(command: &mut Command, what: &str) -> Result<(), KubeError> {
    let output = command.stdin(Stdio::null()).output().map_err(KubeError::io("run", what))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() {
        true => Ok(()),
        false => Err(KubeError::Command { what: what.to_owned(), status: output.status, output: text }),
    }
}

fn mount_fresh(kind: &str, at: &str, options: &std::ffi::CStr) -> Result<(), KubeError> {
    mount(kind, at, kind, MountFlags::empty(), options).map_err(failed("mount", at))
}

fn bind(from: &Path, to: &Path) -> Result<(), KubeError> {
    mount_bind(from, to).map_err(failed("bind", to))
}

fn create_dir(path: &Path) -> Result<(), KubeError> {
    fs::create_dir_all(path).map_err(KubeError::io("create", path))
}

fn failed(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(rustix::io::Errno) -> KubeError {
    let error = KubeError::io(doing, path);
    move |errno| error(errno.into())
}

/// Sets `ready` once the API server has made its own roles (part of /readyz).
fn await_api_server(kubeconfig: &Path, ready: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime.map_err(|e| eprintln!("no runtime: {e}")) else { return };
    let asked = async {
        let client = super::client::from_file(kubeconfig).await?;
        while !super::client::ready(&client).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok::<(), KubeError>(())
    };
    match runtime.block_on(asked) {
        Ok(()) => ready.store(true, Ordering::Release),
        Err(e) => eprintln!("cannot ask the API server: {}", e.chain()),
    }
}

/// A daemon that is not running, and since when it may be started again.
struct Waiting {
    daemon: Daemon,
    from: Instant,
}

/// Starts, reaps and restarts, forever. A file `hold.NAME` in `dir` keeps the daemon NAME down.
fn supervise(daemons: Vec<Daemon>, dir: &Path, api_server_ready: &AtomicBool) -> ! {
    let mut waiting: Vec<Waiting> =
        daemons.into_iter().map(|daemon| Waiting { daemon, from: Instant::now() }).collect();
    let mut running: HashMap<Pid, Daemon> = HashMap::new();
    loop {
        let may_start = |waiting: &mut Waiting| {
            let there = match waiting.daemon.after {
                After::Nothing => true,
                After::ApiServer => api_server_ready.load(Ordering::Acquire),
                After::Containerd => Path::new(CONTAINERD_SOCKET).exists(),
            };
            there
                && waiting.from <= Instant::now()
                && !dir.join(format!("hold.{}", waiting.daemon.name)).exists()
        };
        for Waiting { daemon, .. } in waiting.extract_if(.., may_start).collect::<Vec<_>>() {
            match start(&daemon, dir) {
                Ok(pid) => drop(running.insert(pid, daemon)),
                Err(e) => {
                    note(&daemon, dir, &format!("could not be started: {e}"));
                    waiting.push(Waiting { daemon, from: Instant::now() + RESTART });
                }
            }
        }
        // Everybody's orphans end up here; only daemons are missed.
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(daemon) = running.remove(&pid) {
                note(&daemon, dir, &format!("ended: {}", ExitStatus::from_raw(status.as_raw())));
                waiting.push(Waiting { daemon, from: Instant::now() + RESTART });
            }
        }
        std::thread::sleep(TICK);
    }
}

fn start(daemon: &Daemon, dir: &Path) -> io::Result<Pid> {
    let log = fs::File::options().create(true).append(true).open(dir.join(format!("{}.log", daemon.name)))?;
    let mut command = Command::new(&daemon.program);
    command.args(&daemon.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Not awaited here: the loop reaps it with everything else.
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
    fs::write(dir.join(format!("{}.pid", daemon.name)), pid.as_raw_nonzero().to_string())?;
    Ok(pid)
}

/// A line in the daemon's own log.
fn note(daemon: &Daemon, dir: &Path, text: &str) {
    let log = fs::File::options().create(true).append(true).open(dir.join(format!("{}.log", daemon.name)));
    if let Ok(mut log) = log {
        // A full disk must not end process 1.
        let _ = io::Write::write_all(&mut log, format!("--- {} {text}\n", daemon.name).as_bytes());
    }
}
