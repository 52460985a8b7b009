//! The changes of one command: its tables, the queues it has read, its hints and events.
//!
//! Invariant: a task has exactly one row in `queue.places`, at most one in `queue.due`, and is counted once by its queue:
//! only [`Work::add`], [`Work::shift`] and [`Work::remove`] write them.

use super::hints::{Hints, Overlay, Walk};
use super::position::{Kind, Position};
use super::rows::{self, HookRow, Meta, QueueRow, TaskRow};
use super::{Change, Counts, Event, Place, QUEUES_MAX, QueueName, Refusal, TaskId, Totals};
use crate::tables::{RowKey, Tables};
use crate::{At, Stop};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one command does, until it has succeeded.
pub(super) struct Work<'a> {
    pub at: At,
    pub tables: &'a mut dyn Tables,
    pub meta: Meta,
    pub hints: Overlay<'a>,
    before: Meta,
    /// By number; written at the end, once each.
    queues: BTreeMap<u32, Loaded>,
    events: Vec<Event>,
}

struct Loaded {
    name: Arc<QueueName>,
    row: QueueRow,
    changed: bool,
}

/// What a command that succeeded leaves in memory, and what others are told.
pub(super) struct Done {
    pub meta: Meta,
    pub hints: BTreeMap<Walk, u64>,
    pub events: Vec<Event>,
}

