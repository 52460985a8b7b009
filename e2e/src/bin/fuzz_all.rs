//! `cargo fuzz-all`: every decoder of bytes of a disk or of the network under libFuzzer.

use clap::Parser;
use schedia_e2e::decoders::{Run, compiler, run};
use std::process::ExitCode;
use std::time::Duration;

/// Runs every decoder of bytes of a disk or of the network under a fuzzer that counts coverage. Exit status 0: all inputs were
/// borne; 1: one was not, and is printed.
#[derive(Parser)]
#[command(bin_name = "cargo fuzz-all")]
struct Arguments {
    /// So many minutes for each target
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Only these targets [default: all]
    #[arg(long, value_delimiter = ',')]
    target: Vec<String>,
    /// Write the smallest inputs of the coverage that was found to node/fuzz/corpus
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    compiler::be_it_if_called();
    let Arguments { minutes, target, keep } = Arguments::parse();
    let done = Duration::try_from_secs_f64(minutes * 60.0)
        .map_err(|error| format!("so long: {error}"))
        .and_then(|lasts| run(&Run { lasts, targets: target, keep }));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(words) => {
            eprintln!("error: {words}");
            ExitCode::FAILURE
        }
    }
}
