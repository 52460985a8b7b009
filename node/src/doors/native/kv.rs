//! One key: put, get, delete; and giving up history.

use super::*;
use crate::doors::bounds::parse_verb;
use crate::doors::error::MOD_REVISION;
use crate::doors::params::decode;
use axum::Json;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use schedia_api::KvDeleted;
use schedia_apps::kv::{self, KeyValue, VALUE_BYTES_MAX};
use schedia_apps::once::Outcome;
use serde::Deserialize;

pub(super) const REVISION: HeaderName = HeaderName::from_static("x-schedia-revision");
const CREATE_REVISION: HeaderName = HeaderName::from_static("x-schedia-create-revision");
const VERSION: HeaderName = HeaderName::from_static("x-schedia-version");

pub(in crate::doors) const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

pub(super) async fn put(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let (parts, body) = request.into_parts();
        let (key, mut params) = key(&parts)?;
        let if_mod_revision = params.number("if-mod-revision")?;
        params.done()?;
        // Counted until the reply is there: the value waits in the proposal meanwhile.
        let value = door.bounds.body(&parts.headers, body, VALUE_BYTES_MAX, "a value").await?;
        let put = kv::Put { key, value: value.bytes.clone(), if_mod_revision };
        let written = door.write(&parts, &value.bytes, kv::Command::Put(put)).await?;
        written.respond(|outcome| match outcome {
            Outcome::Kv(kv::Reply::Put { revision, create_revision, version }) => {
                let numbers = [
                    (REVISION, revision.into()),
                    (MOD_REVISION, revision.into()),
                    (CREATE_REVISION, create_revision.into()),
                    (VERSION, version.into()),
                ];
                Ok((HeaderMap::from_iter(numbers), ()).into_response())
            }
            other => Err(unexpected(&other)),
        })
    })
    .await
}

pub(super) async fn get(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let (key, params) = key(&request.into_parts().0)?;
        get_key(&door, key, params).await
    })
    .await
}

/// Without a key, `/v1/kv` is the list of all.
pub(super) async fn get_or_list(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let mut params = Params::parse(parts.uri.query())?;
        match params.bytes("key") {
            Some(key) => get_key(&door, key, params).await,
            None => list::list(&door, params).await,
        }
    })
    .await
}

async fn get_key(door: &Door, key: Bytes, mut params: Params) -> Result<Response, DoorError> {
    let consistency = consistency(&mut params)?;
    let revision = params.number("revision")?;
    params.done()?;
    match door.read(kv::Query::Get { key, revision }, consistency).await? {
        kv::Reply::Got { revision, found: Some(found) } => {
            let KeyValue { value, create_revision, mod_revision, version, key: _, lease: _ } = found;
            let headers = [
                (CONTENT_TYPE, OCTETS),
                (REVISION, revision.into()),
                (MOD_REVISION, mod_revision.into()),
                (CREATE_REVISION, create_revision.into()),
                (VERSION, version.into()),
            ];
            Ok((HeaderMap::from_iter(headers), value).into_response())
        }
        kv::Reply::Got { revision, found: None } => {
            let mut response = DoorError::from(kv::Refusal::KeyNotFound).into_response();
            response.headers_mut().insert(REVISION, revision.into());
            Ok(response)
        }
        other => Err(unexpected(&other)),
    }
}

/// Without a key, `/v1/kv` is the range that is named.
pub(super) async fn delete_or_range(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let mut params = Params::parse(parts.uri.query())?;
        match (params.bytes("key"), params.range()) {
            (Some(key), None) => delete_key(&door, &parts, key, params).await,
            (None, Some(range)) => delete_range(&door, &parts, range, params).await,
            (Some(_), Some(_)) => Err(DoorError::bad_request("key excludes prefix, start and end")),
            (None, None) => Err(DoorError::bad_request(
                "parameter key is missing; a range is named by prefix, start or end (an empty prefix: all keys)",
            )),
        }
    })
    .await
}

async fn delete_range(
    door: &Door,
    parts: &Parts,
    range: kv::KeyRange,
    mut params: Params,
) -> Result<Response, DoorError> {
    let limit = params.number("limit")?;
    params.done()?;
    let delete = kv::DeleteRange { range, limit };
    let written = door.write(parts, b"", kv::Command::DeleteRange(delete)).await?;
    written.respond(|outcome| match outcome {
        Outcome::Kv(kv::Reply::DeletedRange { revision, deleted, more }) => {
            Ok(Json(KvDeleted { revision, deleted, more }).into_response())
        }
        other => Err(unexpected(&other)),
    })
}

pub(super) async fn delete(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let (key, params) = key(&parts)?;
        delete_key(&door, &parts, key, params).await
    })
    .await
}

async fn delete_key(
    door: &Door,
    parts: &Parts,
    key: Bytes,
    mut params: Params,
) -> Result<Response, DoorError> {
    let if_mod_revision = params.number("if-mod-revision")?;
    params.done()?;
    let delete = kv::Delete { key, if_mod_revision };
    let written = door.write(parts, b"", kv::Command::Delete(delete)).await?;
    written.respond(|outcome| match outcome {
        Outcome::Kv(kv::Reply::Deleted { revision }) => Ok(([(REVISION, revision)], ()).into_response()),
        other => Err(unexpected(&other)),
    })
}

/// The body of `POST /v1/kv:compact`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Compact {
    revision: u64,
}

pub(super) async fn compact(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let (parts, body) = request.into_parts();
        Params::parse(parts.uri.query())?.done()?;
        let body = door.bounds.verb_bytes(&parts.headers, body).await?;
        let Compact { revision } = parse_verb(&body)?;
        let written = door.write(&parts, &body, kv::Command::Compact { revision }).await?;
        written.respond(|outcome| match outcome {
            Outcome::Kv(kv::Reply::Compacted { revision }) => {
                Ok(([(REVISION, revision)], ()).into_response())
            }
            other => Err(unexpected(&other)),
        })
    })
    .await
}

/// The key a request names, in its path or its parameter `key`, and the other parameters.
pub(super) fn key(parts: &Parts) -> Result<(Bytes, Params), DoorError> {
    let mut params = Params::parse(parts.uri.query())?;
    let key = match parts.uri.path().strip_prefix("/v1/kv/") {
        Some(raw) => decode(raw).ok_or_else(|| {
            DoorError::bad_request(format!("the key is not percent-encoded (% is %25): {raw}"))
        })?,
        None => params.bytes("key").ok_or_else(|| DoorError::bad_request("parameter key is missing"))?,
    };
    Ok((key, params))
}

pub(in crate::doors) fn consistency(params: &mut Params) -> Result<Consistency, DoorError> {
    match params.bytes("consistency").as_deref() {
        None | Some(b"linearizable") => Ok(Consistency::Linearizable),
        Some(b"stale") => Ok(Consistency::Stale),
        Some(other) => Err(DoorError::bad_request(format!(
            "parameter consistency must be linearizable or stale: {:?}",
            String::from_utf8_lossy(other)
        ))),
    }
}
