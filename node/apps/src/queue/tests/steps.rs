//! Random commands: few ids, workers and queues, so that they meet often.

use super::super::position::Position;
use super::super::rows::{self, HookRow, TaskRow};
use super::super::*;
use crate::Epoch;
use crate::tables::MemoryTables;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::ops::Range;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Command(Command),
    /// Log time goes on, in ms.
    Wait(u64),
    /// Begins anew from a copy of the rows.
    Install,
}

/// The token that asks for one that is right ([`resolved`]).
const CURRENT: Token = Token { epoch: Epoch(9), number: 0 };

const TENANTS: [&str; 2] = ["acme", "zoo"];
const WORKERS: [&str; 2] = ["ann", "bob"];

pub(super) fn ids() -> Vec<TaskId> {
    (1..9).map(|n| TaskId::new(7, n)).collect()
}

/// Every queue there can be.
pub(super) fn queues() -> Vec<QueueName> {
    let of = |tenant: &'static str| ["a", "b"].map(|command| QueueName::of(tenant, command));
    TENANTS.into_iter().flat_map(of).collect()
}

pub(super) fn head(name: &QueueName) -> Query {
    let from = vec![Source { command: name.command.clone(), in_progress_max: None }];
    Query::Head { tenant: name.tenant.clone(), from }
}

/// A task of the first queue with nothing special.
pub(super) fn plain(id: TaskId) -> Create {
    Create {
        id,
        tenant: "acme".to_owned(),
        command: "a".to_owned(),
        payload: Bytes::from_static(b"{}"),
        priority: 0,
        webhook: None,
        max_attempts: 5,
        key: None,
        due: Due::Now,
        retry: Retry { policy: Backoff::Fixed, base_s: 1, max_s: 4 },
        retention_ms: 1_000,
        trace_parent: None,
        trace_state: None,
    }
}

pub(super) fn claim_one() -> Command {
    let from = vec![Source { command: "a".to_owned(), in_progress_max: None }];
    Command::Claim(Claim { tenant: "acme".into(), from, worker: "ann".into(), lease_ms: 1_000, count: 1 })
}

fn id() -> impl Strategy<Value = TaskId> {
    select(ids())
}

/// Mostly one, so that its tasks meet.
fn tenant() -> impl Strategy<Value = String> {
    prop_oneof![5 => Just(TENANTS[0]), 1 => Just(TENANTS[1])].prop_map(str::to_owned)
}

fn spelled() -> impl Strategy<Value = String> {
    select(vec!["a", "A", "b"]).prop_map(str::to_owned)
}

fn owner() -> impl Strategy<Value = Owner> {
    let token = prop_oneof![
        2 => Just(None),
        5 => Just(Some(CURRENT)),
        1 => (0u64..9).prop_map(|number| Some(Token { epoch: Epoch(0), number })),
    ];
    (tenant(), select(WORKERS.to_vec()), token).prop_map(|(tenant, worker, token)| Owner {
        tenant,
        worker: worker.to_owned(),
        token,
    })
}

/// Some milliseconds, sometimes none, often the same ones.
fn ms() -> impl Strategy<Value = u64> {
    select(vec![0u64, 1, 1_000, 1_000, 2_000, 5_000])
}

fn retry(drawn: bool) -> impl Strategy<Value = Retry> {
    let mut policies = vec![Backoff::Fixed, Backoff::Linear, Backoff::Exponential];
    if drawn {
        policies.extend([Backoff::EqualJitter, Backoff::FullJitter]);
    }
    (select(policies), 0u32..4, 0u32..9).prop_map(|(policy, base_s, max_s)| Retry { policy, base_s, max_s })
}

fn create(drawn: bool) -> impl Strategy<Value = Create> {
    let key = option::weighted(0.3, (select(vec!["k", "l"]), ms()));
    let due = prop_oneof![
        3 => Just(Due::Now),
        1 => ms().prop_map(Due::After),
        1 => (0u64..20_000).prop_map(Due::At),
    ];
    let rest = (select(vec![0u8, 0, 5, 9, 9, 10]), any::<bool>(), 0u32..4, ms());
    (id(), tenant(), spelled(), key, due, retry(drawn), rest).prop_map(
        |(id, tenant, command, key, due, retry, (priority, webhook, max_attempts, retention_ms))| Create {
            tenant,
            command,
            priority,
            webhook: webhook.then(|| "http://h/".to_owned()),
            max_attempts,
            key: key.map(|(text, keep_ms)| Key { text: text.to_owned(), keep_ms }),
            due,
            retry,
            retention_ms,
            ..plain(id)
        },
    )
}

