//! All applications of one shard, behind one set of enums that only delegate.

use crate::cluster::{self, Cluster};
use crate::kv::{self, Kv};
use crate::once::{self, Begun, Once, Outcome, Write};
use crate::queue::{self, Queues};
use crate::tables::{Delta, Digest, Digester, Table, Tables};
use crate::{App, At, Level, Stop};
use serde::{Deserialize, Serialize};

/// Every table of every application: what a state file holds.
pub const TABLES: [Table; 22] = {
    let ([a, b], [c, d, e, f, g, h], [i, j]) = (cluster::TABLES, kv::TABLES, once::TABLES);
    let [k, l, m, n, o, p, q, r, s, t, u, v] = queue::TABLES;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v]
};

/// The applications of one shard. All shards have all of them; the cluster record is used on shard 0 only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applications {
    cluster: Cluster,
    kv: Kv,
    once: Once,
    queues: Queues,
}

impl Applications {
    /// The cluster record, as last applied.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The key/value store, as last applied.
    pub fn kv(&self) -> &Kv {
        &self.kv
    }

    /// A fingerprint of the logical state: equal on members that applied the same log. Reads every row.
    pub fn digest(tables: &dyn Tables) -> Result<Digest, Stop> {
        let mut digester = Digester::default();
        cluster::digest(tables, &mut digester)?;
        kv::digest(tables, &mut digester)?;
        once::digest(tables, &mut digester)?;
        queue::digest(tables, &mut digester)?;
        Ok(digester.finish())
    }

    /// A write that may be sent again: done if it is the first of its key.
    fn once(
        &mut self,
        at: At,
        command: once::Command,
        tables: &mut dyn Tables,
    ) -> Result<(once::Reply, Vec<Event>), Stop> {
        let pending = match self.once.begin(at, &command, &*tables)? {
            Begun::Before(reply) => return Ok((reply, Vec::new())),
            Begun::First(pending) => pending,
        };
        // What the application refuses has changed nothing, though the refusal itself is kept.
        let mut delta = Delta::new(&*tables);
        let done = match command.write {
            Write::Kv(command) => self.kv.apply(at, command, &mut delta),
        };
        let (outcome, events) = match done {
            Ok((reply, events)) => {
                delta.into_changes().merge_into(tables);
                (Outcome::Kv(reply), events.into_iter().map(Event::Kv).collect())
            }
            Err(Stop::Refused(refusal)) if refusal.is_of_the_state() => {
                (Outcome::Refused(refusal), Vec::new())
            }
            Err(stop) => return Err(stop),
        };
        self.once.keep(at, pending, &outcome, tables);
        Ok((once::Reply { replayed: false, outcome }, events))
    }
}

/// Removes rows that nothing depends on any more from durable `tables`: writes and deletes at most `rows_max` (or a few, if
/// that is less than ten), and answers whether there is more to do. For one member alone, outside apply.
pub fn sweep(tables: &mut dyn Tables, rows_max: usize) -> Result<bool, Stop> {
    let Some(kv::Removal { rows, progress, more }) = kv::removable(&*tables, rows_max.saturating_sub(1) / 4)?
    else {
        return Ok(false);
    };
    for (table, key) in rows {
        tables.delete(table, &key);
    }
    let (table, key, value) = progress;
    tables.put(table, key, value);
    Ok(more)
}

/// Each command writes into a [`Delta`] of its own, which is merged only if the command succeeds.
impl App for Applications {
    type Command = Command;
    type Query = Query;
    type Reply = Reply;
    type Event = Event;

    fn open(tables: &dyn Tables) -> Result<Applications, Stop> {
        Ok(Applications {
            cluster: Cluster::open(tables)?,
            kv: Kv::open(tables)?,
            once: Once::open(tables)?,
            queues: Queues::open(tables)?,
        })
    }

    fn apply(
        &mut self,
        at: At,
        command: Command,
        tables: &mut dyn Tables,
    ) -> Result<(Reply, Vec<Event>), Stop> {
        let mut delta = Delta::new(&*tables);
        let (reply, events) = match command {
            Command::Cluster(command) => {
                let (reply, events) = self.cluster.apply(at, command, &mut delta)?;
                (Reply::Cluster(reply), events.into_iter().map(Event::Cluster).collect())
            }
            Command::Kv(command) => {
                let (reply, events) = self.kv.apply(at, command, &mut delta)?;
                (Reply::Kv(reply), events.into_iter().map(Event::Kv).collect())
            }
            Command::Once(command) => {
                let (reply, events) = self.once(at, command, &mut delta)?;
                (Reply::Once(reply), events)
            }
            Command::Queue(command) => {
                let (reply, events) = self.queues.apply(at, command, &mut delta)?;
                (Reply::Queue(reply), events.into_iter().map(Event::Queue).collect())
            }
        };
        self.once.remove_old(at, &mut delta)?;
        delta.into_changes().merge_into(tables);
        Ok((reply, events))
    }

    fn query(&self, at: At, query: Query, tables: &dyn Tables) -> Result<Reply, Stop> {
        match query {
            Query::Cluster(query) => self.cluster.query(at, query, tables).map(Reply::Cluster),
            Query::Kv(query) => self.kv.query(at, query, tables).map(Reply::Kv),
            Query::Queue(query) => self.queues.query(at, query, tables).map(Reply::Queue),
        }
    }
}

/// A replicated write of any application. Stands in logs: variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// For the cluster record.
    Cluster(cluster::Command),
    /// For the key/value store.
    Kv(kv::Command),
    /// For any of them, once however often it is sent.
    Once(once::Command),
    /// For the queues.
    Queue(queue::Command),
}

/// A read of any application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Of the cluster record.
    Cluster(cluster::Query),
    /// Of the key/value store.
    Kv(kv::Query),
    /// Of the queues.
    Queue(queue::Query),
}

/// What any application answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// From the cluster record.
    Cluster(cluster::Reply),
    /// From the key/value store.
    Kv(kv::Reply),
    /// To a write that may be sent again.
    Once(once::Reply),
    /// From the queues.
    Queue(queue::Reply),
}

/// What a command of any application made happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// In the cluster record.
    Cluster(cluster::Event),
    /// In the key/value store.
    Kv(kv::Event),
    /// In the queues.
    Queue(queue::Event),
}

/// Bytes that are no command of their level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no command of level {level}: {reason}")]
pub struct InvalidCommand {
    /// The level the entry claims.
    pub level: Level,
    /// What is wrong.
    pub reason: String,
}

impl Command {
    /// The command as it stands in logs.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a command is plain data, which postcard always encodes")
    }

    /// The command that stands in a log entry of this level. Bytes left over are an error.
    pub fn decode(level: Level, bytes: &[u8]) -> Result<Command, InvalidCommand> {
        let invalid = |reason: String| InvalidCommand { level, reason };
        if !(Level::MIN..=Level::MAX).contains(&level) {
            return Err(invalid(format!("this release knows levels {} to {}", Level::MIN, Level::MAX)));
        }
        match postcard::take_from_bytes(bytes) {
            Ok((command, [])) => Ok(command),
            Ok((_, rest)) => Err(invalid(format!("{} bytes behind its end", rest.len()))),
            Err(error) => Err(invalid(error.to_string())),
        }
    }
}
