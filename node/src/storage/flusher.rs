//! The thread that turns the overlay of one shard into checkpoints: each three seconds, or when there is enough of it.
//!
//! Invariants:
//! * No lock that apply or a query needs is held while the disk works.
//! * A checkpoint waits for the log: the entries it covers are flushed first.
//! * After an error nothing more is flushed, and everybody who waits is told.

use super::base::{self, Base, other};
use super::defragment::{Asked, Copier, Defragmented, STEP_PAUSE};
use super::overlay::Overlay;
use super::stack::{Stack, Trouble};
use super::state::{Checkpoint, Shared};
use bytes::Bytes;
use schedia_apps::Stop;
use schedia_apps::tables::{Range, Rows, Table, Tables};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Longest time that applied rows stay in memory only: what a restart applies again, in some tenths of a second at full load.
/// Less writes each page of the state more often: a checkpoint each second cost a tenth of the throughput, as measured.
const INTERVAL: Duration = Duration::from_secs(3);
/// Pause before the next checkpoint when only the sweep has more to do.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// Rows swept in one checkpoint: some tenths of a second of work, and more in a second than clients can make obsolete.
const SWEEP_ROWS: usize = 40_000;
/// How often a flush that waits for the log looks whether it should give up.
const LOG_PATIENCE: Duration = Duration::from_millis(100);

/// A running flusher. Dropped, it ends the thread without a last flush: as a crash would.
pub(super) struct Flusher {
    control: Arc<Control>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What became of the requests: the number of the last one done, and why no more will be.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) done: u64,
    ended: Option<String>,
}

struct Control {
    orders: Mutex<Orders>,
    changed: Condvar,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct Orders {
    wanted: u64,
    closed: bool,
    /// Who wants a fresh copy of the file.
    asked: Vec<Asked>,
}

impl Progress {
    /// An error once no request will be done any more.
    pub(super) fn check(&self) -> io::Result<()> {
        self.ended.as_ref().map_or(Ok(()), |reason| Err(io::Error::other(reason.clone())))
    }

    /// What is told to those who wait for a flusher that has gone.
    pub(super) fn closed() -> io::Error {
        io::Error::new(io::ErrorKind::BrokenPipe, "the state is closed")
    }
}

impl Flusher {
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Flusher> {
        let progress = watch::Sender::new(Progress::default());
        let control = Arc::new(Control { orders: Mutex::default(), changed: Condvar::new(), progress });
        let (name, orders, runs) = (format!("flusher-{}", shared.shard), control.clone(), shared.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || run(&runs, &orders))?;
        Ok(Flusher { control, shared, thread: Some(thread) })
    }

    /// Asks for a checkpoint of everything applied until now; returns its number.
    pub(super) fn request(&self) -> u64 {
        let mut orders = self.control.orders();
        orders.wanted += 1;
        let ticket = orders.wanted;
        drop(orders);
        self.control.changed.notify_all();
        ticket
    }

    /// Asks for a fresh copy of the file.
    pub(super) fn defragment(&self) -> oneshot::Receiver<io::Result<Defragmented>> {
        let (asked, answer) = oneshot::channel();
        let mut orders = self.control.orders();
        if !orders.closed {
            orders.asked.push(asked);
        }
        drop(orders);
        self.control.changed.notify_all();
        answer
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.control.progress.subscribe()
    }

    /// Ends the thread after the flush that is under way.
    pub(super) fn close(&self) {
        self.control.orders().closed = true;
        self.control.changed.notify_all();
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.close();
        self.shared.layers().base.db.patience().end();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a flusher panicked");
        }
    }
}

