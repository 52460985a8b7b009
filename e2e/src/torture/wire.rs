//! The native kv routes, spoken by hand: the product's own client is not trusted to test the product.
//!
//! Keys are `PREFIX/GROUP/KEY`. A value is its number and a tail that follows from it, so that a torn or mixed value is seen.

use super::history::{Answer, Call, Cell, Cells, KEYS, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{RequestBuilder, Response};
use schedia_api::{
    KvCompare, KvGet, KvOperation, KvOperator, KvPage, KvPut, KvResult, KvRow, KvTarget, KvTxn, KvTxnAnswer,
};
use std::time::Duration;

/// A server gives up after 5 s. Most clients do so earlier, as impatient people do.
const TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The keys of one round.
#[derive(Clone, Debug)]
pub struct Wire {
    http: reqwest::Client,
    prefix: String,
}

impl Wire {
    /// With connections of its own, for keys below `prefix`.
    pub fn new(prefix: &str) -> Wire {
        let http =
            reqwest::Client::builder().no_proxy().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build();
        let http = http.expect("a client without TLS needs nothing that could fail");
        Wire { http, prefix: prefix.to_owned() }
    }

    /// Sends a call to the node at `url`; a write under an `Idempotency-Key`, if it has one.
    pub async fn send(&self, url: &str, group: usize, call: &Call, key: Option<&str>) -> Outcome {
        let name = |key: &usize| format!("{}/{group}/{key}", self.prefix);
        let kv = |key: &usize| format!("{url}/v1/kv?key={}", name(key));
        let list = format!("{url}/v1/kv?prefix={}/{group}/", self.prefix);
        let request = match call {
            Call::Put { key, value } => self.http.put(kv(key)).body(text(*value)),
            Call::PutIf { key, value, expected } => {
                self.http.put(format!("{}&if-mod-revision={expected}", kv(key))).body(text(*value))
            }
            Call::Delete { key } => self.http.delete(kv(key)),
            Call::Get { key } => self.http.get(kv(key)),
            Call::List => self.http.get(list),
            Call::Stale => self.http.get(format!("{list}&consistency=stale")),
            Call::Past { at } => self.http.get(format!("{list}&revision={at}")),
            Call::Txn { values, expected } => self.http.post(format!("{url}/v1/kv:txn")).json(&txn(
                [name(&0), name(&1)],
                *values,
                *expected,
            )),
        };
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        match answered(request).await {
            Ok(shown) => shown.outcome(call),
            Err(outcome) => outcome,
        }
    }
}

impl Wire {
    /// Gives up the history below a revision, through the first of these nodes that does it.
    pub async fn compact(&self, nodes: &[(String, String)], revision: u64) {
        for (_, url) in nodes {
            let request = self.http.post(format!("{url}/v1/kv:compact"));
            let sent = request.json(&serde_json::json!({ "revision": revision })).send().await;
            if sent.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
        }
    }
}

/// A key's group and place in it.
pub fn place(key: &str) -> Option<(usize, usize)> {
    let (rest, key) = key.rsplit_once('/')?;
    let (_, group) = rest.rsplit_once('/')?;
    let key = key.parse().ok().filter(|key| *key < KEYS)?;
    Some((group.parse().ok()?, key))
}

/// The value of a number: up to 300 bytes more than its digits.
fn text(number: u64) -> String {
    let length = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    format!("{number} {}", "x".repeat((length % 300) as usize))
}

/// The number of a value.
pub fn number(value: &[u8]) -> Option<u64> {
    let value = std::str::from_utf8(value).ok()?;
    let number = value.split_once(' ')?.0.parse().ok()?;
    (text(number) == value).then_some(number)
}

/// What [`number`] says of base64.
pub fn number_of_base64(value: &str) -> Option<u64> {
    number(&STANDARD.decode(value).ok()?)
}

/// What [`place`] says of base64.
pub fn place_of_base64(key: &str) -> Option<(usize, usize)> {
    place(std::str::from_utf8(&STANDARD.decode(key).ok()?).ok()?)
}

fn txn(keys: [String; 2], values: [u64; 2], expected: [u64; 2]) -> KvTxn {
    let [first, second] = keys.map(|key| STANDARD.encode(key));
    let compare = |key: &String, expected: u64| KvCompare {
        key: Some(key.clone()),
        prefix: None,
        start: None,
        end: None,
        target: KvTarget::ModRevision,
        operator: KvOperator::Equal,
        operand: expected.into(),
    };
    let put = |key: &String, number| {
        KvOperation::Put(KvPut { key: key.clone(), value: STANDARD.encode(text(number)) })
    };
    let get = |key: &String| KvOperation::Get(KvGet { key: key.clone(), revision: None });
    KvTxn {
        compare: vec![compare(&first, expected[0]), compare(&second, expected[1])],
        success: vec![put(&first, values[0]), put(&second, values[1])],
        failure: vec![get(&first), get(&second)],
    }
}

/// A whole answer.
struct Shown {
    status: u16,
    revision: Option<u64>,
    mod_revision: Option<u64>,
    body: Vec<u8>,
}

async fn answered(request: RequestBuilder) -> Result<Shown, Outcome> {
    let response = request.send().await.map_err(|e| match e.is_connect() {
        true => Outcome::NotApplied(format!("not connected: {e}")),
        false => Outcome::Unknown(format!("no answer: {e}")),
    })?;
    let number = |response: &Response, name| response.headers().get(name)?.to_str().ok()?.parse().ok();
    let status = response.status().as_u16();
    let revision = number(&response, "x-schedia-revision");
    let mod_revision = number(&response, "x-schedia-mod-revision");
    let body = response.bytes().await.map_err(|e| Outcome::Unknown(format!("half an answer: {e}")))?;
    Ok(Shown { status, revision, mod_revision, body: body.to_vec() })
}

impl Shown {
    fn outcome(&self, call: &Call) -> Outcome {
        let words = || format!("{} {}", self.status, String::from_utf8_lossy(&self.body).trim_end());
        match self.status {
            408 | 421 | 429 | 503 | 507 => Outcome::NotApplied(words()),
            504 => Outcome::Unknown(words()),
            _ => self.answer(call).map_or_else(|| Outcome::Wrong(words()), Outcome::Done),
        }
    }

    /// None: that is no answer to such a call.
    fn answer(&self, call: &Call) -> Option<Answer> {
        match (call, self.status) {
            (Call::Put { .. } | Call::PutIf { .. } | Call::Delete { .. }, 200) => {
                Some(Answer::Written { revision: self.revision? })
            }
            (Call::PutIf { .. }, 412) => Some(Answer::Differs { current: self.mod_revision? }),
            (Call::Delete { .. }, 404) => Some(Answer::Missing),
            (Call::Get { .. }, 200) => {
                let cell = Cell { value: number(&self.body)?, revision: self.mod_revision? };
                Some(Answer::Found { revision: self.revision?, cell: Some(cell) })
            }
            (Call::Get { .. }, 404) => Some(Answer::Found { revision: self.revision?, cell: None }),
            (Call::List | Call::Stale | Call::Past { .. }, 200) => {
                let page: KvPage = serde_json::from_slice(&self.body).ok()?;
                Some(Answer::Listed { revision: page.at_revision, cells: cells(&page)? })
            }
            (Call::Txn { .. }, 200) => both(&serde_json::from_slice(&self.body).ok()?),
            _ => None,
        }
    }
}

fn cells(page: &KvPage) -> Option<Cells> {
    let mut cells = Cells::default();
    for row in &page.rows {
        let (_, key) = place_of_base64(&row.key)?;
        if cells[key].replace(cell(row)?).is_some() {
            return None;
        }
    }
    page.next.is_none().then_some(cells)
}

fn cell(row: &KvRow) -> Option<Cell> {
    Some(Cell { value: number_of_base64(&row.value)?, revision: row.mod_revision })
}

fn both(answer: &KvTxnAnswer) -> Option<Answer> {
    let revision = answer.revision;
    match (answer.succeeded, answer.results.as_slice()) {
        (true, [KvResult::Put { .. }, KvResult::Put { .. }]) => Some(Answer::Written { revision }),
        (false, [KvResult::Get { row: first }, KvResult::Get { row: second }]) => {
            let read = |row: &Option<KvRow>| match row {
                None => Some(None),
                Some(row) => cell(row).map(Some),
            };
            Some(Answer::Otherwise { revision, cells: [read(first)?, read(second)?] })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_was_torn_or_mixed_has_no_number() {
        let value = text(7_000_001);
        assert_eq!(number(value.as_bytes()), Some(7_000_001));
        assert_eq!(number(&value.as_bytes()[..value.len() - 1]), None);
        assert_eq!(number(format!("{value}x").as_bytes()), None);
        assert_eq!(number(b"7000001"), None);
        assert_eq!((place("r/12/2"), place("r/12/3"), place("r")), (Some((12, 2)), None, None));
    }
}
