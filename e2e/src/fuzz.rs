//! A fuzzer that works from OpenAPI documents: schemathesis, kept in a virtual environment of the cache.
//!
//! Not here: what is asked of it (`e2e/tests/processes/openapi.rs`).

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Every package it needs, each at one version.
const REQUIREMENTS: &str = include_str!("../python/schemathesis.txt");

/// The interpreter that has it, installed now if it is not there. Takes half a minute then.
pub fn python() -> Result<PathBuf, String> {
    let cache = crate::paths::cache().join("tools");
    let key = crate::image::archive::hex(&Sha256::digest(REQUIREMENTS));
    let dir = cache.join(format!("schemathesis-{}", &key[..16]));
    let program = dir.join("bin/python");
    if program.is_file() {
        return Ok(program);
    }
    std::fs::create_dir_all(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    // Made beside and renamed: what is there is whole. A script in it would name the old place, a module does not.
    let beside = tempfile::tempdir_in(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let made = beside.path().join("environment");
    done(Command::new("python3").args(["-m", "venv"]).arg(&made))?;
    let requirements = beside.path().join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS).map_err(|e| format!("{}: {e}", requirements.display()))?;
    let mut install = Command::new(made.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "-r"]);
    done(install.arg(&requirements))?;
    match std::fs::rename(&made, &dir) {
        // Another run was faster, which is as good.
        Err(_) if program.is_file() => Ok(program),
        Err(e) => Err(format!("{}: {e}", dir.display())),
        Ok(()) => Ok(program),
    }
}

fn done(command: &mut Command) -> Result<(), String> {
    let what = format!("{command:?}");
    let output = command.output().map_err(|e| format!("{what}: {e}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{what}:\n{}", text(&output))) }
}

/// All that a command has said.
pub fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("\n")
}

/// Asks a server by the document at `url`, and holds every answer against it: `examples` requests or so for each operation, those
/// of the paths in `except` not. It keeps nothing outside of `dir`.
pub fn command(python: &Path, url: &str, examples: u32, seed: u64, except: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli", "run", url, "--phases", "coverage,fuzzing", "--no-color"]);
    command.args(["--checks", CHECKS, "--suppress-health-check", "all", "--generation-database", "none"]);
    command.args(["--max-examples", &examples.to_string(), "--seed", &seed.to_string()]);
    command.args(["--request-timeout", "20", "--max-failures", "20", "--no-shrink"]);
    // Two threads make Python 3.11 fail in its own parser ("AST constructor recursion depth mismatch").
    command.args(["--workers", "1"]);
    for path in except {
        command.args(["--exclude-path", path]);
    }
    command.current_dir(dir).env("NO_COLOR", "1");
    command
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";
