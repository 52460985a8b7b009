//! The queue under torture: producers create tasks, workers claim and end them, a receiver is called when they have ended.
//!
//! As with keys, everything is remembered ([`history`]) and judged at the end of the round ([`check`]); in peace workers first end
//! all that is there. Each round has queues of its own.
//!
//! Not here: faults and peace (`super::round`), what a verdict is (`super::check`).

pub mod check;
pub mod history;
mod producer;
mod receiver;
mod wire;
mod worker;

use super::client::Shared;
use super::world::RECOVERY_MAX;
use crate::wait::until;
use history::{Act, Job, JobOutcome, Told};
use producer::Producer;
pub use receiver::Receiver;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use wire::Wire;
use worker::Worker;

/// Queues of a round.
const QUEUES: usize = 6;
/// A node is not asked for more tasks than that at once when all are looked at.
const LOOKS: usize = 16;
/// Between two tries of something that must come to an answer.
const PAUSE: Duration = Duration::from_millis(25);

/// What producers and workers of a round share.
struct Jobs {
    round: Arc<Shared>,
    wire: Wire,
    /// The names of the queues.
    queues: Vec<String>,
    /// Numbers of tasks and of results: each is given once.
    numbers: AtomicU64,
    /// Called when a task has ended.
    webhook: String,
    /// Set when nothing is left, or not for much longer: workers end.
    drained: AtomicBool,
}

impl Jobs {
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends to a node and remembers it, as a job for each act.
    async fn send(&self, client: u32, node: usize, asked: wire::Asked) -> Vec<Job> {
        let (name, url) = &self.round.nodes[node];
        let begun_us = self.round.now_us();
        let outcomes = self.wire.send(url, &self.queues, &asked).await;
        let ended_us = self.round.now_us();
        let job = |(act, outcome)| Job { client, node: name.clone(), begun_us, ended_us, act, outcome };
        asked.acts.into_iter().zip(outcomes).map(job).collect()
    }
}

/// Producers and workers of a round, at work.
pub struct Work {
    jobs: Arc<Jobs>,
    producers: Vec<JoinHandle<Vec<Job>>>,
    workers: Vec<JoinHandle<Vec<Job>>>,
}

impl Work {
    /// Begins with so many of each. They go on until the round stops.
    pub fn begin(round: &Arc<Shared>, each: usize, webhook: &str, seed: u64) -> Work {
        let queues = (0..QUEUES).map(|queue| format!("{}-{queue}", round.prefix.replace('/', "-"))).collect();
        let jobs = Arc::new(Jobs {
            round: round.clone(),
            wire: Wire::new(),
            queues,
            numbers: AtomicU64::new(1),
            webhook: webhook.to_owned(),
            drained: AtomicBool::new(false),
        });
        let numbered = |number: usize| (number as u32, seed ^ ((number as u64) << 40));
        let producers = (0..each)
            .map(numbered)
            .map(|(number, seed)| tokio::spawn(Producer::new(number, seed, jobs.clone()).run()));
        let workers = (each..2 * each)
            .map(numbered)
            .map(|(number, seed)| tokio::spawn(Worker::new(number, seed, jobs.clone()).run()));
        Work { producers: producers.collect(), workers: workers.collect(), jobs }
    }

    /// In peace, once the round has stopped: waits until no task is left that has not ended, and looks at each through the nodes at
    /// these places. What was done, and what did not come to its end.
    pub async fn end(self, places: &[usize], receiver: &Receiver) -> Result<(Vec<Job>, Vec<String>), String> {
        let Work { jobs, producers, workers } = self;
        let (mut done, mut violations) = (Vec::new(), Vec::new());
        for producer in producers {
            done.extend(producer.await.map_err(|e| format!("a producer panicked: {e}"))?);
        }
        violations.extend(jobs.all_ended(places).await.err());
        jobs.drained.store(true, Ordering::Relaxed);
        for worker in workers {
            done.extend(worker.await.map_err(|e| format!("a worker panicked: {e}"))?);
        }
        if places.is_empty() {
            return Ok((done, violations));
        }
        let looks = jobs.look(&tasks(&done), places).await;
        let hooked = hooked(&done, &looks);
        done.extend(looks);
        violations.extend(all_told(&hooked, receiver).await.err());
        Ok((done, violations))
    }
}

impl Jobs {
    /// Until every node says that nothing is ready, delayed or in progress.
    async fn all_ended(&self, places: &[usize]) -> Result<(), String> {
        let ended = until("all tasks have ended", RECOVERY_MAX, || async {
            for place in places {
                for queue in &self.queues {
                    let left = self.wire.left(&self.round.nodes[*place].1, queue).await?;
                    if left > 0 {
                        return Err(format!("{left} tasks of {queue} have not"));
                    }
                }
            }
            Ok(())
        });
        ended.await.map_err(|timed_out| timed_out.to_string())
    }

    /// Looks at each task through one of these nodes, in turn.
    async fn look(&self, tasks: &[String], places: &[usize]) -> Vec<Job> {
        use futures::StreamExt;
        let looks = tasks.iter().enumerate().map(|(number, task)| async move {
            let place = places[number % places.len()];
            let mut looks = 0;
            loop {
                let job =
                    self.send(u32::MAX, place, wire::Asked::one(Act::Look { task: task.clone() })).await;
                looks += 1;
                let answered =
                    job.iter().all(|job| matches!(job.outcome, JobOutcome::Done(_) | JobOutcome::Wrong(_)));
                if answered || looks == 20 {
                    return job;
                }
                sleep(PAUSE).await;
            }
        });
        let looks: Vec<Vec<Job>> = futures::stream::iter(looks).buffer_unordered(LOOKS).collect().await;
        looks.concat()
    }
}

/// All tasks that anybody was told of.
fn tasks(jobs: &[Job]) -> Vec<String> {
    let mut tasks = BTreeSet::new();
    for job in jobs {
        match &job.outcome {
            JobOutcome::Done(Told::Created { task }) => {
                tasks.insert(task.clone());
            }
            JobOutcome::Done(Told::Claimed(held)) => tasks.extend(held.iter().map(|held| held.task.clone())),
            _ => {}
        }
    }
    tasks.into_iter().collect()
}

/// Tasks with a webhook that have ended.
fn hooked(done: &[Job], looks: &[Job]) -> BTreeSet<String> {
    let ended: BTreeSet<&String> = looks
        .iter()
        .filter_map(|job| match (&job.act, &job.outcome) {
            (Act::Look { task }, JobOutcome::Done(Told::Seen(seen))) if seen.has_ended() => Some(task),
            _ => None,
        })
        .collect();
    let created = done.iter().filter_map(|job| match (&job.act, &job.outcome) {
        (Act::Create(new), JobOutcome::Done(Told::Created { task })) if new.webhook => Some(task),
        _ => None,
    });
    created.filter(|task| ended.contains(task)).cloned().collect()
}

async fn all_told(tasks: &BTreeSet<String>, receiver: &Receiver) -> Result<(), String> {
    let told = until("all webhooks are called", RECOVERY_MAX, || async {
        let untold = receiver.untold(tasks);
        if untold.is_empty() {
            Ok(())
        } else {
            Err(format!("{} are not, as that of {}", untold.len(), untold[0]))
        }
    });
    told.await.map_err(|timed_out| timed_out.to_string())
}
