//! `cargo fixup`: the one command that rewrites the tree: formatting, and the files that are generated from others.

use schedia_e2e::{generated, paths};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    match fixup() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn fixup() -> Result<(), String> {
    for (path, text) in generated::files()? {
        let path = paths::workspace().join(path);
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
            println!("written: {}", path.display());
        }
    }
    let format = Command::new("cargo").args(["fmt", "--all"]).current_dir(paths::workspace()).status();
    match format {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo fmt failed: {status}")),
        Err(e) => Err(format!("cargo fmt cannot be started: {e}")),
    }
}
