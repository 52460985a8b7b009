//! The words of the scripts of the queue. `t1` is a task, `s1` a subscription. Without `tenant=` it is `acme`.

mod answer;

pub(super) use answer::{answer, event};

use super::Line;
use bytes::Bytes;
use schedia_apps::Epoch;
use schedia_apps::queue::{
    Artifact, Backoff, Claim, Command, Create, Delivered, Delivery, Due, Finish, Key, List, Move, Nack,
    Outcome, Owner, Place, Policy, Purge, Query, QueueName, Retry, Source, Span, Subscribe, SubscriptionId,
    TaskId, Token,
};

/// What a line asks for.
pub(super) enum Asked {
    Command(Command),
    Query(Query),
}

/// `None` = it is no line of the queue.
pub(super) fn parse(line: &Line<'_>) -> Option<Asked> {
    command(line).map(Asked::Command).or_else(|| query(line).map(Asked::Query))
}

fn command(line: &Line<'_>) -> Option<Command> {
    let word = |place: usize| line.words[place];
    let tenant = || tenant(line);
    let limit = || line.number("limit").unwrap_or(1_000);
    Some(match word(0) {
        "create" => Command::Create(creates(line)),
        "claim" => Command::Claim(Claim {
            tenant: tenant(),
            from: sources(word(2)),
            worker: expanded(word(1)),
            lease_ms: line.number("lease").unwrap_or(60_000),
            count: line.number("count").unwrap_or(1),
        }),
        "heartbeat" => Command::Heartbeat {
            task: task(word(1)),
            owner: owner(line, word(2)),
            extend_ms: line.word_number(3),
        },
        "abandon" => Command::Abandon { task: task(word(1)), owner: owner(line, word(2)) },
        "nack" => Command::Nack(Nack {
            task: task(word(1)),
            owner: owner(line, word(2)),
            delay_s: line.number("delay"),
            reason: text(line, "reason").unwrap_or_default(),
        }),
        "completed" | "failed" => Command::Finish(finishes(line)),
        "tick" => Command::Tick { limit: limit() },
        "lead" => Command::Lead { grace_ms: line.number("grace").unwrap() },
        "cancel" => Command::Cancel { tenant: tenant(), task: task(word(1)) },
        "pause" | "resume" => {
            Command::Pause { tenant: tenant(), command: expanded(word(1)), paused: word(0) == "pause" }
        }
        "move" => Command::Move(Move {
            tenant: tenant(),
            command: expanded(word(1)),
            from: place(line.options["from"]),
            due_ms: line.number("due"),
            ids: line.options.get("ids").map(|ids| tasks(&ids.split(',').collect::<Vec<_>>())),
            limit: limit(),
        }),
        "purge" => Command::Purge(Purge {
            tenant: tenant(),
            command: expanded(word(1)),
            place: place(line.options["from"]),
            before_ms: line.number("before"),
            after: line.bytes("after"),
            limit: limit(),
        }),
        "cleanup" => Command::Cleanup { before_ms: line.number("before").unwrap(), limit: limit() },
        "delivered" => Command::Delivered(Delivered {
            task: task(word(1)),
            end: line.number("end").unwrap(),
            tries: line.number("tries").unwrap(),
            again_ms: line.number("again"),
        }),
        "put-topic" => Command::PutTopic { tenant: tenant(), name: expanded(word(1)), policy: policy(line) },
        "delete-topic" => Command::DeleteTopic { tenant: tenant(), name: expanded(word(1)) },
        "subscribe" => Command::Subscribe(Subscribe {
            id: subscription(word(1)),
            tenant: tenant(),
            callback_url: text(line, "url").unwrap_or_else(|| "http://worker/".to_owned()),
            commands: word(2).split(',').map(expanded).collect(),
            delivery: match line.options.get("delivery") {
                None => Delivery::Fanout,
                Some(&"hash") => Delivery::Hash,
                Some(group) => Delivery::Group(expanded(group)),
            },
            interval_s: line.number("interval").unwrap_or(5),
            ttl_ms: line.number("ttl").unwrap_or(60_000),
        }),
        "renew" => Command::Renew { tenant: tenant(), id: subscription(word(1)), ttl_ms: line.number("ttl") },
        "unsubscribe" => Command::Unsubscribe { tenant: tenant(), id: subscription(word(1)) },
        _ => return None,
    })
}

