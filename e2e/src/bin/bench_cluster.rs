//! `cargo bench-cluster`: the project beside its peer, as ratios.

use clap::Parser;
use schedia_e2e::bench::{self, options::Options};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    let threads = options.threads.max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    // Whoever is interrupted drops what it runs: no process and no directory stays.
    let measured = runtime.block_on(async {
        tokio::select! {
            measured = bench::run(options) => Some(measured),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    match measured {
        Some(Ok(report)) => {
            println!("{}", std::fs::read_to_string(&report).unwrap_or_default());
            eprintln!("written to {}", report.display());
            ExitCode::SUCCESS
        }
        Some(Err(reason)) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
        None => ExitCode::from(130),
    }
}
