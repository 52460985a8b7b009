//! One writer: puts keys of its own, one after another, through endpoints drawn at random.

use super::Shared;
use super::history::{History, Outcome, Write, value_of};
use super::wire::Answer;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A writer remembers each write: this bounds what a long run keeps in memory.
const WRITES_MAX: usize = 200_000;
/// After a refusal: a cluster without a leader is not hammered.
const PAUSE: Duration = Duration::from_millis(20);
/// One acknowledged write of so many is read back at once, elsewhere.
const READ_BACK_ONE_OF: u64 = 8;

/// One writer of a load.
pub(super) struct Writer {
    number: usize,
    seed: u64,
    random: fastrand::Rng,
    shared: Arc<Shared>,
    history: History,
}

impl Writer {
    pub(super) fn new(number: usize, seed: u64, shared: Arc<Shared>) -> Writer {
        let random = fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
        Writer { number, seed, random, shared, history: History::default() }
    }

    pub(super) async fn run(mut self) -> History {
        let mut count = 0;
        while !self.shared.stop.load(Ordering::Relaxed) && count < WRITES_MAX {
            self.write(format!("load-{}/w{}/{count}", self.seed, self.number)).await;
            count += 1;
        }
        self.history
    }

    async fn write(&mut self, key: String) {
        let endpoint = self.endpoint();
        let begun = self.shared.started.elapsed();
        let answer = self.shared.wire.put(&endpoint, &key, value_of(self.seed, &key)).await;
        let ended = self.shared.started.elapsed();
        let outcome = match answer {
            Answer::Done { revision, .. } => Outcome::Acknowledged { revision },
            Answer::NotApplied(reason) => Outcome::NotApplied(reason),
            Answer::Unknown(reason) => Outcome::Unknown(reason),
            Answer::Missing => Outcome::Wrong("404 to a put".to_owned()),
            Answer::Wrong(reason) => Outcome::Wrong(reason),
        };
        let acknowledged = matches!(outcome, Outcome::Acknowledged { .. });
        self.history.writes.push(Write { key: key.clone(), endpoint, begun, ended, outcome });
        if acknowledged {
            self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            if self.random.u64(..READ_BACK_ONE_OF) == 0 {
                self.read_back(&key).await;
            }
        } else {
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn read_back(&mut self, key: &str) {
        let endpoint = self.endpoint();
        match self.shared.wire.get(&endpoint, key, false).await {
            Answer::Done { value, .. } if value == value_of(self.seed, key) => self.history.read_back += 1,
            Answer::NotApplied(_) | Answer::Unknown(_) => {}
            other => self
                .history
                .violations
                .push(format!("{endpoint} does not show {key} right after its ack: {other:?}")),
        }
    }

    fn endpoint(&mut self) -> String {
        self.shared.endpoints[self.random.usize(..self.shared.endpoints.len())].clone()
    }
}
