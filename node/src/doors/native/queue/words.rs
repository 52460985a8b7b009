//! Tasks, queues, topics and subscriptions as JSON.

use crate::queues::words::time;
use bytes::Bytes;
use schedia_api::{
    QueueArtifact, QueueBounds, QueueCounts, QueueInfo, QueuePolicy, QueueState, QueueSubscription,
    QueueTask, QueueTopic, QueueTotals,
};
use schedia_apps::queue::{
    Artifact, Counts, Delivery, Place, Policy, Queue, Subscription, Task, TaskResult, Topic, Totals,
};
use serde_json::value::RawValue;

pub(super) fn state(place: Place) -> QueueState {
    match place {
        Place::Ready => QueueState::Ready,
        Place::Delayed => QueueState::Delayed,
        Place::InProgress => QueueState::InProgress,
        Place::Dead => QueueState::Dead,
        Place::Completed => QueueState::Completed,
        Place::Failed => QueueState::Failed,
        Place::Cancelled => QueueState::Cancelled,
    }
}

pub(super) fn place(state: QueueState) -> Place {
    match state {
        QueueState::Ready => Place::Ready,
        QueueState::Delayed => Place::Delayed,
        QueueState::InProgress => Place::InProgress,
        QueueState::Dead => Place::Dead,
        QueueState::Completed => Place::Completed,
        QueueState::Failed => Place::Failed,
        QueueState::Cancelled => Place::Cancelled,
    }
}

/// JSON text as it is. Only JSON comes in; an empty text is what a list was asked to leave out.
fn json(text: &Bytes) -> Option<Box<RawValue>> {
    serde_json::from_slice(text).ok()
}

pub(super) fn task(task: Task) -> QueueTask {
    let (state, attempts) = (state(task.place), task.attempts());
    let (worker, lease_until) = task.lease.map(|lease| (lease.worker, time(lease.until_ms))).unzip();
    QueueTask {
        id: task.id.to_string(),
        command: task.command,
        state,
        payload: json(&task.payload),
        priority: task.priority,
        webhook: task.webhook,
        idempotency_key: task.key,
        worker,
        lease_until,
        run_at: task.due_ms.map(time),
        attempts,
        max_attempts: task.max_attempts,
        error: task.error,
        created_at: time(task.created_ms),
        updated_at: time(task.updated_ms),
        ended_at: task.ended_ms.map(time),
        result: None,
        artifacts: Vec::new(),
    }
}

/// A task with what a worker made of it.
pub(super) fn task_with_result(found: Task, result: Option<TaskResult>) -> QueueTask {
    let TaskResult { result, artifacts } =
        result.unwrap_or(TaskResult { result: None, artifacts: Vec::new() });
    let artifacts = artifacts.into_iter().map(|Artifact { name, url }| QueueArtifact { name, url });
    let (result, artifacts) = (result.as_ref().and_then(json), artifacts.collect());
    QueueTask { result, artifacts, ..task(found) }
}

/// A queue, with its topic, at a time.
pub(super) fn queue(queue: Queue, topic: Option<Topic>, now_ms: u64) -> QueueInfo {
    let Queue { name, paused, counts, totals, oldest_ready_ms } = queue;
    let Totals { created, claimed, completed, failed, expired, dead, cancelled } = totals;
    QueueInfo {
        command: name.command,
        paused,
        counts: self::counts(counts),
        totals: QueueTotals { created, claimed, completed, failed, expired, dead, cancelled },
        oldest_ready_seconds: oldest_ready_ms.map(|oldest_ms| now_ms.saturating_sub(oldest_ms) / 1_000),
        topic: topic.map(bounds),
    }
}

fn counts(counts: Counts) -> QueueCounts {
    let Counts { ready, delayed, in_progress, dead, completed, failed, cancelled } = counts;
    QueueCounts {
        ready: ready.iter().sum(),
        ready_by_priority: ready.to_vec(),
        delayed,
        in_progress,
        dead,
        completed,
        failed,
        cancelled,
    }
}

fn bounds(topic: Topic) -> QueueBounds {
    let Policy { max_attempts, retention_s, consumers_max, .. } = topic.policy;
    QueueBounds {
        name: topic.name,
        max_attempts,
        retention_seconds: Some(retention_s).filter(|s| *s > 0),
        max_consumers: Some(consumers_max).filter(|most| *most > 0),
    }
}

pub(super) fn topic(topic: Topic) -> QueueTopic {
    let Topic { tenant: _, name, policy, version, created_ms, updated_ms } = topic;
    let Policy { priority_tiers, max_attempts, dead_letter, retention_s, consumers_max } = policy;
    QueueTopic {
        topic_name: name,
        policy: QueuePolicy {
            priority_tiers: priority_tiers.into_iter().map(i64::from).collect(),
            max_attempts,
            dead_letter_topic_ref: dead_letter,
            retention_seconds: retention_s,
            max_consumers: consumers_max,
        },
        version,
        created_at: time(created_ms),
        updated_at: time(updated_ms),
    }
}

pub(super) fn subscription(subscription: Subscription) -> QueueSubscription {
    let Subscription { id, callback_url, commands, delivery, interval_s, expires_ms, created_ms, .. } =
        subscription;
    let (mode, group_id) = match delivery {
        Delivery::Fanout => ("fanout", None),
        Delivery::Group(group) => ("group", Some(group)),
        Delivery::Hash => ("hash", None),
    };
    QueueSubscription {
        subscription_id: id.to_string(),
        callback_url,
        event_types: commands,
        delivery_mode: mode.to_owned(),
        group_id,
        min_interval_seconds: interval_s,
        expires_at: time(expires_ms),
        created_at: time(created_ms),
    }
}