fn query(line: &Line<'_>) -> Option<Query> {
    let word = |place: usize| line.words[place].to_owned();
    let limit = line.number("limit").unwrap_or(0);
    let whose = || match line.options.get("tenant") {
        Some(&"anybody") => None,
        _ => Some(tenant(line)),
    };
    let span = |from, before| Span { from_ms: line.number(from), before_ms: line.number(before) };
    Some(match line.words[0] {
        "task" => Query::Task { tenant: whose(), id: task(line.words[1]) },
        "result" => Query::Result { tenant: whose(), id: task(line.words[1]) },
        "head" => Query::Head { tenant: tenant(line), from: sources(line.words[1]) },
        "queue" => Query::Queue { tenant: tenant(line), command: word(1) },
        "queues" => Query::Queues {
            tenant: whose(),
            after: line.options.get("after").map(|after| {
                let (tenant, command) = after.split_once('/').unwrap();
                QueueName { tenant: tenant.to_owned(), command: command.to_owned() }
            }),
            limit,
        },
        "tasks" => Query::List(List {
            tenant: tenant(line),
            command: word(1),
            place: line.options.get("place").map(|text| place(text)),
            created: span("created-from", "created-before"),
            ended: span("ended-from", "ended-before"),
            after: line.bytes("after"),
            limit,
            payloads: line.has("payloads"),
        }),
        "hooks" => {
            Query::Hooks { until_ms: line.number("until").unwrap_or(u64::MAX), after: hook(line), limit }
        }
        "next-due" => Query::NextDue,
        "topic" => Query::Topic { tenant: tenant(line), name: word(1) },
        "topics" => Query::Topics { tenant: tenant(line), after: line.text("after"), limit },
        "subscriptions" => {
            Query::Subscriptions { after: line.options.get("after").map(|text| subscription(text)), limit }
        }
        _ => return None,
    })
}

fn tenant(line: &Line<'_>) -> String {
    text(line, "tenant").unwrap_or_else(|| "acme".to_owned())
}

/// A text, in which `a*5` is `aaaaa`.
fn text(line: &Line<'_>, name: &str) -> Option<String> {
    line.options.get(name).map(|word| expanded(word))
}

fn expanded(word: &str) -> String {
    String::from_utf8(super::bytes(word).to_vec()).unwrap()
}

/// `after=TIME/TASK`.
fn hook(line: &Line<'_>) -> Option<(u64, TaskId)> {
    let text = line.text("after")?;
    let (due_ms, id) = text.split_once('/').expect("after=TIME/TASK");
    Some((due_ms.parse().expect("a time in milliseconds"), task(id)))
}

fn task(text: &str) -> TaskId {
    TaskId(numbered(text.strip_prefix('t').unwrap_or_else(|| panic!("no task: {text}"))))
}

fn subscription(text: &str) -> SubscriptionId {
    SubscriptionId(numbered(text.strip_prefix('s').unwrap_or_else(|| panic!("no subscription: {text}"))))
}

fn numbered(number: &str) -> [u8; 16] {
    number.parse::<u128>().unwrap().to_be_bytes()
}

/// `t1 t2 command`, or `t1..t9 command`: tasks that are alike.
fn creates(line: &Line<'_>) -> Vec<Create> {
    let (command, ids) = line.words[1..].split_last().unwrap();
    let command = expanded(command);
    let create = |id: &TaskId| Create {
        id: *id,
        tenant: tenant(line),
        command: command.clone(),
        payload: line.bytes("payload").unwrap_or_else(|| Bytes::from_static(b"{}")),
        priority: line.number("priority").unwrap_or(0),
        webhook: text(line, "webhook"),
        max_attempts: line.number("attempts").unwrap_or(5),
        key: text(line, "key").map(|text| Key { text, keep_ms: line.number("keep").unwrap_or(100_000) }),
        due: match (line.number("due"), line.number("delay")) {
            (Some(due_ms), _) => Due::At(due_ms),
            (None, Some(delay_ms)) => Due::After(delay_ms),
            (None, None) => Due::Now,
        },
        retry: line.options.get("retry").map_or(FIXED, |text| retry(text)),
        retention_ms: line.number("retention").unwrap_or(1_000_000),
        trace_parent: line.text("trace"),
        trace_state: None,
    };
    tasks(ids).iter().map(create).collect()
}

