//! The cluster record: who belongs to this cluster, replicated on shard 0 from the first entry.
//!
//! The record is the intent. The leader of shard 0 drives raft's memberships toward it and marks it settled.
//!
//! Tables. Every row begins with its format, 01. Numbers are 8 bytes, most significant first.
//!
//! ```text
//! cluster.record   "1"        01 record in postcard (fields in the order of `Record`)
//! cluster.removed  id         01 index         the entry that removed the member
//! ```
//!
//! Invariants:
//! * Every change raises `generation` by one, and is planned from the generation before it; settling is no change.
//! * A change begins only when the one before is settled.
//! * An id that was removed is never a member again.
//! * Every voter is a member, and there is at least one. Who is joining is a member without a vote.
//!
//! Not here: what makes a record true (`shards/membership.rs` of schedia-node), who may ask (its doors).

mod change;
mod command;
mod record;

pub use command::{Command, Event, Query, Refusal, Reply};
pub use record::{Member, Record};

use crate::keys::take_u64;
use crate::tables::{Digester, Table, Tables};
use crate::{App, At, NodeId, Stop};
use bytes::{BufMut, BytesMut};

/// The most shards of a cluster.
pub const SHARDS_MAX: u32 = 16;
/// The most members of a cluster: far more than the voters a quorum should have, plus learners.
pub const MEMBERS_MAX: usize = 64;

const RECORD: Table = Table("cluster.record");
const REMOVED: Table = Table("cluster.removed");

/// Every table of the cluster record.
pub(crate) const TABLES: [Table; 2] = [RECORD, REMOVED];

const ONLY: &[u8] = b"1";
const FORMAT: u8 = 1;

/// The cluster record of shard 0. Other shards have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    record: Option<Record>,
}

impl Cluster {
    /// The record; `None` before the cluster was initialized.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }
}

impl App for Cluster {
    type Command = Command;
    type Query = Query;
    type Reply = Reply;
    type Event = Event;

    fn open(tables: &dyn Tables) -> Result<Cluster, Stop> {
        let parse = |row: &[u8]| postcard::from_bytes(row.strip_prefix(&[FORMAT])?).ok();
        let record = match tables.get(RECORD, ONLY)? {
            Some(row) => Some(parse(&row).ok_or_else(|| broken(RECORD, ONLY))?),
            None => None,
        };
        Ok(Cluster { record })
    }

    fn apply(
        &mut self,
        at: At,
        command: Command,
        tables: &mut dyn Tables,
    ) -> Result<(Reply, Vec<Event>), Stop> {
        let store_id = match &command {
            Command::Join { store_id, .. } => Some(store_id.clone()),
            _ => None,
        };
        let mut events = Vec::new();
        if let Some(record) = self.changed(at, command, tables)? {
            let row = postcard::to_extend(&record, vec![FORMAT]);
            let row =
                row.map_err(|error| Stop::Broken(format!("the cluster record cannot be written: {error}")))?;
            tables.put(RECORD, ONLY, row.into());
            events.push(Event(record.clone()));
            self.record = Some(record);
        }
        let record = self.record.as_ref().ok_or(Refusal::NotInitialized)?;
        let Record { generation, settled, .. } = *record;
        let reply =
            match record.members.values().find(|member| store_id.is_some() && member.store_id == store_id) {
                Some(member) => Reply::Joined { id: member.id, generation },
                None => Reply::Changed { generation, settled },
            };
        Ok((reply, events))
    }

    fn query(&self, _at: At, query: Query, tables: &dyn Tables) -> Result<Reply, Stop> {
        match query {
            Query::Record => Ok(Reply::Record(self.record.clone())),
            Query::Removed(id) => Ok(Reply::Removed(removed(tables, id)?)),
        }
    }
}

fn broken(table: Table, key: &[u8]) -> Stop {
    Stop::Broken(format!("unreadable row of {}: {}", table.0, key.escape_ascii()))
}

/// The index of the entry that removed a member.
fn removed(tables: &dyn Tables, id: NodeId) -> Result<Option<u64>, Stop> {
    let key = id.0.to_be_bytes();
    let Some(row) = tables.get(REMOVED, &key)? else { return Ok(None) };
    match row.strip_prefix(&[FORMAT]).and_then(take_u64) {
        Some((index, [])) => Ok(Some(index)),
        _ => Err(broken(REMOVED, &key)),
    }
}

fn put_removed(tables: &mut dyn Tables, id: NodeId, index: u64) {
    let mut row = BytesMut::with_capacity(9);
    row.put_u8(FORMAT);
    row.put_u64(index);
    tables.put(REMOVED, &id.0.to_be_bytes(), row.freeze());
}

/// Adds the logical state: every row.
pub(crate) fn digest(tables: &dyn Tables, digester: &mut Digester) -> Result<(), Stop> {
    TABLES.into_iter().try_for_each(|table| digester.table(tables, table))
}
