//! Requests to one or several endpoints of a cluster, and what may be concluded from a failure.
//!
//! Invariant: a request that changes something is sent to another endpoint only if the one before certainly did not
//! apply it: it could not be connected, or refused with 307, 421, 429 or 503. Writes to kv have a way of their own (`write.rs`).
//!
//! Not here: what the requests mean ([`Client`](crate::Client), the command line).

use crate::{ErrorBody, ErrorInfo};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use std::time::Duration;

/// Answers are read whole up to here: a page of a list is at most a few MiB, a status a few hundred KiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A node that accepts no connection for this long is tried no further: the next endpoint may answer.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(3);

/// Why a request has no answer to show: split by what the caller may do next.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A node answered with an error. 307, 421, 429 and 503 among them mean: certainly not applied.
    #[error("{message} ({code})", message = info.message, code = info.code)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the node said.
        info: ErrorInfo,
    },
    /// No endpoint could be connected: certainly not applied.
    #[error("no endpoint is reachable: {0}")]
    Unreachable(String),
    /// The request was sent but its answer never came: it may have been applied or not.
    #[error("outcome unknown: {endpoint} did not answer: {reason}")]
    OutcomeUnknown {
        /// Where it was sent.
        endpoint: String,
        /// What happened to the answer.
        reason: String,
    },
    /// Whoever answered is no Schedia node of a release we understand.
    #[error("not understood: the answer of {endpoint} (status {status}): {reason}")]
    NotUnderstood {
        /// Who answered.
        endpoint: String,
        /// With which HTTP status.
        status: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// An endpoint is no URL.
    #[error("an endpoint is a URL like http://127.0.0.1:8080, this is not: {0}")]
    InvalidEndpoint(String),
    /// A token that no header can carry. It is not shown.
    #[error("a token is visible ASCII, and what was given as one is not")]
    InvalidToken,
}

impl ClientError {
    /// The code of a refusal: `not_leader`, `stale`, `key_not_found`, ….
    pub fn code(&self) -> Option<&str> {
        match self {
            ClientError::Refused { info, .. } => Some(&info.code),
            _ => None,
        }
    }

    /// Whether the request certainly changed nothing, so that it may be repeated elsewhere.
    pub fn is_certainly_not_applied(&self) -> bool {
        match self {
            // Not the leader, too much to do, unavailable in any way: refused before it was proposed.
            ClientError::Refused { status, .. } => matches!(status, 307 | 421 | 429 | 503),
            ClientError::Unreachable(_) | ClientError::InvalidEndpoint(_) | ClientError::InvalidToken => true,
            ClientError::OutcomeUnknown { .. } | ClientError::NotUnderstood { .. } => false,
        }
    }
}

/// A whole answer with a status of 200..=299.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    endpoint: String,
}

impl Answer {
    /// Decodes the body from JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|e| self.not_understood(e.to_string()))
    }

    /// Who answered.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The error that says what is wrong with this answer.
    pub fn not_understood(&self, reason: String) -> ClientError {
        let endpoint = self.endpoint.clone();
        ClientError::NotUnderstood { endpoint, status: self.status.as_u16(), reason }
    }
}

/// Sends requests to the first endpoint that takes them. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Transport {
    http: reqwest::Client,
    endpoints: Vec<Url>,
    timeout: Duration,
    /// Marked as sensitive: `Debug` does not show it.
    authorization: Option<HeaderValue>,
}

