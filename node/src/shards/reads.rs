//! Linearizable reads: one round to a majority for all reads that wait meanwhile.
//!
//! A read that arrives while a round is under way waits for the next one: that round begins after the read did, so
//! whatever was acknowledged before is behind its index. A follower asks the leader for such an index over the peer
//! port, waits until it has applied that far, and answers itself. A leader with a lease needs no round, and no read waits for one.
//!
//! Invariants:
//! * An index is used only by reads that began before its round did.
//! * Only a majority's confirmation, or its promises, make an index: a deposed leader gets none.

use super::{ShardError, Timings};
use crate::metrics::ShardMetrics;
use crate::peer::{CallError, Kind, Peers, Target};
use crate::raft::{Group, Rounds, decode_read_index, encode_read_index};
use bytes::Bytes;
use schedia_apps::{NodeId, ShardId};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Reads that wait for a round. Beyond this, callers get Busy.
const QUEUE_READS: usize = 16_384;

type Answer = oneshot::Sender<Result<u64, ShardError>>;

/// The way to the reader of one shard.
pub(super) struct Reads {
    group: Arc<Group>,
    queue: mpsc::Sender<Answer>,
}

impl Reads {
    /// Starts the task; it ends when `Reads` is dropped.
    pub(super) fn start(
        group: Arc<Group>,
        peers: Peers,
        me: NodeId,
        shard: ShardId,
        timings: Timings,
        metrics: ShardMetrics,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_READS);
        let round = Round { group: group.clone(), peers, me, shard, timings, metrics };
        tokio::spawn(round.run(waiting));
        Reads { group, queue }
    }

    /// Reads that wait for the next round.
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// The index that a read which begins now must see.
    pub(super) async fn index(&self, deadline: Instant) -> Result<u64, ShardError> {
        if let Some(index) = self.group.leased_index() {
            self.group.machine().metrics().lease_reads.inc();
            return Ok(index);
        }
        let (answer, index) = oneshot::channel();
        self.queue.try_send(answer).map_err(|_| ShardError::Busy)?;
        match timeout_at(deadline, index).await {
            Ok(Ok(index)) => index,
            Ok(Err(_)) => Err(ShardError::Stopped { reason: "the shard stopped on this node".into() }),
            Err(_) => Err(ShardError::unavailable("no majority confirmed the leader in time")),
        }
    }
}

struct Round {
    group: Arc<Group>,
    peers: Peers,
    me: NodeId,
    shard: ShardId,
    timings: Timings,
    metrics: ShardMetrics,
}

impl Round {
    async fn run(self, mut queue: mpsc::Receiver<Answer>) {
        let (mut waiting, mut rounds) = (Vec::new(), Rounds::default());
        while queue.recv_many(&mut waiting, QUEUE_READS).await > 0 {
            waiting.retain(|answer| !answer.is_closed());
            if waiting.is_empty() {
                continue;
            }
            self.metrics.read_rounds.inc();
            let begun = Instant::now();
            let index = self.index(&mut rounds).await;
            self.metrics.read_index_seconds.observe(begun.elapsed().as_secs_f64());
            for answer in waiting.drain(..) {
                let _ = answer.send(index.clone());
            }
        }
    }

    /// Asks the leader. One that has just begun, or that is no more, is asked again: an election should not fail every read
    /// that meets it.
    async fn index(&self, rounds: &mut Rounds) -> Result<u64, ShardError> {
        let patience = Instant::now() + self.timings.election_max();
        loop {
            let index = self.ask(rounds).await;
            let pause = self.timings.heartbeat() / 4;
            if index.is_ok() || Instant::now() + pause >= patience {
                return index;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask(&self, rounds: &mut Rounds) -> Result<u64, ShardError> {
        let deadline = Instant::now() + super::proposer::election(self.timings);
        let leader = self.group.wait_for_leader(deadline).await.ok_or(ShardError::NoLeader)?;
        if leader.id == self.me {
            return self.group.read_index(rounds).await.map_err(ShardError::unavailable);
        }
        let target = Target { id: leader.id, address: &leader.address };
        match self.peers.call(target, Kind::ReadIndex, self.shard, Bytes::new(), deadline).await {
            Ok(answer) => match decode_read_index(&answer).map_err(ShardError::unavailable)? {
                Some(index) => Ok(index),
                None => Err(ShardError::unavailable(format!("node {} does not lead any more", leader.id))),
            },
            Err(CallError::NotSent(reason) | CallError::Lost(reason)) => {
                Err(ShardError::Unavailable { reason })
            }
            Err(CallError::Refused(refused)) => Err(ShardError::unavailable(refused)),
        }
    }
}

impl Reads {
    /// Answers a follower's question: an index of this node's own rounds, if it leads.
    pub(super) async fn serve(&self, follower: NodeId, deadline: Instant) -> Bytes {
        let index = match self.group.is_leader() {
            true => self.index(deadline).await.ok(),
            false => None,
        };
        if let Some(index) = index {
            self.group.hurry(follower, index).await;
        }
        encode_read_index(index)
    }
}
