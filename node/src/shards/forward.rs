//! Commands on their way from a follower to the leader, once.
//!
//! Invariants:
//! * A forwarded command is never forwarded again.
//! * Whatever is lost after the frame was handed to the connection is an unknown outcome.
//!
//! The body of a frame is a [`Forwarded`], and behind it an [`Origin`] if somebody follows the request. Who does not know
//! of origins reads the first and ignores the rest, and a frame that ends there has none.

use super::proposer::{Proposer, SubmitError};
use super::{Applied, ShardError};
use crate::peer::{CallError, Kind, Peers, Refused, Target};
use crate::raft::Leader;
use crate::request::Origin;
use bytes::Bytes;
use schedia_apps::{At, Command, Level, NodeId, Refusal, Reply, ShardId};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span};

/// A command and how long its caller waits.
#[derive(Serialize, Deserialize)]
pub(super) struct Forwarded {
    pub(super) wait_ms: u64,
    pub(super) command: Bytes,
}

/// How the leader answers: as [`ShardError`], without what only the leader's own callers can get.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
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
    let body = frame_body(&Forwarded { wait_ms: wait.as_millis() as u64, command }, Origin::current());
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

pub(super) fn frame_body(forwarded: &Forwarded, origin: Option<Origin>) -> Bytes {
    match origin {
        None => encode(forwarded),
        Some(origin) => encode(&(forwarded, origin)),
    }
}

/// What a frame asks for, and whose request it is. An origin that cannot be read is none: it changes nothing about the command.
pub(super) fn read_body(body: &[u8]) -> Result<(Forwarded, Option<Origin>), postcard::Error> {
    let (forwarded, rest) = postcard::take_from_bytes(body)?;
    let origin = if rest.is_empty() { None } else { postcard::from_bytes(rest).ok() };
    Ok((forwarded, origin))
}

pub(super) fn decode(answer: &[u8]) -> Result<Applied<Reply>, ShardError> {
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

/// Proposes a command that a follower has forwarded. `admit` is what the leader asks of its own callers' commands, and its answer
/// to one that needs no entry.
pub(super) async fn serve(
    proposer: &Proposer,
    from: NodeId,
    body: &[u8],
    admit: impl FnOnce(&Command) -> Result<Option<Applied<Reply>>, ShardError>,
) -> Result<Bytes, Refused> {
    let invalid = |reason: String| Refused::Invalid { reason };
    let (Forwarded { wait_ms, command }, origin) =
        read_body(body).map_err(|error| invalid(error.to_string()))?;
    let span = origin.map_or_else(Span::none, |origin| origin.span(from.0));
    span.in_scope(|| tracing::debug!("a command that another node took"));
    // What no level of this release knows would break every member that applies it.
    let decoded = Command::decode(Level::MAX, &command).map_err(|error| invalid(error.to_string()))?;
    let deadline = Instant::now() + Duration::from_millis(wait_ms.min(WAIT_MS_MAX));
    let answer = match span.in_scope(|| admit(&decoded)) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => match proposer.room(&command) {
            Ok(room) => proposer.submit(command, room, deadline).instrument(span).await,
            Err(error) => Err(SubmitError::Failed(error)),
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_may_say_whose_request_it_is_and_need_not() {
        let forwarded = || Forwarded { wait_ms: 7, command: Bytes::from_static(b"put") };
        let origin = Origin { id: "order-17".into(), traceparent: Some("00-1-2-01".into()) };
        for origin in [None, Some(origin)] {
            let body = frame_body(&forwarded(), origin.clone());
            let (read, read_origin) = read_body(&body).unwrap();
            assert_eq!((read.wait_ms, &read.command[..], read_origin), (7, &b"put"[..], origin));
            // As a release reads it that knows no origins.
            let Forwarded { wait_ms, command } = postcard::from_bytes(&body).unwrap();
            assert_eq!((wait_ms, &command[..]), (7, &b"put"[..]));
        }
        let odd = [&encode(&forwarded())[..], &[200]].concat();
        assert_eq!(read_body(&odd).unwrap().1, None, "what cannot be read is no origin");
    }
}
