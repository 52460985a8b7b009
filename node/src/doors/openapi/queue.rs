//! The queue's part of the client port: its operations, and the schemas of what travels there. The types are `schedia_api`'s.

use super::schemas::{flag, list, number, object, text};
use super::{Operation, json_of, query, reference};
use serde_json::{Value, json};

/// The operations below `/v1/queue`. Each asks for a token.
pub(super) fn operations() -> Vec<Operation> {
    let operations = [queues(), many(), tasks(), others(), events()].into_iter().flatten();
    operations.map(Operation::with_token).collect()
}

fn in_path(name: &str, about: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": about,
        "schema": { "type": "string", "minLength": 1 },
    })
}

fn command() -> Value {
    in_path("command", "1 to 255 bytes, compared in lower case")
}

fn limit() -> Value {
    let schema = json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    query("limit", "at most so many; a page ends at 1,000 anyway", schema)
}

fn after() -> Value {
    query("after", "the next of the page before", text())
}

fn queues() -> Vec<Operation> {
    let path = "/v1/queue/queues/{command}";
    vec![
        Operation::new("get", "/v1/queue/queues", "queues", "The queues of the tenant, by command")
            .params(vec![limit(), after()])
            .answers("200", "a page of queues", json_of("QueuePage")),
        Operation::new("get", path, "queue", "One queue: how many tasks are where")
            .params(vec![command()])
            .answers("200", "the queue", json_of("QueueInfo")),
        Operation::new(
            "post",
            "/v1/queue/queues/{command}/pause",
            "pauseQueue",
            "Let claims pass a queue over",
        )
        .params(vec![command()])
        .answers("200", "paused, now or before", json_of("QueuePaused")),
        Operation::new(
            "post",
            "/v1/queue/queues/{command}/resume",
            "resumeQueue",
            "Let claims take from it again",
        )
        .params(vec![command()])
        .answers("200", "not paused, now or before", json_of("QueuePaused")),
    ]
}

fn many() -> Vec<Operation> {
    vec![
        Operation::new(
            "post",
            "/v1/queue/queues/{command}/requeue",
            "requeue",
            "Give tasks that are dead, failed, cancelled or delayed another try",
        )
        .params(vec![command()])
        .body("application/json", reference("QueueRequeue"))
        .answers("200", "how many, and whether there are more", json_of("QueueRequeued")),
        Operation::new(
            "post",
            "/v1/queue/queues/{command}/purge",
            "purge",
            "Remove tasks that nobody works at",
        )
        .params(vec![command()])
        .body("application/json", reference("QueuePurge"))
        .answers("200", "how many, and where to go on", json_of("QueuePurged")),
    ]
}

fn tasks() -> Vec<Operation> {
    let time = || json!({ "type": "string", "format": "date-time" });
    let filters = vec![
        query("command", "only of this queue", json!({ "type": "string", "minLength": 1, "maxLength": 255 })),
        query("state", "only those there", state()),
        query("createdAfter", "only those created from then on", time()),
        query("createdBefore", "only those created before", time()),
        query("endedAfter", "only those that ended from then on", time()),
        query("endedBefore", "only those that ended before", time()),
        query(
            "youngerThan",
            "the same as an age: of an ended state since the end, else since creation",
            age(),
        ),
        query("olderThan", "the same as an age: of an ended state since the end, else since creation", age()),
        limit(),
        after(),
        query("payloads", "with what is to be done", flag()),
    ];
    let id = || in_path("id", "a UUID");
    vec![
        Operation::new("get", "/v1/queue/tasks", "tasks", "Tasks of one queue or of all, in order")
            .params(filters)
            .answers(
                "200",
                "a page of tasks, perhaps empty: the end is where no next is",
                json_of("QueueTasks"),
            ),
        Operation::new("get", "/v1/queue/tasks/{id}", "task", "One task, with its result")
            .params(vec![id()])
            .answers("200", "the task", json_of("QueueTask")),
        Operation::new(
            "post",
            "/v1/queue/tasks/{id}/cancel",
            "cancelTask",
            "End a task that nobody wants any more",
        )
        .params(vec![id()])
        .answers("200", "it has ended", json_of("QueueCancelled")),
    ]
}

fn others() -> Vec<Operation> {
    vec![
        Operation::new("get", "/v1/queue/subscriptions", "subscriptions", "Who is told of ready tasks")
            .params(vec![limit(), after()])
            .answers("200", "a page of subscriptions", json_of("QueueSubscriptions")),
        Operation::new("delete", "/v1/queue/subscriptions/{id}", "unsubscribe", "End a subscription")
            .params(vec![in_path("id", "a UUID")])
            .answers("200", "it has ended", Value::Null),
        Operation::new("get", "/v1/queue/topics", "topics", "The topics of the tenant, by name")
            .params(vec![limit(), after()])
            .answers("200", "a page of topics", json_of("QueueTopics")),
    ]
}

