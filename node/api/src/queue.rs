//! The JSON of the client port's queue API (`/v1/queue`): tasks, queues, what is done with many of them, what happens to them.
//!
//! Payloads and results are JSON as it was sent. Times are RFC 3339 in UTC.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::fmt;
use std::str::FromStr;

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueState {
    /// Can be claimed.
    Ready,
    /// Becomes ready when it is due.
    Delayed,
    /// Leased to a worker.
    InProgress,
    /// A dead letter: as many claims failed as may.
    Dead,
    /// A worker did it.
    Completed,
    /// A worker found that it cannot be done.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl QueueState {
    /// All of them.
    pub const ALL: [QueueState; 7] = [
        QueueState::Ready,
        QueueState::Delayed,
        QueueState::InProgress,
        QueueState::Dead,
        QueueState::Completed,
        QueueState::Failed,
        QueueState::Cancelled,
    ];

    /// As JSON and parameters spell it.
    pub fn name(self) -> &'static str {
        match self {
            QueueState::Ready => "ready",
            QueueState::Delayed => "delayed",
            QueueState::InProgress => "in-progress",
            QueueState::Dead => "dead",
            QueueState::Completed => "completed",
            QueueState::Failed => "failed",
            QueueState::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for QueueState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is no state of a task.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a state is ready, delayed, in-progress, dead, completed, failed or cancelled, not {0:?}")]
pub struct UnknownState(String);

impl FromStr for QueueState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<QueueState, UnknownState> {
        let named = QueueState::ALL.into_iter().find(|state| state.name() == text);
        named.ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueTask {
    /// Its name: a UUID.
    pub id: String,
    /// As it was spelled when it was created.
    pub command: String,
    /// Where it is.
    pub state: QueueState,
    /// What is to be done; absent where a list was not asked for it.
    #[serde(default, deserialize_with = "json", skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// 0 to 9; 9 is claimed first.
    pub priority: u8,
    /// Called when it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// The idempotency key it was created under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Who has it; in progress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// When its lease ends; in progress only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<String>,
    /// When it becomes ready; delayed only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// Which attempt runs, comes next or was the last; 0 before the first.
    pub attempts: u32,
    /// How many claims may fail.
    pub max_attempts: u32,
    /// Why it ended without success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was created.
    pub created_at: String,
    /// When it was changed.
    pub updated_at: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// What a worker made of it; of one task only, never in lists.
    #[serde(default, deserialize_with = "json", skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// Files that the worker made; of one task only, never in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<QueueArtifact>,
}

/// JSON that is there; `null` is JSON, too.
fn json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some).map_err(D::Error::custom)
}

/// A file that a worker made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueArtifact {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
}

/// A page of `GET /v1/queue/tasks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueTasks {
    /// The tasks. Few or none do not mean the end: that is what `next` tells.
    pub tasks: Vec<QueueTask>,
    /// The parameter `after` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Answer of `POST /v1/queue/tasks/{id}/cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCancelled {
    /// The task.
    pub id: String,
    /// `cancelled`.
    pub state: QueueState,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueInfo {
    /// In lower case.
    pub command: String,
    /// Whether claims pass it over.
    pub paused: bool,
    /// How many tasks are where.
    pub counts: QueueCounts,
    /// What has happened to it.
    pub totals: QueueTotals,
    /// For how many seconds the one of the ready tasks that waits longest has been as it is; absent if none is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ready_seconds: Option<u64>,
    /// What its topic says, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<QueueBounds>,
}

/// How many tasks of a queue are where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueCounts {
    /// Of all priorities.
    pub ready: u64,
    /// From priority 0 to 9.
    pub ready_by_priority: Vec<u64>,
    /// Become ready when they are due.
    pub delayed: u64,
    /// Leased.
    pub in_progress: u64,
    /// Dead letters.
    pub dead: u64,
    /// Still kept.
    pub completed: u64,
    /// Still kept.
    pub failed: u64,
    /// Still kept.
    pub cancelled: u64,
}

/// How often something happened to a queue since it was first used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueTotals {
    /// Tasks created.
    pub created: u64,
    /// Leases given.
    pub claimed: u64,
    /// Tasks that workers did.
    pub completed: u64,
    /// Tasks that workers found impossible.
    pub failed: u64,
    /// Leases that ended by time.
    pub expired: u64,
    /// Tasks that became dead letters.
    pub dead: u64,
    /// Tasks cancelled.
    pub cancelled: u64,
}

/// What a topic says of its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueBounds {
    /// The topic's name.
    pub name: String,
    /// How many claims of a task may fail at most.
    pub max_attempts: u32,
    /// How long tasks are kept after their end; absent: as the node's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<u32>,
    /// How many tasks may be in progress at a time; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_consumers: Option<u32>,
}

/// A page of `GET /v1/queue/queues`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePage {
    /// The queues, by command.
    pub queues: Vec<QueueInfo>,
    /// The parameter `after` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Answer of `POST /v1/queue/queues/{command}/pause` and `/resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePaused {
    /// In lower case.
    pub command: String,
    /// Whether claims pass it over now.
    pub paused: bool,
    /// Whether that was otherwise before.
    pub changed: bool,
}

