//! Looks at the machine. Judges nothing, changes nothing: kernel features are tried in namespaces that vanish with the trial.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs looked for, and the Debian package each comes with.
pub const PROGRAMS: [(&str, &str); 14] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("busybox", "busybox-static"),
    ("iptables", "iptables"),
    // Not itself, but the library that comes with it: Debian's dockerd is unpacked beside, without what it depends on.
    ("dmsetup", "dmsetup"),
    ("debootstrap", "debootstrap"),
    // What codeQ's guide for compose is followed with.
    ("curl", "curl"),
    ("jq", "jq"),
];

/// Files looked for outside the search path, and the Debian package each comes with.
pub const FILES: [(&str, &str); 2] = [
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/lib/cni/host-local", "containernetworking-plugins"),
];

/// Controllers of cgroups that kubelet and the container runtime use.
pub const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether this process is root.
    pub root: bool,
    /// Whether Debian's package tool is here.
    pub apt: bool,
    /// Whether a container engine is installed.
    pub dockerd: bool,
    /// Programs and files of [`PROGRAMS`] and [`FILES`] that are not here.
    pub absent: BTreeSet<&'static str>,
    /// Version of the Rust compiler.
    pub rustc: Option<(u32, u32)>,
    /// Version of the Go compiler.
    pub go: Option<(u32, u32)>,
    /// Tools of the Rust toolchain and of C that do not run.
    pub tools_failing: Vec<&'static str>,
    /// Features of the kernel that were tried.
    pub kernel: Vec<Trial>,
    /// How processes are grouped.
    pub cgroups: Cgroups,
    /// Free bytes where we build and where we cache.
    pub disks: Vec<(PathBuf, u64)>,
    /// Memory that new programs can have.
    pub memory_available_bytes: u64,
}

/// One feature of the kernel, tried out.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The feature.
    pub name: &'static str,
    /// Why it did not work, in the words of the program that tried.
    pub failure: Option<String>,
}

/// The machine's control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// One tree (most machines today), with these of our [`CONTROLLERS`] missing.
    Unified(Vec<&'static str>),
    /// One tree per controller, with these of our [`CONTROLLERS`] missing.
    PerController(Vec<&'static str>),
}

impl Facts {
    /// Looks at everything, in about a second.
    pub fn look() -> Facts {
        let root = rustix::process::geteuid().is_root();
        let absent_programs = PROGRAMS.iter().map(|(name, _)| *name).filter(|name| on_path(name).is_none());
        let absent_files = FILES.iter().map(|(path, _)| *path).filter(|path| !Path::new(path).exists());
        let tools = [
            ("cargo fmt", "cargo", "fmt"),
            ("cargo clippy", "cargo", "clippy"),
            ("cc", "cc", ""),
            ("git", "git", ""),
            // What a virtual environment is made with; a plain python3 of Debian lacks it.
            ("python3", "python3", "-mensurepip"),
        ];
        Facts {
            root,
            apt: on_path("apt-get").is_some(),
            dockerd: on_path("dockerd").is_some(),
            absent: absent_programs.chain(absent_files).collect(),
            rustc: version("rustc", "--version"),
            go: version("go", "version"),
            tools_failing: tools
                .into_iter()
                .filter(|(_, program, verb)| !runs(program, verb))
                .map(|(name, ..)| name)
                .collect(),
            kernel: if root {
                TRIALS.iter().map(|(name, script)| attempt(name, script)).collect()
            } else {
                Vec::new()
            },
            cgroups: cgroups(),
            disks: [crate::paths::target(), crate::paths::cache()]
                .map(|dir| (dir.clone(), free_bytes(&dir)))
                .into(),
            memory_available_bytes: memory_available_bytes(),
        }
    }
}

/// Each runs in fresh mount and network namespaces: nothing remains.
const TRIALS: [(&str, &str); 4] = [
    ("namespaces", "true"),
    (
        "overlayfs",
        "mount -t tmpfs tmpfs /mnt && mkdir /mnt/lower /mnt/upper /mnt/work /mnt/all && \
         mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/all",
    ),
    (
        "bridge and veth",
        "ip link add br0 type bridge && ip link add name veth0 type veth peer name veth1 && ip link set veth0 master br0",
    ),
    (
        "nftables with address translation",
        "nft add table inet t && nft 'add chain inet t c { type nat hook postrouting priority 100; }' && \
         nft add rule inet t c masquerade",
    ),
];

fn attempt(name: &'static str, script: &str) -> Trial {
    let arguments =
        ["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child", "sh", "-c"];
    let failure = match Command::new("unshare").args(arguments).arg(script).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Some(text.lines().next().unwrap_or("it failed without a word").trim().to_owned())
        }
        Err(e) => Some(format!("unshare cannot be run: {e}")),
    };
    Trial { name, failure }
}

/// Where a program is, if it is installed.
pub fn on_path(program: &str) -> Option<PathBuf> {
    // Debian keeps some of these where only root looks.
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&dirs)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

fn runs(program: &str, verb: &str) -> bool {
    let mut command = Command::new(program);
    if !verb.is_empty() {
        command.arg(verb);
    }
    command
        .arg("--version")
        .current_dir(crate::paths::workspace())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The first `<major>.<minor>` in what a program says of its version.
fn version(program: &str, argument: &str) -> Option<(u32, u32)> {
    let output = Command::new(program).arg(argument).current_dir(crate::paths::workspace()).output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

pub(super) fn parse_version(text: &str) -> Option<(u32, u32)> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.')).find_map(|word| {
        let (major, rest) = word.split_once('.')?;
        Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?))
    })
}

fn cgroups() -> Cgroups {
    let root = Path::new("/sys/fs/cgroup");
    match std::fs::read_to_string(root.join("cgroup.controllers")) {
        Ok(listed) => {
            let there: BTreeSet<_> = listed.split_whitespace().collect();
            Cgroups::Unified(CONTROLLERS.into_iter().filter(|name| !there.contains(name)).collect())
        }
        Err(_) => Cgroups::PerController(
            CONTROLLERS.into_iter().filter(|name| !root.join(name).join("tasks").exists()).collect(),
        ),
    }
}

/// Bytes free on the file system that holds `path`, or would once it is made.
fn free_bytes(path: &Path) -> u64 {
    path.ancestors()
        .find_map(|dir| rustix::fs::statvfs(dir).ok())
        .map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}

fn memory_available_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    kib.unwrap_or(0) * 1024
}
