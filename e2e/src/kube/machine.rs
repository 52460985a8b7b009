//! Starts and kills machines, seen from outside.
//!
//! A machine is `PROGRAM __cluster enter` in a session of its own: it enters the machine's cgroups and becomes `unshare`,
//! which makes the namespaces and in them `PROGRAM __cluster init`, process 1. All namespaces are anonymous: when
//! process 1 dies the kernel takes every process, mount, link and rule with it, so there is nothing to clean up but
//! cgroups.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::cgroup::{Cgroups, HOST};
use super::daemons::node_files;
use super::process::{Process, log_tail};
use super::settings::Settings;
use super::{KubeError, Machine, Paths, network, reenter};

/// Longer than any machine took to set up its namespaces, even under load.
const START: Duration = Duration::from_secs(30);

/// Where distributions put the network plugins.
const CNI_PLUGINS: [&str; 4] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni", "/usr/lib/cni/bin"];

/// Process 1 of a running machine.
pub(crate) fn process(paths: &Paths, machine: Machine) -> Option<Process> {
    Process::read(&paths.machine(machine).join("init.pid"))
}

/// The same, or an error that says so.
pub(crate) fn running(paths: &Paths, machine: Machine) -> Result<Process, KubeError> {
    process(paths, machine).ok_or(KubeError::MachineDown(machine))
}

/// Starts a machine on whatever state it has and plugs it in. Its daemons come up by themselves.
pub(crate) async fn start(
    paths: &Paths,
    settings: &Settings,
    machine: Machine,
    program: &Path,
) -> Result<(), KubeError> {
    if process(paths, machine).is_some() {
        return Err(KubeError::Refused(format!("{machine} is running already")));
    }
    let dir = paths.machine(machine);
    fs::create_dir_all(&dir).map_err(KubeError::io("create", &dir))?;
    forget(&dir)?;
    let files = match machine {
        Machine::Node(i) => node_files(i, paths, &cni_plugins()?).to_vec(),
        Machine::Engine => crate::engine::files(paths, program).to_vec(),
        Machine::Switch | Machine::ControlPlane => Vec::new(),
    };
    for (file, text) in files {
        let file = dir.join(file);
        fs::create_dir_all(file.parent().unwrap_or(&dir)).map_err(KubeError::io("create", &file))?;
        fs::write(&file, text).map_err(KubeError::io("write", file))?;
    }
    let cgroups = Cgroups::detect()?;
    cgroups.create(&paths.cgroup(), HOST)?;
    cgroups.create(&paths.cgroup(), &machine.to_string())?;

    let log_path = dir.join("init.log");
    let log = fs::File::create(&log_path).map_err(KubeError::io("create", &log_path))?;
    let log_too = log.try_clone().map_err(KubeError::io("open", &log_path))?;
    let mut enter = reenter::command(program, "enter", paths, &machine.to_string());
    enter.stdin(Stdio::null()).stdout(log).stderr(log_too);
    let mut child = enter.spawn().map_err(KubeError::io("run", program))?;
    let outer = i32::try_from(child.id()).unwrap_or_default();
    // It outlives this process; until then somebody must reap it.
    std::thread::spawn(move || child.wait());

    let deadline = Instant::now() + START;
    let init = loop {
        if let Some(init) = process(paths, machine) {
            break init;
        }
        if Instant::now() > deadline || !Path::new(&format!("/proc/{outer}")).exists() {
            let what = format!("{machine} did not start");
            return Err(KubeError::Late {
                what,
                seconds: START.as_secs(),
                log: log_tail(&log_path),
                log_path,
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    if cgroups == Cgroups::V2 {
        // The machine's cgroup will have controllers, and such a one holds no processes.
        cgroups.join(&paths.cgroup(), HOST, outer)?;
    }
    if machine == Machine::Engine {
        network::leave_alone(machine, &init).await?;
    } else {
        let switch = running(paths, Machine::Switch)?;
        network::plug_in(machine, &init, &switch, settings.nodes).await?;
    }
    let plugged = dir.join("network");
    fs::write(&plugged, "").map_err(KubeError::io("write", plugged))
}

/// Removes what an earlier life of the machine left for its process 1 to read.
fn forget(dir: &Path) -> Result<(), KubeError> {
    let entries = fs::read_dir(dir).map_err(KubeError::io("read", dir))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "network" || name.ends_with(".pid") || name.starts_with("hold.") {
            fs::remove_file(entry.path()).map_err(KubeError::io("remove", entry.path()))?;
        }
    }
    Ok(())
}

/// Pulls the plug: SIGKILL to process 1, and with it everything ends at once. Dead already is fine.
pub(crate) fn kill(paths: &Paths, machine: Machine) -> Result<(), KubeError> {
    let cgroups = Cgroups::detect()?;
    if let Some(init) = process(paths, machine) {
        init.signal(Signal::KILL);
    }
    sweep(&cgroups, &format!("{}/{machine}", paths.cgroup()));
    Ok(())
}

/// Ends every process in this cgroup of ours and below, and removes the cgroups.
pub(crate) fn sweep(cgroups: &Cgroups, cgroup: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let pids = cgroups.pids(cgroup);
        if pids.is_empty() || Instant::now() > deadline {
            break;
        }
        for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
            // Being in our cgroup says that we started it; that it has just ended is fine.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    cgroups.remove(cgroup);
}

/// The hidden verb `enter`: becomes `unshare`, which becomes the parent of the machine's process 1.
pub(crate) fn enter(paths: &Paths, machine: Machine, program: &Path) -> Result<(), KubeError> {
    rustix::process::setsid().map_err(|e| KubeError::io("leave the session", "/")(e.into()))?;
    let myself = Process::myself().map_err(KubeError::io("read", "/proc/self"))?;
    Cgroups::detect()?.join(&paths.cgroup(), &machine.to_string(), myself.pid)?;
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--pid"]);
    if machine != Machine::Switch {
        unshare.args(["--cgroup", "--mount", "--uts", "--ipc"]);
    }
    unshare.args(["--fork", "--kill-child", "--"]);
    let init = reenter::command(program, "init", paths, &machine.to_string());
    unshare.arg(init.get_program()).args(init.get_args());
    Err(KubeError::io("run", "unshare")(unshare.exec()))
}

fn cni_plugins() -> Result<PathBuf, KubeError> {
    let found = CNI_PLUGINS.iter().map(PathBuf::from).find(|dir| dir.join("host-local").exists());
    found.ok_or_else(|| KubeError::Missing {
        program: "the network plugins bridge and host-local".to_owned(),
        hint: "install the package containernetworking-plugins",
    })
}
