//! `cargo bench-cluster`: the project beside its peer, as ratios.

use clap::Parser;
use schedia_e2e::bench::{self, options::Options};
use schedia_e2e::wait::unless_told_to_end;
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
    match runtime.block_on(unless_told_to_end(bench::run(options))) {
        Ok(Some(report)) => {
            println!("{}", std::fs::read_to_string(&report).unwrap_or_default());
            eprintln!("written to {}", report.display());
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::from(130),
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}
