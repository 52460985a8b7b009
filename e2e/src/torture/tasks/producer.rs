//! A producer: one request after another, through nodes drawn at random.
//!
//! Some tasks are created under an idempotency key, and sent until they are answered, to whatever node, also to two at once: there
//! must be one of each.

use super::Jobs;
use super::history::{Act, Job, JobOutcome, New};
use super::wire::Asked;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::sleep;

const THINK_MS: std::ops::Range<u64> = 5..60;
/// After a refusal, a cluster without a leader is not hammered.
const PAUSE: Duration = Duration::from_millis(40);
/// So many of a hundred requests are sent under a key.
const KEYED_PERCENT: u32 = 30;
const BATCH_PERCENT: u32 = 15;
const BATCH: std::ops::Range<usize> = 2..8;
const DELAYED_PERCENT: u32 = 10;
const WEBHOOK_PERCENT: u32 = 10;
/// Tasks that fail may die of it; most of them must not.
const SHORT_LIVED_PERCENT: u32 = 10;
/// How often a request with a key is sent.
const COPIES_MAX: usize = 8;
/// A producer remembers each task: this bounds a round.
const TASKS_MAX: usize = 1_500;

pub(super) struct Producer {
    number: u32,
    random: fastrand::Rng,
    jobs: Arc<Jobs>,
    done: Vec<Job>,
}

impl Producer {
    pub(super) fn new(number: u32, seed: u64, jobs: Arc<Jobs>) -> Producer {
        Producer { number, random: fastrand::Rng::with_seed(seed), jobs, done: Vec::new() }
    }

    /// Creates until the round stops; all it remembers.
    pub(super) async fn run(mut self) -> Vec<Job> {
        while !self.jobs.round.stop.load(Ordering::Relaxed) && self.done.len() < TASKS_MAX {
            let asked = self.asked();
            let answered = if asked.keyed { self.send_again(asked).await } else { self.send(asked).await };
            if !answered {
                sleep(PAUSE).await;
            }
            sleep(Duration::from_millis(self.random.u64(THINK_MS))).await;
        }
        self.done
    }

    fn asked(&mut self) -> Asked {
        let batch = if self.percent(BATCH_PERCENT) { self.random.usize(BATCH) } else { 1 };
        let acts = (0..batch).map(|_| Act::Create(self.task())).collect();
        let keyed = self.percent(KEYED_PERCENT);
        Asked { keyed, webhook: self.jobs.webhook.clone(), ..Asked::batch(acts) }
    }

    fn task(&mut self) -> New {
        New {
            number: self.jobs.number(),
            queue: self.random.usize(..self.jobs.queues.len()),
            priority: self.random.u32(..10),
            delay_s: if self.percent(DELAYED_PERCENT) { self.random.u64(1..4) } else { 0 },
            attempts: if self.percent(SHORT_LIVED_PERCENT) { 2 } else { 50 },
            webhook: self.percent(WEBHOOK_PERCENT),
        }
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.random.u32(..100) < percent
    }

    /// Whether it was done.
    async fn send(&mut self, asked: Asked) -> bool {
        let node = self.random.usize(..self.jobs.round.nodes.len());
        let sent = self.jobs.send(self.number, node, asked).await;
        let done = is_done(&sent);
        self.done.extend(sent);
        done
    }

    /// Until it is done, now and then through two nodes at once.
    async fn send_again(&mut self, asked: Asked) -> bool {
        for _ in 0..COPIES_MAX {
            let (number, jobs, at_once) = (self.number, self.jobs.clone(), 1 + usize::from(self.percent(25)));
            let nodes: Vec<_> = (0..at_once).map(|_| self.random.usize(..jobs.round.nodes.len())).collect();
            let sent = nodes.into_iter().map(|node| jobs.send(number, node, asked.clone()));
            let sent = futures::future::join_all(sent).await;
            let done = sent.iter().any(|sent| is_done(sent));
            self.done.extend(sent.concat());
            if done || jobs.round.stop.load(Ordering::Relaxed) {
                return done;
            }
            sleep(PAUSE).await;
        }
        false
    }
}

fn is_done(sent: &[Job]) -> bool {
    sent.iter().all(|job| matches!(job.outcome, JobOutcome::Done(_)))
}
