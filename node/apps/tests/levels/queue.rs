//! One of each command of the queue, and of everything a command can have.

use bytes::Bytes;
use schedia_apps::Epoch;
use schedia_apps::queue::Command::{
    Abandon, Cancel, Claim, Cleanup, Create, DeleteTopic, Delivered, Finish, Heartbeat, Lead, Move, Nack,
    Pause, Purge, PutTopic, Renew, Subscribe, Tick, Unsubscribe,
};
use schedia_apps::queue::{
    self, Artifact, Backoff, Command, Delivery, Due, Key, Outcome, Owner, Place, Policy, Retry, Source,
    SubscriptionId, TaskId, Token,
};

/// In an order in which all succeed.
pub(crate) fn commands() -> Vec<Command> {
    [tasks(), workers(), managers(), topics(), subscriptions()].concat()
}

fn id(n: u128) -> TaskId {
    TaskId::new(1, n)
}

fn acme() -> String {
    "acme".to_owned()
}

fn orders() -> String {
    "Orders".to_owned()
}

fn plain(n: u128) -> queue::Create {
    queue::Create {
        id: id(n),
        tenant: acme(),
        command: orders(),
        payload: Bytes::from_static(b"{\"n\":1}"),
        priority: 0,
        webhook: None,
        max_attempts: 5,
        key: None,
        due: Due::Now,
        retry: Retry { policy: Backoff::Fixed, base_s: 1, max_s: 900 },
        retention_ms: 86_400_000,
        trace_parent: None,
        trace_state: None,
    }
}

fn tasks() -> Vec<Command> {
    let whole = queue::Create {
        priority: 9,
        webhook: Some("http://h/".to_owned()),
        key: Some(Key { text: "k".to_owned(), keep_ms: 60_000 }),
        trace_parent: Some("00-1".to_owned()),
        trace_state: Some("a=b".to_owned()),
        ..plain(1)
    };
    let retried = |n, policy| {
        let retry = Retry { policy, base_s: 1, max_s: 0 };
        queue::Create { command: "mail".to_owned(), retry, max_attempts: 1, ..plain(n) }
    };
    let retried = vec![
        retried(5, Backoff::Linear),
        retried(6, Backoff::Exponential),
        retried(7, Backoff::EqualJitter),
        retried(8, Backoff::FullJitter),
    ];
    let delayed = queue::Create { due: Due::After(1), ..plain(2) };
    let planned = queue::Create { due: Due::At(90_000_000), ..plain(3) };
    vec![Create(vec![whole, delayed, planned, plain(4)]), Create(retried)]
}

fn owner(token: Option<u64>) -> Owner {
    let token = token.map(|number| Token { epoch: Epoch(0), number });
    Owner { tenant: acme(), worker: "ann".to_owned(), token }
}

fn claim(count: u32) -> Command {
    let source = |command: &str, in_progress_max| Source { command: command.to_owned(), in_progress_max };
    let from = vec![source("orders", None), source("mail", Some(3))];
    Claim(queue::Claim { tenant: acme(), from, worker: "ann".to_owned(), lease_ms: 3_600_000, count })
}

/// Tasks 1, 4 and 2 are claimed under the numbers 6, 7 and 8.
fn workers() -> Vec<Command> {
    let artifact = Artifact { name: "log".to_owned(), url: "http://f/log".to_owned() };
    let finish =
        |n, token, outcome, artifacts| queue::Finish { task: id(n), owner: owner(token), outcome, artifacts };
    let completed = Outcome::Completed { result: Bytes::from_static(b"{}") };
    let failed = |result| Outcome::Failed { error: "no".to_owned(), result };
    let nack =
        |n, delay_s| Nack(queue::Nack { task: id(n), owner: owner(None), delay_s, reason: "x".to_owned() });
    vec![
        claim(3),
        Heartbeat { task: id(1), owner: owner(Some(6)), extend_ms: 7_200_000 },
        Abandon { task: id(4), owner: owner(None) },
        nack(2, Some(5)),
        Finish(vec![finish(1, Some(6), completed, vec![artifact]), finish(4, None, failed(None), vec![])]),
        Tick { limit: 10 },
        Lead { grace_ms: 1_000 },
        claim(6),
        Finish(vec![finish(4, None, failed(Some(Bytes::from_static(b"1"))), vec![])]),
        nack(5, None),
        nack(6, None),
        Delivered(queue::Delivered { task: id(1), end: 10, tries: 0, again_ms: Some(90_000_000) }),
        Delivered(queue::Delivered { task: id(1), end: 10, tries: 1, again_ms: None }),
    ]
}

fn managers() -> Vec<Command> {
    let order = |command: &str, from, due_ms, ids| {
        Move(queue::Move { tenant: acme(), command: command.to_owned(), from, due_ms, ids, limit: 9 })
    };
    let purge = |place, before_ms, after| {
        Purge(queue::Purge { tenant: acme(), command: orders(), place, before_ms, after, limit: 9 })
    };
    vec![
        order("mail", Place::Dead, Some(90_000_000), Some(vec![id(5)])),
        order("mail", Place::Delayed, None, None),
        order("orders", Place::Failed, None, None),
        Cancel { tenant: acme(), task: id(3) },
        order("orders", Place::Cancelled, None, None),
        Pause { tenant: acme(), command: orders(), paused: true },
        purge(Place::Ready, Some(1), None),
        purge(Place::Completed, None, Some(Bytes::from_static(b"\x05"))),
        Cleanup { before_ms: 90_000_000, limit: 1 },
    ]
}

fn topics() -> Vec<Command> {
    let policy = Policy {
        priority_tiers: vec![0, 5, 9],
        max_attempts: 5,
        dead_letter: "dead".to_owned(),
        retention_s: 60,
        consumers_max: 7,
    };
    vec![
        PutTopic { tenant: acme(), name: "orders".to_owned(), policy: policy.clone() },
        PutTopic { tenant: acme(), name: "mail".to_owned(), policy },
        DeleteTopic { tenant: acme(), name: "mail".to_owned() },
    ]
}

fn subscriptions() -> Vec<Command> {
    let id = |n| SubscriptionId::new(1, n);
    let subscribe = |n, delivery| {
        Subscribe(queue::Subscribe {
            id: id(n),
            tenant: acme(),
            callback_url: "http://w/".to_owned(),
            commands: vec![orders()],
            delivery,
            interval_s: 5,
            ttl_ms: 3_600_000,
        })
    };
    vec![
        subscribe(1, Delivery::Fanout),
        subscribe(2, Delivery::Group("g".to_owned())),
        subscribe(3, Delivery::Hash),
        Renew { tenant: acme(), id: id(1), ttl_ms: Some(60_000) },
        Renew { tenant: acme(), id: id(2), ttl_ms: None },
        Unsubscribe { tenant: acme(), id: id(3) },
    ]
}
