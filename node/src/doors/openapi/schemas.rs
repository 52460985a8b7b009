//! The schemas of what travels as JSON. The types are `schedia_api`'s and `schedia_apps::cluster`'s.

use super::{queue, reference};
use serde_json::{Value, json};

pub(super) fn all() -> Value {
    let mut all = json!({});
    let parts = [errors(), kv(), txn(), watch(), queue::schemas(), verbs(), record(), status(), overview()];
    for part in parts {
        let (Value::Object(all), Value::Object(part)) = (&mut all, part) else { continue };
        all.extend(part);
    }
    all
}

/// From 0: revisions, ids, counts.
pub(super) fn number() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX })
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn flag() -> Value {
    json!({ "type": "boolean" })
}

/// Bytes.
fn base64() -> Value {
    json!({ "type": "string", "contentEncoding": "base64", "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$" })
}

/// A cluster or a disk.
fn id() -> Value {
    json!({ "type": "string", "pattern": "^[a-z0-9-]{1,64}$" })
}

fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

pub(super) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// An object with these members: those in the first list are always there, those in the second may be left out.
pub(super) fn object(always: &[(&str, Value)], perhaps: &[(&str, Value)]) -> Value {
    let members = always.iter().chain(perhaps);
    let properties: serde_json::Map<_, _> =
        members.map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<_> = always.iter().map(|(name, _)| *name).collect();
    json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    })
}

fn errors() -> Value {
    let info = object(&[("code", text()), ("message", text())], &[("leader", text()), ("current", number())]);
    json!({ "Error": object(&[("error", info)], &[]), "Empty": object(&[], &[]) })
}

fn kv() -> Value {
    let row = object(
        &[
            ("key", base64()),
            ("value", base64()),
            ("create_revision", number()),
            ("mod_revision", number()),
            ("version", number()),
        ],
        &[],
    );
    let page = object(
        &[
            ("revision", number()),
            ("at_revision", number()),
            ("count", number()),
            ("rows", list(reference("KvRow"))),
        ],
        &[("continue", text())],
    );
    json!({
        "KvRow": row,
        "KvPage": page,
        "KvDeleted": object(&[("revision", number()), ("deleted", number()), ("more", flag())], &[]),
        "Compact": object(&[("revision", number())], &[]),
    })
}

fn txn() -> Value {
    let range = [("prefix", base64()), ("start", base64()), ("end", base64())];
    let key = ("key", base64());
    let keys = [&[key.clone()][..], &range].concat();
    let compare = object(
        &[
            ("target", json!({ "enum": ["value", "version", "create_revision", "mod_revision"] })),
            ("operator", json!({ "enum": ["=", "!=", ">", "<"] })),
            ("operand", json!({ "anyOf": [number(), base64()] })),
        ],
        &keys,
    );
    let limit = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    let more = [
        ("revision", or_null(number())),
        ("limit", or_null(limit)),
        ("keys_only", flag()),
        ("count_only", flag()),
    ];
    let listed = object(&[], &[&range[..], &more].concat());
    let one_of = |named: &[(&str, Value)]| {
        let one: Vec<_> =
            named.iter().map(|(name, schema)| object(&[(*name, schema.clone())], &[])).collect();
        json!({ "oneOf": one })
    };
    let operation = one_of(&[
        ("put", object(&[key.clone(), ("value", base64())], &[])),
        ("delete", object(&[], &keys)),
        ("get", object(&[key], &[("revision", or_null(number()))])),
        ("list", listed),
    ]);
    let result = one_of(&[
        ("put", object(&[("create_revision", number()), ("version", number())], &[])),
        ("delete", object(&[("deleted", number())], &[])),
        ("get", object(&[("row", or_null(reference("KvRow")))], &[])),
        ("list", reference("KvPage")),
    ]);
    let at_most = |items| json!({ "type": "array", "items": items, "maxItems": 128 });
    let branch = at_most(reference("KvOperation"));
    json!({
        "KvCompare": compare,
        "KvOperation": operation,
        "KvTxn": object(
            &[],
            &[("compare", at_most(reference("KvCompare"))), ("success", branch.clone()), ("failure", branch)],
        ),
        "KvTxnAnswer": object(
            &[("revision", number()), ("succeeded", flag()), ("results", list(result))],
            &[("results_omitted", flag())],
        ),
    })
}

fn watch() -> Value {
    let numbers = ["create_revision", "mod_revision", "version"].map(|name| (name, number()));
    let is = |kind: &str| ("type", json!({ "const": kind }));
    let put = [&[is("put"), ("key", base64()), ("value", base64())][..], &numbers].concat();
    let prev = [("prev", reference("KvRow"))];
    let delete = [is("delete"), ("key", base64())];
    json!({
        "KvChange": { "oneOf": [object(&put, &prev), object(&delete, &prev)] },
        "KvChanges": object(
            &[("revision", number()), ("changes", list(reference("KvChange")))], &[("more", flag())],
        ),
    })
}

