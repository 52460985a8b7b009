//! The Helm chart in `charts/schedia`, installed as a person would.
//!
//! Not here: what it renders and refuses (`e2e/tests/chart.rs`), how it lives (`e2e/tests/kubernetes/chart.rs`).

use crate::namespace::OPERATOR_NAMESPACE;
use std::path::PathBuf;
use std::process::Output;
use tokio::process::Command;

/// The release whose objects are called as those of `deploy/manifests` are.
pub const RELEASE: &str = "schedia";
/// For helm: to a Deployment that is available, on two busy cores.
const TIMEOUT: &str = "--timeout=120s";

/// Where the chart is.
pub fn dir() -> PathBuf {
    crate::paths::workspace().join("charts/schedia")
}

/// helm: the one of the local cluster's cache, else that of the search path.
pub fn helm() -> Command {
    let cached = crate::kube::Programs::new(&crate::paths::cache()).helm();
    Command::new(if cached.is_file() { cached } else { "helm".into() })
}

/// What a command printed; `Err` with its words if it failed.
pub async fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(std::process::Stdio::null()).output().await;
    let Output { status, stdout, stderr } = output.map_err(|e| format!("helm cannot be started: {e}"))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&stderr);
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with("level=")).collect();
    Err(lines.join("\n"))
}

/// Installs the chart in `chart`, or upgrades what is there, and waits until the operator is available. Returns the notes.
pub async fn install(mut helm: Command, chart: PathBuf, more: &[&str]) -> Result<String, String> {
    helm.args(["upgrade", "--install", RELEASE]).arg(chart);
    helm.args(["--namespace", OPERATOR_NAMESPACE, "--create-namespace", "--wait", TIMEOUT]).args(more);
    output(&mut helm).await
}

/// Takes the release away; it is no error if there is none.
pub async fn uninstall(mut helm: Command) -> Result<String, String> {
    helm.args([
        "uninstall",
        RELEASE,
        "--namespace",
        OPERATOR_NAMESPACE,
        "--ignore-not-found",
        "--wait",
        TIMEOUT,
    ]);
    output(&mut helm).await
}

/// The values that make the chart use this image: `NAME:TAG`, `NAME@DIGEST` or both.
pub fn image_values(image: &str) -> Vec<String> {
    let (name, digest) = image.split_once('@').unwrap_or((image, ""));
    // A colon before the last slash belongs to a port.
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, ""),
    };
    [("repository", repository), ("tag", tag), ("digest", digest)]
        .into_iter()
        .flat_map(|(field, value)| ["--set-string".to_owned(), format!("image.{field}={value}")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::image_values;

    #[test]
    fn an_image_is_taken_apart_as_a_registry_reads_it() {
        let table = [
            ("localhost/schedia:dev", ["localhost/schedia", "dev", ""]),
            ("registry.example:5000/schedia", ["registry.example:5000/schedia", "", ""]),
            ("registry.example:5000/s:1@sha256:ab", ["registry.example:5000/s", "1", "sha256:ab"]),
        ];
        for (image, [repository, tag, digest]) in table {
            let values = image_values(image);
            let wanted = [("repository", repository), ("tag", tag), ("digest", digest)];
            assert_eq!(
                values[1..].iter().step_by(2).cloned().collect::<Vec<_>>(),
                wanted.map(|(f, v)| format!("image.{f}={v}"))
            );
        }
    }
}
