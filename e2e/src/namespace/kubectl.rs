//! kubectl, where a test is about what a person sees.

use std::path::PathBuf;
use std::process::Output;
use tokio::process::Command;

/// Runs kubectl: the one of the local cluster's cache, else that of the search path. Standard input is `input`.
pub async fn kubectl(arguments: &[&str], input: &str) -> Output {
    use tokio::io::AsyncWriteExt;
    let mut child = command()
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("kubectl cannot be started: {e}"));
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    // kubectl may end without reading.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    child.wait_with_output().await.unwrap_or_else(|e| panic!("kubectl: {e}"))
}

/// kubectl for the cluster that `KUBECONFIG` names, to be given arguments.
pub(super) fn command() -> Command {
    let cached = crate::kube::Programs::new(&crate::paths::cache()).kubectl();
    Command::new(if cached.is_file() { cached } else { PathBuf::from("kubectl") })
}
