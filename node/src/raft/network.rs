//! What openraft says to a peer: appends in a pipeline, votes, snapshots.
//!
//! openraft opens several clients per target (replication, heartbeats, votes, snapshots); all but snapshots share the
//! one connection that `peer` keeps.
//!
//! Invariants:
//! * A stream of appends ends itself when its oldest frame is unanswered for one maximal election timeout: a follower
//!   that hangs would otherwise keep the leader from purging its log for ever.
//! * Answers are handed to openraft in the order of their requests.
//! * What a stream has in flight is bounded in frames and bytes.

use super::clocks::Clocks;
use super::lease::Lease;
use super::machine::Machine;
use super::outgoing::Kept;
use super::snapshot::{SnapshotData, chunks};
use super::types::{RaftLogId, SnapshotMeta, Types, Vote, decode_vote};
use super::wire::{self, Beside};
use crate::metrics::ShardMetrics;
use crate::peer::{Answer, CallError, Kind, Peers, Target};
use crate::storage::Position;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
    RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RPCTypes};
use schedia_apps::{NodeId, ShardId};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// Appends sent ahead of their answers.
const FRAMES_AHEAD: usize = 32;
/// And their bytes.
const BYTES_AHEAD: usize = 8 << 20;

/// Between a question that was lost and the same again. As long as a failed connect speaks for the next ones.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long a frame that says nothing but what is committed waits for entries to go with. With one client after another it would
/// double the frames; followers apply that much later, unless somebody reads there (`Group::hurry`).
const COMMIT_LINGER: Duration = Duration::from_millis(2);

type RpcError = RPCError<Types>;

/// Makes the clients of one shard.
#[derive(Clone)]
pub(crate) struct Network {
    peers: Peers,
    shard: ShardId,
    me: NodeId,
    heartbeat: Duration,
    /// One maximal election timeout.
    patience: Duration,
    /// One snapshot of this shard leaves at a time.
    snapshots: Arc<Semaphore>,
    /// Where members are, as last heard: openraft keeps a client over a change of its address.
    /// std Mutex: never held across an await.
    addresses: Arc<Mutex<BTreeMap<NodeId, Arc<str>>>>,
    /// What members' wall clocks show, as they report with every answer to an append.
    pub(super) clocks: Clocks,
    /// What members have taken, and promise.
    lease: Lease,
    metrics: ShardMetrics,
    /// The newest term that votes were asked for: all members are asked in one election.
    stood: Arc<AtomicU64>,
    /// The snapshot whose stream broke off.
    kept: Kept,
}

impl Network {
    pub(crate) fn new(
        peers: Peers,
        shard: ShardId,
        me: NodeId,
        heartbeat: Duration,
        patience: Duration,
        lease: Lease,
        machine: &Machine,
    ) -> Self {
        let (metrics, kept) = (machine.metrics().clone(), machine.kept().clone());
        let snapshots = Arc::new(Semaphore::new(1));
        Network {
            peers,
            shard,
            me,
            heartbeat,
            patience,
            snapshots,
            addresses: Arc::default(),
            clocks: Clocks::default(),
            lease,
            metrics,
            stood: Arc::default(),
            kept,
        }
    }

    /// A member is there from now on, for the clients that were made before too.
    pub(super) fn note(&self, id: NodeId, address: &str) {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(id, address.into());
    }

    /// This node stands for election.
    fn stands(&self, term: u64) {
        if self.stood.fetch_max(term, Ordering::Relaxed) < term {
            self.metrics.elections.inc();
        }
    }

    fn address(&self, id: NodeId) -> Arc<str> {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.get(&id).cloned().unwrap_or_default()
    }

