//! `cargo verify`: formatting, lints, documentation, dependencies, every test, and the product on a real Kubernetes.

use clap::Parser;
use schedia_e2e::verify::{self, Options};
use std::process::ExitCode;

/// Checks everything and writes nothing to the tree. Exit status: 0 all passed, 1 something failed,
/// 3 this machine lacks something, 4 the cluster tests were not run (no root), 130 stopped by a person.
#[derive(Parser)]
struct Arguments {
    /// Leave the cluster tests out, on purpose.
    #[arg(long)]
    no_e2e: bool,
    /// Every scenario, more random cases, longer fault runs.
    #[arg(long)]
    full: bool,
    /// Go on after a failed step.
    #[arg(long)]
    keep_going: bool,
    /// Install no missing packages, even as root.
    #[arg(long)]
    no_install: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { no_e2e, full, keep_going, no_install } = Arguments::parse();
    match verify::run(Options { no_e2e, full, keep_going, no_install }).await {
        Ok(status) => ExitCode::from(status),
        Err(e) => {
            eprintln!("verify cannot go on: {e}");
            ExitCode::from(1)
        }
    }
}
