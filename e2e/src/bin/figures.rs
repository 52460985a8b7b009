//! `cargo figures`: what this machine reaches, as Markdown on standard output.

use clap::Parser;
use schedia_e2e::figures::{self, Table};
use schedia_e2e::kube::reenter;
use schedia_e2e::preflight::{self, Needs};
use schedia_e2e::{image, paths, process};
use std::process::ExitCode;

/// Measures three processes, then the operator on a local Kubernetes of its own, which is taken down again (needs root).
#[derive(Parser)]
struct Arguments {
    /// Only the processes: needs no root
    #[arg(long, conflicts_with = "only_kubernetes")]
    no_kubernetes: bool,
    /// Only what is measured on Kubernetes
    #[arg(long)]
    only_kubernetes: bool,
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
    let mut table = Table::default();
    let measured = runtime.block_on(measure(&arguments, &mut table));
    // What was measured before a failure is shown all the same.
    print!("{}", table.text());
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments, table: &mut Table) -> Result<(), String> {
    let Arguments { no_kubernetes, only_kubernetes } = arguments;
    let needs = if *no_kubernetes { Needs::Build } else { Needs::Cluster };
    preflight::check(needs, true).map_err(|e| e.to_string())?;
    let archive = image::build(paths::workspace()).await.map_err(|e| e.to_string())?;
    if !only_kubernetes {
        process::binary::choose(paths::static_schedia());
        figures::processes(table).await;
    }
    if !no_kubernetes {
        figures::kubernetes(table, &archive).await?;
    }
    Ok(())
}
