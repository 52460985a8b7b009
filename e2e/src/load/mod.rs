//! Writers that remember every answer, and the check of each at the end.
//!
//! A [`Load`] writes through all given endpoints at once; each write has a key of its own, so that the end tells of each
//! single one whether it is there. [`History::verify`] then asks every node:
//! * an acknowledged write is there, with its value and the revision it was answered with;
//! * a write that was refused as not applied is not there;
//! * one of unknown outcome is there on all nodes or on none.
//!
//! While the load runs, some acknowledged writes are read back at once through another endpoint: a linearizable read
//! that does not see them is a violation as well.
//!
//! Not here: faults. Whoever runs the load makes them.

mod history;
mod wire;
mod writer;

pub use history::{History, Outcome, Write};
pub use wire::{Answer, Wire};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use writer::Writer;

/// A running load.
pub struct Load {
    seed: u64,
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<History>>,
}

/// What the writers share.
struct Shared {
    wire: Wire,
    endpoints: Vec<String>,
    started: Instant,
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

impl Load {
    /// Starts `writers` writers over `endpoints` (client URLs). The seed of a failed run repeats its keys and values.
    pub fn start(endpoints: &[String], writers: usize, seed: u64) -> Load {
        println!("load: seed {seed}, {writers} writers over {}", endpoints.join(" "));
        let shared = Arc::new(Shared {
            wire: Wire::new(),
            endpoints: endpoints.to_vec(),
            started: Instant::now(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
        });
        let start = |number| tokio::spawn(Writer::new(number, seed, shared.clone()).run());
        let writers = (0..writers).map(start).collect();
        Load { seed, shared, writers }
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `count` more writes are acknowledged than now: the cluster takes writes.
    pub async fn progress(&self, count: u64, within: Duration) {
        let goal = self.acknowledged() + count;
        crate::wait::eventually(&format!("{count} more acknowledged writes"), within, || async {
            let now = self.acknowledged();
            if now >= goal { Ok(()) } else { Err(format!("{} of {count}", now + count - goal)) }
        })
        .await;
    }

    /// Lets every writer finish its write, and collects what they remember.
    pub async fn stop(self) -> History {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut history = History { seed: self.seed, ..History::default() };
        for writer in self.writers {
            history.merge(writer.await.expect("a writer does not panic"));
        }
        println!("load: {}", history.summary());
        history
    }
}
