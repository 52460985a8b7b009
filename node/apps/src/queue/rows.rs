//! The tables drawn in the head of [`super`]: rows to bytes and back. Fields of rows are never changed: another row takes
//! another format.

use super::position::Position;
use super::{Artifact, Counts, QueueName, Retry, Subscription, TaskId, Topic, Totals};
use crate::Stop;
use crate::keys::put_text;
use crate::tables::{RowKey, Table, Tables};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) const META: Table = Table("queue.meta");
pub(super) const QUEUES: Table = Table("queue.queues");
pub(super) const NAMES: Table = Table("queue.names");
pub(super) const TASKS: Table = Table("queue.tasks");
pub(super) const BODIES: Table = Table("queue.bodies");
pub(super) const RESULTS: Table = Table("queue.results");
pub(super) const PLACES: Table = Table("queue.places");
pub(super) const DUE: Table = Table("queue.due");
pub(super) const KEYS: Table = Table("queue.keys");
pub(super) const HOOKS: Table = Table("queue.hooks");
pub(super) const TOPICS: Table = Table("queue.topics");
pub(super) const SUBSCRIPTIONS: Table = Table("queue.subscriptions");

/// The key of the one row of [`META`].
const ONLY: &[u8] = b"1";

/// The first byte of every row.
const FORMAT: u8 = 1;

/// The row of [`META`]: what the queue keeps in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Queues there are.
    pub queues: u32,
    /// The number of the next one.
    pub next_queue: u32,
    /// What those begin to count at: above whatever was given by one that was forgotten.
    pub next: u64,
    /// Subscriptions there are.
    pub subscriptions: u32,
    /// No lease ends before.
    pub grace_until_ms: u64,
}

/// A row of [`QUEUES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QueueRow {
    pub number: u32,
    pub paused: bool,
    /// The next number of a place or a lease.
    pub next: u64,
    pub counts: Counts,
    pub totals: Totals,
}

/// A row of [`TASKS`]: what changes of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TaskRow {
    pub queue: u32,
    /// At most 9.
    pub priority: u8,
    pub position: Position,
    /// Claims that failed.
    pub failures: u32,
    pub max_attempts: u32,
    pub retry: Retry,
    pub retention_ms: u64,
    pub created_ms: u64,
    pub updated_ms: u64,
    /// Why it ended without success.
    pub error: Option<String>,
    pub webhook: bool,
    /// Where its row of [`HOOKS`] is.
    pub hook_ms: Option<u64>,
}

/// A row of [`BODIES`]: what never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Body {
    /// As spelled.
    pub command: String,
    pub payload: Bytes,
    pub webhook: Option<String>,
    pub trace_parent: Option<String>,
    pub trace_state: Option<String>,
    pub key: Option<String>,
}

/// A row of [`RESULTS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ResultRow {
    pub result: Option<Bytes>,
    pub artifacts: Vec<Artifact>,
}

/// A row of [`KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyRow {
    pub task: TaskId,
    pub expires_ms: u64,
}

/// A row of [`HOOKS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HookRow {
    /// The number of the task's end.
    pub end: u64,
    pub tries: u32,
    /// The task's webhook: who is busy is known without a look at the task.
    pub url: String,
}

pub(super) fn broken(table: Table, key: &[u8]) -> Stop {
    Stop::Broken(format!("unreadable row of {}: {}", table.0, key.escape_ascii()))
}

/// A row that another row says is there.
pub(super) fn missing(table: Table, key: &[u8]) -> Stop {
    Stop::Broken(format!("no row of {}: {}", table.0, key.escape_ascii()))
}

pub(super) fn parse<T: DeserializeOwned>(table: Table, key: &[u8], row: &[u8]) -> Result<T, Stop> {
    match row.strip_prefix(&[FORMAT]).map(postcard::take_from_bytes) {
        Some(Ok((row, []))) => Ok(row),
        _ => Err(broken(table, key)),
    }
}

