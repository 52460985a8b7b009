//! The native kv routes, spoken by hand: the product's own client is not trusted to test the product.

use bytes::Bytes;
use std::time::Duration;

/// A request that takes longer is given up, its outcome unknown.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What came back from a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; a write's revision, or a value with the revision it was written at.
    Done {
        /// The revision.
        revision: u64,
        /// Of a read, the value.
        value: Bytes,
    },
    /// There is no such key.
    Missing,
    /// Certainly not applied.
    NotApplied(String),
    /// Applied or not.
    Unknown(String),
    /// An answer that no correct request should get.
    Wrong(String),
}

/// An HTTP client for kv.
#[derive(Clone, Debug)]
pub struct Wire {
    http: reqwest::Client,
}

impl Default for Wire {
    fn default() -> Self {
        Wire::new()
    }
}

impl Wire {
    /// With connections of its own.
    pub fn new() -> Wire {
        let http =
            reqwest::Client::builder().no_proxy().timeout(TIMEOUT).connect_timeout(Duration::from_secs(2));
        Wire { http: http.build().expect("a client without TLS needs nothing that could fail") }
    }

    /// Writes a key. (Keys here are plain: letters, digits, `-`, `/`.)
    pub async fn put(&self, endpoint: &str, key: &str, value: Bytes) -> Answer {
        let request = self.http.put(format!("{endpoint}/v1/kv?key={key}")).body(value);
        answer(request, "x-schedia-revision").await
    }

    /// Reads a key linearizably, or as the node has it.
    pub async fn get(&self, endpoint: &str, key: &str, stale: bool) -> Answer {
        let consistency = if stale { "&consistency=stale" } else { "" };
        let request = self.http.get(format!("{endpoint}/v1/kv?key={key}{consistency}"));
        answer(request, "x-schedia-mod-revision").await
    }
}

async fn answer(request: reqwest::RequestBuilder, revision: &str) -> Answer {
    let response = match request.send().await {
        Ok(response) => response,
        Err(e) if e.is_connect() => return Answer::NotApplied(format!("not connected: {e}")),
        Err(e) => return Answer::Unknown(format!("no answer: {e}")),
    };
    let status = response.status().as_u16();
    let header = response.headers().get(revision).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(e) => return Answer::Unknown(format!("half an answer: {e}")),
    };
    let words = || format!("{status} {}", String::from_utf8_lossy(&body).trim_end());
    match (status, header) {
        (200..=299, Some(revision)) => Answer::Done { revision, value: body },
        (404, _) => Answer::Missing,
        (421 | 429 | 503 | 507, _) => Answer::NotApplied(words()),
        (504, _) => Answer::Unknown(words()),
        _ => Answer::Wrong(words()),
    }
}
