//! For how long this node may have promised some leader to grant no vote: what a process that starts has forgotten.
//!
//! ```text
//! <data>/promise     {"format":1,"promise_ms":500}
//!                    39f9923a
//! ```
//! One line of JSON, and one with its CRC-32C (`line`).
//!
//! Invariants:
//! * The file is durable before the first promise is given, and names the longest one that may hold.
//! * No file: this disk never promised anything, or all of it has ended.

use super::base::invalid;
use super::{line, sync_dir};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

pub(super) const FILE: &str = "promise";
const FORMAT_VERSION: u32 = 1;
/// Longer than any setting allows: a file that says so is none of ours.
const PROMISE_MS_MAX: u64 = 600_000;

#[derive(Serialize, Deserialize)]
struct Line {
    format: u32,
    promise_ms: u64,
}

/// What the file says; zero without one.
pub(super) fn load(dir: &Path) -> io::Result<Duration> {
    line::load(dir, FILE)?.map_or(Ok(Duration::ZERO), |text| decode(&text))
}

/// Writes the file, or deletes it for zero; durable on return.
pub(super) fn save(dir: &Path, promise: Duration) -> io::Result<()> {
    if promise.is_zero() {
        match fs::remove_file(dir.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return sync_dir(dir),
        }
    }
    let said = Line { format: FORMAT_VERSION, promise_ms: promise.as_millis() as u64 };
    line::save(dir, FILE, &line::encode(&said)?)
}

fn decode(text: &str) -> io::Result<Duration> {
    let line = line::decode(text)?;
    let Line { format, promise_ms } = serde_json::from_str(line)?;
    if format != FORMAT_VERSION || promise_ms > PROMISE_MS_MAX {
        return Err(invalid(format!("not known to this release: {line}")));
    }
    Ok(Duration::from_millis(promise_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_promise_is_found_again_and_zero_is_no_file() {
        let dir = tempfile::TempDir::new().unwrap();
        assert_eq!(load(dir.path()).unwrap(), Duration::ZERO);
        save(dir.path(), Duration::from_millis(500)).unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join(FILE)).unwrap(),
            "{\"format\":1,\"promise_ms\":500}\n39f9923a\n"
        );
        assert_eq!(load(dir.path()).unwrap(), Duration::from_millis(500));
        save(dir.path(), Duration::ZERO).unwrap();
        save(dir.path(), Duration::ZERO).unwrap();
        assert!(!dir.path().join(FILE).exists());
        assert_eq!(load(dir.path()).unwrap(), Duration::ZERO);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_an_error_and_no_promise_forgotten() {
        for text in [
            "",
            "{\"format\":1,\"promise_ms\":500}\n00000000\n",
            "{\"format\":1,\"promise_ms\":900}\n39f9923a\n",
        ] {
            decode(text).unwrap_err();
        }
        let line = "{\"format\":2,\"promise_ms\":500}";
        let error = decode(&format!("{line}\n{:08x}\n", crc32c::crc32c(line.as_bytes()))).unwrap_err();
        assert_eq!(error.to_string(), format!("not known to this release: {line}"));
    }
}
