//! The bounds of what is sent: beyond one a command is refused.

use super::{Artifact, Claim, Create, Delivery, Finish, Outcome, Owner, Refusal, Source, Subscribe};

/// Priorities are 0 to 9.
pub const PRIORITIES: usize = 10;
/// The longest name of a tenant: as codeQ's claims have it.
pub const TENANT_BYTES_MAX: usize = 63;
/// The longest command, and group of a subscription.
pub const COMMAND_BYTES_MAX: usize = 255;
/// The longest idempotency key.
pub const KEY_BYTES_MAX: usize = 255;
/// All texts of one task, and the result of one: what one entry of the log takes with room to spare.
pub const TASK_BYTES_MAX: usize = 1_572_864;
/// The longest error, and reason of a failure.
pub const ERROR_BYTES_MAX: usize = 65_536;
/// The longest URL.
pub const URL_BYTES_MAX: usize = 2_048;
/// The longest name of a worker, and of an artifact.
pub const NAME_BYTES_MAX: usize = 1_024;
/// The most artifacts of a task.
pub const ARTIFACTS_MAX: usize = 100;
/// The most tasks of one command that creates, claims or finishes: some ten milliseconds of applying.
pub const BATCH_MAX: usize = 100;
/// The most queues of one claim or subscription.
pub const COMMANDS_MAX: usize = 100;
/// The most rows that one command or query walks.
pub const ROWS_MAX: usize = 1_000;
/// A reply ends with the task that brings it to so many bytes.
pub const REPLY_BYTES: usize = 1 << 20;
/// The most queues of one shard.
pub const QUEUES_MAX: u32 = 100_000;
/// The most topics of one tenant.
pub const TOPICS_MAX: usize = 10_000;
/// The most subscriptions.
pub const SUBSCRIPTIONS_MAX: u32 = 10_000;
/// The most priorities that a topic's policy names.
pub const TIERS_MAX: usize = 10;

type Checked = Result<(), Refusal>;

/// A text has so many bytes.
pub(super) fn text(what: &str, bytes: usize, least: usize, most: usize) -> Checked {
    if (least..=most).contains(&bytes) {
        return Ok(());
    }
    Err(Refusal::Length {
        what: what.to_owned(),
        bytes: bytes as u64,
        bytes_min: least as u64,
        bytes_max: most as u64,
    })
}

/// There are so many of something.
pub(super) fn count(what: &str, count: usize, least: usize, most: usize) -> Checked {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(Refusal::Count {
        what: what.to_owned(),
        count: count as u64,
        count_min: least as u64,
        count_max: most as u64,
    })
}

pub(super) fn queue(tenant: &str, command: &str) -> Checked {
    self::tenant(tenant)?;
    text("command", command.len(), 1, COMMAND_BYTES_MAX)
}

pub(super) fn tenant(tenant: &str) -> Checked {
    text("tenant", tenant.len(), 1, TENANT_BYTES_MAX)
}

pub(super) fn create(create: &Create) -> Checked {
    let Create { id: _, tenant, command, payload, priority, webhook, max_attempts: _, key, .. } = create;
    queue(tenant, command)?;
    count("priority", usize::from(*priority), 0, PRIORITIES - 1)?;
    if let Some(webhook) = webhook {
        text("webhook", webhook.len(), 1, URL_BYTES_MAX)?;
    }
    if let Some(key) = key {
        text("idempotency key", key.text.len(), 1, KEY_BYTES_MAX)?;
    }
    let optional = [webhook, &create.trace_parent, &create.trace_state];
    let others: usize = optional.into_iter().flatten().map(String::len).sum();
    text("task", payload.len().saturating_add(others).saturating_add(command.len()), 0, TASK_BYTES_MAX)
}

pub(super) fn claim(claim: &Claim) -> Checked {
    let Claim { tenant: _, from, worker, lease_ms: _, count: tasks } = claim;
    sources(from)?;
    text("worker", worker.len(), 0, NAME_BYTES_MAX)?;
    count("tasks of a claim", *tasks as usize, 1, BATCH_MAX)
}

pub(super) fn sources(from: &[Source]) -> Checked {
    count("commands", from.len(), 0, COMMANDS_MAX)
}

pub(super) fn finish(finish: &Finish) -> Checked {
    let Finish { task: _, owner: Owner { .. }, outcome, artifacts } = finish;
    let result = match outcome {
        Outcome::Completed { result } => Some(result),
        Outcome::Failed { error, result } => {
            text("error", error.len(), 0, ERROR_BYTES_MAX)?;
            result.as_ref()
        }
    };
    text("result", result.map_or(0, |result| result.len()), 0, TASK_BYTES_MAX)?;
    count("artifacts", artifacts.len(), 0, ARTIFACTS_MAX)?;
    artifacts.iter().try_for_each(|Artifact { name, url }| {
        text("artifact name", name.len(), 0, NAME_BYTES_MAX)?;
        text("artifact url", url.len(), 0, URL_BYTES_MAX)
    })
}

pub(super) fn subscribe(subscribe: &Subscribe) -> Checked {
    let Subscribe { id: _, tenant, callback_url, commands, delivery, interval_s: _, ttl_ms: _ } = subscribe;
    self::tenant(tenant)?;
    text("callback url", callback_url.len(), 1, URL_BYTES_MAX)?;
    count("commands", commands.len(), 0, COMMANDS_MAX)?;
    commands.iter().try_for_each(|command| text("command", command.len(), 1, COMMAND_BYTES_MAX))?;
    match delivery {
        Delivery::Group(group) => text("group", group.len(), 1, COMMAND_BYTES_MAX),
        Delivery::Fanout | Delivery::Hash => Ok(()),
    }
}
