//! A client: one call after another, through nodes drawn at random, on keys that all clients share.
//!
//! Some writes are sent under an `Idempotency-Key` until they are answered, to whatever node, also to two at once: they must take effect
//! once, and all of their answers must be the same.
//!
//! It expects what it saw last, so that compare-and-set and transactions hold often and fail often.

use super::history::{Answer, Call, Cells, KEYS, Operation, Outcome};
use super::wire::Wire;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Clients of a machine whose nodes share its cores: enough to meet on every key, few enough to be answered.
const THINK_MAX_MS: u64 = 16;
/// After a refusal, a cluster without a leader is not hammered.
const PAUSE: Duration = Duration::from_millis(25);
/// So many writes of a hundred are sent under an `Idempotency-Key`.
const KEYED_PERCENT: u32 = 40;
/// How often such a write is sent.
const ATTEMPTS_MAX: usize = 8;
/// A client remembers each operation: this bounds a round.
const OPERATIONS_MAX: usize = 20_000;

/// What the clients of a round share.
pub struct Shared {
    /// How they speak.
    pub wire: Wire,
    /// Their keys.
    pub prefix: String,
    /// The nodes, by name and client URL.
    pub nodes: Vec<(String, String)>,
    /// Groups of keys.
    pub groups: usize,
    /// The clock of the history.
    pub started: Instant,
    /// Set when they are to end.
    pub stop: AtomicBool,
    /// Answered so far.
    pub done: AtomicU64,
    /// The store's revision, as far as anybody was told: what is past for a read of the past.
    pub newest: AtomicU64,
    /// The revision before the round.
    pub oldest: u64,
}

impl Shared {
    /// Microseconds since the round began.
    pub fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Sends a call and remembers it.
    pub async fn send(&self, client: u32, node: usize, group: usize, call: Call) -> Operation {
        let (name, url) = &self.nodes[node];
        let begun_us = self.now_us();
        let outcome = self.wire.send(url, group, &call, None).await;
        self.note(&outcome);
        let ended_us = self.now_us();
        Operation { client, node: name.clone(), copies: 1, group, call, begun_us, ended_us, outcome }
    }

    /// Sends a write under a key until it is answered, now and then through two nodes at once.
    async fn send_again(
        &self,
        client: u32,
        random: &mut fastrand::Rng,
        group: usize,
        call: Call,
        key: &str,
    ) -> Operation {
        let begun_us = self.now_us();
        let (mut outcome, mut copies, mut node) = (None, 0, String::new());
        for _ in 0..ATTEMPTS_MAX {
            let at_once = if random.u32(..4) == 0 { 2 } else { 1 };
            let nodes: Vec<_> = (0..at_once).map(|_| &self.nodes[random.usize(..self.nodes.len())]).collect();
            let sent = nodes.iter().map(|(_, url)| self.wire.send(url, group, &call, Some(key)));
            let come_to = futures::future::join_all(sent).await;
            outcome = come_to.into_iter().chain(outcome).reduce(Outcome::and);
            copies += at_once;
            node.clone_from(&nodes[0].0);
            let answered = matches!(outcome, Some(Outcome::Done(_) | Outcome::Wrong(_)));
            if answered || self.stop.load(Ordering::Relaxed) {
                break;
            }
            sleep(PAUSE).await;
        }
        let outcome = outcome.expect("it was sent once at least");
        self.note(&outcome);
        let ended_us = self.now_us();
        Operation { client, node, copies, group, call, begun_us, ended_us, outcome }
    }

    fn note(&self, outcome: &Outcome) {
        if let Outcome::Done(answer) = outcome {
            self.done.fetch_add(1, Ordering::Relaxed);
            self.newest.fetch_max(answer.revision().unwrap_or(0), Ordering::Relaxed);
        }
    }
}

/// One client.
pub struct Client {
    number: u32,
    random: fastrand::Rng,
    shared: Arc<Shared>,
    values: u64,
    keys: u64,
    /// What it saw last of each group.
    known: Vec<Cells>,
    operations: Vec<Operation>,
}

impl Client {
    /// The client of that number.
    pub fn new(number: u32, seed: u64, shared: Arc<Shared>) -> Client {
        let random = fastrand::Rng::with_seed(seed ^ (u64::from(number) << 32));
        let known = vec![Cells::default(); shared.groups];
        Client { number, random, shared, values: 0, keys: 0, known, operations: Vec::new() }
    }

    /// Calls until it is stopped; all it remembers.
    pub async fn run(mut self) -> Vec<Operation> {
        while !self.shared.stop.load(Ordering::Relaxed) && self.operations.len() < OPERATIONS_MAX {
            let group = self.random.usize(..self.known.len());
            let call = self.call(group);
            let shared = self.shared.clone();
            let operation = if call.writes() && self.random.u32(..100) < KEYED_PERCENT {
                self.keys += 1;
                let key = format!("{}/{}/{}", shared.prefix, self.number, self.keys);
                shared.send_again(self.number, &mut self.random, group, call, &key).await
            } else {
                let node = self.random.usize(..shared.nodes.len());
                shared.send(self.number, node, group, call).await
            };
            match &operation.outcome {
                Outcome::Done(answer) => self.learn(group, &operation.call, answer),
                _ => sleep(PAUSE).await,
            }
            self.operations.push(operation);
            sleep(Duration::from_millis(self.random.u64(..THINK_MAX_MS))).await;
        }
        self.operations
    }

    fn call(&mut self, group: usize) -> Call {
        let key = self.random.usize(..KEYS);
        let revision = |cell: &Option<_>| cell.map_or(0, |cell: super::history::Cell| cell.revision);
        let known = self.known[group];
        match self.random.u32(..100) {
            0..20 => Call::Put { key, value: self.value() },
            20..38 => Call::PutIf { key, value: self.value(), expected: revision(&known[key]) },
            38..45 => Call::Delete { key },
            45..65 => Call::Get { key },
            65..77 => Call::List,
            77..92 => {
                let values = [self.value(), self.value()];
                Call::Txn { values, expected: [revision(&known[0]), revision(&known[1])] }
            }
            92..96 => Call::Stale,
            _ => {
                let newest = self.shared.newest.load(Ordering::Relaxed).max(self.shared.oldest);
                Call::Past { at: self.random.u64(self.shared.oldest..=newest) }
            }
        }
    }

    /// A number that no other write of the round has.
    fn value(&mut self) -> u64 {
        self.values += 1;
        u64::from(self.number + 1) * 1_000_000 + self.values
    }

    fn learn(&mut self, group: usize, call: &Call, answer: &Answer) {
        let known = &mut self.known[group];
        let cell = |value: u64, revision: u64| Some(super::history::Cell { value, revision });
        match (call, answer) {
            (Call::Put { key, value } | Call::PutIf { key, value, .. }, Answer::Written { revision }) => {
                known[*key] = cell(*value, *revision);
            }
            (Call::Delete { key }, _) => known[*key] = None,
            (Call::Get { key }, Answer::Found { cell, .. }) => known[*key] = *cell,
            (Call::List, Answer::Listed { cells, .. }) => *known = *cells,
            (Call::Txn { values, .. }, Answer::Written { revision }) => {
                known[0] = cell(values[0], *revision);
                known[1] = cell(values[1], *revision);
            }
            (Call::Txn { .. }, Answer::Otherwise { cells, .. }) => known[..2].copy_from_slice(cells),
            _ => {}
        }
    }
}
