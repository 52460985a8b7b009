//! The cgroups of a cluster: one for each machine and one for the relays, under a parent named after the cluster.
//!
//! Two layouts, found at run time: **v1** (one tree per controller) and **v2** (one tree). A machine's cgroup is the root
//! of its own cgroup namespace, so that the kubelets' `/kubepods` never meet.
//!
//! The parent is also the register of every process the cluster ever started: what is in it is ours to end, and
//! nothing else is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount};

use super::KubeError;

/// Where cgroups are mounted on every distribution.
const ROOT: &str = "/sys/fs/cgroup";
/// The child of the parent that holds the relays (and, with v2, the machines' outer processes).
pub(crate) const HOST: &str = "host";
/// With v2 a cgroup with controllers holds no processes: a machine's daemons live in this child of its root.
const DAEMONS: &str = "daemons";
/// v2: what kubelet and runc want to control.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// The layout of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// One tree per controller or group of controllers.
    V1(Vec<Tree>),
    /// One tree.
    V2,
}

/// One tree of v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Directory under [`ROOT`]: `cpu`, `cpu,cpuacct`, `systemd`.
    dir: String,
    /// What to mount it with: `cpu,cpuacct`, `none,name=systemd`.
    options: String,
}

impl Cgroups {
    /// Reads the mounts of the calling process.
    pub(crate) fn detect() -> Result<Cgroups, KubeError> {
        let path = "/proc/self/mountinfo";
        let text = fs::read_to_string(path).map_err(KubeError::io("read", path))?;
        parse(&text).ok_or_else(|| {
            KubeError::Refused(
                "no cgroups: neither v2 at /sys/fs/cgroup nor v1 with cpu, memory and pids below it".into(),
            )
        })
    }

    fn trees(&self) -> Vec<PathBuf> {
        match self {
            Cgroups::V1(trees) => trees.iter().map(|tree| Path::new(ROOT).join(&tree.dir)).collect(),
            Cgroups::V2 => vec![PathBuf::from(ROOT)],
        }
    }

