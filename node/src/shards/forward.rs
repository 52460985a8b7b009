//! Commands on their way from a follower to the leader, once.
//!
//! Invariants:
//! * A forwarded command is never forwarded again.
//! * Whatever is lost after the frame was handed to the connection is an unknown outcome.

use super::proposer::{Proposer, SubmitError};
use super::{Applied, ShardError};
use crate::peer::{CallError, Kind, Peers, Refused, Target};
use crate::raft::Leader;
use bytes::Bytes;
use schedia_apps::{At, Command, Level, Refusal, Reply, ShardId};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A command and how long its caller waits.
#[derive(Serialize, Deserialize)]
struct Forwarded {
    wait_ms: u64,
    command: Bytes,
}

/// How the leader answers: as [`ShardError`], without what only the leader's own callers can get.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    Applied(At, Reply),
    Refused(Refusal),
    Unavailable(String),
    OutcomeUnknown(String),
    Busy,
    DiskLow,
    DiskFull,
}

/// Hands a command to the leader and waits for its answer.
pub(super) async fn propose(
    peers: &Peers,
    leader: &Leader,
    shard: ShardId,
    command: Bytes,
    deadline: Instant,
) -> Result<Applied<Reply>, ShardError> {
    let wait = deadline.saturating_duration_since(Instant::now());
    let body = encode(&Forwarded { wait_ms: wait.as_millis() as u64, command });
    let target = Target { id: leader.id, address: &leader.address };
    // Until it is handed over nothing has happened; from then on nobody here can tell.
    let sent = match timeout_at(deadline, peers.send(target, Kind::Propose, shard, body)).await {
        Ok(sent) => sent,
        Err(_) => return Err(ShardError::unavailable("no connection to the leader in time")),
    };
    let answer = match sent {
        Ok(answer) => timeout_at(deadline, answer).await,
        Err(error) => Ok(Err(error)),
    };
    match answer {
        Ok(Ok(answer)) => decode(&answer),
        Ok(Err(CallError::NotSent(reason))) => Err(ShardError::Unavailable { reason }),
        Ok(Err(CallError::Refused(refused))) => Err(ShardError::unavailable(refused)),
        Ok(Err(CallError::Lost(reason))) => Err(ShardError::OutcomeUnknown { reason }),
        Err(_) => Err(ShardError::unknown("the leader did not answer in time")),
    }
}

fn decode(answer: &[u8]) -> Result<Applied<Reply>, ShardError> {
    match postcard::from_bytes(answer) {
        Ok(Answer::Applied(at, value)) => Ok(Applied { at, value }),
        Ok(Answer::Refused(refusal)) => Err(refusal.into()),
        Ok(Answer::Unavailable(reason)) => Err(ShardError::Unavailable { reason }),
        Ok(Answer::OutcomeUnknown(reason)) => Err(ShardError::OutcomeUnknown { reason }),
        Ok(Answer::Busy) => Err(ShardError::Busy),
        Ok(Answer::DiskLow) => Err(ShardError::DiskLow),
        Ok(Answer::DiskFull) => Err(ShardError::DiskFull),
        Err(error) => Err(ShardError::unknown(format!("the leader's answer cannot be read: {error}"))),
    }
}

/// Proposes a command that a follower has forwarded. `admit` is what the leader asks of its own callers' commands.
pub(super) async fn serve(
    proposer: &Proposer,
    body: &[u8],
    admit: impl FnOnce(&Command) -> Result<(), ShardError>,
) -> Result<Bytes, Refused> {
    let invalid = |reason: String| Refused::Invalid { reason };
    let Forwarded { wait_ms, command } =
        postcard::from_bytes(body).map_err(|error| invalid(error.to_string()))?;
    // What no level of this release knows would break every member that applies it.
    let decoded = Command::decode(Level::MAX, &command).map_err(|error| invalid(error.to_string()))?;
    let deadline = Instant::now() + Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
    let answer = match admit(&decoded).and_then(|()| proposer.room(&command)) {
        Ok(room) => proposer.submit(command, room, deadline).await,
        Err(error) => Err(SubmitError::Failed(error)),
    };
    Ok(encode(&match answer {
        Ok(Applied { at, value }) => Answer::Applied(at, value),
        Err(SubmitError::NotLeader { .. }) => {
            Answer::Unavailable("the node asked does not lead any more".into())
        }
        Err(SubmitError::Failed(ShardError::Refused(refusal))) => Answer::Refused(refusal),
        Err(SubmitError::Failed(ShardError::OutcomeUnknown { reason })) => Answer::OutcomeUnknown(reason),
        Err(SubmitError::Failed(ShardError::Busy)) => Answer::Busy,
        Err(SubmitError::Failed(ShardError::DiskLow)) => Answer::DiskLow,
        Err(SubmitError::Failed(ShardError::DiskFull)) => Answer::DiskFull,
        Err(SubmitError::Failed(other)) => Answer::Unavailable(other.to_string()),
    }))
}

/// The longest a forwarded command may wait, whatever its caller says.
const WAIT_MS_MAX: u64 = 60_000;

fn encode(value: &impl Serialize) -> Bytes {
    postcard::to_stdvec(value).expect("plain data, which postcard always encodes").into()
}
