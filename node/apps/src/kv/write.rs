//! Puts and deletes.

use super::history::{self, Past};
use super::rows::{self, Ended, Live, Stamp, State};
use super::{
    Change, Delete, Event, KEY_BYTES_MAX, KeyValue, Kv, Put, Refusal, Reply, Revision, VALUE_BYTES_MAX,
};
use crate::tables::Tables;
use crate::{At, Stop};
use bytes::Bytes;

impl Kv {
    pub(super) fn put(
        &mut self,
        at: At,
        put: Put,
        tables: &mut dyn Tables,
    ) -> Result<(Reply, Vec<Event>), Stop> {
        let Put { key, value, if_mod_revision } = put;
        check_key(&key)?;
        check_value(&value)?;
        let previous = rows::live(tables, &key)?;
        check_precondition(if_mod_revision, previous.as_ref())?;
        let mut writer = Writer::new(self.state, tables);
        let stamp = writer.put(key, value, previous);
        let (state, events) = writer.finish(at);
        self.state = state;
        let Stamp { create, version, lease: _ } = stamp;
        Ok((Reply::Put { revision: state.revision, create_revision: create, version }, events))
    }

    pub(super) fn delete(
        &mut self,
        at: At,
        delete: &Delete,
        tables: &mut dyn Tables,
    ) -> Result<(Reply, Vec<Event>), Stop> {
        let Delete { key, if_mod_revision } = delete;
        check_key(key)?;
        let previous = rows::live(tables, key)?;
        check_precondition(*if_mod_revision, previous.as_ref())?;
        let previous = previous.ok_or(Refusal::KeyNotFound)?;
        let mut writer = Writer::new(self.state, tables);
        writer.delete(key.clone(), &previous);
        let (state, events) = writer.finish(at);
        self.state = state;
        Ok((Reply::Deleted { revision: state.revision }, events))
    }
}

pub(super) fn check_key(key: &[u8]) -> Result<(), Stop> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) {
        Ok(())
    } else {
        Err(Refusal::KeyLength { bytes: key.len() as u64 }.into())
    }
}

pub(super) fn check_value(value: &[u8]) -> Result<(), Stop> {
    if value.len() <= VALUE_BYTES_MAX {
        Ok(())
    } else {
        Err(Refusal::ValueTooLarge { bytes: value.len() as u64 }.into())
    }
}

fn check_precondition(expected: Option<u64>, previous: Option<&Live>) -> Result<(), Stop> {
    let current = previous.map_or(0, |live| live.revision.main);
    match expected {
        Some(expected) if expected != current => Err(Refusal::ModRevisionDiffers { current }.into()),
        _ => Ok(()),
    }
}

/// Makes the changes of one command: all at its revision, counted by `sub` in their order.
///
/// A command changes a key at most once. One that refuses after its first change drops the writer: the tables under it are
/// a delta that is dropped with it.
pub(super) struct Writer<'a> {
    state: State,
    next: Revision,
    tables: &'a mut dyn Tables,
    events: Vec<Event>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(state: State, tables: &'a mut dyn Tables) -> Writer<'a> {
        Writer { state, next: Revision::first(state.revision + 1), tables, events: Vec::new() }
    }

    /// The tables with the changes so far.
    pub(super) fn tables(&self) -> &dyn Tables {
        &*self.tables
    }

    /// The state with the changes so far: their revision is that of the whole command.
    pub(super) fn state(&self) -> State {
        let revision = if self.events.is_empty() { self.state.revision } else { self.next.main };
        State { revision, ..self.state }
    }

    pub(super) fn put(&mut self, key: Bytes, value: Bytes, previous: Option<Live>) -> Stamp {
        let revision = self.take_revision();
        let (create, version) = match &previous {
            Some(live) => (live.stamp.create, live.stamp.version + 1),
            None => (revision.main, 1),
        };
        let stamp = Stamp { create, version, lease: 0 };
        let (older, marks) = previous.map(|live| live.next()).unzip();
        let live = Live { revision, stamp, marks: marks.unwrap_or_default() };
        rows::put_live(self.tables, &key, &live);
        let past = Past { key: key.clone(), older, put: Some((stamp, value.clone())) };
        history::append(self.tables, revision, &past);
        let change = Change::Put(key_value(key, value, revision, stamp));
        self.events.push(Event { revision, change, previous: older.map(|older| older.previous) });
        stamp
    }

    pub(super) fn delete(&mut self, key: Bytes, previous: &Live) {
        let revision = self.take_revision();
        self.tables.delete(rows::LIVE, &key);
        let (older, _) = previous.next();
        let past = Past { key: key.clone(), older: Some(older), put: None };
        history::append(self.tables, revision, &past);
        let ended = Ended { key: key.clone(), revision, create: previous.stamp.create };
        rows::put_ended(self.tables, &ended);
        self.events.push(Event {
            revision,
            change: Change::Delete { key },
            previous: Some(previous.revision),
        });
    }

    /// The state after the command, and what watchers see of it. Without a change the revision stays.
    pub(super) fn finish(self, at: At) -> (State, Vec<Event>) {
        let Writer { mut state, next, tables, events } = self;
        if !events.is_empty() {
            state.revision = next.main;
            let minute = at.time_ms / 60_000;
            if state.minute.is_none_or(|newest| newest < minute) {
                state.minute = Some(minute);
                rows::put_minute(tables, minute, next.main);
            }
            rows::put_state(tables, state);
        }
        (state, events)
    }

    fn take_revision(&mut self) -> Revision {
        let taken = self.next;
        self.next.sub += 1;
        taken
    }
}

pub(super) fn key_value(key: Bytes, value: Bytes, revision: Revision, stamp: Stamp) -> KeyValue {
    let Stamp { create, version, lease } = stamp;
    KeyValue { key, value, create_revision: create, mod_revision: revision.main, version, lease }
}