    /// Asks a voter whether it has voted in no term after this one, again if the question or its answer is lost. No answer in time is no.
    pub(super) fn confirm(&self, id: NodeId, term: u64) -> impl Future<Output = bool> + Send + use<> {
        let (peers, shard, address) = (self.peers.clone(), self.shard, self.address(id));
        let deadline = Instant::now() + self.patience;
        async move {
            let (target, body) = (Target { id, address: &address }, wire::encode_term(term));
            loop {
                match peers.call(target, Kind::Confirm, shard, body.clone(), deadline).await {
                    Ok(answer) => return wire::decode_confirmed(&answer).unwrap_or(false),
                    Err(_) if Instant::now() + ASK_AGAIN_AFTER < deadline => sleep(ASK_AGAIN_AFTER).await,
                    Err(_) => return false,
                }
            }
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Client {
        self.note(NodeId(target), &node.addr);
        Client { network: self.clone(), id: NodeId(target) }
    }
}

/// One shard's way to one peer.
pub(crate) struct Client {
    network: Network,
    id: NodeId,
}

impl Client {
    async fn call(
        &self,
        action: RPCTypes,
        kind: Kind,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, RpcError> {
        let Network { peers, shard, .. } = &self.network;
        let (begun, address) = (Instant::now(), self.network.address(self.id));
        let target = Target { id: self.id, address: &address };
        match peers.call(target, kind, *shard, body, begun + patience).await {
            Ok(answer) => Ok(answer),
            Err(_) if begun.elapsed() >= patience => Err(self.timeout(action, patience)),
            Err(error) => Err(failed(error)),
        }
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RpcError {
        RPCError::Timeout(Timeout { action, id: self.network.me.0, target: self.id.0, timeout })
    }
}

/// What did not leave or was refused is not tried again at once.
fn failed(error: CallError) -> RpcError {
    match error {
        CallError::Lost(_) => RPCError::Network(NetworkError::new(&error)),
        CallError::NotSent(_) | CallError::Refused(_) => RPCError::Unreachable(Unreachable::new(&error)),
    }
}

fn malformed(error: io::Error) -> RpcError {
    RPCError::Network(NetworkError::new(&error))
}

impl NetVote<Types> for Client {
    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        self.network.stands(request.vote.leader_id.term);
        let body = wire::encode_vote_request(&request);
        let answer = self.call(RPCTypes::Vote, Kind::Vote, body, option.soft_ttl()).await?;
        wire::decode_vote_response(&answer).map_err(malformed)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RpcError> {
        let body = wire::encode_vote_request(&request);
        let answer = self.call(RPCTypes::Vote, Kind::PreVote, body, option.soft_ttl()).await?;
        wire::decode_vote_response(&answer).map_err(malformed)
    }
}

impl NetTransferLeader<Types> for Client {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        // Whoever hears of it may break a promise to this leader.
        self.network.lease.end(request.from_leader().leader_id.term);
        let body = wire::encode_transfer(&request);
        let answer =
            self.call(RPCTypes::TransferLeader, Kind::TransferLeader, body, option.soft_ttl()).await?;
        wire::decode_transferred(&answer).map_err(malformed)
    }
}

impl NetBackoff<Types> for Client {
    /// A peer that comes back is found within a heartbeat.
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(self.network.heartbeat)))
    }
}

impl NetSnapshot<Types> for Client {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: super::snapshot::Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = timeout(option.soft_ttl(), self.send_snapshot(vote, snapshot)) => match sent {
                Ok(sent) => Ok(sent?),
                Err(_) => Err(self.timeout(RPCTypes::InstallSnapshot, option.soft_ttl()).into()),
            },
        }
    }
}

impl Client {
    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: super::snapshot::Snapshot,
    ) -> Result<SnapshotResponse<Types>, RpcError> {
        let Network { peers, shard, snapshots, metrics, .. } = &self.network;
        let begun = Instant::now();
        let meta: SnapshotMeta = snapshot.meta;
        let SnapshotData::Out(outgoing) = snapshot.snapshot else {
            return Err(RPCError::Unreachable(Unreachable::from_string(
                "a received snapshot is not sent on",
            )));
        };
        // Waiting here would pin the pages of a checkpoint that gets older.
        let Ok(_permit) = snapshots.try_acquire() else {
            return Err(RPCError::Unreachable(Unreachable::from_string("another snapshot is being sent")));
        };
        let begin = wire::encode_begin(vote, &meta);
        let address = self.network.address(self.id);
        let target = Target { id: self.id, address: &address };
        let mut sending = self.network.kept.sending(outgoing.clone(), self.id);
        let parts = |has: Bytes| {
            let has = wire::decode_position(&has).map_err(|error| CallError::Lost(error.to_string()))?;
            let behind = has.filter(|position| outgoing.snapshot.leads_to(position));
            let blocks = behind.as_ref().map_or(0, Position::blocks);
            tracing::info!(shard = %shard, to = %self.id, covers = ?meta.last_log_id, behind_block = blocks, "sending a snapshot");
            metrics.snapshot_resumed.inc_by(u64::from(behind.is_some()));
            sending.begins(blocks);
            let sent = |chunk: &io::Result<Bytes>| {
                metrics.snapshot_sent_bytes.inc_by(chunk.as_ref().map_or(0, Bytes::len) as u64);
            };
            Ok(chunks(outgoing.snapshot.clone(), behind).inspect(sent))
        };
        let answer = peers.stream(target, *shard, begin, parts).await.map_err(failed)?;
        sending.arrived();
        metrics.snapshot_send_seconds.observe(begun.elapsed().as_secs_f64());
        let vote = decode_vote(&answer).map_err(malformed)?;
        Ok(SnapshotResponse { vote })
    }
}

impl NetStreamAppend<Types> for Client {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let pipeline = Pipeline {
            client: self,
            input: Some(input),
            held: None,
            sent: VecDeque::new(),
            last: None,
            bytes: 0,
            answered: Instant::now(),
        };
        let answers = stream::unfold(Some(pipeline), |pipeline| async move { pipeline?.next().await });
        let answers: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(std::future::ready(Ok(answers)))
    }
}

/// A stream of appends and what of it is unanswered.
struct Pipeline<'s, S> {
    client: &'s Client,
    /// `None` once it has ended.
    input: Option<S>,
    /// A request without entries, and when it is sent unless another comes, which says what it says.
    held: Option<(AppendEntriesRequest<Types>, Instant)>,
    sent: VecDeque<Sent>,
    /// Of the last request sent.
    last: Option<RaftLogId>,
    bytes: usize,
    /// When an answer last came.
    answered: Instant,
}

