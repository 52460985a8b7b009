//! How much room the disk has, and the watermark below which writes are refused.
//!
//! Deletes, compaction, votes and lease revokes go on below it: they are what makes room again. On a disk that is really
//! full nothing goes on (`volume`); the watermark keeps it from that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Below this, or below a twentieth of the disk, writes are refused.
const LOW_BYTES: u64 = 256 << 20;
const LOW_PART: u64 = 20;
/// How old a measurement may be. At full speed a node writes well under the watermark in this time.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The disk that holds a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub total_bytes: u64,
    /// What this process may still write.
    pub free_bytes: u64,
}

impl Space {
    /// Whether it is below the low-space watermark.
    pub fn is_low(self) -> bool {
        self.free_bytes < LOW_BYTES.max(self.total_bytes / LOW_PART)
    }

    pub(super) fn measure(dir: &Path) -> io::Result<Space> {
        let disk = rustix::fs::statvfs(dir)?;
        Ok(Space { total_bytes: disk.f_blocks * disk.f_frsize, free_bytes: disk.f_bavail * disk.f_frsize })
    }
}

/// Measures when asked, at most once a second.
pub(super) struct Meter {
    dir: PathBuf,
    last: Mutex<(Instant, Space)>,
    #[cfg(test)]
    pretended: Mutex<Option<Space>>,
}

impl Meter {
    pub(super) fn new(dir: &Path) -> io::Result<Meter> {
        Ok(Meter {
            dir: dir.to_owned(),
            last: Mutex::new((Instant::now(), Space::measure(dir)?)),
            #[cfg(test)]
            pretended: Mutex::default(),
        })
    }

    /// From now on measures this, or again what is there.
    #[cfg(test)]
    pub(super) fn pretend(&self, space: Option<Space>) {
        *self.pretended.lock().unwrap() = space;
    }

    pub(super) fn space(&self) -> Space {
        #[cfg(test)]
        if let Some(space) = *self.pretended.lock().unwrap() {
            return space;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0.elapsed() >= AGE_MAX {
            match Space::measure(&self.dir) {
                Ok(space) => *last = (Instant::now(), space),
                Err(error) => tracing::warn!(dir = %self.dir.display(), %error, "failed to measure the disk"),
            }
        }
        last.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_is_a_twentieth_but_at_least_256_mib() {
        let low = |total_gib: u64, free_mib: u64| {
            Space { total_bytes: total_gib << 30, free_bytes: free_mib << 20 }.is_low()
        };
        assert!(low(1, 255) && !low(1, 256));
        assert!(low(100, 5119) && !low(100, 5120));
    }

    #[test]
    fn this_disk_can_be_measured() {
        let space = Meter::new(&std::env::temp_dir()).unwrap().space();
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
    }
}
