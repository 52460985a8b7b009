//! The program under test, found once per test run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Names a built `schedia` to test: `cargo verify` gives the static one of the image.
/// (Not `SCHEDIA_...`: the node refuses settings it does not know.)
pub const VARIABLE: &str = "E2E_SCHEDIA";

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Decides for a program before the first node starts; later it has no effect.
pub fn choose(program: PathBuf) {
    let _ = PROGRAM.set(program);
}

/// `schedia`: the one that [`VARIABLE`] names, else that of the dev profile, built now if it is stale.
pub fn schedia() -> &'static Path {
    PROGRAM.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "{VARIABLE} names no file: {}", path.display());
            path
        }
        None => build(&[]),
    })
}

/// Builds `schedia`, if it is stale, with more `arguments` for cargo, such as `--release`.
pub fn build(arguments: &[&str]) -> PathBuf {
    let output = Command::new("cargo")
        .args(["build", "--locked", "--bin", "schedia", "--message-format", "json-render-diagnostics"])
        .args(arguments)
        .current_dir(crate::paths::workspace())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|e| panic!("cargo cannot be started: {e}"));
    assert!(output.status.success(), "schedia does not compile");
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "schedia").then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executables.next().expect("cargo names the executable it built")
}
