//! A page of keys as JSON: keys and values in base64, the continuation opaque.

use super::kv::consistency;
use super::*;
use axum::Json;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use schedia_api::{KvPage, KvRow};
use schedia_apps::kv::{self, Continuation, Detail, KeyRange, KeyValue, List, Page};

pub(super) async fn list(door: &Door, mut params: Params) -> Result<Response, DoorError> {
    let consistency = consistency(&mut params)?;
    let list = query(params)?;
    let mut page = page(door, list.clone(), consistency).await?;
    if list.detail == Detail::CountOnly {
        count(door, list, &mut page).await?;
    }
    Ok(Json(json(page)).into_response())
}

async fn page(door: &Door, list: List, consistency: Consistency) -> Result<Page, DoorError> {
    match door.read(kv::Query::List(list), consistency).await? {
        kv::Reply::Page(page) => Ok(page),
        other => Err(unexpected(&other)),
    }
}

/// How long one request counts. What is left then is counted by the next one, from its `continue` on.
const COUNT_TIME: Duration = Duration::from_secs(2);

/// Goes on counting, page by page: apply never waits for more than one.
async fn count(door: &Door, list: List, page: &mut Page) -> Result<(), DoorError> {
    let deadline = Instant::now() + COUNT_TIME;
    while let Some(after) = page.next.take() {
        if Instant::now() >= deadline {
            page.next = Some(after);
            return Ok(());
        }
        // The revision of the page before: this node has applied it.
        let next = List { after: Some(after), ..list.clone() };
        let more = self::page(door, next, Consistency::Stale).await?;
        page.count += more.count;
        page.next = more.next;
        tokio::task::yield_now().await;
    }
    Ok(())
}

pub(super) fn query(mut params: Params) -> Result<List, DoorError> {
    let range = params.range().unwrap_or_else(KeyRange::all);
    let revision = params.number("revision")?;
    let limit = params.number("limit")?.unwrap_or(0);
    let after = params.bytes("continue").map(|token| continuation(&token)).transpose()?;
    let detail = match (params.flag("keys-only")?, params.flag("count-only")?) {
        (false, false) => Detail::Whole,
        (true, false) => Detail::KeysOnly,
        (false, true) => Detail::CountOnly,
        (true, true) => return Err(DoorError::bad_request("keys-only and count-only exclude each other")),
    };
    params.done()?;
    if let (Some(revision), Some(after)) = (revision, &after)
        && revision != after.revision
    {
        return Err(DoorError::bad_request(format!(
            "parameter revision is not that of the list being continued: {}",
            after.revision
        )));
    }
    Ok(List { range, revision, after, limit, detail })
}

/// A key with its value and its numbers.
pub(super) fn row(row: KeyValue) -> KvRow {
    let KeyValue { key, value, create_revision, mod_revision, version, lease: _ } = row;
    let [key, value] = [key, value].map(|bytes| STANDARD.encode(bytes));
    KvRow { key, value, create_revision, mod_revision, version }
}

pub(super) fn json(page: Page) -> KvPage {
    let Page { revision, at_revision, count, rows, next } = page;
    let rows = rows.into_iter().map(row).collect();
    KvPage { revision, at_revision, count, rows, next: next.map(token) }
}

/// The revision in eight bytes, then the key.
pub(super) fn token(next: Continuation) -> String {
    URL_SAFE_NO_PAD.encode([&next.revision.to_be_bytes(), &next.key[..]].concat())
}

pub(super) fn continuation(token: &[u8]) -> Result<Continuation, DoorError> {
    let parsed = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| {
        let (revision, key) = bytes.split_first_chunk()?;
        Some(Continuation { revision: u64::from_be_bytes(*revision), key: key.to_vec().into() })
    });
    parsed.ok_or_else(|| DoorError::bad_request("parameter continue is not what an earlier page gave"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_survives_its_token() {
        for key in [&b""[..], b"a", b"\x00\xff/%"] {
            let next = Continuation { revision: 1 << 40, key: key.to_vec().into() };
            assert_eq!(continuation(token(next.clone()).as_bytes()).unwrap(), next);
        }
        for wrong in ["", "AAAA", "%%%", "AAAAAAAAAAAAAAAA="] {
            let error = continuation(wrong.as_bytes()).unwrap_err();
            assert_eq!(error.message(), "parameter continue is not what an earlier page gave", "{wrong}");
        }
    }

    #[test]
    fn a_prefix_is_cut_by_start_and_end() {
        let parse = |text| query(Params::parse(Some(text)).unwrap());
        let list = parse("prefix=a%2F&start=a%2Fc&end=z").unwrap();
        assert_eq!((&list.range.start[..], list.range.end.as_deref()), (&b"a/c"[..], Some(&b"a0"[..])));
        assert_eq!(parse("limit=5").unwrap().limit, 5);
        let message = parse("keys-only&count-only").unwrap_err().message().to_owned();
        assert_eq!(message, "keys-only and count-only exclude each other");
        let message = parse("prefx=a").unwrap_err().message().to_owned();
        assert_eq!(message, "unknown parameter: prefx");
    }
}
