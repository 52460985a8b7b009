//! The client port.

use super::schemas::{flag, number, text};
use super::{Operation, bytes, document as put_together, json_of, query, queue, reference, required};
use serde_json::{Value, json};

const NUMBERS: [&str; 4] =
    ["X-Schedia-Revision", "X-Schedia-Mod-Revision", "X-Schedia-Create-Revision", "X-Schedia-Version"];
const REVISION: [&str; 1] = ["X-Schedia-Revision"];

pub(super) fn document() -> Value {
    let about = "Keys and values, queues of tasks, and the state of the cluster. Any node takes any request.";
    let operations = [keys(), ranges(), many(), queue::operations(), cluster()];
    let operations = operations.into_iter().flatten().collect();
    put_together("Schedia: client port", about, operations)
}

fn path_key() -> Value {
    json!({
        "name": "key", "in": "path", "required": true, "description": "1 to 4,096 bytes; may contain slashes",
        "schema": { "type": "string", "minLength": 1 },
    })
}

fn query_key() -> Value {
    required("key", "1 to 4,096 bytes", json!({ "type": "string", "minLength": 1 }))
}

fn if_mod_revision() -> Value {
    query(
        "if-mod-revision",
        "only if the key's mod revision is this one; 0: only if there is no such key",
        number(),
    )
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "names this request: sent again under the same key it takes no second effect, and has the same answer",
        "schema": { "type": "string", "pattern": "^[!-~]{1,255}$" },
    })
}

fn revision() -> Value {
    query("revision", "as of this revision of the store", number())
}

fn consistency() -> Value {
    query("consistency", "what the read must see", json!({ "enum": ["linearizable", "stale"] }))
}

fn range() -> Vec<Value> {
    vec![
        query("prefix", "keys that begin with this", text()),
        query("start", "keys from this one", text()),
        query("end", "keys before this one", text()),
    ]
}

/// One key, by path. The resource by parameter shares its path with the ranges.
fn keys() -> Vec<Operation> {
    vec![
        Operation::new("get", "/v1/kv/{key}", "getKey", "Read a key")
            .params(vec![path_key(), revision(), consistency()])
            .answers("200", "the value", bytes())
            .with_headers("200", &NUMBERS),
        Operation::new("put", "/v1/kv/{key}", "putKey", "Write a key")
            .params(vec![path_key(), if_mod_revision(), idempotency_key()])
            .body("application/octet-stream", json!({}))
            .answers("200", "written", Value::Null)
            .with_headers("200", &NUMBERS),
        Operation::new("delete", "/v1/kv/{key}", "deleteKey", "Delete a key")
            .params(vec![path_key(), if_mod_revision(), idempotency_key()])
            .answers("200", "deleted", Value::Null)
            .with_headers("200", &REVISION),
    ]
}

fn ranges() -> Vec<Operation> {
    let mut list = vec![query("key", "read this key instead of a list", text()), revision(), consistency()];
    list.extend(range());
    list.extend([
        query("limit", "at most this many rows; a page ends at 1,000 rows or about 1 MiB anyway", limit()),
        query("continue", "the token of the page before: the next one, of the same revision", text()),
        query("keys-only", "without values", flag()),
        query("count-only", "only how many there are", flag()),
    ]);
    let mut doomed = vec![query("key", "delete this key instead of a range", text()), if_mod_revision()];
    doomed.extend(range());
    doomed.push(query(
        "limit",
        "only the first ones, this many at most; without it: all, up to 10,000",
        limit(),
    ));
    doomed.push(idempotency_key());
    let page_or_value = json!({
        "application/json": { "schema": reference("KvPage") },
        "application/octet-stream": { "schema": {} },
    });
    vec![
        Operation::new("get", "/v1/kv", "listKeys", "List keys, or read the one that `key` names")
            .params(list)
            .answers("200", "a page of keys, or the value of the key", page_or_value),
        Operation::new("put", "/v1/kv", "putKeyByParameter", "Write the key that `key` names")
            .params(vec![query_key(), if_mod_revision(), idempotency_key()])
            .body("application/octet-stream", json!({}))
            .answers("200", "written", Value::Null)
            .with_headers("200", &NUMBERS),
        Operation::new("delete", "/v1/kv", "deleteRange", "Delete a range, or the key that `key` names")
            .params(doomed)
            .answers("200", "deleted; of a range: how many keys", json_of("KvDeleted")),
    ]
}

fn limit() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
}

fn many() -> Vec<Operation> {
    let mut watched = vec![query("key", "only this key", text())];
    watched.extend(range());
    watched.extend([
        query("from-revision", "from this revision on; 0 or none: what happens from now on", number()),
        query("prev", "also what each key was before", flag()),
        json!({
            "name": "Last-Event-ID", "in": "header", "required": false,
            "description": "go on behind this event", "schema": number(),
        }),
    ]);
    let events = json!({ "text/event-stream": { "schema": {} } });
    vec![
        Operation::new(
            "post",
            "/v1/kv:txn",
            "transaction",
            "Compare, then change and read several keys at one revision",
        )
        .params(vec![idempotency_key()])
        .body("application/json", reference("KvTxn"))
        .answers("200", "which branch was done, and what came of it", json_of("KvTxnAnswer")),
        Operation::new(
            "get",
            "/v1/kv:watch",
            "watch",
            "The changes of keys, as server-sent events; each is a KvChanges",
        )
        .params(watched)
        .answers("200", "events, for as long as the connection lasts", events)
        .with_headers("200", &REVISION),
        Operation::new("post", "/v1/kv:compact", "compact", "Give up the history below a revision")
            .params(vec![idempotency_key()])
            .body("application/json", reference("Compact"))
            .answers("200", "compacted", Value::Null)
            .with_headers("200", &REVISION),
    ]
}

fn cluster() -> Vec<Operation> {
    vec![
        Operation::new("get", "/v1/status", "status", "The cluster as this node sees it").answers(
            "200",
            "its members, its leader, its revision",
            json_of("Overview"),
        ),
        Operation::new("post", "/v1/cluster/join", "join", "A node asks to become a member")
            .body("application/json", reference("Join"))
            .answers("200", "who it is from now on", json_of("Joined")),
        Operation::new("get", "/v1/openapi.json", "openapi", "This document").answers(
            "200",
            "OpenAPI 3.1",
            json!({ "application/json": { "schema": { "type": "object" } } }),
        ),
    ]
}
