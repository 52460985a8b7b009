//! `cargo fixup`: the one command that rewrites the tree: formatting and generated files.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let format =
        Command::new("cargo").args(["fmt", "--all"]).current_dir(schedia_e2e::paths::workspace()).status();
    match format {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("cargo fmt cannot be started: {e}");
            ExitCode::FAILURE
        }
    }
}
