//! The writer thread, with an engine that waits for leave at each commit and fails when told.

use super::*;
use crate::storage::log::engine::Change;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// An engine that waits at each commit for leave to go on, and can be told to fail.
struct Gate {
    inner: SegmentLog,
    leave: mpsc::Receiver<io::Result<()>>,
    commits: Arc<AtomicUsize>,
    entered: Arc<AtomicUsize>,
}

impl LogEngine for Gate {
    fn file(&self) -> &Path {
        self.inner.file()
    }
    fn saved(&self) -> io::Result<Vec<(ShardId, Saved)>> {
        self.inner.saved()
    }
    fn reader(&self) -> Arc<dyn LogReader> {
        self.inner.reader()
    }
    fn commit(&mut self, changes: &mut dyn Iterator<Item = (ShardId, &Change)>) -> io::Result<()> {
        self.entered.fetch_add(1, Ordering::SeqCst);
        // The test that is over lets everything through.
        self.leave.recv().unwrap_or(Ok(()))?;
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.inner.commit(changes)
    }
    fn has_garbage(&self) -> bool {
        self.inner.has_garbage()
    }
}

struct Gated {
    leave: mpsc::Sender<io::Result<()>>,
    commits: Arc<AtomicUsize>,
    entered: Arc<AtomicUsize>,
    failure: Failure,
    log: Log,
    file: PathBuf,
}

/// `leave` lies before `log`: dropped first, it opens the gate for what is queued.
fn gated(dir: &Path) -> Gated {
    let file = dir.join("log");
    let (leave, gate) = mpsc::channel();
    let (commits, entered, failure) = (Arc::default(), Arc::default(), Failure::new());
    let inner = SegmentLog::open(&file, 1 << 20, Patience::none(volume(&failure))).unwrap();
    let engine = Gate { inner, leave: gate, commits: Arc::clone(&commits), entered: Arc::clone(&entered) };
    let log = Log::start(Box::new(engine), &Options::default(), failure.clone()).unwrap();
    Gated { leave, commits, entered, failure, log, file }
}

impl Gated {
    /// Waits until the writer is inside its `commit`th commit.
    async fn writer_waits(&self, commit: usize) {
        tokio::time::timeout(std::time::Duration::from_secs(20), async {
            while self.entered.load(Ordering::SeqCst) < commit {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn what_waits_while_a_commit_is_synced_goes_into_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let gated = gated(dir.path());
    let shard = gated.log.shard(SHARD).unwrap();
    let (done, mut flushed) = tokio::sync::mpsc::unbounded_channel();
    for index in 0..100 {
        let done = done.clone();
        shard
            .append(vec![record(index, 1, 10)], move |result| done.send((index, result.is_ok())).unwrap())
            .await
            .unwrap();
        if index == 0 {
            gated.writer_waits(1).await;
        }
    }
    assert!(flushed.try_recv().is_err(), "acknowledged before its commit");
    assert_eq!(read_all(&shard).len(), 100, "readable at once");
    gated.leave.send(Ok(())).unwrap();
    gated.leave.send(Ok(())).unwrap();
    for index in 0..100 {
        assert_eq!(flushed.recv().await, Some((index, true)), "in order");
    }
    assert_eq!(gated.commits.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_flushed_watermark_does_not_cover_what_is_about_to_be_cut() {
    let dir = tempfile::tempdir().unwrap();
    let gated = gated(dir.path());
    let (shard, flushed) = (gated.log.shard(SHARD).unwrap(), gated.log.shard(SHARD).unwrap().flushed());
    let old = (0..10).map(|index| record(index, 1, 0)).collect();
    shard.append(old, |_| ()).await.unwrap();
    gated.writer_waits(1).await;
    assert_eq!(flushed.index(), None);
    let cut = tokio::spawn({
        let shard = shard.clone();
        async move { shard.truncate_from(4).await }
    });
    while shard.ends().last.unwrap().index != 3 {
        tokio::task::yield_now().await;
    }
    let (done, second) = tokio::sync::oneshot::channel();
    shard
        .append((4..8).map(|index| record(index, 2, 0)).collect(), |_| done.send(()).unwrap())
        .await
        .unwrap();
    gated.leave.send(Ok(())).unwrap();
    gated.writer_waits(2).await;
    assert_eq!(
        flushed.index(),
        Some(3),
        "entries 4 to 7 of the first term are on disk, those of the second not"
    );
    gated.leave.send(Ok(())).unwrap();
    second.await.unwrap();
    assert_eq!(flushed.index(), Some(7));
    cut.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_failed_commit_is_told_to_everybody_who_waits_and_nothing_is_acknowledged_after() {
    let dir = tempfile::tempdir().unwrap();
    let gated = gated(dir.path());
    let shard = gated.log.shard(SHARD).unwrap();
    let (done, mut told) = tokio::sync::mpsc::unbounded_channel();
    for index in 0..3 {
        let done = done.clone();
        shard.append(vec![record(index, 1, 0)], move |result| done.send(result).unwrap()).await.unwrap();
        gated.writer_waits(1).await;
    }
    gated.leave.send(Err(io::Error::other("the disk is on fire"))).unwrap();
    // The gate is open for good: had a later group gone through, it would be acknowledged.
    for _ in 0..10 {
        gated.leave.send(Ok(())).unwrap();
    }
    for _ in 0..3 {
        let error = told.recv().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("the disk is on fire"), "{error}");
    }
    let Failed { file, reason } = gated.failure.get().unwrap();
    assert_eq!((file, reason.as_str()), (gated.file.clone(), "the disk is on fire"));
    assert!(append(&shard, vec![record(3, 1, 0)]).await.is_err());
    assert!(shard.save_vote("v".into()).await.is_err());
    assert!(shard.truncate_from(0).await.is_err());
    assert_eq!(shard.flushed().index(), None);
    assert_eq!(gated.commits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn another_files_failure_stops_the_log_too() {
    let dir = tempfile::tempdir().unwrap();
    let gated = gated(dir.path());
    let shard = gated.log.shard(SHARD).unwrap();
    let (done, told) = tokio::sync::oneshot::channel();
    shard.append(vec![record(0, 1, 0)], |result| done.send(result).unwrap()).await.unwrap();
    gated.writer_waits(1).await;
    gated.failure.set(Path::new("state.redb"), "bad checksum");
    gated.leave.send(Ok(())).unwrap();
    assert!(told.await.unwrap().is_err());
}

#[tokio::test]
async fn the_committed_mark_costs_no_commit_and_rides_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let gated = gated(dir.path());
    let shard = gated.log.shard(SHARD).unwrap();
    for _ in 0..4 {
        gated.leave.send(Ok(())).unwrap();
    }
    append(&shard, vec![record(0, 1, 0), record(1, 1, 0)]).await.unwrap();
    shard.save_committed(mark(&record(0, 1, 0))).unwrap();
    shard.save_committed(mark(&record(1, 1, 0))).unwrap();
    assert_eq!(shard.committed(), Some(mark(&record(1, 1, 0))));
    shard.save_vote("v".into()).await.unwrap();
    assert_eq!(gated.commits.load(Ordering::SeqCst), 2);
    assert_eq!(saved(gated).committed, Some(mark(&record(1, 1, 0))));
}

/// What the file says, after the log is closed.
fn saved(gated: Gated) -> Saved {
    let Gated { log, file, .. } = gated;
    drop(log);
    let log = SegmentLog::open(&file, 1 << 20, Patience::none(volume(&Failure::new()))).unwrap();
    log.saved().unwrap().into_iter().find(|(shard, _)| *shard == SHARD).unwrap().1
}
