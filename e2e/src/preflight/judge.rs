//! Judges what was seen: pure, so that every line a person may read is tested.

use super::Needs;
use super::facts::{Cgroups, FILES, Facts, PROGRAMS};

/// The compiler the workspace says it needs (`rust-version`).
const RUSTC_MIN: (u32, u32) = (1, 95);
/// Enough to fetch the exact toolchain that the Go modules name.
const GO_MIN: (u32, u32) = (1, 21);
/// One build of everything, and the caches of Go and of the local Kubernetes.
const DISK_BUILD_MIN: u64 = 8 << 30;
const DISK_CLUSTER_MIN: u64 = 15 << 30;
/// The linker, or a whole local Kubernetes with its nodes.
const MEMORY_BUILD_MIN: u64 = 2 << 30;
const MEMORY_CLUSTER_MIN: u64 = 4 << 30;

/// One thing that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The thing.
    pub what: String,
    /// What it is for, or how it failed.
    pub why: String,
    /// How to get it.
    pub cure: Cure,
}

/// How to get a missing thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cure {
    /// A Debian package of this name.
    Package(&'static str),
    /// A person has to do this.
    Person(String),
}

/// Everything that is missing, in the order a person would mend it.
pub fn missing(facts: &Facts, needs: Needs) -> Vec<Missing> {
    let mut list = toolchain(facts);
    if needs == Needs::Cluster {
        list.extend(cluster(facts));
    }
    list.extend(room(facts, needs));
    list
}

fn person(what: &str, why: impl Into<String>, advice: impl Into<String>) -> Missing {
    Missing { what: what.to_owned(), why: why.into(), cure: Cure::Person(advice.into()) }
}

fn toolchain(facts: &Facts) -> Vec<Missing> {
    let mut list = Vec::new();
    if facts.rustc.is_none_or(|version| version < RUSTC_MIN) {
        let (major, minor) = RUSTC_MIN;
        list.push(person(
            &format!("rust {major}.{minor}"),
            found(facts.rustc),
            "rustup update stable (https://rustup.rs)",
        ));
    }
    for tool in &facts.tools_failing {
        let why = "does not run";
        list.push(match *tool {
            "cc" => Missing {
                what: "cc".into(),
                why: format!("{why}; it links"),
                cure: Cure::Package("build-essential"),
            },
            "python3" => Missing {
                what: "python3 with venv".into(),
                why: format!("{why}; the fuzzer of the HTTP ports is kept in a virtual environment"),
                cure: Cure::Package("python3-venv"),
            },
            "git" => Missing { what: "git".into(), why: why.into(), cure: Cure::Package("git") },
            tool => person(tool, why, "rustup component add rustfmt clippy"),
        });
    }
    list
}

fn cluster(facts: &Facts) -> Vec<Missing> {
    let mut list = Vec::new();
    if !facts.root {
        list.push(person(
            "root",
            "the local Kubernetes makes namespaces and mounts",
            "run as root, or use --no-e2e",
        ));
    }
    if facts.go.is_none_or(|version| version < GO_MIN) {
        let (major, minor) = GO_MIN;
        let advice = "install Go (https://go.dev/dl): the parts of Kubernetes are built from source";
        list.push(person(&format!("go {major}.{minor}"), found(facts.go), advice));
    }
    for (name, package) in PROGRAMS.into_iter().chain(FILES).filter(|(name, _)| facts.absent.contains(name)) {
        list.push(Missing { what: name.into(), why: "not installed".into(), cure: Cure::Package(package) });
    }
    if !facts.dockerd && !facts.apt {
        let advice = "install Docker Engine; where there is apt-get it is unpacked beside and not installed";
        list.push(person("dockerd", "not installed; deploy/compose.yaml is tested with it", advice));
    }
    for trial in &facts.kernel {
        if let Some(failure) = &trial.failure {
            let advice =
                "needs the packages above, CAP_SYS_ADMIN and CAP_NET_ADMIN, and a kernel with the feature";
            list.push(person(&format!("kernel: {}", trial.name), failure, advice));
        }
    }
    let (tree, absent) = match &facts.cgroups {
        Cgroups::Unified(absent) => ("the unified tree (v2)", absent),
        Cgroups::PerController(absent) => ("the trees of v1", absent),
    };
    if !absent.is_empty() {
        let why = format!("{} not in {tree} at /sys/fs/cgroup", absent.join(", "));
        list.push(person(
            "kernel: cgroup controllers",
            why,
            "mount /sys/fs/cgroup with them, or run outside a container",
        ));
    }
    list
}