fn verbs() -> Value {
    let address = || json!({ "type": "string", "examples": ["n1.example:7000"] });
    json!({
        "Initialize": object(
            &[("cluster_id", id()), ("name", text()), ("address", address())],
            &[
                ("shards", json!({ "type": "integer", "minimum": 1, "maximum": 16 })),
                ("managed_by", or_null(text())),
            ],
        ),
        "Assign": object(&[("cluster_id", id()), ("node_id", number())], &[]),
        "NewNodeId": object(&[("node_id", number())], &[]),
        "AddLearner": object(
            &[("node_id", number()), ("name", text()), ("address", address()), ("expected", number())],
            &[("http_url", or_null(text())), ("store_id", or_null(id()))],
        ),
        "RemoveLearner": object(&[("node_id", number()), ("expected", number())], &[]),
        "Reset": object(&[("cluster_id", id()), ("node_id", number()), ("store_id", id())], &[]),
        "ResetDone": object(&[("store_id", id())], &[]),
        "SetVoters": object(&[("voters", list(number())), ("expected", number())], &[]),
        "Changed": object(&[("generation", number()), ("settled", flag())], &[]),
        "Defragmented": object(
            &[(
                "shards",
                list(object(
                    &[("shard", number()), ("before_bytes", number()), ("after_bytes", number())],
                    &[],
                )),
            )],
            &[],
        ),
        "TransferLeader": object(&[("to", number())], &[]),
        "Join": object(
            &[("name", text()), ("address", address()), ("store_id", id())], &[("http_url", or_null(text()))],
        ),
        "Joined": object(&[("cluster_id", id()), ("node_id", number())], &[]),
    })
}

fn record() -> Value {
    let member = object(
        &[
            ("id", number()),
            ("name", text()),
            ("address", text()),
            ("http_url", or_null(text())),
            ("store_id", or_null(id())),
        ],
        &[],
    );
    json!({
        "Record": object(
            &[
                ("generation", number()),
                ("members", json!({ "type": "object", "additionalProperties": member })),
                ("voters", list(number())),
                ("joining", list(number())),
                ("settled", flag()),
                ("shards", number()),
                ("level", number()),
                ("epoch", number()),
                ("managed_by", or_null(text())),
            ],
            &[],
        ),
    })
}

fn role() -> Value {
    json!({ "enum": ["Unassigned", "Assigned", "Learner", "Voter", "Retired"] })
}

fn status() -> Value {
    let log_id = || or_null(object(&[("term", number()), ("index", number())], &[]));
    let joint = object(&[("old", list(number())), ("new", list(number()))], &[]);
    let membership = object(
        &[
            ("log_id", log_id()),
            ("committed", flag()),
            ("voters", list(number())),
            ("learners", list(number())),
            ("joint", or_null(joint)),
        ],
        &[],
    );
    let shard = object(
        &[
            ("shard", number()),
            ("leader", or_null(number())),
            ("term", number()),
            ("last", log_id()),
            ("committed", log_id()),
            ("applied", log_id()),
            ("membership", membership),
            ("lag", json!({ "type": "object", "additionalProperties": number() })),
            ("stopped", or_null(text())),
        ],
        &[],
    );
    json!({
        "Status": object(
            &[
                ("revision", text()),
                ("name", text()),
                ("address", text()),
                ("http_url", text()),
                ("version", text()),
                ("role", role()),
                ("store_id", id()),
                ("cluster_id", or_null(id())),
                ("node_id", or_null(number())),
                ("level_min", number()),
                ("level_max", number()),
                ("epoch", number()),
                ("ready", flag()),
                ("ready_reason", or_null(text())),
                ("record", or_null(reference("Record"))),
                ("shards", list(shard)),
                ("disk", object(&[("total_bytes", number()), ("free_bytes", number())], &[])),
                ("alarms", list(object(&[("code", text()), ("message", text())], &[]))),
            ],
            &[],
        ),
    })
}

fn overview() -> Value {
    let member = object(
        &[
            ("id", number()),
            ("name", text()),
            ("address", text()),
            ("http_url", or_null(text())),
            ("voter", flag()),
            ("lag", or_null(number())),
            ("leads", list(number())),
        ],
        &[],
    );
    json!({
        "Overview": object(
            &[
                ("cluster_id", id()),
                ("node_id", number()),
                ("name", text()),
                ("role", role()),
                ("version", text()),
                ("leader", or_null(number())),
                ("term", number()),
                ("revision", number()),
                ("generation", number()),
                ("members", list(member)),
                ("can_lose", number()),
            ],
            &[],
        ),
    })
}
