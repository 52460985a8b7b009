//! What a person needs to see of a failed test before its namespace is gone.

use super::{Namespace, kubectl};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};

/// The end of each log, enough for an election and its reasons.
const LOG_LINES: i64 = 40;

/// Prints the objects, events and logs of a namespace, and the operator's log.
pub(super) async fn print(namespace: &Namespace) {
    let name = &namespace.name;
    for arguments in [
        &["get", "raft,statefulset,pod,pvc,service,pdb", "-n", name, "-o", "wide"][..],
        &[
            "get",
            "raft",
            "-n",
            name,
            "-o",
            "jsonpath={range .items[*]}{.metadata.name} {.status}{\"\\n\"}{end}",
        ],
        &["get", "events", "-n", name, "--sort-by=.lastTimestamp"],
        &["logs", "-n", "schedia-system", "deployment/schedia-operator", "--tail=60"],
    ] {
        let output = kubectl(arguments, "").await;
        eprintln!("---- kubectl {}", arguments.join(" "));
        eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    let pods = namespace.api::<Pod>();
    for pod in pods.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
        let tail = LogParams { tail_lines: Some(LOG_LINES), ..LogParams::default() };
        let log = pods.logs(&pod.name_any(), &tail).await.unwrap_or_else(|e| e.to_string());
        eprintln!("---- log of {}\n{log}", pod.name_any());
    }
}
