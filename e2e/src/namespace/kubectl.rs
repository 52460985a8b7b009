//! kubectl, where a test is about what a person sees.

use std::path::PathBuf;
use std::process::Output;
use tokio::process::Command;

/// Runs kubectl: the one of the local cluster's cache, else that of the search path. Standard input is `input`.
pub async fn kubectl(arguments: &[&str], input: &str) -> Output {
    use tokio::io::AsyncWriteExt;
    let mut child = Command::new(program())
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

pub(super) fn program() -> PathBuf {
    let cached = crate::kube::Programs::new(&crate::paths::cache()).kubectl();
    if cached.is_file() { cached } else { "kubectl".into() }
}
