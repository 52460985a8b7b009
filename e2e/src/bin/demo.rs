//! `cargo demo`: a Kubernetes, the operator, a quorum, a write from outside, and what to type next.

use clap::Parser;
use schedia_e2e::demo::{self, DemoError, Place};
use schedia_e2e::kube::reenter;
use std::process::ExitCode;

/// Builds everything, starts a local Kubernetes (needs root), and brings up a RaftCluster of three that grows and stays up.
#[derive(Parser)]
#[command(bin_name = "cargo demo")]
struct Arguments {
    /// On kind: that of this machine where `kind` and `docker` work, else one built from source (needs root)
    #[arg(long)]
    kind: bool,
    /// Take down what the demo has started there, and do nothing else
    #[arg(long)]
    down: bool,
    /// Install no missing packages
    #[arg(long)]
    no_install: bool,
}

fn main() -> ExitCode {
    reenter();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(carry_out(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("error: {words}");
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(Arguments { kind, down, no_install }: &Arguments) -> Result<(), String> {
    let place = Place::find(*kind).await.map_err(|e| e.chain())?;
    let done = match down {
        true => place.down().await.map_err(DemoError::from),
        false => demo::run(&place, !no_install).await,
    };
    done.map_err(|e| match e.advice(&place) {
        Some(advice) => format!("{e}\n{advice}"),
        None => e.to_string(),
    })
}
