//! A disk that becomes full under a running node, and has room again.
//!
//! As root, a tmpfs in a mount namespace of the node's own: it goes with the process, so nothing is left behind, nor anything
//! to restart from. Elsewhere a limit on the size of the process's files takes its place: the system refuses the same
//! writes in other words.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// Large enough to be far above the low-space watermark. Memory is only used for what is written.
const SIZE_BYTES: u64 = 1 << 30;

/// Less than any file but the identity has.
const FILE_BYTES: u64 = 4096;

/// How a disk is made small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmallDisk {
    /// A tmpfs that is resized.
    Tmpfs,
    /// No file is written beyond its first bytes.
    FileSize,
}

impl SmallDisk {
    /// The best that this machine allows.
    pub fn new() -> SmallDisk {
        let mut probe = Command::new("unshare");
        probe.args(["--mount", "--", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
        let ended = probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        match ended.is_ok_and(|status| status.success()) {
            true => SmallDisk::Tmpfs,
            false => SmallDisk::FileSize,
        }
    }

    /// Put before a node's program and arguments: what mounts the disk on `data_dir` and becomes that program.
    pub fn prefix(self, data_dir: &Path) -> Vec<OsString> {
        let script =
            format!("mkdir -p \"$0\" && mount -t tmpfs -o size={SIZE_BYTES} tmpfs \"$0\" && exec \"$@\"");
        match self {
            SmallDisk::Tmpfs => {
                let words = ["unshare", "--mount", "--", "sh", "-c", &script].map(OsString::from);
                words.into_iter().chain([data_dir.into()]).collect()
            }
            SmallDisk::FileSize => Vec::new(),
        }
    }

    /// From now on nothing more fits.
    pub fn fill(self, pid: u32, data_dir: &Path) {
        match self {
            // What is in use grows meanwhile: then the size is refused as too small, and asked for again.
            SmallDisk::Tmpfs => {
                assert!((0..100).any(|_| resize(pid, data_dir, used(pid, data_dir))), "it cannot be filled");
            }
            SmallDisk::FileSize => limit(pid, Some(FILE_BYTES)),
        }
    }

    /// There is room again.
    pub fn make_room(self, pid: u32, data_dir: &Path) {
        match self {
            SmallDisk::Tmpfs => assert!(resize(pid, data_dir, SIZE_BYTES), "it cannot be made larger"),
            SmallDisk::FileSize => limit(pid, None),
        }
    }
}

impl Default for SmallDisk {
    fn default() -> Self {
        SmallDisk::new()
    }
}

fn resize(pid: u32, data_dir: &Path, bytes: u64) -> bool {
    let mut mount = Command::new("nsenter");
    mount.args(["--target", &pid.to_string(), "--mount", "--"]);
    mount.args(["mount", "-o", &format!("remount,size={bytes}")]).arg(data_dir);
    mount.stderr(Stdio::null()).status().expect("nsenter can be started").success()
}

/// Bytes in use on the disk, seen through the node's own root.
fn used(pid: u32, data_dir: &Path) -> u64 {
    let seen = Path::new("/proc").join(pid.to_string()).join("root");
    let path = seen.join(data_dir.strip_prefix("/").expect("an absolute path"));
    let disk = rustix::fs::statvfs(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (disk.f_blocks - disk.f_bfree) * disk.f_frsize
}

fn limit(pid: u32, bytes: Option<u64>) {
    let pid = Pid::from_raw(pid as i32);
    let limit = Rlimit { current: bytes, maximum: getrlimit(Resource::Fsize).maximum };
    prlimit(pid, Resource::Fsize, limit).expect("the limits of a child can be set");
}