impl Control {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a request beyond `done`, or for somebody who wants a copy, at most `patience`. `None`: the thread is to end.
    fn next(&self, done: u64, patience: Duration) -> Option<(u64, Vec<Asked>)> {
        let deadline = Instant::now() + patience;
        let mut orders = self.orders();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if orders.closed {
                return None;
            }
            if orders.wanted > done || !orders.asked.is_empty() || left.is_zero() {
                return Some((orders.wanted, std::mem::take(&mut orders.asked)));
            }
            orders = self.changed.wait_timeout(orders, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn end(&self, reason: String) {
        let mut orders = self.orders();
        orders.closed = true;
        orders.asked.clear();
        drop(orders);
        self.progress.send_modify(|progress| progress.ended = Some(reason));
    }
}

fn run(shared: &Shared, control: &Control) {
    let (mut done, mut more, mut flushed) = (0, false, Instant::now());
    let mut copier = Copier::default();
    loop {
        let due = flushed + if more { SWEEP_INTERVAL } else { INTERVAL };
        let patience = due.saturating_duration_since(Instant::now());
        let patience = if copier.is_busy() { patience.min(STEP_PAUSE) } else { patience };
        let Some((ticket, asked)) = control.next(done, patience) else { break };
        if ticket > done || Instant::now() >= due {
            match flush(shared, control, &mut copier, more) {
                Ok(unfinished) => (done, more, flushed) = (ticket, unfinished, Instant::now()),
                Err(error) => {
                    tracing::error!(shard = %shared.shard, %error, "flusher ended");
                    return control.end(error.to_string());
                }
            }
            control.progress.send_modify(|progress| progress.done = done);
        }
        copier.ask(asked);
        copier.go_on(shared);
    }
    control.end(Progress::closed().to_string());
}

/// Makes one checkpoint, if there is anything to put in it. Answers whether the sweep has more to do.
fn flush(shared: &Shared, control: &Control, copier: &mut Copier, sweep_anyway: bool) -> io::Result<bool> {
    let _writing = shared.writing();
    shared.failure.check()?;
    let Some(frozen) = freeze(shared, sweep_anyway)? else { return Ok(false) };
    let begun = Instant::now();
    wait_for_log(shared, control, &frozen.checkpoint)?;
    let Written { base, swept, more } = match write(shared, &frozen) {
        Ok(written) => written,
        Err(Error::Stopped(stop)) => return Err(other(stop)),
        Err(Error::Disk(error)) => return Err(shared.failure.set(&shared.file, error).into()),
    };
    let replaced = shared.change(|layers| {
        let base = std::mem::replace(&mut layers.base, Arc::new(base));
        (layers.frozen.take(), base)
    });
    if let Some(metrics) = &shared.options.metrics {
        metrics.checkpoint_seconds.observe(begun.elapsed().as_secs_f64());
        metrics.checkpoint_bytes.inc_by(frozen.rows.bytes() as u64);
    }
    drop(replaced);
    copier.follow([&frozen.rows, &swept]);
    Ok(more)
}

/// What one checkpoint is made of.
struct Frozen {
    rows: Arc<Overlay>,
    checkpoint: Checkpoint,
    base: Arc<Base>,
}

/// A checkpoint that was made.
struct Written {
    base: Base,
    /// The rows that the sweep changed.
    swept: Overlay,
    /// Whether the sweep has more to do.
    more: bool,
}

/// Why a checkpoint was not made.
enum Error {
    /// This shard cannot go on.
    Stopped(Stop),
    /// The disk said no: nothing on this node goes on.
    Disk(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Disk(error)
    }
}

/// Takes the active overlay for a checkpoint and begins a fresh one. `None`: nothing has changed since the last.
fn freeze(shared: &Shared, anyway: bool) -> io::Result<Option<Frozen>> {
    shared.change(|layers| {
        if layers.torn {
            return Err(io::Error::other(format!("shard {} halted inside a batch", shared.shard)));
        }
        if !anyway && layers.active.is_empty() && layers.applied == layers.base.checkpoint {
            return Ok(None);
        }
        let rows = Arc::new(std::mem::take(&mut layers.active));
        layers.frozen = Some(rows.clone());
        Ok(Some(Frozen { rows, checkpoint: layers.applied.clone(), base: layers.base.clone() }))
    })
}

/// Apply may be ahead of this node's own log: an entry is committed when a majority has it.
fn wait_for_log(shared: &Shared, control: &Control, checkpoint: &Checkpoint) -> io::Result<()> {
    let Some(mark) = &checkpoint.mark else { return Ok(()) };
    while !shared.flushed.wait_for(mark.index, LOG_PATIENCE) {
        shared.failure.check()?;
        if control.orders().closed {
            return Err(Progress::closed());
        }
    }
    Ok(())
}

/// Rows, what the sweep made of them, and the mark that covers them: one commit.
fn write(shared: &Shared, frozen: &Frozen) -> Result<Written, Error> {
    let Frozen { rows, checkpoint, base } = frozen;
    let txn = base.db.begin_write().map_err(other)?;
    let mut grown = base::write_changes(&txn, rows, |_, _| true)?;
    let (mut more, mut swept) = (false, Overlay::default());
    if let Some(sweep) = &shared.sweep {
        let mut tables = Swept { shared, changes: swept, frozen };
        more = sweep(&mut tables, SWEEP_ROWS).map_err(Error::Stopped)?;
        swept = tables.changes;
        grown += base::write_changes(&txn, &swept, |_, _| true)?;
    }
    base::write_checkpoint(&txn, shared.shard, checkpoint, base.rows_bytes.saturating_add_signed(grown))?;
    base::commit(txn)?;
    Ok(Written { base: Base::new(base.db.clone())?, swept, more })
}

/// What the sweep sees and changes: the rows of the checkpoint in the making.
struct Swept<'a> {
    shared: &'a Shared,
    changes: Overlay,
    frozen: &'a Frozen,
}

impl Swept<'_> {
    fn stack(&self) -> Stack<'_> {
        Stack {
            overlays: [Some(&self.changes), Some(&self.frozen.rows)],
            base: &self.frozen.base,
            trouble: Trouble { failure: &self.shared.failure, file: &self.shared.file },
        }
    }
}

impl Tables for Swept<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        self.stack().get(table, key)
    }

    fn scan(&self, table: Table, range: Range, reverse: bool) -> Rows<'_> {
        self.stack().scan(table, &range, reverse)
    }

    fn put(&mut self, table: Table, key: &[u8], value: Bytes) {
        self.changes.set(table, key, Some(value));
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        self.changes.set(table, key, None);
    }
}