fn claim() -> impl Strategy<Value = Claim> {
    // Most are long, so that workers come to something.
    let lease_ms = select(vec![0u64, 1_000, 5_000, 60_000, 60_000]);
    let source = (spelled(), option::weighted(0.3, 0u32..3))
        .prop_map(|(command, in_progress_max)| Source { command, in_progress_max });
    (tenant(), vec(source, 0..4), select(WORKERS.to_vec()), lease_ms, 0u32..4).prop_map(
        |(tenant, from, worker, lease_ms, count)| Claim {
            tenant,
            from,
            worker: worker.to_owned(),
            lease_ms,
            count,
        },
    )
}

fn finish() -> impl Strategy<Value = Finish> {
    let outcome = prop_oneof![
        Just(Outcome::Completed { result: Bytes::from_static(b"1") }),
        Just(Outcome::Failed { error: "no".to_owned(), result: None }),
    ];
    (id(), owner(), outcome).prop_map(|(task, owner, outcome)| Finish {
        task,
        owner,
        outcome,
        artifacts: vec![],
    })
}

fn place() -> impl Strategy<Value = Place> {
    select(vec![
        Place::Ready,
        Place::Delayed,
        Place::InProgress,
        Place::Dead,
        Place::Completed,
        Place::Failed,
        Place::Cancelled,
    ])
}

fn order() -> impl Strategy<Value = Move> {
    let ids = option::weighted(0.3, vec(id(), 0..4));
    (tenant(), spelled(), place(), option::of(0u64..20_000), ids, 0u32..4).prop_map(
        |(tenant, command, from, due_ms, ids, limit)| Move { tenant, command, from, due_ms, ids, limit },
    )
}

fn purge() -> impl Strategy<Value = Purge> {
    (tenant(), spelled(), place(), option::of(0u64..20_000)).prop_map(
        |(tenant, command, place, before_ms)| Purge {
            tenant,
            command,
            place,
            before_ms,
            after: None,
            limit: 1_000,
        },
    )
}

fn command(drawn: bool) -> impl Strategy<Value = Command> {
    let delivered = (id(), 0u64..2, 0u32..3, option::of(0u64..20_000));
    let nack = (id(), owner(), option::of(0u32..9), select(vec!["", "boom"]));
    let cleanup = (0u64..30_000).prop_map(|before_ms| Command::Cleanup { before_ms, limit: 1_000 });
    prop_oneof![
        8 => vec(create(drawn), 0..5).prop_map(Command::Create),
        8 => claim().prop_map(Command::Claim),
        2 => (id(), owner(), ms())
            .prop_map(|(task, owner, extend_ms)| Command::Heartbeat { task, owner, extend_ms }),
        4 => (id(), owner()).prop_map(|(task, owner)| Command::Abandon { task, owner }),
        4 => nack.prop_map(|(task, owner, delay_s, reason)| {
            Command::Nack(Nack { task, owner, delay_s, reason: reason.to_owned() })
        }),
        3 => vec(finish(), 0..4).prop_map(Command::Finish),
        4 => Just(Command::Tick { limit: 1_000 }),
        1 => ms().prop_map(|grace_ms| Command::Lead { grace_ms }),
        1 => (tenant(), id()).prop_map(|(tenant, task)| Command::Cancel { tenant, task }),
        1 => (tenant(), spelled(), any::<bool>())
            .prop_map(|(tenant, command, paused)| Command::Pause { tenant, command, paused }),
        4 => order().prop_map(Command::Move),
        1 => purge().prop_map(Command::Purge),
        1 => cleanup,
        2 => delivered.prop_map(|(task, end, tries, again_ms)| {
            Command::Delivered(Delivered { task, end, tries, again_ms })
        }),
    ]
}