impl Transport {
    /// To these endpoints, in this order; each request is given up after `timeout`.
    pub fn new(endpoints: &[String], timeout: Duration) -> Result<Transport, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .connect_timeout(timeout.min(CONNECT_TIMEOUT_MAX))
            .build()
            .map_err(|e| ClientError::Unreachable(reason(e)))?;
        Transport { http, endpoints: Vec::new(), timeout, authorization: None }.to(endpoints)
    }

    /// The same, with a token that says who asks.
    pub fn with_token(&self, token: &str) -> Result<Transport, ClientError> {
        let header = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut header = header.map_err(|_| ClientError::InvalidToken)?;
        header.set_sensitive(true);
        Ok(Transport { authorization: Some(header), ..self.clone() })
    }

    /// The same connections and timeout, other endpoints: one transport may serve many nodes.
    pub fn to(&self, endpoints: &[String]) -> Result<Transport, ClientError> {
        if endpoints.is_empty() {
            return Err(ClientError::InvalidEndpoint("(none given)".to_owned()));
        }
        let endpoints = endpoints.iter().map(|text| endpoint(text)).collect::<Result<_, _>>()?;
        Ok(Transport { endpoints, ..self.clone() })
    }

    /// The same endpoints, another timeout.
    pub fn with_timeout(&self, timeout: Duration) -> Transport {
        Transport { timeout, ..self.clone() }
    }

    /// Where requests go.
    pub fn endpoints(&self) -> &[Url] {
        &self.endpoints
    }

    /// How long a request may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends one request. `path` begins with `/` and is already percent-encoded, its query too.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Answer, ClientError> {
        let reads = method == Method::GET || method == Method::HEAD;
        let mut unreachable = Vec::new();
        let mut last = None;
        for endpoint in &self.endpoints {
            match self.send_to(endpoint, method.clone(), path, body.clone(), None).await {
                Ok(answer) => return Ok(answer),
                Err(ClientError::Unreachable(reason)) => unreachable.push(reason),
                Err(e) if e.is_certainly_not_applied() => last = Some(e),
                Err(e @ ClientError::OutcomeUnknown { .. }) if reads => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::Unreachable(unreachable.join("; "))))
    }

    /// Asks one endpoint for a stream of events behind `last`, whose headers must come in time.
    pub(crate) async fn open(
        &self,
        nth: usize,
        path: &str,
        last: Option<u64>,
    ) -> Result<(String, reqwest::Response), ClientError> {
        let endpoint = &self.endpoints[nth];
        let mut request = self.request(Method::GET, endpoint, path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let lost = |e: reqwest::Error| match e.is_connect() || e.is_builder() {
            true => ClientError::Unreachable(format!("{endpoint}: {}", reason(e))),
            false => ClientError::OutcomeUnknown { endpoint: endpoint.to_string(), reason: reason(e) },
        };
        let late = |_| ClientError::Unreachable(format!("{endpoint}: timed out"));
        let response =
            tokio::time::timeout(self.timeout, request.send()).await.map_err(late)?.map_err(lost)?;
        let status = response.status();
        if status.is_success() {
            return Ok((endpoint.to_string(), response));
        }
        let body = tokio::time::timeout(self.timeout, response.bytes()).await.map_err(late)?.map_err(lost)?;
        Err(refused(endpoint, status, &body))
    }

    fn request(&self, method: Method, endpoint: &Url, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", endpoint.as_str().trim_end_matches('/'));
        let request = self.http.request(method, url);
        match &self.authorization {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }

    /// Sends one request to one endpoint, under a key that makes it safe to send again.
    pub(crate) async fn send_to(
        &self,
        endpoint: &Url,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
        key: Option<&str>,
    ) -> Result<Answer, ClientError> {
        let prepare = |endpoint: &Url| {
            let mut request = self.request(method.clone(), endpoint, path).timeout(self.timeout);
            if let Some((content_type, body)) = &body {
                request = request.header(CONTENT_TYPE, *content_type).body(body.clone());
            }
            match key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            }
        };
        let lost = |e: reqwest::Error| match e.is_connect() || e.is_builder() {
            true => ClientError::Unreachable(format!("{endpoint}: {}", reason(e))),
            false => ClientError::OutcomeUnknown { endpoint: endpoint.to_string(), reason: reason(e) },
        };
        let mut response = prepare(endpoint).send().await.map_err(lost)?;
        // A node of the cluster names its leader for this very request. Not twice: leaders do not change so fast.
        if let Some(leader) = elsewhere(endpoint, &response) {
            response = prepare(&leader).send().await.map_err(lost)?;
        }
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                let reason = format!("longer than {ANSWER_BYTES_MAX} bytes");
                return Err(not_understood(endpoint, status, reason));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(Answer { status, headers, body: body.into(), endpoint: endpoint.to_string() });
        }
        Err(refused(endpoint, status, &body))
    }
}

/// Where a node that does not lead sends its clients, with `--queue-follower redirect`. Never from https to http: a token would be
/// seen on the way.
fn elsewhere(asked: &Url, response: &reqwest::Response) -> Option<Url> {
    if response.status() != StatusCode::TEMPORARY_REDIRECT {
        return None;
    }
    let mut leader = Url::parse(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    leader.set_path("");
    leader.set_query(None);
    (leader.scheme() == asked.scheme()).then_some(leader)
}

/// The errors of codeQ's door, which have a text alone.
#[derive(serde::Deserialize)]
struct TextError {
    error: String,
}

fn refused(endpoint: &Url, status: StatusCode, body: &[u8]) -> ClientError {
    if let Ok(ErrorBody { error: info }) = serde_json::from_slice(body) {
        return ClientError::Refused { status: status.as_u16(), info };
    }
    match serde_json::from_slice(body) {
        Ok(TextError { error: message }) => {
            let code = status.as_str().to_owned();
            let info = ErrorInfo { code, message, leader: None, current: None };
            ClientError::Refused { status: status.as_u16(), info }
        }
        Err(_) => not_understood(endpoint, status, excerpt(body)),
    }
}

fn not_understood(endpoint: &Url, status: StatusCode, reason: String) -> ClientError {
    ClientError::NotUnderstood { endpoint: endpoint.to_string(), status: status.as_u16(), reason }
}

fn endpoint(text: &str) -> Result<Url, ClientError> {
    let invalid = || ClientError::InvalidEndpoint(text.to_owned());
    let url = Url::parse(text).map_err(|_| invalid())?;
    let plain = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
    if plain { Ok(url) } else { Err(invalid()) }
}

/// The innermost cause: reqwest's own words only repeat the URL.
pub(crate) fn reason(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let transport = Transport::new(&["http://127.0.0.1:1".to_owned()], Duration::from_secs(1)).unwrap();
        let shown = format!("{:?}", transport.with_token("very-secret").unwrap());
        assert!(shown.contains("Sensitive") && !shown.contains("very-secret"), "{shown}");
        let error = transport.with_token("very\nsecret").unwrap_err().to_string();
        assert_eq!(error, "a token is visible ASCII, and what was given as one is not");
    }

    #[test]
    fn errors_of_both_doors_are_understood() {
        let endpoint = Url::parse("http://127.0.0.1:1").unwrap();
        let said = |body: &str| refused(&endpoint, StatusCode::CONFLICT, body.as_bytes()).to_string();
        assert_eq!(said(r#"{"error":{"code":"stale","message":"too late"}}"#), "too late (stale)");
        assert_eq!(said(r#"{"error":"not-in-progress"}"#), "not-in-progress (409)");
        assert_eq!(said("x"), "not understood: the answer of http://127.0.0.1:1/ (status 409): x");
    }
}