/// `t1 t4..t9`
fn tasks(words: &[&str]) -> Vec<TaskId> {
    let one = |word: &&str| match word.split_once("..") {
        None => vec![task(word)],
        Some((first, last)) => {
            let number = |id| u128::from_be_bytes(task(id).0);
            (number(first)..=number(last)).map(|number| TaskId(number.to_be_bytes())).collect()
        }
    };
    words.iter().flat_map(one).collect()
}

const FIXED: Retry = Retry { policy: Backoff::Fixed, base_s: 5, max_s: 60 };

/// `policy:base:max`
fn retry(text: &str) -> Retry {
    let parts: Vec<&str> = text.split(':').collect();
    let policy = match parts[0] {
        "fixed" => Backoff::Fixed,
        "linear" => Backoff::Linear,
        "exponential" => Backoff::Exponential,
        "equal-jitter" => Backoff::EqualJitter,
        "full-jitter" => Backoff::FullJitter,
        policy => panic!("unknown policy: {policy}"),
    };
    Retry { policy, base_s: parts[1].parse().unwrap(), max_s: parts[2].parse().unwrap() }
}

/// `a,b:3`: b with at most 3 tasks in progress.
fn sources(text: &str) -> Vec<Source> {
    let source = |text: &str| {
        let (command, max) = text.split_once(':').unzip();
        Source {
            command: expanded(command.unwrap_or(text)),
            in_progress_max: max.map(|max| max.parse().unwrap()),
        }
    };
    text.split(',').map(source).collect()
}

fn owner(line: &Line<'_>, worker: &str) -> Owner {
    let token = line.options.get("token").map(|token| {
        let (epoch, number) = token.split_once('.').unwrap_or(("0", token));
        Token { epoch: Epoch(epoch.parse().unwrap()), number: number.parse().unwrap() }
    });
    Owner { tenant: tenant(line), worker: worker.to_owned(), token }
}

/// `t1 t2 worker`: results that are alike.
fn finishes(line: &Line<'_>) -> Vec<Finish> {
    let (worker, ids) = line.words[1..].split_last().unwrap();
    let outcome = || match line.words[0] {
        "completed" => Outcome::Completed { result: line.bytes("result").unwrap_or_default() },
        _ => Outcome::Failed { error: text(line, "error").unwrap_or_default(), result: line.bytes("result") },
    };
    let artifact = |name: &&str| Artifact { name: (*name).to_owned(), url: format!("http://files/{name}") };
    let artifact = line.options.get("artifact").map(artifact);
    let artifacts = artifact.map(|artifact| vec![artifact; line.number("artifacts").unwrap_or(1)]);
    let artifacts = artifacts.unwrap_or_default();
    let finish = |id: &TaskId| Finish {
        task: *id,
        owner: owner(line, worker),
        outcome: outcome(),
        artifacts: artifacts.clone(),
    };
    tasks(ids).iter().map(finish).collect()
}

fn place(text: &str) -> Place {
    match text {
        "ready" => Place::Ready,
        "delayed" => Place::Delayed,
        "in-progress" => Place::InProgress,
        "dead" => Place::Dead,
        "completed" => Place::Completed,
        "failed" => Place::Failed,
        "cancelled" => Place::Cancelled,
        place => panic!("unknown place: {place}"),
    }
}

fn policy(line: &Line<'_>) -> Policy {
    Policy {
        priority_tiers: line
            .options
            .get("tiers")
            .map(|tiers| tiers.split(',').map(|tier| tier.parse().unwrap()).collect())
            .unwrap_or_default(),
        max_attempts: line.number("attempts").unwrap_or(5),
        dead_letter: text(line, "dead-letter").unwrap_or_else(|| "dead".to_owned()),
        retention_s: line.number("retention").unwrap_or(0),
        consumers_max: line.number("consumers").unwrap_or(0),
    }
}
