//! `cargo figures`: what this machine reaches, as Markdown on standard output.

use schedia_e2e::kube::{Cluster, reenter};
use schedia_e2e::{figures, image, namespace, paths, process};
use std::process::ExitCode;

fn main() -> ExitCode {
    reenter();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(measure()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<(), String> {
    image::build(paths::workspace()).await.map_err(|e| e.to_string())?;
    process::binary::choose(paths::static_schedia());
    print!("{}", figures::processes().await);
    let cluster = Cluster::named("schedia").map_err(|e| e.chain())?;
    match cluster.kubeconfig() {
        Ok(_) => {
            let client = cluster.client().await.map_err(|e| e.chain())?;
            let bytes = namespace::operator_memory(&client).await?;
            println!("| memory of the idle operator | {} MB |", bytes / 1_000_000);
        }
        Err(_) => {
            println!("| memory of the idle operator | not measured: no local Kubernetes is up (cargo demo) |")
        }
    }
    Ok(())
}
