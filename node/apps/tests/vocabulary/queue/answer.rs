//! Answers and events of the queue as the scripts have them.

use bytes::Bytes;
use schedia_apps::queue::{
    Change, Counts, Event, Hook, Lease, Policy, Queue, Refusal, Reply, Subscription, Task, TaskId, Topic,
    Totals,
};

pub(crate) fn answer(reply: &Reply) -> String {
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

fn each<T>(all: &[Result<T, Refusal>], text: impl Fn(&T) -> String) -> String {
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

pub(crate) fn event(event: &Event) -> String {
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