pub(super) fn get<T: DeserializeOwned>(
    tables: &dyn Tables,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, Stop> {
    tables.get(table, key)?.map(|row| parse(table, key, &row)).transpose()
}

/// A row that another row says is there.
pub(super) fn expect<T: DeserializeOwned>(tables: &dyn Tables, table: Table, key: &[u8]) -> Result<T, Stop> {
    get(tables, table, key)?.ok_or_else(|| missing(table, key))
}

pub(super) fn put<T: Serialize>(tables: &mut dyn Tables, table: Table, key: &[u8], row: &T) {
    let row =
        postcard::to_extend(row, vec![FORMAT]).expect("a row is plain data, which postcard always encodes");
    tables.put(table, key, row.into());
}

/// Writes a row that says all in its key.
pub(super) fn put_empty(tables: &mut dyn Tables, table: Table, key: &[u8]) {
    tables.put(table, key, Bytes::from_static(&[FORMAT]));
}

pub(super) fn meta(tables: &dyn Tables) -> Result<Meta, Stop> {
    Ok(get(tables, META, ONLY)?.unwrap_or_default())
}

pub(super) fn put_meta(tables: &mut dyn Tables, meta: Meta) {
    put(tables, META, ONLY, &meta);
}

/// The key of a queue, and of a topic.
pub(super) fn name_key(tenant: &str, name: &str) -> RowKey {
    let mut key = RowKey::new();
    put_text(&mut key, tenant.as_bytes());
    put_text(&mut key, name.as_bytes());
    key
}

pub(super) fn queue(tables: &dyn Tables, name: &QueueName) -> Result<Option<QueueRow>, Stop> {
    get(tables, QUEUES, &name_key(&name.tenant, &name.command))
}

pub(super) fn put_queue(tables: &mut dyn Tables, name: &QueueName, row: &QueueRow) {
    put(tables, QUEUES, &name_key(&name.tenant, &name.command), row);
}

/// Nothing is left of it.
pub(super) fn delete_queue(tables: &mut dyn Tables, name: &QueueName, number: u32) {
    tables.delete(QUEUES, &name_key(&name.tenant, &name.command));
    tables.delete(NAMES, &number.to_be_bytes());
}

impl QueueRow {
    /// Whether it can be forgotten: it has no task, and claims need not know that it is paused.
    pub(super) fn is_unused(&self) -> bool {
        !self.paused && self.counts == Counts::default()
    }
}

pub(super) fn name(tables: &dyn Tables, number: u32) -> Result<QueueName, Stop> {
    expect(tables, NAMES, &number.to_be_bytes())
}

pub(super) fn task(tables: &dyn Tables, id: TaskId) -> Result<Option<TaskRow>, Stop> {
    let row: Option<TaskRow> = get(tables, TASKS, &id.0)?;
    match row {
        Some(row) if usize::from(row.priority) >= super::PRIORITIES => Err(broken(TASKS, &id.0)),
        row => Ok(row),
    }
}

/// A task that another row says is there.
pub(super) fn expect_task(tables: &dyn Tables, id: TaskId) -> Result<TaskRow, Stop> {
    task(tables, id)?.ok_or_else(|| missing(TASKS, &id.0))
}

/// Where the end of a task is told.
pub(super) fn webhook(tables: &dyn Tables, id: TaskId) -> Result<String, Stop> {
    let body: Body = expect(tables, BODIES, &id.0)?;
    body.webhook.ok_or_else(|| broken(BODIES, &id.0))
}

/// The id that ends a key.
pub(super) fn last_id(table: Table, key: &[u8]) -> Result<TaskId, Stop> {
    key.last_chunk().copied().map(TaskId).ok_or_else(|| broken(table, key))
}

pub(super) fn key_key(queue: u32, text: &str) -> RowKey {
    let mut key = RowKey::from_slice(&queue.to_be_bytes());
    key.extend_from_slice(text.as_bytes());
    key
}

pub(super) fn hook_key(due_ms: u64, id: TaskId) -> RowKey {
    let mut key = RowKey::from_slice(&due_ms.to_be_bytes());
    key.extend_from_slice(&id.0);
    key
}

pub(super) fn topic(tables: &dyn Tables, tenant: &str, name: &str) -> Result<Option<Topic>, Stop> {
    get(tables, TOPICS, &name_key(tenant, name))
}

pub(super) fn put_topic(tables: &mut dyn Tables, topic: &Topic) {
    put(tables, TOPICS, &name_key(&topic.tenant, &topic.name), topic);
}

pub(super) fn put_subscription(tables: &mut dyn Tables, subscription: &Subscription) {
    put(tables, SUBSCRIPTIONS, &subscription.id.0, subscription);
}
