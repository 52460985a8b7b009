//! Small files of one line of JSON, and one with its CRC-32C: `identity`, `promise`.
//!
//! Invariants:
//! * Written to a temporary file, synced, renamed, and the directory synced: a crash leaves the old or the new one.

use super::sync_dir;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The text of a file, if there is one.
pub(super) fn load(dir: &Path, name: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(dir.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file; durable on return.
pub(super) fn save(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, dir.join(name))?;
    sync_dir(dir)
}

pub(super) fn encode(line: &impl Serialize) -> io::Result<String> {
    let line = serde_json::to_string(line)?;
    Ok(format!("{line}\n{:08x}\n", crc32c::crc32c(line.as_bytes())))
}

/// The line of JSON, if its checksum is right.
pub(super) fn decode(text: &str) -> io::Result<&str> {
    let mut lines = text.lines();
    let (line, crc) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if crc != format!("{:08x}", crc32c::crc32c(line.as_bytes())) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "bad checksum"));
    }
    Ok(line)
}