fn room(facts: &Facts, needs: Needs) -> Vec<Missing> {
    let (disk_min, memory_min) = match needs {
        Needs::Build => (DISK_BUILD_MIN, MEMORY_BUILD_MIN),
        Needs::Cluster => (DISK_CLUSTER_MIN, MEMORY_CLUSTER_MIN),
    };
    let mut list = Vec::new();
    for (dir, free) in facts.disks.iter().filter(|(_, free)| *free < disk_min) {
        let why = format!("{} GiB free at {}", free >> 30, dir.display());
        let advice = "make room, or set CARGO_TARGET_DIR and E2E_CACHE to a larger disk";
        list.push(person(&format!("{} GiB of disk", disk_min >> 30), why, advice));
    }
    if facts.memory_available_bytes < memory_min {
        let why = format!("{} MiB available", facts.memory_available_bytes >> 20);
        list.push(person(&format!("{} GiB of memory", memory_min >> 30), why, "close something"));
    }
    list
}

fn found(version: Option<(u32, u32)>) -> String {
    version.map_or("not found".to_owned(), |(major, minor)| format!("found {major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Trial, parse_version};
    use super::super::report;
    use super::*;

    fn machine() -> Facts {
        Facts {
            root: true,
            apt: true,
            dockerd: false,
            absent: Default::default(),
            rustc: Some((1, 95)),
            go: Some((1, 26)),
            tools_failing: Vec::new(),
            kernel: vec![Trial { name: "overlayfs", failure: None }],
            cgroups: Cgroups::Unified(Vec::new()),
            disks: vec![("/somewhere".into(), 100 << 30)],
            memory_available_bytes: 8 << 30,
        }
    }

    #[test]
    fn a_good_machine_lacks_nothing() {
        assert_eq!(missing(&machine(), Needs::Cluster), []);
    }

    #[test]
    fn everything_missing_is_said_at_once() {
        let facts = Facts {
            root: false,
            apt: false,
            absent: ["nft", "ctr", "containerd"].into(),
            rustc: Some((1, 80)),
            go: None,
            tools_failing: vec!["cc", "cargo clippy"],
            kernel: vec![Trial { name: "overlayfs", failure: Some("unknown filesystem type".into()) }],
            cgroups: Cgroups::PerController(vec!["pids"]),
            disks: vec![("/somewhere".into(), 1 << 30)],
            memory_available_bytes: 1 << 30,
            ..machine()
        };
        let expected = "\
13 missing on this machine:
  - rust 1.95: found 1.80
      rustup update stable (https://rustup.rs)
  - cc: does not run; it links
  - cargo clippy: does not run
      rustup component add rustfmt clippy
  - root: the local Kubernetes makes namespaces and mounts
      run as root, or use --no-e2e
  - go 1.21: not found
      install Go (https://go.dev/dl): the parts of Kubernetes are built from source
  - containerd: not installed
  - ctr: not installed
  - nft: not installed
  - dockerd: not installed; deploy/compose.yaml is tested with it
      install Docker Engine; where there is apt-get it is unpacked beside and not installed
  - kernel: overlayfs: unknown filesystem type
      needs the packages above, CAP_SYS_ADMIN and CAP_NET_ADMIN, and a kernel with the feature
  - kernel: cgroup controllers: pids not in the trees of v1 at /sys/fs/cgroup
      mount /sys/fs/cgroup with them, or run outside a container
  - 15 GiB of disk: 1 GiB free at /somewhere
      make room, or set CARGO_TARGET_DIR and E2E_CACHE to a larger disk
  - 4 GiB of memory: 1024 MiB available
      close something
  packages (Debian's names): apt-get install --no-install-recommends build-essential containerd nftables";
        assert_eq!(report(&missing(&facts, Needs::Cluster)), expected);
    }

    #[test]
    fn without_the_cluster_neither_root_nor_go_is_asked_for() {
        let facts = Facts { root: false, go: None, absent: ["nft"].into(), ..machine() };
        assert_eq!(missing(&facts, Needs::Build), []);
    }

    #[test]
    fn versions_are_read_from_what_the_compilers_say() {
        assert_eq!(parse_version("rustc 1.95.0 (f2d3ce0bd 2026-03-21)"), Some((1, 95)));
        assert_eq!(parse_version("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(parse_version("no number"), None);
    }
}
