//! The admin port.

use super::schemas::text;
use super::{Operation, document as put_together, json_of, plain, query, reference};
use serde_json::{Value, json};

pub(super) fn document() -> Value {
    let about = "Probes, metrics, what a node tells of itself, and the verbs that change its cluster.";
    let operations = probes().into_iter().chain(verbs()).collect();
    put_together("Schedia: admin port", about, operations)
}

fn probes() -> Vec<Operation> {
    let metrics = json!({ "application/openmetrics-text": { "schema": { "type": "string" } } });
    let wait = json!({ "type": "string", "pattern": "^[0-9]{1,2}s$" });
    vec![
        Operation::new("get", "/livez", "livez", "Whether the process answers").answers(
            "200",
            "it does",
            plain(),
        ),
        Operation::new("get", "/readyz", "readyz", "Whether the node takes requests")
            .answers("200", "it does", plain())
            .answers("503", "it does not, and why", json_of("Error")),
        Operation::new("get", "/metrics", "metrics", "Everything counted").answers(
            "200",
            "OpenMetrics",
            metrics,
        ),
        Operation::new("get", "/admin/v1/status", "nodeStatus", "What the node tells of itself")
            .params(vec![
                query("after", "the revision already seen: answer when it is another one", text()),
                query("wait", "but at the latest then, up to 60s", wait),
            ])
            .answers("200", "its status", json_of("Status")),
        Operation::new("get", "/admin/v1/record", "record", "The cluster record, by a linearizable read")
            .answers("200", "the record", json_of("Record")),
        Operation::new("get", "/v1/openapi.json", "openapi", "This document").answers(
            "200",
            "OpenAPI 3.1",
            json!({ "application/json": { "schema": { "type": "object" } } }),
        ),
    ]
}

fn verbs() -> Vec<Operation> {
    vec![
        verb("/admin/v1/initialize", "Make a blank node a cluster of one", "Initialize", "Joined"),
        verb("/admin/v1/node-ids", "A fresh node id", "Empty", "NewNodeId"),
        verb("/admin/v1/assign", "Tell a blank node who it is", "Assign", "Joined"),
        change("/admin/v1/learners", "Add a member without a vote", "AddLearner"),
        change("/admin/v1/learners/remove", "Drop a member that does not vote", "RemoveLearner"),
        change("/admin/v1/membership", "Change the voters in one joint change", "SetVoters"),
        verb("/admin/v1/transfer-leader", "Hand leadership to a caught-up voter", "TransferLeader", "Empty"),
        verb("/admin/v1/snapshot", "Checkpoint every shard and purge its log", "Empty", "Empty"),
        verb("/admin/v1/defragment", "Copy each state file into a fresh one", "Empty", "Defragmented"),
        verb("/admin/v1/reset", "Make a removed node blank again", "Reset", "ResetDone"),
    ]
}

fn verb(path: &'static str, summary: &str, body: &str, answer: &str) -> Operation {
    Operation::new("post", path, path.rsplit('/').next().unwrap_or(path), summary)
        .body("application/json", reference(body))
        .answers("200", "done, or so already", json_of(answer))
}

fn change(path: &'static str, summary: &str, body: &str) -> Operation {
    verb(path, summary, body, "Changed").answers(
        "202",
        "under way: the same call resumes it",
        json_of("Changed"),
    )
}
