//! The program with libFuzzer in it: built, asked for its targets, run, and what it said.

use super::corpus::{Corpus, bytes, read_all, told};
use crate::paths;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Decoders of a request or a frame answer in microseconds; a snapshot makes a file.
const INPUT_SECONDS_MAX: u32 = 10;
/// The longest input that is tried. Lengths that are larger are claimed, not sent.
const INPUT_BYTES_MAX: usize = 2 << 10;
/// Of the whole process. What an input may take is asserted by its target.
const MEMORY_MIB_MAX: u32 = 1 << 10;

/// The program.
pub struct Engine(PathBuf);

/// What one run came to.
pub(super) struct Ran {
    pub(super) executions: String,
    pub(super) each_second: String,
    pub(super) coverage: String,
    /// The input that ended it.
    pub(super) not_borne: Option<Vec<u8>>,
    /// The end of what it said.
    pub(super) last_words: String,
}

impl Ran {
    pub(super) fn end(&self) -> &'static str {
        if self.not_borne.is_some() { "NOT BORNE" } else { "" }
    }
}

impl Engine {
    /// Builds it. Dependencies are those of the ordinary build.
    pub fn build() -> Result<Engine, String> {
        let this = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
        let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--locked", "--bin", "fuzz_decoders", "--features", "schedia-node/fuzz"])
            .current_dir(paths::workspace())
            .env("RUSTC_WORKSPACE_WRAPPER", this)
            .status()
            .map_err(|error| format!("cargo: {error}"))?;
        match built.success() {
            true => Ok(Engine(paths::target().join("debug/fuzz_decoders"))),
            false => Err("the decoders could not be built with counters of coverage".to_owned()),
        }
    }

    /// Each target with its seeds.
    pub(super) fn seeds(&self) -> Result<BTreeMap<String, Vec<Vec<u8>>>, String> {
        let said =
            Command::new(&self.0).env("E2E_FUZZ_LIST", "1").output().map_err(|error| told(&self.0, error))?;
        let mut targets: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for line in String::from_utf8_lossy(&said.stdout).lines() {
            let parsed = line.split_once(' ').and_then(|(name, digits)| Some((name, bytes(digits)?)));
            let (name, seed) = parsed.ok_or_else(|| format!("not a target and a seed: {line}"))?;
            targets.entry(name.to_owned()).or_default().push(seed);
        }
        if targets.is_empty() {
            return Err(format!("{} names no target", self.0.display()));
        }
        Ok(targets)
    }

    pub(super) fn run(&self, target: &str, corpus: &Corpus, lasts: Duration) -> Result<Ran, String> {
        let artifacts = corpus.dir().join("not-borne-");
        let said = self
            .command(target)
            .arg(format!("-max_total_time={}", lasts.as_secs().max(1)))
            .arg(format!("-exact_artifact_path={}", artifacts.display()))
            .arg("-print_final_stats=1")
            .arg(corpus.files())
            .output()
            .map_err(|error| told(&self.0, error))?;
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        let statistic = |name: &str| {
            let line = text.lines().rev().find_map(|line| line.strip_prefix(&format!("stat::{name}:")));
            line.map_or("?", str::trim).to_owned()
        };
        let coverage = text.lines().rev().find_map(|line| line.split_once(" cov: ")?.1.split(' ').next());
        let not_borne = match said.status.success() {
            true => None,
            false => {
                Some(std::fs::read(&artifacts).map_err(|_| format!("{target} ended: {}", end_of(&text)))?)
            }
        };
        Ok(Ran {
            executions: statistic("number_of_executed_units"),
            each_second: statistic("average_exec_per_sec"),
            coverage: coverage.unwrap_or("?").to_owned(),
            not_borne,
            last_words: end_of(&text),
        })
    }

    /// The smallest inputs that reach all that the corpus reaches.
    pub(super) fn minimize(&self, target: &str, corpus: &Corpus) -> Result<Vec<Vec<u8>>, String> {
        let smallest = corpus.dir().join("smallest");
        let _ = std::fs::remove_dir_all(&smallest);
        std::fs::create_dir_all(&smallest).map_err(|error| told(&smallest, error))?;
        let merged = self.command(target).arg("-merge=1").arg(&smallest).arg(corpus.files()).output();
        let merged = merged.map_err(|error| told(&self.0, error))?;
        match merged.status.success() {
            true => read_all(Path::new(&smallest)),
            false => Err(format!("{target}: {}", end_of(&String::from_utf8_lossy(&merged.stderr)))),
        }
    }

    fn command(&self, target: &str) -> Command {
        let mut command = Command::new(&self.0);
        command
            .env("E2E_FUZZ_TARGET", target)
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .stdin(Stdio::null());
        command
    }
}

fn end_of(text: &str) -> String {
    let panicked = text.lines().position(|line| line.contains("panicked at"));
    let lines: Vec<_> = text.lines().collect();
    let from = panicked.unwrap_or(lines.len().saturating_sub(12));
    lines[from..].iter().take(12).copied().collect::<Vec<_>>().join("\n")
}