struct Sent {
    answer: Answer,
    /// The leader's.
    term: u64,
    /// Nothing of it left before.
    begun: Instant,
    /// When all of it had left.
    at: Instant,
    bytes: usize,
    prev: Option<RaftLogId>,
    last: Option<RaftLogId>,
}

type Item = Result<StreamAppendResult<Types>, RpcError>;

enum Step {
    Take(Option<AppendEntriesRequest<Types>>),
    SendHeld,
    Answered(Result<Bytes, RpcError>),
}

impl<S> Pipeline<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
{
    /// The next answer, and the rest of the stream if it goes on.
    async fn next(mut self) -> Option<(Item, Option<Self>)> {
        loop {
            let request = match self.step().await? {
                Step::Take(Some(request)) if self.can_wait(&request) => {
                    let due = self.held.take().map_or_else(|| Instant::now() + COMMIT_LINGER, |(_, due)| due);
                    self.held = Some((request, due));
                    continue;
                }
                Step::Take(Some(request)) => request,
                Step::Take(None) => {
                    self.input = None;
                    continue;
                }
                Step::SendHeld => self.held.take()?.0,
                Step::Answered(answer) => {
                    let sent = self.sent.pop_front()?;
                    self.bytes -= sent.bytes;
                    self.answered = Instant::now();
                    let item = answer.and_then(|answer| result(&answer, &sent, self.client));
                    let goes_on = matches!(&item, Ok(Ok(matched)) if *matched == sent.last);
                    return Some((item, goes_on.then_some(self)));
                }
            };
            // Whatever is sent says what the one held would have said.
            self.held = None;
            if let Err(error) = self.send(request).await {
                return Some((Err(error), None));
            }
        }
    }

    /// Whether it says only that more of what was sent before is committed. openraft does not miss its answer: that to a later
    /// one stands for both.
    fn can_wait(&self, request: &AppendEntriesRequest<Types>) -> bool {
        request.entries.is_empty() && self.last.is_some() && request.prev_log_id == self.last
    }

    /// Whatever comes first: a request, if there is room for one, or the oldest answer. `None` when all is done.
    async fn step(&mut self) -> Option<Step> {
        let room = self.sent.len() < FRAMES_AHEAD && self.bytes < BYTES_AHEAD;
        let (client, answered) = (self.client, self.answered);
        let input = self.input.as_mut().filter(|_| room);
        let oldest = self.sent.front_mut();
        let due = self.held.as_ref().filter(|_| room).map(|(_, due)| *due);
        if input.is_none() && oldest.is_none() && due.is_none() {
            return None;
        }
        Some(tokio::select! {
            Some(answer) = async { Some(wait(oldest?, answered, client).await) } => Step::Answered(answer),
            Some(request) = async { Some(input?.next().await) } => Step::Take(request),
            _ = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Step::SendHeld,
        })
    }

    async fn send(&mut self, request: AppendEntriesRequest<Types>) -> Result<(), RpcError> {
        let Network { peers, shard, patience, lease, .. } = &self.client.network;
        lease.tell(self.client.id, request.leader_commit.map_or(0, |id| id.index));
        let (term, begun) = (request.vote.leader_id.term, Instant::now());
        let last = request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id);
        let body = wire::encode_append(&request);
        let bytes = body.len();
        let address = self.client.network.address(self.client.id);
        let target = Target { id: self.client.id, address: &address };
        let sending = peers.send(target, Kind::Append, *shard, body);
        let answer = match timeout(*patience, sending).await {
            Ok(answer) => answer.map_err(failed)?,
            Err(_) => return Err(self.client.timeout(RPCTypes::AppendEntries, *patience)),
        };
        self.bytes += bytes;
        self.last = last;
        let (at, prev) = (Instant::now(), request.prev_log_id);
        self.sent.push_back(Sent { answer, term, begun, at, bytes, prev, last });
        Ok(())
    }
}

/// Waits for the oldest answer, as long as the peer shows that it works on them.
async fn wait(oldest: &mut Sent, answered: Instant, client: &Client) -> Result<Bytes, RpcError> {
    let patience = client.network.patience;
    match timeout_at(oldest.at.max(answered) + patience, &mut oldest.answer).await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(client.timeout(RPCTypes::AppendEntries, patience)),
    }
}

fn result(answer: &[u8], sent: &Sent, client: &Client) -> Item {
    let (response, Beside { wall_ms, promise_ms }) = wire::decode_appended(answer).map_err(malformed)?;
    client.network.clocks.note(client.id, wall_ms);
    if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
        client.network.lease.note(client.id, sent.term, sent.begun, Duration::from_millis(promise_ms));
    }
    // openraft unwraps this: a conflict with nothing before it cannot be.
    if matches!(response, AppendEntriesResponse::Conflict) && sent.prev.is_none() {
        return Err(malformed(io::Error::other("a conflict with the beginning of the log")));
    }
    Ok(response.into_stream_result(sent.prev, sent.last))
}
