//! Every command of the queue and every question to it, for the targets of `apps.rs`.

use bytes::Bytes;
use schedia_apps::Epoch;
use schedia_apps::queue::{
    Artifact, Backoff, Claim, Command, Create, Delivered, Delivery, Due, Finish, Key, List, Move, Nack,
    Outcome, Owner, Place, Policy, Purge, Query, QueueName, Retry, Source, Span, Subscribe, SubscriptionId,
    TaskId, Token,
};

const TASK: TaskId = TaskId([1; 16]);
/// Outlasts what passes between the commands.
const LONG_MS: u64 = 1 << 40;
const SUBSCRIPTION: SubscriptionId = SubscriptionId([2; 16]);

fn text(text: &str) -> String {
    text.to_owned()
}

fn task(id: TaskId) -> Create {
    Create {
        id,
        tenant: text("t"),
        command: text("C"),
        payload: Bytes::from_static(b"1"),
        priority: 3,
        webhook: Some(text("http://h")),
        max_attempts: 2,
        key: None,
        due: Due::Now,
        retry: Retry { policy: Backoff::FullJitter, base_s: 1, max_s: 9 },
        retention_ms: LONG_MS,
        trace_parent: None,
        trace_state: None,
    }
}

/// Each less than 256 bytes when it is encoded.
pub(super) fn every_command() -> Vec<Command> {
    let delayed = Create {
        key: Some(Key { text: text("k"), keep_ms: 9 }),
        due: Due::After(5),
        ..task(TaskId([3; 16]))
    };
    let owner = |token| Owner { tenant: text("t"), worker: text("w"), token };
    let token = Token { epoch: Epoch(0), number: 3 };
    let from = vec![Source { command: text("c"), in_progress_max: Some(1) }];
    let claim =
        || Claim { tenant: text("t"), from: from.clone(), worker: text("w"), lease_ms: LONG_MS, count: 2 };
    let artifacts = vec![Artifact { name: text("a"), url: text("u") }];
    let outcome = Outcome::Failed { error: text("e"), result: Some(Bytes::from_static(b"2")) };
    let subscribe = Subscribe {
        id: SUBSCRIPTION,
        tenant: text("t"),
        callback_url: text("u"),
        commands: vec![text("c")],
        delivery: Delivery::Group(text("g")),
        interval_s: 1,
        ttl_ms: LONG_MS,
    };
    let policy = Policy {
        priority_tiers: vec![1],
        max_attempts: 1,
        dead_letter: text("d"),
        retention_s: 1,
        consumers_max: 1,
    };
    let (tenant, command) = (|| text("t"), || text("c"));
    let order =
        Move { tenant: tenant(), command: command(), from: Place::Failed, due_ms: None, ids: None, limit: 2 };
    let (place, before_ms, after) = (Place::Ready, None, None);
    let purge = Purge { tenant: tenant(), command: command(), place, before_ms, after, limit: 2 };
    vec![
        Command::Create(vec![task(TASK), delayed]),
        Command::Claim(claim()),
        Command::Heartbeat { task: TASK, owner: owner(Some(token)), extend_ms: LONG_MS },
        Command::Abandon { task: TASK, owner: owner(None) },
        Command::Claim(claim()),
        Command::Finish(vec![Finish { task: TASK, owner: owner(None), outcome, artifacts }]),
        Command::Delivered(Delivered { task: TASK, end: 5, tries: 0, again_ms: Some(1) }),
        Command::Subscribe(subscribe),
        Command::PutTopic { tenant: tenant(), name: command(), policy },
        Command::Move(order),
        Command::Claim(claim()),
        Command::Nack(Nack { task: TASK, owner: owner(None), delay_s: Some(0), reason: text("r") }),
        Command::Tick { limit: 10 },
        Command::Lead { grace_ms: 1 },
        Command::Pause { tenant: tenant(), command: command(), paused: true },
        Command::Cancel { tenant: tenant(), task: TASK },
        Command::Cleanup { before_ms: 1 << 50, limit: 1 },
        Command::Purge(purge),
        Command::Renew { tenant: tenant(), id: SUBSCRIPTION, ttl_ms: None },
        Command::Unsubscribe { tenant: tenant(), id: SUBSCRIPTION },
        Command::DeleteTopic { tenant: tenant(), name: command() },
    ]
}

pub(super) fn every_query() -> Vec<Query> {
    let (tenant, command) = (|| text("t"), || text("c"));
    let from = vec![Source { command: command(), in_progress_max: None }];
    let list = List {
        tenant: tenant(),
        command: command(),
        place: None,
        created: Span { from_ms: Some(1), before_ms: None },
        ended: Span::default(),
        after: Some(Bytes::from_static(b"\x01")),
        limit: 9,
        payloads: true,
    };
    vec![
        Query::Task { tenant: Some(tenant()), id: TASK },
        Query::Result { tenant: None, id: TASK },
        Query::Head { tenant: tenant(), from },
        Query::Queue { tenant: tenant(), command: command() },
        Query::Queues { tenant: None, after: Some(QueueName::of("a", "b")), limit: 9 },
        Query::List(list),
        Query::Hooks { until_ms: u64::MAX, after: None, limit: 9 },
        Query::NextDue,
        Query::Topic { tenant: tenant(), name: command() },
        Query::Topics { tenant: tenant(), after: None, limit: 9 },
        Query::Subscriptions { after: None, limit: 9 },
    ]
}
