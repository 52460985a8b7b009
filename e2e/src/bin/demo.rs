//! `cargo demo`: a local Kubernetes, the operator, a quorum, a write from outside, and what to type next.

use clap::Parser;
use schedia_e2e::demo;
use schedia_e2e::kube::{Cluster, reenter};
use std::process::ExitCode;

/// Builds everything, starts a local Kubernetes, and brings up a RaftCluster of three that stays up (needs root).
#[derive(Parser)]
struct Arguments {
    /// Install no missing packages.
    #[arg(long)]
    no_install: bool,
}

fn main() -> ExitCode {
    reenter();
    let Arguments { no_install } = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        let cluster = Cluster::named("schedia")?;
        demo::run(&cluster, !no_install).await
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
