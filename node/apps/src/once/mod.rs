//! Writes that may be sent again: what each came to is kept under the key that its sender chose, and given again.
//!
//! A client that lost an answer sends the same request with the same key. If the first one was applied, the second does
//! nothing and has its answer; if not, the second is the first. Which of two that are under way comes first is decided
//! here, by their order in the log.
//!
//! Tables. Every row begins with its format, 01. Numbers are 8 bytes, most significant first; `text` as `keys.rs` writes it.
//!
//! ```text
//! once.replies  text(principal) application key   01 number time fingerprint outcome
//!               application: 1 byte, 01 = kv; time: log time of the command; fingerprint: 32 bytes; outcome in postcard
//! once.order    number                            01 time reply
//!               the key of a row of once.replies. Numbers have no gap: they count the replies that are kept
//! ```
//!
//! Invariants:
//! * Under one key one request takes effect at most once while its reply is kept, and all copies are answered alike.
//! * A refusal by the state is kept like a success: a copy that comes late must not do what its sender was told is not done.
//!   A request that no state would take is not kept: its copies get the same words by themselves.
//! * Nothing here takes a revision of the store.
//! * No answer depends on a reply that is older than [`KEEP_MS`], removed or not. At most [`REPLIES_MAX`] are kept; the oldest
//!   go first, a few with each command: never a loop over all of them.
//!
//! Not here: what a write does (its application), who sends it and what its fingerprint is of (doors).

mod command;
mod rows;

pub use command::{Command, Fingerprint, Outcome, Reply, Unrepeatable, Write};

use crate::tables::{Digester, RowKey, Table, Tables};
use crate::{At, Refusal, Stop};
use rows::Kept;

/// The longest key of a request.
pub const KEY_BYTES_MAX: usize = 255;
/// The longest reply that is kept whole.
pub const REPLY_BYTES_MAX: usize = 4_096;
/// How long a reply is kept, in log time.
pub const KEEP_MS: u64 = 86_400_000;
/// The most replies of one shard.
pub const REPLIES_MAX: u64 = 1_000_000;

/// The most replies that one command removes. A command adds one at most: so removing catches up.
const REMOVED_PER_COMMAND: usize = 2;

/// Every table of the replies.
pub(crate) const TABLES: [Table; 2] = [rows::REPLIES, rows::ORDER];

/// The replies that are kept: their numbers; all rows are in its tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Once {
    /// The number of the oldest.
    oldest: u64,
    /// That of the next to come. Both are 0 when there is none.
    next: u64,
    /// When the oldest was given.
    oldest_ms: u64,
}

/// A write whose reply is to be kept, or one that was answered before.
pub(crate) enum Begun {
    /// It is the first of its key.
    First(Pending),
    /// An earlier one came to this.
    Before(Reply),
}

/// A place for the reply to come.
pub(crate) struct Pending {
    key: RowKey,
    fingerprint: Fingerprint,
}

impl Once {
    pub(crate) fn open(tables: &dyn Tables) -> Result<Once, Stop> {
        match (rows::end(tables, false)?, rows::end(tables, true)?) {
            (Some((oldest, place)), Some((newest, _))) => {
                Ok(Once { oldest, next: newest + 1, oldest_ms: place.time_ms })
            }
            _ => Ok(Once::default()),
        }
    }

    /// Whether a command under this key was answered before.
    pub(crate) fn begin(&self, at: At, command: &Command, tables: &dyn Tables) -> Result<Begun, Stop> {
        let Command { principal, key, fingerprint, write } = command;
        let key = rows::reply_key(principal, write.application(), key);
        match rows::reply(tables, &key)? {
            Some(kept) if kept.time_ms.saturating_add(KEEP_MS) > at.time_ms => {
                if kept.fingerprint != *fingerprint {
                    return Err(Refusal::from(Unrepeatable::KeyReused).into());
                }
                Ok(Begun::Before(Reply { replayed: true, outcome: kept.outcome }))
            }
            _ => Ok(Begun::First(Pending { key, fingerprint: *fingerprint })),
        }
    }

    /// Keeps what the write came to.
    pub(crate) fn keep(&mut self, at: At, pending: Pending, outcome: &Outcome, tables: &mut dyn Tables) {
        let Pending { key, fingerprint } = pending;
        let mut encoded = rows::encoded(outcome);
        if encoded.len() > REPLY_BYTES_MAX
            && let Some(short) = outcome.shortened()
        {
            encoded = rows::encoded(&short);
        }
        rows::put_reply(tables, &key, (self.next, at.time_ms), fingerprint, &encoded);
        if self.next == self.oldest {
            self.oldest_ms = at.time_ms;
        }
        self.next += 1;
    }

    /// Removes what is too old or too many: a few, with every command of any application.
    pub(crate) fn remove_old(&mut self, at: At, tables: &mut dyn Tables) -> Result<(), Stop> {
        self.remove_beyond(REPLIES_MAX, at, tables)
    }

    fn remove_beyond(&mut self, replies_max: u64, at: At, tables: &mut dyn Tables) -> Result<(), Stop> {
        for _ in 0..REMOVED_PER_COMMAND {
            let count = self.next - self.oldest;
            let old = self.oldest_ms.saturating_add(KEEP_MS) <= at.time_ms;
            if count == 0 || !old && count <= replies_max {
                break;
            }
            self.remove_oldest(tables)?;
        }
        Ok(())
    }

    fn remove_oldest(&mut self, tables: &mut dyn Tables) -> Result<(), Stop> {
        let gap = |number| Stop::Broken(format!("a gap in {}: {number}", rows::ORDER.0));
        let place = rows::place(&*tables, self.oldest)?.ok_or_else(|| gap(self.oldest))?;
        // A key that was used again after its time has a newer reply.
        if matches!(rows::reply(&*tables, &place.reply)?, Some(Kept { number, .. }) if number == self.oldest)
        {
            tables.delete(rows::REPLIES, &place.reply);
        }
        rows::delete_place(tables, self.oldest);
        self.oldest += 1;
        if self.oldest == self.next {
            *self = Once::default();
            return Ok(());
        }
        self.oldest_ms = rows::place(&*tables, self.oldest)?.ok_or_else(|| gap(self.oldest))?.time_ms;
        Ok(())
    }
}

/// Adds the logical state: every row.
pub(crate) fn digest(tables: &dyn Tables, digester: &mut Digester) -> Result<(), Stop> {
    TABLES.into_iter().try_for_each(|table| digester.table(tables, table))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
