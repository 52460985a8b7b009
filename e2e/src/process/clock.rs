//! A wall clock that lies to one process: a library loaded before it adds what stands in a file of eight bytes.
//!
//! Linux gives no process a wall clock of its own, and a program without a loader takes no library: such a one sees the
//! machine's clock ([`Clock::is_believed_by`]). Monotonic clocks, and with them all timeouts, are as they are.

use crate::paths;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const SOURCE: &str = include_str!("../../clock/clock.c");

static LIBRARY: OnceLock<PathBuf> = OnceLock::new();

/// The wall clock of one process, as it is shifted.
#[derive(Clone, Debug)]
pub struct Clock(PathBuf);

impl Clock {
    /// A clock that tells the truth, kept in this file.
    pub fn new(file: PathBuf) -> Clock {
        let clock = Clock(file);
        clock.shift(0);
        clock
    }

    /// From now on it is ahead of the machine's by so many milliseconds, or behind.
    pub fn shift(&self, ahead_ms: i64) {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.0);
        // In place, and all at once: a running process has the file mapped.
        let written = file.and_then(|file| file.write_all_at(&(ahead_ms * 1_000_000).to_le_bytes(), 0));
        written.unwrap_or_else(|error| panic!("{}: {error}", self.0.display()));
    }

    /// Whether a program sees such a clock: it is loaded together with libraries.
    pub fn is_believed_by(program: &Path) -> bool {
        // The name of its loader stands near the beginning.
        let mut head = vec![0; 4096];
        let read = fs::File::open(program).and_then(|file| file.read_at(&mut head, 0));
        read.is_ok_and(|length| head[..length].windows(4).any(|bytes| bytes == b"/ld-"))
    }

    /// What a process is started with.
    pub(super) fn variables(&self) -> [(&'static str, PathBuf); 2] {
        let library = LIBRARY.get_or_init(|| compile().unwrap_or_else(|error| panic!("clock.c: {error}")));
        [("LD_PRELOAD", library.clone()), ("E2E_CLOCK", self.0.clone())]
    }
}

fn compile() -> io::Result<PathBuf> {
    let dir = paths::target().join("e2e");
    fs::create_dir_all(&dir)?;
    let [source, new, library] = ["clock.c", "clock.so.new", "clock.so"]
        .map(|name| dir.join(format!("{}-{name}", std::process::id())));
    fs::write(&source, SOURCE)?;
    let compiled =
        Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&new).arg(&source).output()?;
    fs::remove_file(&source)?;
    if !compiled.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&compiled.stderr).into_owned()));
    }
    fs::rename(&new, &library)?;
    Ok(library)
}
