//! What the doors of small programs have in common: errors in plain text, and writes on the leader alone.
//!
//! Not here: what an error is (`super::error`), what a request may cost (`super::bounds`).

use super::error::DoorError;
use super::native::{Door, unexpected};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schedia_apps::{ShardId, kv};

/// Names the leader's client URL, where a write was refused because another node leads.
const LEADER: HeaderName = HeaderName::from_static("x-raft-leader");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// An error as one line of text.
pub(super) fn plain(error: DoorError) -> Response {
    let line = format!("{}\n", error.message());
    let (mut parts, _json) = error.into_response().into_parts();
    parts.headers.insert(CONTENT_TYPE, TEXT);
    Response::from_parts(parts, Body::from(line))
}

/// Whether this node leads kv's shard, so that a write may be proposed here. Should it lose the lead right then, the
/// write is forwarded: these doors refuse what they need not do, and lose nothing that they took.
pub(super) fn leads(door: &Door) -> Result<bool, DoorError> {
    let shard = door.node.shard(ShardId(0)).map_err(|error| door.refuse(error))?;
    Ok(shard.is_leader())
}

/// A refusal because another node leads, in a program's own status and words.
pub(super) fn not_leader(status: StatusCode, text: String, leader: Option<String>) -> Response {
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, TEXT)]);
    if let Some(leader) = leader.and_then(|url| HeaderValue::try_from(url).ok()) {
        headers.insert(LEADER, leader);
    }
    (status, headers, text).into_response()
}

/// A value found, or 404.
pub(super) fn value(reply: kv::Reply) -> Result<Response, DoorError> {
    match reply {
        kv::Reply::Got { found: Some(found), .. } => {
            Ok(([(CONTENT_TYPE, super::native::OCTETS)], found.value).into_response())
        }
        kv::Reply::Got { found: None, .. } => Err(kv::Refusal::KeyNotFound.into()),
        other => Err(unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_is_one_line_with_the_status_and_the_patience_of_the_table() {
        let response = plain(DoorError::unavailable("not applied, try again: no quorum"));
        assert_eq!(response.status(), 503);
        assert_eq!(
            (&response.headers()[CONTENT_TYPE], &response.headers()["retry-after"]),
            (&TEXT, &"1".parse().unwrap())
        );
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        assert_eq!(&body[..], b"not applied, try again: no quorum\n");
    }

    #[test]
    fn who_refuses_names_the_leader_if_it_knows_one() {
        let refused = not_leader(StatusCode::BAD_REQUEST, "no\n".into(), Some("http://n1:4001".into()));
        assert_eq!(refused.headers()[LEADER], "http://n1:4001");
        assert!(!not_leader(StatusCode::BAD_REQUEST, "no\n".into(), None).headers().contains_key(LEADER));
    }
}