fn events() -> Vec<Operation> {
    let events = json!({ "text/event-stream": { "schema": {} } });
    let about = "What happens to tasks, as server-sent events; each is a QueueEvent";
    let of =
        query("command", "only of this queue", json!({ "type": "string", "minLength": 1, "maxLength": 255 }));
    vec![Operation::new("get", "/v1/queue/events", "queueEvents", about).params(vec![of]).answers(
        "200",
        "events, for as long as the connection lasts",
        events,
    )]
}

fn age() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{1,9}(ms|s|m|h|d)$" })
}

fn state() -> Value {
    json!({ "enum": schedia_api::QueueState::ALL })
}

/// Members that may be left out.
fn perhaps(names: &[&'static str], schema: Value) -> Vec<(&'static str, Value)> {
    names.iter().map(|name| (*name, schema.clone())).collect()
}

/// A page: some items, and perhaps a next one.
fn page(name: &'static str, item: &str) -> Value {
    object(&[(name, list(reference(item)))], &[("next", text())])
}

pub(super) fn schemas() -> Value {
    let texts = ["webhook", "idempotencyKey", "worker", "leaseUntil", "runAt", "error", "endedAt"];
    let artifact = object(&[("name", text()), ("url", text())], &[]);
    let mut sometimes = perhaps(&texts, text());
    sometimes.extend([("payload", json!({})), ("result", json!({})), ("artifacts", list(artifact))]);
    let task = object(
        &[
            ("id", text()),
            ("command", text()),
            ("state", state()),
            ("priority", number()),
            ("attempts", number()),
            ("maxAttempts", number()),
            ("createdAt", text()),
            ("updatedAt", text()),
        ],
        &sometimes,
    );
    let mut schemas = json!({
        "QueueTask": task,
        "QueueTasks": page("tasks", "QueueTask"),
        "QueueCancelled": object(&[("id", text()), ("state", json!({ "const": "cancelled" }))], &[]),
        "QueueInfo": info(),
        "QueuePage": page("queues", "QueueInfo"),
        "QueuePaused": object(&[("command", text()), ("paused", flag()), ("changed", flag())], &[]),
        "QueueSubscriptions": page("subscriptions", "QueueSubscription"),
        "QueueTopics": page("topics", "QueueTopic"),
        "QueueEvent": event(),
    });
    for (name, schema) in moves().into_iter().chain(kept()) {
        schemas[name] = schema;
    }
    schemas
}

fn event() -> Value {
    let changes = [
        "created",
        "ready",
        "delayed",
        "claimed",
        "expired",
        "completed",
        "failed",
        "dead",
        "cancelled",
        "removed",
    ];
    object(
        &[("type", json!({ "enum": changes })), ("id", text()), ("command", text())],
        &[("delayed", flag())],
    )
}

fn info() -> Value {
    let numbers = |names: &[&'static str]| perhaps(names, number());
    let mut counts = numbers(&["ready", "delayed", "inProgress", "dead", "completed", "failed", "cancelled"]);
    counts.push(("readyByPriority", list(number())));
    let totals = ["created", "claimed", "completed", "failed", "expired", "dead", "cancelled"];
    let bounds = object(
        &[("name", text()), ("maxAttempts", number())],
        &numbers(&["retentionSeconds", "maxConsumers"]),
    );
    object(
        &[
            ("command", text()),
            ("paused", flag()),
            ("counts", object(&counts, &[])),
            ("totals", object(&numbers(&totals), &[])),
        ],
        &[("oldestReadySeconds", number()), ("topic", bounds)],
    )
}

fn moves() -> [(&'static str, Value); 4] {
    let limit = || json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    let ids = json!({ "type": "array", "items": text(), "maxItems": 1_000 });
    let requeue = [("ids", ids), ("runAt", text()), ("limit", limit())];
    let purge = [("endedBefore", text()), ("olderThan", age()), ("limit", limit()), ("after", text())];
    [
        ("QueueRequeue", object(&[("from", state())], &requeue)),
        ("QueueRequeued", object(&[("requeued", number()), ("more", flag())], &[])),
        ("QueuePurge", object(&[("place", state())], &purge)),
        ("QueuePurged", object(&[("removed", number()), ("more", flag())], &[("next", text())])),
    ]
}

fn kept() -> [(&'static str, Value); 2] {
    let subscription = object(
        &[
            ("subscriptionId", text()),
            ("callbackUrl", text()),
            ("eventTypes", list(text())),
            ("deliveryMode", json!({ "enum": ["fanout", "group", "hash"] })),
            ("minIntervalSeconds", number()),
            ("expiresAt", text()),
            ("createdAt", text()),
        ],
        &[("groupId", text())],
    );
    let policy = object(
        &[("priorityTiers", list(number())), ("maxAttempts", number()), ("deadLetterTopicRef", text())],
        &perhaps(&["retentionSeconds", "maxConsumers"], number()),
    );
    let topic = object(
        &[
            ("topicName", text()),
            ("policy", policy),
            ("version", number()),
            ("createdAt", text()),
            ("updatedAt", text()),
        ],
        &[],
    );
    [("QueueSubscription", subscription), ("QueueTopic", topic)]
}
