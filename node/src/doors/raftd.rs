//! raftd's door: `/db/{key}`, raw values under raw keys. They are the keys `db/{key}` of the native door.
//!
//! As there: a write goes to the leader alone, and another node refuses it with raftd's own status and words. Better than
//! there: a read sees every acknowledged write, an unknown key is told from an empty value, keys are any bytes.
//!
//! Not here: the command line of `schedia raftd` (`crate::cli`), joining (the node asks `/v1/cluster/join` itself).

use super::error::DoorError;
use super::native::{Door, consistency, unexpected};
use super::params::{Params, decode};
use super::plain::{leads, not_leader, plain, value};
use super::routes::Routes;
use crate::config::{Doors, Manner};
use crate::shards::Consistency;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use schedia_apps::kv;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What raftd says.
const NOT_LEADER: &str = "raft.Server: Not current leader\n";

/// The path of this door without its slash: in kv, its keys begin so.
const PREFIX: &str = "/db/";

/// Reading the cluster record takes one round.
const RECORD_TIMEOUT: Duration = Duration::from_secs(5);

/// The routes of this door. `/join` is there only on a node run in raftd's manner.
pub(super) fn routes(doors: Doors) -> Routes<Arc<Door>> {
    let keys = Routes::new().unlisted("/db/", get(get_key).post(set));
    let keys = keys.get("/db/{*key}", get_key).post("/db/{*key}", set);
    match doors.join {
        Some(Manner::Raftd) => keys.post("/join", join),
        _ => keys,
    }
}

async fn set(State(door): State<Arc<Door>>, request: Request) -> Response {
    let set = async {
        let (parts, body) = request.into_parts();
        let (key, params) = key(&parts)?;
        params.done()?;
        // Counted until the reply is there, and read even to be refused: its sender gets to read why.
        let value = door.bounds.body(&parts.headers, body, kv::VALUE_BYTES_MAX, "a value").await?;
        if !leads(&door)? {
            return Ok(not_leader(StatusCode::BAD_REQUEST, NOT_LEADER.to_owned(), door.node.leader_url()));
        }
        let put = kv::Put { key, value: value.bytes.clone(), if_mod_revision: None };
        match door.propose(kv::Command::Put(put)).await? {
            kv::Reply::Put { .. } => Ok(().into_response()),
            other => Err(unexpected(&other)),
        }
    };
    door.answer(set, plain).await
}

async fn get_key(State(door): State<Arc<Door>>, request: Request) -> Response {
    let got = async {
        let (key, mut params) = key(&request.into_parts().0)?;
        let consistency = consistency(&mut params)?;
        params.done()?;
        value(door.read(kv::Query::Get { key, revision: None }, consistency).await?)
    };
    door.answer(got, plain).await
}

/// The key that a path names, as kv has it, and the parameters.
pub(super) fn key(parts: &Parts) -> Result<(Bytes, Params), DoorError> {
    let params = Params::parse(parts.uri.query())?;
    let raw = parts.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let key = decode(raw)
        .ok_or_else(|| DoorError::bad_request(format!("the key is not percent-encoded (% is %25): {raw}")))?;
    if key.is_empty() {
        return Err(DoorError::bad_request("the key is missing: /db/KEY"));
    }
    Ok(([b"db/", &key[..]].concat().into(), params))
}

/// What raftd's nodes post to `/join`.
#[derive(Deserialize)]
pub(super) struct Join {
    name: String,
    #[serde(rename = "connectionString")]
    connection_string: String,
}

/// 200 for a member, as raftd answers a join that is given again. A node that is none must ask itself: the answer says how.
async fn join(State(door): State<Arc<Door>>, request: Request) -> Response {
    let join = async {
        let (parts, body) = request.into_parts();
        Params::parse(parts.uri.query())?.done()?;
        let Join { name, connection_string } = door.bounds.verb(&parts.headers, body).await?;
        let record = door.node.record(Consistency::Linearizable, Instant::now() + RECORD_TIMEOUT).await;
        let record = record.map_err(|error| door.refuse(error))?;
        let is_it = |member: &schedia_apps::cluster::Member| {
            member.name == name && member.http_url.as_ref() == Some(&connection_string)
        };
        if record.is_some_and(|record| record.members.values().any(is_it)) {
            return Ok(().into_response());
        }
        Err(DoorError::conflict(
            "not_a_member",
            format!(
                "{name} at {connection_string} is no member; a node asks to be let in itself: \
                 schedia raftd -p PORT -join HOST:PORT PATH, with the host and port of any member"
            ),
        ))
    };
    door.answer(join, plain).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Result<Bytes, String> {
        let (parts, ()) = axum::http::Request::builder().uri(path).body(()).unwrap().into_parts();
        key(&parts).map(|(key, _)| key).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_key_is_what_follows_db_decoded() {
        assert_eq!(of("/db/foo").unwrap(), "db/foo");
        assert_eq!(of("/db/a/b//c").unwrap(), "db/a/b//c");
        assert_eq!(&of("/db/%2F%00%ff+").unwrap()[..], b"db//\0\xff+");
        assert_eq!(of("/db/").unwrap_err(), "the key is missing: /db/KEY");
        assert_eq!(of("/db/%zz").unwrap_err(), "the key is not percent-encoded (% is %25): %zz");
    }
}
