//! A worker: claims from queues drawn at random, through any node, and does with what it got what workers do: ends it, gives it back,
//! fails, says that it is at it still, or is never heard of again.
//!
//! In peace, when the round has stopped, it ends everything.

use super::Jobs;
use super::history::{Act, Held, Job, JobOutcome, Told};
use super::wire::Asked;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::sleep;

const LEASE_S: std::ops::Range<u64> = 2..6;
/// How long a task is worked at.
const WORK_MS: std::ops::Range<u64> = 0..120;
/// After a refusal, a cluster without a leader is not hammered.
const PAUSE: Duration = Duration::from_millis(40);
const BATCH_PERCENT: u32 = 25;
const BATCH: std::ops::Range<usize> = 2..6;
/// How often the end of a task is told, until somebody answers.
const TELLINGS: usize = 4;

pub(super) struct Worker {
    number: u32,
    random: fastrand::Rng,
    jobs: Arc<Jobs>,
    done: Vec<Job>,
}

/// A claim, as it is remembered for what is done with its tasks.
struct Lease {
    held: Vec<Held>,
    lease_s: u64,
}

impl Worker {
    pub(super) fn new(number: u32, seed: u64, jobs: Arc<Jobs>) -> Worker {
        Worker { number, random: fastrand::Rng::with_seed(seed), jobs, done: Vec::new() }
    }

    /// Works until everything has ended; all it remembers.
    pub(super) async fn run(mut self) -> Vec<Job> {
        while !self.jobs.drained.load(Ordering::Relaxed) {
            match self.claim().await {
                Some(lease) if self.in_peace() => self.end(lease.held).await,
                Some(lease) => self.work(lease).await,
                None => sleep(PAUSE).await,
            }
        }
        self.done
    }

    fn in_peace(&self) -> bool {
        self.jobs.round.stop.load(Ordering::Relaxed)
    }

    /// What it got; nothing if there was no answer.
    async fn claim(&mut self) -> Option<Lease> {
        let mut queues: Vec<usize> = (0..self.jobs.queues.len()).collect();
        self.random.shuffle(&mut queues);
        queues.truncate(if self.in_peace() { queues.len() } else { self.random.usize(1..4) });
        let lease_s = self.random.u64(LEASE_S);
        let count = if self.random.u32(..100) < BATCH_PERCENT { self.random.usize(BATCH) } else { 1 };
        let wait_s = self.random.u64(..=1);
        let asked = Asked { wait_s, ..Asked::one(Act::Claim { queues, lease_s, count }) };
        match self.send(asked).await {
            Some(JobOutcome::Done(Told::Claimed(held))) => Some(Lease { held, lease_s }),
            _ => None,
        }
    }

    async fn work(&mut self, Lease { held, lease_s }: Lease) {
        sleep(Duration::from_millis(self.random.u64(WORK_MS))).await;
        if held.len() > 1 && self.random.bool() {
            return self.end(held).await;
        }
        for held in held {
            let (task, token) = (held.task.clone(), held.token.clone());
            match self.random.u32(..100) {
                0..72 => self.end(vec![held]).await,
                72..80 => drop(self.send(Asked::one(Act::Nack { task, token, delay_s: 1 })).await),
                80..86 => drop(self.send(Asked::one(Act::Abandon { task, token })).await),
                86..94 => {
                    let heartbeat = Act::Heartbeat { task, token, extend_s: lease_s + 1 };
                    self.send(Asked::one(heartbeat)).await;
                    self.end(vec![held]).await;
                }
                94..97 => {
                    // Its lease is over by then, and the task perhaps another's.
                    sleep(Duration::from_secs(lease_s)).await;
                    self.end(vec![held]).await;
                }
                // It is never heard of again.
                _ => {}
            }
        }
    }

    /// Ends tasks; told again while nobody knows whether that was heard.
    async fn end(&mut self, held: Vec<Held>) {
        let finish = |worker: &mut Worker, Held { task, token, .. }: Held| Act::Finish {
            task,
            token,
            result: worker.jobs.number(),
            completed: worker.random.u32(..100) < 90,
        };
        let mut acts: Vec<Act> = held.into_iter().map(|held| finish(self, held)).collect();
        for _ in 0..TELLINGS {
            if acts.is_empty() {
                return;
            }
            let node = self.random.usize(..self.jobs.round.nodes.len());
            let sent = self.jobs.send(self.number, node, Asked::batch(acts)).await;
            let unheard = sent
                .iter()
                .filter(|job| matches!(job.outcome, JobOutcome::Unknown(_) | JobOutcome::NotApplied(_)));
            acts = unheard.map(|job| job.act.clone()).collect();
            self.done.extend(sent);
            if !acts.is_empty() {
                sleep(PAUSE).await;
            }
        }
    }

    /// One request with one act.
    async fn send(&mut self, asked: Asked) -> Option<JobOutcome> {
        let node = self.random.usize(..self.jobs.round.nodes.len());
        let sent = self.jobs.send(self.number, node, asked).await;
        let outcome = sent.first().map(|job| job.outcome.clone());
        self.done.extend(sent);
        outcome
    }
}
