//! balsa's door: `/set?key=&value=`, `/get?key=`, `/remove?key=`, by any method; and `/join?nodeId=&raftPort=` on a node
//! run in balsa's manner. Its keys are the keys `balsa/{key}` of the native door.
//!
//! As there: a write goes to the leader alone, parameters stand in the query (a `+` is a space), a write answers with
//! nothing. Better than there: values are kept, and what failed or was refused is no 200.
//!
//! Not here: the environment of `schedia balsa` (`crate::cli`), how an invited node comes (`crate::join`).

use super::error::DoorError;
use super::native::{Door, consistency, unexpected};
use super::params::Params;
use super::plain::{leads, not_leader, plain, value};
use super::routes::Routes;
use crate::config::{Doors, Manner};
use crate::join::Invited;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use schedia_apps::kv;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What balsa says.
const NOT_LEADER: &str = "Not a leader, do nothing\n";

/// Beginning a cluster is an election and a write; coming into one is a few writes and a second of quiet.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The routes of this door that are open.
pub(super) fn routes(doors: Doors) -> Routes<Arc<Door>> {
    let routes = Routes::new();
    if !doors.balsa {
        return routes;
    }
    let begins = doors.join == Some(Manner::Balsa);
    let set = move |door: State<Arc<Door>>, uri: Uri| set(door, uri, begins);
    let routes = routes.any("/set", set).any("/get", get).any("/remove", remove);
    if begins { routes.any("/join", join) } else { routes }
}

/// A blank node of balsa's manner begins its cluster by what it is asked to keep.
async fn set(State(door): State<Arc<Door>>, uri: Uri, begins: bool) -> Response {
    let set = async {
        let mut params = params(&uri)?;
        let key = key(&mut params)?;
        let value = required(&mut params, "value")?;
        params.done()?;
        if begins {
            door.node.admission().begin_if_blank(Instant::now() + JOIN_TIMEOUT).await?;
        }
        let put = kv::Put { key, value, if_mod_revision: None };
        write(&door, kv::Command::Put(put)).await
    };
    door.answer(set, plain).await
}

async fn get(State(door): State<Arc<Door>>, uri: Uri) -> Response {
    let got = async {
        let mut params = params(&uri)?;
        let key = key(&mut params)?;
        let consistency = consistency(&mut params)?;
        params.done()?;
        value(door.read(kv::Query::Get { key, revision: None }, consistency).await?)
    };
    door.answer(got, plain).await
}

async fn remove(State(door): State<Arc<Door>>, uri: Uri) -> Response {
    let removed = async {
        let mut params = params(&uri)?;
        let key = key(&mut params)?;
        params.done()?;
        write(&door, kv::Command::Delete(kv::Delete { key, if_mod_revision: None })).await
    };
    door.answer(removed, plain).await
}

/// Invites the node at that port of this machine, and answers when it votes.
async fn join(State(door): State<Arc<Door>>, uri: Uri) -> Response {
    let joined = async {
        let mut params = params(&uri)?;
        let name = required(&mut params, "nodeId")?;
        let name = std::str::from_utf8(&name)
            .map_err(|_| DoorError::bad_request("parameter nodeId is a node's name, in UTF-8"))?;
        let port: Option<u16> = params.value("raftPort", "a port from 1 to 65535")?;
        let port = port.ok_or_else(|| missing("raftPort"))?;
        if port == 0 {
            return Err(DoorError::bad_request("parameter raftPort must be a port from 1 to 65535: \"0\""));
        }
        params.done()?;
        let deadline = Instant::now() + JOIN_TIMEOUT;
        door.node.admission().begin_if_blank(deadline).await?;
        match door.node.admission().invite(name, &format!("127.0.0.1:{port}"), deadline).await? {
            Invited::Votes => Ok(().into_response()),
            Invited::Comes => Ok((
                StatusCode::ACCEPTED,
                format!("{name} was invited and does not vote yet: ask again to wait for it\n"),
            )
                .into_response()),
        }
    };
    door.answer(joined, plain).await
}

async fn write(door: &Door, command: kv::Command) -> Result<Response, DoorError> {
    if !leads(door)? {
        let leader = door.node.leader_url();
        let text = leader.iter().fold(NOT_LEADER.to_owned(), |text, url| format!("{text}{url}\n"));
        return Ok(not_leader(StatusCode::MISDIRECTED_REQUEST, text, leader));
    }
    match door.propose(command).await? {
        kv::Reply::Put { .. } | kv::Reply::Deleted { .. } => Ok(().into_response()),
        other => Err(unexpected(&other)),
    }
}

/// The parameters, a `+` being a space, as in a form.
pub(super) fn params(uri: &Uri) -> Result<Params, DoorError> {
    Params::parse(uri.query().map(|query| query.replace('+', "%20")).as_deref())
}

pub(super) fn key(params: &mut Params) -> Result<Bytes, DoorError> {
    let key = required(params, "key")?;
    if key.is_empty() {
        return Err(DoorError::bad_request("parameter key is empty"));
    }
    Ok([b"balsa/", &key[..]].concat().into())
}

fn required(params: &mut Params, name: &str) -> Result<Bytes, DoorError> {
    params.bytes(name).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> DoorError {
    DoorError::bad_request(format!("parameter {name} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Bytes, String> {
        let mut params = params(&format!("/get?{query}").parse().unwrap()).unwrap();
        key(&mut params).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_key_stands_in_the_query_as_a_form_writes_it() {
        assert_eq!(of("key=a+b").unwrap(), "balsa/a b");
        assert_eq!(&of("key=%2B%00").unwrap()[..], b"balsa/+\0");
        assert_eq!(of("key=").unwrap_err(), "parameter key is empty");
        assert_eq!(of("value=1").unwrap_err(), "parameter key is missing");
    }
}