/// Only with `bounded` there are ticks that stop early, jitter, and what a model need not know: topics and subscriptions.
fn more() -> impl Strategy<Value = Command> {
    let id = || select(vec![1u128, 2, 3]).prop_map(|n| SubscriptionId::new(7, n));
    let subscribe = (id(), tenant(), ms()).prop_map(|(id, tenant, ttl_ms)| {
        let (commands, delivery) = (vec!["a".to_owned()], Delivery::Hash);
        let callback_url = "http://w/".to_owned();
        Command::Subscribe(Subscribe { id, tenant, callback_url, commands, delivery, interval_s: 1, ttl_ms })
    });
    let policy = (0u32..3).prop_map(|max_attempts| Policy {
        priority_tiers: vec![],
        max_attempts,
        dead_letter: String::new(),
        retention_s: 0,
        consumers_max: 0,
    });
    prop_oneof![
        3 => (0u32..4).prop_map(|limit| Command::Tick { limit }),
        2 => subscribe,
        1 => (tenant(), id(), option::of(ms()))
            .prop_map(|(tenant, id, ttl_ms)| Command::Renew { tenant, id, ttl_ms }),
        1 => (tenant(), id()).prop_map(|(tenant, id)| Command::Unsubscribe { tenant, id }),
        1 => (tenant(), spelled(), policy)
            .prop_map(|(tenant, name, policy)| Command::PutTopic { tenant, name, policy }),
        1 => (tenant(), spelled()).prop_map(|(tenant, name)| Command::DeleteTopic { tenant, name }),
        1 => (0u64..30_000, 0u32..2).prop_map(|(before_ms, limit)| Command::Cleanup { before_ms, limit }),
        1 => (purge(), 0u32..3).prop_map(|(purge, limit)| Command::Purge(Purge { limit, ..purge })),
    ]
}

pub(super) fn steps(all: bool, length: Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let more = more().prop_map(move |command| if all { Step::Command(command) } else { Step::Wait(1) });
    let step = prop_oneof![
        30 => command(all).prop_map(Step::Command),
        7 => ms().prop_map(Step::Wait),
        6 => more,
        1 => Just(Step::Install),
    ];
    vec(step, length)
}

/// A command about a task in progress, if there is one, from whoever has it; about tasks that can be moved; or about a webhook
/// that is to be called. Where a command asks for that: by chance alone few would succeed.
pub(super) fn resolved(mut command: Command, tables: &MemoryTables) -> Command {
    match &mut command {
        Command::Heartbeat { task, owner, .. } | Command::Abandon { task, owner } => {
            resolve(task, owner, tables)
        }
        Command::Nack(nack) => resolve(&mut nack.task, &mut nack.owner, tables),
        Command::Finish(batch) => {
            batch.iter_mut().for_each(|finish| resolve(&mut finish.task, &mut finish.owner, tables));
        }
        Command::Move(order) if order.limit > 1 => {
            let movable =
                |row: &TaskRow| row.position.ended_ms().is_some() && row.position.place() != Place::Completed;
            if let Some((_, row)) = near(tables, ids()[order.limit as usize], movable) {
                let name = rows::name(tables, row.queue).unwrap();
                (order.tenant, order.command, order.from) = (name.tenant, name.command, row.position.place());
            }
        }
        Command::Delivered(delivered) if delivered.end == 1 => {
            delivered.end = 0;
            let called = |row: &TaskRow| row.hook_ms.is_some();
            if let Some((id, row)) = near(tables, delivered.task, called) {
                let key = rows::hook_key(row.hook_ms.unwrap(), id);
                let hook: HookRow = rows::expect(tables, rows::HOOKS, &key).unwrap();
                (delivered.task, delivered.end, delivered.tries) = (id, hook.end, hook.tries);
            }
        }
        _ => {}
    }
    command
}

fn resolve(task: &mut TaskId, owner: &mut Owner, tables: &MemoryTables) {
    if owner.token != Some(CURRENT) {
        return;
    }
    let leased = |row: &TaskRow| row.position.place() == Place::InProgress;
    if let Some((id, row)) = near(tables, *task, leased)
        && let Position::InProgress { lease, .. } = row.position
    {
        let tenant = rows::name(tables, row.queue).unwrap().tenant;
        *task = id;
        *owner = Owner { tenant, worker: lease.worker, token: Some(lease.token) };
    }
}

/// The first such task from an id on.
fn near(tables: &MemoryTables, id: TaskId, such: impl Fn(&TaskRow) -> bool) -> Option<(TaskId, TaskRow)> {
    let row = |id| rows::task(tables, id).unwrap().map(|row| (id, row));
    let (before, from): (Vec<_>, Vec<_>) = ids().into_iter().partition(|other| *other < id);
    from.into_iter().chain(before).filter_map(row).find(|(_, row)| such(row))
}
