//! The network: each message takes a time drawn from the seed, or is lost; ways are cut and mended.

use super::super::confirm::has_voted_in_none_after;
use super::super::snapshot::{Snapshot, SnapshotData};
use super::super::types::{Types, Vote};
use super::super::wire;
use super::node::Member;
use super::{Raft, Truth};
use bytes::Bytes;
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

type Failed = RPCError<Types>;

/// How long the answer to a question is waited for.
const CALL: Duration = Duration::from_millis(500);

/// Clones are the same.
#[derive(Clone)]
pub(in crate::raft) struct Net {
    ways: Arc<Mutex<Ways>>,
    pub(super) truth: Truth,
}

pub(super) struct Ways {
    pub(super) random: fastrand::Rng,
    /// Who runs.
    pub(super) nodes: BTreeMap<u64, Member>,
    /// From whom to whom nothing arrives.
    pub(super) cut: BTreeSet<(u64, u64)>,
    /// One message of so many is lost; 0: none.
    pub(super) loses_one_of: u32,
    pub(super) slowest_ms: u64,
}

impl Net {
    pub(super) fn new(seed: u64, truth: Truth) -> Net {
        let (random, nodes, cut) = (fastrand::Rng::with_seed(seed), BTreeMap::new(), BTreeSet::new());
        let ways = Ways { random, nodes, cut, loses_one_of: 0, slowest_ms: 5 };
        Net { ways: Arc::new(Mutex::new(ways)), truth }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One way of one message; whether it arrives.
    async fn travels(&self, from: u64, to: u64) -> bool {
        let (takes, lost) = {
            let ways = &mut *self.lock();
            let takes = Duration::from_millis(ways.random.u64(1..=ways.slowest_ms));
            (takes, ways.loses_one_of > 0 && ways.random.u32(..ways.loses_one_of) == 0)
        };
        sleep(takes).await;
        !lost && !self.lock().cut.contains(&(from, to))
    }
}

impl Net {
    /// Asks `to` whether it has voted in no later term. What is lost is sent again until whoever asks gives up, as TCP does: behind a cut it
    /// arrives as soon as that is mended.
    pub(super) async fn confirm(self, from: u64, to: u64, term: u64) -> bool {
        // On its way whether anybody looks or not.
        let answer = tokio::spawn(async move {
            while !self.travels(from, to).await {}
            let log = self.lock().nodes.get(&to).map(|member| member.log.clone());
            let yes = log.is_some_and(|log| has_voted_in_none_after(&log, term));
            while !self.travels(to, from).await {}
            yes
        });
        matches!(timeout(CALL, answer).await, Ok(Ok(true)))
    }
}

/// The way of one node to another.
pub(in crate::raft) struct Way {
    pub(super) net: Net,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Way {
    /// A request, and its answer; both may be lost. What is lost is waited for until whoever asks gives up.
    async fn call<F>(
        &self,
        what: &str,
        request: Bytes,
        serve: impl FnOnce(Raft, Bytes) -> F,
        option: RPCOption,
    ) -> Result<Bytes, Failed>
    where
        F: Future<Output = Result<Bytes, String>>,
    {
        let Way { net, from, to } = self;
        let answer = async {
            if !net.travels(*from, *to).await {
                return Err("lost".to_owned());
            }
            let Some(raft) = net.lock().nodes.get(to).map(|member| member.raft.clone()) else {
                return Err("nobody is there".to_owned());
            };
            net.truth.note(|| format!("{from} > {to} {what} {:08x}", crc32c::crc32c(&request)));
            let answer = serve(raft, request).await?;
            if !net.travels(*to, *from).await {
                return Err("lost".to_owned());
            }
            net.truth.note(|| format!("{from} < {to} {what} {:08x}", crc32c::crc32c(&answer)));
            Ok(answer)
        };
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(words) => {
                if words == "lost" {
                    sleep(option.hard_ttl()).await;
                }
                Err(RPCError::Unreachable(Unreachable::from_string(words)))
            }
        }
    }

    /// For a vote, or before a vote.
    async fn ask_for_vote<F>(
        &self,
        what: &str,
        request: &VoteRequest<Types>,
        vote: impl FnOnce(Raft, VoteRequest<Types>) -> F,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, Failed>
    where
        F: Future<Output = Result<VoteResponse<Types>, String>>,
    {
        let serve = |raft: Raft, body: Bytes| async move {
            let request = wire::decode_vote_request(&body).map_err(said)?;
            Ok(wire::encode_vote_response(&vote(raft, request).await?))
        };
        let answer = self.call(what, wire::encode_vote_request(request), serve, option).await?;
        wire::decode_vote_response(&answer).map_err(malformed)
    }
}

fn malformed(error: io::Error) -> Failed {
    RPCError::Unreachable(Unreachable::new(&error))
}

fn said(error: impl ToString) -> String {
    error.to_string()
}

impl RaftNetworkV2<Types> for Way {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, Failed> {
        self.net.truth.leads(&request.vote);
        if let (Some(sender), Some(committed)) =
            (self.net.lock().nodes.get(&self.from), request.leader_commit)
        {
            sender.told.fetch_max(committed.index, Ordering::Relaxed);
        }
        let serve = |raft: Raft, body: Bytes| async move {
            let request = wire::decode_append(&body).map_err(said)?;
            let answer = raft.append_entries(request).await.map_err(said)?;
            Ok(wire::encode_appended(&answer, wire::Beside { wall_ms: 0, promise_ms: 0 }))
        };
        let answer = self.call("append", wire::encode_append(&request), serve, option).await?;
        Ok(wire::decode_appended(&answer).map_err(malformed)?.0)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, Failed> {
        let vote = |raft: Raft, request| async move { raft.vote(request).await.map_err(said) };
        self.ask_for_vote("vote", &request, vote, option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, Failed> {
        let vote = |raft: Raft, request| async move { raft.pre_vote(request).await.map_err(said) };
        self.ask_for_vote("pre-vote", &request, vote, option).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, Failed> {
        let serve = |raft: Raft, body: Bytes| async move {
            let request = wire::decode_transfer(&body).map_err(said)?;
            Ok(wire::encode_transferred(&raft.handle_transfer_leader(request).await.map_err(said)?))
        };
        let answer = self.call("transfer", wire::encode_transfer(&request), serve, option).await?;
        wire::decode_transferred(&answer).map_err(malformed)
    }

    /// No log is purged here, so nobody needs one.
    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        panic!("node {} sends a snapshot to {}", self.from, self.to)
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(Duration::from_millis(100))))
    }
}
