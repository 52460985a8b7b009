//! Real nodes, asked by their own OpenAPI documents: no answer is a 5xx, and each is as its document says.

use super::{PATIENCE, full, seed};
use schedia_e2e::fuzz;
use schedia_e2e::process::Cluster;
use std::path::PathBuf;
use std::process::Output;
use std::sync::OnceLock;

/// Chosen once: a usual run asks the same each time. The full one draws anew; `E2E_SEED` repeats any.
const SEED: u64 = 20_261_122;

/// Requests per operation, about: some ten seconds for a port.
fn examples() -> u32 {
    if full() { 300 } else { 15 }
}

/// Both tests need it, and may begin at once.
fn python() -> PathBuf {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PYTHON
        .get_or_init(fuzz::python)
        .clone()
        .unwrap_or_else(|e| panic!("schemathesis cannot be installed: {e}"))
}

async fn ask(url: String, except: &'static [&'static str]) {
    let seed = if full() || std::env::var_os("E2E_SEED").is_some() { seed() } else { SEED };
    println!("E2E_SEED={seed}");
    let asked = tokio::task::spawn_blocking(move || -> Output {
        let dir = tempfile::tempdir().unwrap();
        let mut command = fuzz::command(&python(), &url, examples(), seed, except, dir.path());
        // Where no token is asked for, none is looked at.
        command.args(["--header", "Authorization: Bearer admin"]);
        command.output().unwrap()
    });
    let output = asked.await.unwrap();
    let text = fuzz::text(&output);
    println!("{text}");
    assert!(output.status.success(), "seed {seed}:\n{text}");
}

/// An administrator of queues, who may do everything there.
const AUTH: &str = "[producer]\ntype = \"static\"\n[producer.config]\ntoken = \"admin\"\n\
                    raw = { role = \"ADMIN\", tenantId = \"dev-tenant\" }\n";

/// A watch never ends, nor do events; what they refuse is tested by hand (`node/tests/native_door/watch.rs`,
/// `node/tests/codeq_door/native.rs`).
#[tokio::test(flavor = "multi_thread")]
async fn the_client_port_answers_as_its_document_says() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), AUTH).unwrap();
    let mut cluster = Cluster::joined_with(1, &["--auth-config", file.path().to_str().unwrap()]).await;
    let url = format!("{}/v1/openapi.json", cluster.nodes[0].http_url());
    ask(url, &["/v1/kv:watch", "/v1/queue/events"]).await;
    cluster.settled(1).await;
    assert!(cluster.nodes[0].terminate(PATIENCE).await.success());
}

/// Every verb is asked for, on a cluster that nobody needs.
#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_answers_as_its_document_says() {
    let mut cluster = Cluster::joined(1).await;
    let url = format!("{}/v1/openapi.json", cluster.nodes[0].admin_url());
    ask(url, &[]).await;
    cluster.nodes[0].status().await.unwrap();
    assert!(cluster.nodes[0].terminate(PATIENCE).await.success());
}
