//! The inputs of one target: kept in the tree as lines of hexadecimal digits, laid out as files for the engine.

use crate::paths;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer inputs are not kept: what they reach, shorter ones reach as well, or nearly.
const KEPT_BYTES_MAX: usize = 256;
/// Bytes of all inputs kept of a target, as digits.
const KEPT_TEXT_MAX: usize = 30 << 10;

/// The inputs of one target.
pub(super) struct Corpus {
    name: String,
    dir: PathBuf,
}

impl Corpus {
    /// Everything known about a target as files: what the tree keeps, the seeds, what earlier runs found.
    pub(super) fn lay_out(name: &str, seeds: &[Vec<u8>]) -> Result<Corpus, String> {
        let corpus = Corpus { name: name.to_owned(), dir: paths::target().join("fuzz").join(name) };
        let files = corpus.files();
        fs::create_dir_all(&files).map_err(|error| told(&files, error))?;
        for input in corpus.read_kept()?.iter().chain(seeds) {
            let file = files.join(format!("kept-{:016x}", hash(input)));
            fs::write(&file, input).map_err(|error| told(&file, error))?;
        }
        Ok(corpus)
    }

    /// Where the engine reads and writes inputs.
    pub(super) fn files(&self) -> PathBuf {
        self.dir.join("corpus")
    }

    /// Where it leaves what was not borne.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file in the tree.
    pub(super) fn kept(&self) -> PathBuf {
        paths::workspace().join(format!("node/fuzz/corpus/{}.hex", self.name))
    }

    pub(super) fn count(&self) -> Result<usize, String> {
        Ok(read_all(&self.files())?.len())
    }

    /// Makes these, the seeds and all that has a remark the corpus of the tree; the shortest first, as many as there is room.
    pub(super) fn keep(&self, seeds: &[Vec<u8>], found: Vec<Vec<u8>>) -> Result<(), String> {
        let text = fs::read_to_string(self.kept()).unwrap_or_default();
        // A remark says where an input comes from: those stay as they are.
        let mut kept: Vec<String> =
            text.lines().filter(|line| line.contains('#')).map(str::to_owned).collect();
        let mut lines: BTreeSet<String> = seeds.iter().map(|seed| line(seed)).collect();
        let mut found: Vec<_> =
            found.iter().filter(|input| input.len() <= KEPT_BYTES_MAX).map(|input| line(input)).collect();
        found.sort_by_key(String::len);
        let mut room = KEPT_TEXT_MAX;
        for line in found.into_iter().filter(|line| !line.is_empty()) {
            if line.len() >= room {
                break;
            }
            room -= line.len() + 1;
            lines.insert(line);
        }
        lines.retain(|line| !kept.iter().any(|kept| kept.starts_with(line.as_str())));
        kept.extend(lines);
        fs::write(self.kept(), kept.join("\n") + "\n").map_err(|error| told(&self.kept(), error))
    }

    fn read_kept(&self) -> Result<Vec<Vec<u8>>, String> {
        let text = fs::read_to_string(self.kept()).unwrap_or_default();
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let bytes = |line: &str| {
            bytes(line).ok_or_else(|| format!("{}: no hexadecimal digits: {line}", self.kept().display()))
        };
        lines.filter(|line| !line.is_empty()).map(bytes).collect()
    }
}

/// The files of a directory.
pub(super) fn read_all(dir: &Path) -> Result<Vec<Vec<u8>>, String> {
    let entries = fs::read_dir(dir).map_err(|error| told(dir, error))?;
    entries
        .map(|entry| entry.and_then(|entry| fs::read(entry.path())).map_err(|error| told(dir, error)))
        .collect()
}

/// An input as a line, without its end.
pub(super) fn line(input: &[u8]) -> String {
    input.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a line says.
pub(super) fn bytes(line: &str) -> Option<Vec<u8>> {
    let pairs = line.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok()
        })
        .collect()
}

pub(super) fn told(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn hash(input: &[u8]) -> u64 {
    input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_it_was_made_of() {
        assert_eq!(bytes(&line(&[0, 10, 255])), Some(vec![0, 10, 255]));
        assert_eq!((bytes("0"), bytes("0g")), (None, None));
    }
}