    /// Makes the cgroup `parent/leaf` in every tree, ready for processes.
    pub(crate) fn create(&self, parent: &str, leaf: &str) -> Result<(), KubeError> {
        for tree in self.trees() {
            let (parent, leaf) = (tree.join(parent), tree.join(parent).join(leaf));
            fs::create_dir_all(&leaf).map_err(KubeError::io("create cgroup", &leaf))?;
            if *self == Cgroups::V2 {
                delegate(&tree)?;
                delegate(&parent)?;
                continue;
            }
            // A cpuset of v1 takes no process until both are set.
            for (from, to) in [(&tree, &parent), (&parent, &leaf)] {
                for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|file| from.join(file).exists()) {
                    let value = fs::read(from.join(file)).map_err(KubeError::io("read", from.join(file)))?;
                    fs::write(to.join(file), value).map_err(KubeError::io("write", to.join(file)))?;
                }
            }
        }
        Ok(())
    }

    /// Moves a process into `parent/leaf` of every tree.
    pub(crate) fn join(&self, parent: &str, leaf: &str, pid: i32) -> Result<(), KubeError> {
        for tree in self.trees() {
            let file = tree.join(parent).join(leaf).join("cgroup.procs");
            fs::write(&file, pid.to_string()).map_err(KubeError::io("join cgroup", file))?;
        }
        Ok(())
    }

    /// Every process in `path` (relative to the trees' roots) and below.
    pub(crate) fn pids(&self, path: &str) -> Vec<i32> {
        // Each process is in all trees; but a pod's cgroup may have been removed from some already.
        let mut pids: Vec<i32> = self.dirs(path).iter().flat_map(|dir| procs(dir)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Every cgroup at `path` and below, children first.
    pub(crate) fn dirs(&self, path: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for tree in self.trees() {
            collect(&tree.join(path), &mut found);
        }
        found
    }

    /// Removes `path` and all below; tried again for a while, as the kernel lets go of the dead a little late.
    pub(crate) fn remove(&self, path: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let dirs = self.dirs(path);
            if dirs.is_empty() || Instant::now() > deadline {
                return; // what is left shows in the list of leftovers
            }
            for dir in dirs {
                let _ = fs::remove_dir(dir);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// In a machine with fresh cgroup and mount namespaces: shows it its own cgroup as the root.
    pub(crate) fn mount_inside(&self) -> Result<(), KubeError> {
        let mount_at = |kind: &str, at: &Path, options: &str| {
            let options = std::ffi::CString::new(options).expect("options come from a line of text");
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount(kind, at, kind, flags, options.as_c_str())
                .map_err(|e| KubeError::io("mount cgroup", at)(e.into()))
        };
        match self {
            Cgroups::V2 => {
                mount_at("cgroup2", Path::new(ROOT), "")?;
                let daemons = Path::new(ROOT).join(DAEMONS);
                fs::create_dir(&daemons).map_err(KubeError::io("create cgroup", &daemons))?;
                let file = daemons.join("cgroup.procs");
                fs::write(&file, "0").map_err(KubeError::io("join cgroup", file))?;
                // The outer process leaves this cgroup at about the same time: until then the kernel says busy.
                let deadline = Instant::now() + Duration::from_secs(10);
                loop {
                    match delegate(Path::new(ROOT)) {
                        Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                        done => return done,
                    }
                }
            }
            Cgroups::V1(trees) => {
                let root = Path::new(ROOT);
                mount("tmpfs", root, "tmpfs", MountFlags::empty(), c"mode=755")
                    .map_err(|e| KubeError::io("mount", root)(e.into()))?;
                for Tree { dir, options } in trees {
                    let at = root.join(dir);
                    fs::create_dir(&at).map_err(KubeError::io("create", &at))?;
                    mount_at("cgroup", &at, options)?;
                    for name in dir.split(',').filter(|name| name != dir) {
                        let link = root.join(name);
                        std::os::unix::fs::symlink(dir, &link).map_err(KubeError::io("link", link))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Lets the children of a v2 cgroup have controllers of their own.
fn delegate(cgroup: &Path) -> Result<(), KubeError> {
    let read = |file: &Path| fs::read_to_string(file).map_err(KubeError::io("read", file));
    let file = cgroup.join("cgroup.subtree_control");
    let (has, given) = (read(&cgroup.join("cgroup.controllers"))?, read(&file)?);
    let names = |list: &str, name: &str| list.split_whitespace().any(|listed| listed == name);
    let wanted = CONTROLLERS.iter().filter(|c| names(&has, c) && !names(&given, c));
    let wanted: Vec<String> = wanted.map(|c| format!("+{c}")).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    fs::write(&file, wanted.join(" ")).map_err(KubeError::io("delegate controllers in", file))
}

fn procs(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|pid| pid.parse().ok()).collect()
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    let read = |dir: &Path| -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        Ok(entries
            .into_iter()
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .map(|e| e.path())
            .collect())
    };
    let Ok(children) = read(dir) else { return };
    for child in children {
        collect(&child, found);
    }
    found.push(dir.to_owned());
}

fn parse(mountinfo: &str) -> Option<Cgroups> {
    let mut trees = Vec::new();
    for line in mountinfo.lines() {
        let (left, right) = line.split_once(" - ")?;
        let at = left.split(' ').nth(4)?;
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        if kind == "cgroup2" && at == ROOT {
            return Some(Cgroups::V2);
        }
        let Some(dir) = at.strip_prefix(ROOT).and_then(|dir| dir.strip_prefix('/')) else { continue };
        if kind == "cgroup" {
            trees.push(Tree { dir: dir.to_owned(), options: tree_options(options) });
        }
    }
    let has = |name: &str| trees.iter().any(|tree| tree.options.split(',').any(|o| o == name));
    ["cpu", "memory", "pids"].iter().all(|name| has(name)).then_some(Cgroups::V1(trees))
}

/// What names the tree, out of all the options it is mounted with.
fn tree_options(options: &str) -> String {
    let passing = |o: &&str| {
        !matches!(*o, "rw" | "ro" | "xattr" | "clone_children") && !o.starts_with("release_agent=")
    };
    let named: Vec<&str> = options.split(',').filter(passing).collect();
    match named.iter().any(|o| o.starts_with("name=")) {
        true => format!("none,{}", named.join(",")),
        false => named.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(dir: &str, options: &str) -> Tree {
        Tree { dir: dir.to_owned(), options: options.to_owned() }
    }

    #[test]
    fn v1_is_mirrored_tree_by_tree_as_the_machine_has_it_mounted() {
        let text = "\
30 25 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
33 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:15 - cgroup cgroup rw,cpu,cpuacct
34 30 0:32 / /sys/fs/cgroup/memory rw shared:16 - cgroup cgroup rw,memory
35 30 0:33 / /sys/fs/cgroup/pids rw shared:17 - cgroup cgroup rw,pids
36 30 0:34 / /mnt/other rw shared:17 - cgroup cgroup rw,pids";
        let trees = vec![
            tree("systemd", "none,name=systemd"),
            tree("cpu,cpuacct", "cpu,cpuacct"),
            tree("memory", "memory"),
            tree("pids", "pids"),
        ];
        assert_eq!(parse(text), Some(Cgroups::V1(trees)));
    }

    #[test]
    fn v2_is_one_tree_mounted_where_v1_has_its_directory_of_trees() {
        let text = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(parse(text), Some(Cgroups::V2));
    }

    #[test]
    fn a_machine_without_the_controllers_that_kubelet_needs_has_no_layout() {
        let text = "34 30 0:32 / /sys/fs/cgroup/memory rw shared:16 - cgroup cgroup rw,memory";
        assert_eq!(parse(text), None);
    }
}
