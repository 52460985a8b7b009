//! The words of the scripts of the queue. `t1` is a task, `s1` a subscription. Without `tenant=` it is `acme`.

use super::Line;
use bytes::Bytes;
use schedia_apps::Epoch;
use schedia_apps::queue::{
    Artifact, Backoff, Change, Claim, Command, Counts, Create, Delivered, Delivery, Due, Event, Finish, Hook,
    Key, Lease, List, Move, Nack, Outcome, Owner, Place, Policy, Purge, Query, Queue, QueueName, Reply,
    Retry, Source, Span, Subscribe, Subscription, SubscriptionId, Task, TaskId, Token, Topic, Totals,
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
        "hooks" => Query::Hooks { limit },
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

pub(super) fn answer(reply: &Reply) -> String {
    match reply {
        Reply::Created(created) => each(created, |created| {
            format!("{}{}", if created.replayed { "again " } else { "" }, task_text(&created.task))
        }),
        Reply::Claimed(tasks) if tasks.is_empty() => "none".to_owned(),
        Reply::Claimed(tasks) => listed(tasks, task_text),
        Reply::Extended { until_ms } => format!("until={until_ms}"),
        Reply::Abandoned => "abandoned".to_owned(),
        Reply::Nacked { delay_s: Some(delay_s) } => format!("again in {delay_s} s"),
        Reply::Nacked { delay_s: None } => "dead".to_owned(),
        Reply::Finished(finished) => each(finished, |finished| format!("ended={}", finished.ended_ms)),
        Reply::Ticked { done, next_ms } => format!("done={done}{}", optional("next", *next_ms)),
        Reply::Leading { grace_until_ms } => format!("no lease ends before {grace_until_ms}"),
        Reply::Cancelled => "cancelled".to_owned(),
        Reply::Paused { changed } => if *changed { "changed" } else { "unchanged" }.to_owned(),
        Reply::Moved { moved, more } => format!("moved={moved}{}", if *more { " more" } else { "" }),
        Reply::Removed { removed, next } => format!("removed={removed}{}", token(next.as_ref())),
        Reply::Delivered { changed } => if *changed { "changed" } else { "stale" }.to_owned(),
        Reply::TopicPut { topic, created, changed } => {
            let what = match (created, changed) {
                (true, _) => "created",
                (false, true) => "changed",
                (false, false) => "same",
            };
            format!("{what} {}", topic_text(topic))
        }
        Reply::TopicDeleted { deleted } => if *deleted { "deleted" } else { "none" }.to_owned(),
        Reply::Subscribed { expires_ms } => format!("until={expires_ms}"),
        Reply::Unsubscribed => "unsubscribed".to_owned(),
        Reply::Task(task) => task_text(task),
        Reply::Result { task, result: None } => format!("{}; no result", task_text(task)),
        Reply::Result { task, result: Some(result) } => {
            let files = listed(&result.artifacts, |artifact| format!("{}={}", artifact.name, artifact.url));
            let value =
                result.result.as_ref().map_or("-".to_owned(), |result| result.escape_ascii().to_string());
            format!("{}; result {value} {files}", task_text(task)).trim_end().to_owned()
        }
        Reply::Head(head) => head.map_or("none".to_owned(), |place| format!("place={place}")),
        Reply::Queue(queue) => queue.as_ref().map_or("none".to_owned(), |queue| queue_text(queue)),
        Reply::Queues { queues, next } => {
            let next = next.as_ref().map(|next| format!(" next={}/{}", next.tenant, next.command));
            format!("[{}]{}", listed(queues, queue_text), next.unwrap_or_default())
        }
        Reply::Tasks { tasks, next } => format!("[{}]{}", listed(tasks, task_text), token(next.as_ref())),
        Reply::Hooks { due, next_ms } => {
            format!("[{}]{}", listed(due, hook_text), optional("next", *next_ms))
        }
        Reply::NextDue(next_ms) => next_ms.map_or("none".to_owned(), |next_ms| next_ms.to_string()),
        Reply::Topic(topic) => topic.as_ref().map_or("none".to_owned(), topic_text),
        Reply::Topics { topics, next } => {
            let next = next.as_ref().map(|next| format!(" next={next}")).unwrap_or_default();
            format!("[{}]{next}", listed(topics, topic_text))
        }
        Reply::Subscriptions { subscriptions, next } => {
            let next = next.map(|next| format!(" next=s{}", u128::from_be_bytes(next.0)));
            format!("[{}]{}", listed(subscriptions, subscription_text), next.unwrap_or_default())
        }
    }
}

fn listed<T>(all: &[T], text: impl Fn(&T) -> String) -> String {
    all.iter().map(text).collect::<Vec<_>>().join("; ")
}

fn each<T>(all: &[Result<T, schedia_apps::queue::Refusal>], text: impl Fn(&T) -> String) -> String {
    let texts: Vec<String> = all
        .iter()
        .map(|one| match one {
            Ok(one) => text(one),
            Err(refusal) => format!("refused: {refusal}"),
        })
        .collect();
    texts.join("; ")
}

fn optional(name: &str, number: Option<u64>) -> String {
    number.map(|number| format!(" {name}={number}")).unwrap_or_default()
}

fn token(next: Option<&Bytes>) -> String {
    let hex = |bytes: &Bytes| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    next.map(|next| format!(" next={}", hex(next))).unwrap_or_default()
}

fn name(id: TaskId) -> String {
    format!("t{}", u128::from_be_bytes(id.0))
}

/// `t1 place …`, with whatever is not as usual.
fn task_text(task: &Task) -> String {
    let mut out = format!("{} {}", name(task.id), task.place);
    if let Some(Lease { token, worker, until_ms }) = &task.lease {
        out += &format!(" worker={worker} token={}.{} until={until_ms}", token.epoch, token.number);
    }
    out += &optional("due", task.due_ms);
    out += &optional("ended", task.ended_ms);
    if task.priority > 0 {
        out += &format!(" priority={}", task.priority);
    }
    if task.attempts() > 0 {
        out += &format!(" attempt={}", task.attempts());
    }
    if let Some(error) = &task.error {
        out += &format!(" error={}", if error.len() > 20 { "..." } else { error });
    }
    if !matches!(&task.payload[..], b"{}" | b"") {
        out += &format!(" payload={} bytes", task.payload.len());
    }
    out
}

fn queue_text(queue: &Queue) -> String {
    let Queue { name, paused, counts, totals, oldest_ready_ms } = queue;
    let Counts { ready, delayed, in_progress, dead, completed, failed, cancelled } = counts;
    let now = [
        ("ready", ready.iter().sum()),
        ("delayed", *delayed),
        ("in-progress", *in_progress),
        ("dead", *dead),
        ("completed", *completed),
        ("failed", *failed),
        ("cancelled", *cancelled),
    ];
    let since = [
        ("created", totals.created),
        ("claimed", totals.claimed),
        ("completed", totals.completed),
        ("failed", totals.failed),
        ("expired", totals.expired),
        ("dead", totals.dead),
        ("cancelled", totals.cancelled),
    ];
    let Totals { created: _, claimed: _, completed: _, failed: _, expired: _, dead: _, cancelled: _ } =
        totals;
    let some = |counts: &[(&str, u64)]| {
        let some = counts.iter().filter(|(_, count)| *count > 0);
        some.map(|(name, count)| format!(" {name}={count}")).collect::<String>()
    };
    let paused = if *paused { " paused" } else { "" };
    let oldest = optional("oldest", *oldest_ready_ms);
    format!("{}/{}{paused}:{}{oldest}; in all:{}", name.tenant, name.command, some(&now), some(&since))
}

fn hook_text(hook: &Hook) -> String {
    format!("{} end={} tries={} due={}", name(hook.task), hook.end, hook.tries, hook.due_ms)
}

fn topic_text(topic: &Topic) -> String {
    let Topic { tenant, name, policy, version, created_ms, updated_ms } = topic;
    let Policy { priority_tiers, max_attempts, dead_letter, retention_s, consumers_max } = policy;
    format!(
        "{tenant}/{name} version={version} created={created_ms} updated={updated_ms} tiers={priority_tiers:?} \
         attempts={max_attempts} dead-letter={dead_letter} retention={retention_s} consumers={consumers_max}"
    )
}

fn subscription_text(subscription: &Subscription) -> String {
    let Subscription {
        id,
        tenant,
        callback_url,
        commands,
        delivery,
        interval_s,
        ttl_ms,
        expires_ms,
        created_ms,
    } = subscription;
    format!(
        "s{} {tenant} {callback_url} {} {delivery:?} interval={interval_s} ttl={ttl_ms} until={expires_ms} \
         created={created_ms}",
        u128::from_be_bytes(id.0),
        commands.join(",")
    )
}

pub(super) fn event(event: &Event) -> String {
    let what = match event.change {
        Change::Created => "created",
        Change::CreatedDelayed => "created delayed",
        Change::Ready => "ready",
        Change::Delayed => "delayed",
        Change::Claimed => "claimed",
        Change::Expired => "expired",
        Change::Completed => "completed",
        Change::Failed => "failed",
        Change::Dead => "dead",
        Change::Cancelled => "cancelled",
        Change::Removed => "removed",
    };
    format!("{}/{} {} {what}", event.queue.tenant, event.queue.command, name(event.task))
}