/// Body of `POST /v1/queue/queues/{command}/requeue`: another try for many tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueueRequeue {
    /// Where they are: dead, failed, cancelled or delayed.
    pub from: QueueState,
    /// Only these, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// When they can be claimed; absent: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// At most so many, and never more than 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of `POST /v1/queue/queues/{command}/requeue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRequeued {
    /// How many have another try.
    pub requeued: u32,
    /// Whether the limit left some.
    pub more: bool,
}

/// Body of `POST /v1/queue/queues/{command}/purge`: removes tasks that nobody works at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueuePurge {
    /// Where they are: anywhere but in progress.
    pub place: QueueState,
    /// Only those that ended before this time; of those that have not ended: that were created before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_before: Option<String>,
    /// The same as an age: `90s`, `15m`, `36h`, `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<String>,
    /// Looks at so many at most, and never at more than 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next` of the purge before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Answer of `POST /v1/queue/queues/{command}/purge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePurged {
    /// How many were removed.
    pub removed: u32,
    /// Whether some have not been looked at.
    pub more: bool,
    /// Where to go on; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Who is told of ready tasks. Fields are named as the request that made it names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueSubscription {
    /// Its name: a UUID.
    pub subscription_id: String,
    /// Called.
    pub callback_url: String,
    /// The commands of the queues that it is about.
    pub event_types: Vec<String>,
    /// `fanout`, `group` or `hash`.
    pub delivery_mode: String,
    /// Its group, of `group` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Told not more often than that.
    pub min_interval_seconds: u32,
    /// When it ends, unless renewed.
    pub expires_at: String,
    /// When it was made.
    pub created_at: String,
}

/// A page of `GET /v1/queue/subscriptions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSubscriptions {
    /// The subscriptions, by id.
    pub subscriptions: Vec<QueueSubscription>,
    /// The parameter `after` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A topic: what holds for the queue of its name. Fields are named as `/v1/codeq/admin/topics` names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueTopic {
    /// Its name.
    pub topic_name: String,
    /// What holds.
    pub policy: QueuePolicy,
    /// Counts the policies, from 1 on.
    pub version: u64,
    /// When the first was written.
    pub created_at: String,
    /// When this one was.
    pub updated_at: String,
}

/// What holds for a topic's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueuePolicy {
    /// Kept and told.
    pub priority_tiers: Vec<i64>,
    /// How many claims of a task may fail at most.
    pub max_attempts: u32,
    /// Kept and told.
    pub dead_letter_topic_ref: String,
    /// How long tasks are kept after their end; 0: as the node's settings say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retention_seconds: u32,
    /// How many tasks may be in progress at a time; 0: any number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_consumers: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A page of `GET /v1/queue/topics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueTopics {
    /// The topics, by name.
    pub topics: Vec<QueueTopic>,
    /// The parameter `after` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An event of `GET /v1/queue/events`: what happened to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEvent {
    /// What.
    #[serde(rename = "type")]
    pub change: QueueChange,
    /// To which task.
    pub id: String,
    /// Of which queue: its command in lower case.
    pub command: String,
    /// Whether a task that was created is delayed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delayed: bool,
}

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueChange {
    /// It was created.
    Created,
    /// It can be claimed again, or now.
    Ready,
    /// It waits for its time: after a failed try, or as it was moved.
    Delayed,
    /// A worker has it.
    Claimed,
    /// Its lease ended by time; what becomes of it follows.
    Expired,
    /// A worker did it.
    Completed,
    /// A worker found that it cannot be done.
    Failed,
    /// It is a dead letter.
    Dead,
    /// It was cancelled.
    Cancelled,
    /// It is there no longer.
    Removed,
}

impl QueueChange {
    /// As JSON spells it.
    pub fn name(self) -> &'static str {
        match self {
            QueueChange::Created => "created",
            QueueChange::Ready => "ready",
            QueueChange::Delayed => "delayed",
            QueueChange::Claimed => "claimed",
            QueueChange::Expired => "expired",
            QueueChange::Completed => "completed",
            QueueChange::Failed => "failed",
            QueueChange::Dead => "dead",
            QueueChange::Cancelled => "cancelled",
            QueueChange::Removed => "removed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_name_everywhere() {
        for state in QueueState::ALL {
            let json = serde_json::to_string(&state).unwrap();
            assert_eq!(json, format!("\"{state}\""));
            assert_eq!(state.name().parse(), Ok(state));
        }
        assert!("in progress".parse::<QueueState>().is_err());
    }

    #[test]
    fn a_change_is_named_as_in_json() {
        for change in [QueueChange::Created, QueueChange::Expired, QueueChange::Removed] {
            assert_eq!(serde_json::to_string(&change).unwrap(), format!("\"{}\"", change.name()));
        }
    }

    #[test]
    fn a_payload_of_null_is_a_payload() {
        let task = |more: &str| {
            let text = format!(
                r#"{{"id":"a","command":"A","state":"ready",{more}"priority":0,"attempts":0,"maxAttempts":5,"createdAt":"x","updatedAt":"x"}}"#
            );
            serde_json::to_string(&serde_json::from_str::<QueueTask>(&text).unwrap()).unwrap() == text
        };
        assert!(task(r#""payload":null,"#) && task(r#""payload":{"b":1, "a":2.50},"#) && task(""));
    }
}