impl<'a> Work<'a> {
    pub(super) fn new(at: At, meta: Meta, hints: &'a Hints, tables: &'a mut dyn Tables) -> Work<'a> {
        let hints = Overlay::new(hints);
        Work { at, tables, meta, hints, before: meta, queues: BTreeMap::new(), events: Vec::new() }
    }

    /// Writes what was counted.
    pub(super) fn finish(self) -> Done {
        let Work { at: _, tables, mut meta, hints, before, queues, events } = self;
        for Loaded { name, row, .. } in queues.values().filter(|loaded| loaded.changed) {
            if row.is_unused() {
                rows::delete_queue(tables, name, row.number);
                meta.queues = meta.queues.saturating_sub(1);
                meta.next = meta.next.max(row.next);
            } else {
                rows::put_queue(tables, name, row);
            }
        }
        if meta != before {
            rows::put_meta(tables, meta);
        }
        Done { meta, hints: hints.into_changed(), events }
    }

    /// The number of a queue, if something is left of it.
    pub(super) fn find(&mut self, tenant: &str, command: &str) -> Result<Option<u32>, Stop> {
        let name = QueueName::of(tenant, command);
        if let Some((number, _)) = self.queues.iter().find(|(_, loaded)| *loaded.name == name) {
            return Ok(Some(*number));
        }
        let Some(row) = rows::queue(&*self.tables, &name)? else { return Ok(None) };
        let number = row.number;
        self.queues.insert(number, Loaded { name: Arc::new(name), row, changed: false });
        Ok(Some(number))
    }

    /// The number of a queue, which is made if there is room for another one.
    pub(super) fn find_or_make(&mut self, tenant: &str, command: &str) -> Result<u32, Stop> {
        if let Some(number) = self.find(tenant, command)? {
            return Ok(number);
        }
        let number = self.meta.next_queue;
        let next = number.checked_add(1).filter(|_| self.meta.queues < QUEUES_MAX);
        let full = || Refusal::Full { what: "queue".to_owned(), count_max: QUEUES_MAX.into() };
        self.meta.next_queue = next.ok_or_else(full)?;
        self.meta.queues += 1;
        let name = Arc::new(QueueName::of(tenant, command));
        rows::put(self.tables, rows::NAMES, &number.to_be_bytes(), &*name);
        let (counts, totals) = (Counts::default(), Totals::default());
        let row = QueueRow { number, paused: false, next: self.meta.next.max(1), counts, totals };
        self.queues.insert(number, Loaded { name, row, changed: true });
        Ok(number)
    }

    fn loaded(&mut self, number: u32) -> Result<&mut Loaded, Stop> {
        if !self.queues.contains_key(&number) {
            let name = rows::name(&*self.tables, number)?;
            let key = rows::name_key(&name.tenant, &name.command);
            let row = rows::expect(&*self.tables, rows::QUEUES, &key)?;
            self.queues.insert(number, Loaded { name: Arc::new(name), row, changed: false });
        }
        self.queues.get_mut(&number).ok_or_else(|| rows::missing(rows::NAMES, &number.to_be_bytes()))
    }

    pub(super) fn queue(&mut self, number: u32) -> Result<&QueueRow, Stop> {
        self.loaded(number).map(|loaded| &loaded.row)
    }

    pub(super) fn name(&mut self, number: u32) -> Result<Arc<QueueName>, Stop> {
        self.loaded(number).map(|loaded| Arc::clone(&loaded.name))
    }

    /// A queue to be changed.
    pub(super) fn change(&mut self, number: u32) -> Result<&mut QueueRow, Stop> {
        let loaded = self.loaded(number)?;
        loaded.changed = true;
        Ok(&mut loaded.row)
    }

    /// A number that the queue never gave before.
    pub(super) fn number(&mut self, queue: u32) -> Result<u64, Stop> {
        let row = self.change(queue)?;
        let number = row.next;
        row.next = number.checked_add(1).ok_or_else(|| miscounted(queue))?;
        Ok(number)
    }

    fn count(&mut self, task: &TaskRow, up: bool) -> Result<(), Stop> {
        let count = self.change(task.queue)?.counts.of(task.position.place(), task.priority);
        let counted = count.and_then(|count| {
            *count = if up { count.checked_add(1) } else { count.checked_sub(1) }?;
            Some(())
        });
        counted.ok_or_else(|| miscounted(task.queue))
    }

    /// A task, if it is there and the tenant's.
    pub(super) fn task(&mut self, tenant: &str, id: TaskId) -> Result<TaskRow, Stop> {
        let task = rows::task(&*self.tables, id)?.ok_or(Refusal::UnknownTask)?;
        if self.name(task.queue)?.tenant != tenant {
            return Err(Refusal::UnknownTask.into());
        }
        Ok(task)
    }

    /// Puts a new task where it says.
    pub(super) fn add(&mut self, id: TaskId, task: &TaskRow) -> Result<(), Stop> {
        self.put_place(id, task)?;
        rows::put(self.tables, rows::TASKS, &id.0, task);
        Ok(())
    }

    /// Moves a task, and writes whatever else was changed of it.
    pub(super) fn shift(&mut self, id: TaskId, task: &mut TaskRow, to: Position) -> Result<(), Stop> {
        self.take_place(id, task)?;
        self.unhook(id, task);
        task.position = to;
        task.updated_ms = self.at.time_ms;
        if let (Position::Ended { number: end, .. }, true) = (&task.position, task.webhook) {
            let hook = HookRow { end: *end, tries: 0, url: rows::webhook(&*self.tables, id)? };
            self.hook(id, task, hook, self.at.time_ms);
        }
        self.add(id, task)
    }

    /// Removes a task and all that is kept of it but its idempotency key.
    pub(super) fn remove(&mut self, id: TaskId, mut task: TaskRow) -> Result<(), Stop> {
        self.take_place(id, &task)?;
        self.unhook(id, &mut task);
        for table in [rows::TASKS, rows::BODIES, rows::RESULTS] {
            self.tables.delete(table, &id.0);
        }
        self.tell(id, task.queue, Change::Removed)
    }

    fn put_place(&mut self, id: TaskId, task: &TaskRow) -> Result<(), Stop> {
        self.count(task, true)?;
        let key = task.position.place_key(task.queue, task.priority, id);
        rows::put_empty(self.tables, rows::PLACES, &key);
        if let Position::Ready { number } = task.position {
            self.hints.lower(Walk::Ready(task.queue, task.priority), number);
        }
        if let Some((kind, due_ms, key)) = task.position.due(task.retention_ms, id) {
            self.put_due(kind, due_ms, &key);
        }
        Ok(())
    }

    fn take_place(&mut self, id: TaskId, task: &TaskRow) -> Result<(), Stop> {
        self.count(task, false)?;
        let key = task.position.place_key(task.queue, task.priority, id);
        self.tables.delete(rows::PLACES, &key);
        if let Some((_, _, key)) = task.position.due(task.retention_ms, id) {
            self.tables.delete(rows::DUE, &key);
        }
        Ok(())
    }

    pub(super) fn put_due(&mut self, kind: Kind, due_ms: u64, key: &RowKey) {
        rows::put_empty(self.tables, rows::DUE, key);
        self.hints.lower(Walk::Due(kind as u8), due_ms);
    }

    /// A webhook is to be called. Writes no row of the task.
    pub(super) fn hook(&mut self, id: TaskId, task: &mut TaskRow, hook: HookRow, due_ms: u64) {
        rows::put(self.tables, rows::HOOKS, &rows::hook_key(due_ms, id), &hook);
        self.hints.lower(Walk::Hooks, due_ms);
        task.hook_ms = Some(due_ms);
    }

    /// It is not to be called any more. Writes no row of the task.
    pub(super) fn unhook(&mut self, id: TaskId, task: &mut TaskRow) {
        if let Some(due_ms) = task.hook_ms.take() {
            self.tables.delete(rows::HOOKS, &rows::hook_key(due_ms, id));
        }
    }

    pub(super) fn tell(&mut self, task: TaskId, queue: u32, change: Change) -> Result<(), Stop> {
        let queue = self.name(queue)?;
        self.events.push(Event { queue, task, change });
        Ok(())
    }
}

fn miscounted(queue: u32) -> Stop {
    Stop::Broken(format!("a count of {} that cannot be: {queue}", rows::QUEUES.0))
}

impl QueueName {
    /// Of a tenant, and a command however it is spelled.
    pub fn of(tenant: &str, command: &str) -> QueueName {
        QueueName { tenant: tenant.to_owned(), command: super::lower(command) }
    }
}

impl Counts {
    /// The count of a place.
    fn of(&mut self, place: Place, priority: u8) -> Option<&mut u64> {
        Some(match place {
            Place::Ready => self.ready.get_mut(usize::from(priority))?,
            Place::Delayed => &mut self.delayed,
            Place::InProgress => &mut self.in_progress,
            Place::Dead => &mut self.dead,
            Place::Completed => &mut self.completed,
            Place::Failed => &mut self.failed,
            Place::Cancelled => &mut self.cancelled,
        })
    }
}
