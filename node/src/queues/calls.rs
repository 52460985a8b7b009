//! Calls to URLs that somebody else chose: signed, bounded in time and number, and not into this machine.
//!
//! Invariants:
//! * No call goes to loopback, link-local, multicast or unspecified addresses, whatever a name resolves to at that moment, unless the
//!   settings allow it.
//! * A redirect is not followed: it could lead there.
//! * No member takes such a call, whatever its address: each carries [`WEBHOOK`].
//! * No more than [`CALLS_MAX`] calls are under way, and [`CALLS_TO_ONE_MAX`] to one host: a slow receiver keeps none from the others.

use super::{Calls, now_ms};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use reqwest::Url;
use ring::hmac;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Calls under way on one node.
const CALLS_MAX: usize = 64;
/// Those to one host, whatever the port.
const CALLS_TO_ONE_MAX: usize = 8;

/// The header of each call. Our own ports refuse it: nobody who may create tasks is to reach them through us.
pub(crate) const WEBHOOK: HeaderName = HeaderName::from_static("x-schedia-webhook");

type HttpClient = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

/// Who calls, and whom it may call.
#[derive(Clone)]
pub(super) struct Caller(Arc<Inner>);

struct Inner {
    /// Made for the first call: it reads this machine's authorities.
    client: OnceLock<HttpClient>,
    secret: Option<hmac::Key>,
    local_allowed: bool,
    /// Calls under way, by host. std Mutex: never held across an await.
    under_way: Mutex<HashMap<String, usize>>,
    done: AtomicU64,
    failed: AtomicU64,
}

/// A call that may be made now; ends when it is dropped.
pub(super) struct Permit {
    caller: Caller,
    url: Url,
    host: String,
}

/// Why a call did not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallFailed {
    #[error("{0}")]
    Refused(String),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("{0:?}")]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
}

impl Caller {
    /// `secret` signs what is sent; `local_allowed`: this machine may be called too.
    pub(super) fn new(secret: Option<&str>, local_allowed: bool) -> Caller {
        let secret = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        Caller(Arc::new(Inner {
            client: OnceLock::new(),
            secret,
            local_allowed,
            under_way: Mutex::default(),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }))
    }

    /// What was called, and is.
    pub(super) fn counts(&self) -> Calls {
        let Inner { done, failed, .. } = &*self.0;
        let [done, failed] = [done, failed].map(|count| count.load(Ordering::Relaxed));
        Calls { under_way: self.under_way(), done, failed }
    }

    fn under_way(&self) -> usize {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Whether there is no room for any call now.
    pub(super) fn is_full(&self) -> bool {
        self.under_way() >= CALLS_MAX
    }

    /// Room for a call, if there is some now.
    pub(super) fn permit(&self, url: &str) -> Option<Permit> {
        // What is no URL was refused when it came; one without a host goes nowhere, and is told so when it is called.
        let url = Url::parse(url).ok()?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut under_way = self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.values().sum::<usize>() >= CALLS_MAX {
            return None;
        }
        let calls = under_way.entry(host.clone()).or_default();
        if *calls >= CALLS_TO_ONE_MAX {
            return None;
        }
        *calls += 1;
        Some(Permit { caller: self.clone(), url, host })
    }
}

impl Permit {
    /// Posts JSON; done if the answer is one of 200 to 299.
    pub(super) async fn post(&self, body: String) -> Result<(), CallFailed> {
        let called = self.call(body).await;
        let Inner { done, failed, .. } = &*self.caller.0;
        if called.is_ok() { done } else { failed }.fetch_add(1, Ordering::Relaxed);
        called
    }

    async fn call(&self, body: String) -> Result<(), CallFailed> {
        let Inner { client, secret, local_allowed, .. } = &*self.caller.0;
        if let Some(address) =
            self.url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok())
            && !local_allowed
            && is_local(address)
        {
            return Err(CallFailed::Refused(words(&address)));
        }
        let mut request = Request::post(self.url.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(WEBHOOK, HeaderValue::from_static("1"));
        if let Some(secret) = secret {
            let at = (now_ms() / 1_000).to_string();
            let signature = sign(secret, &at, &body);
            request = request.header("X-CodeQ-Timestamp", at).header("X-CodeQ-Signature", signature);
        }
        let request =
            request.body(Full::from(body)).map_err(|error| CallFailed::Refused(error.to_string()))?;
        let client = client.get_or_init(|| http_client(*local_allowed));
        let answer = tokio::time::timeout(TIMEOUT, client.request(request)).await;
        let status = answer.map_err(|_| CallFailed::Timeout)??.status();
        if status.is_success() { Ok(()) } else { Err(CallFailed::Status(status)) }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut under_way = self.caller.0.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = under_way.get_mut(&self.host) {
            *calls -= 1;
            if *calls == 0 {
                under_way.remove(&self.host);
            }
        }
    }
}

/// The hexadecimal HMAC-SHA256 of the time in seconds, a dot and the body.
fn sign(secret: &hmac::Key, at: &str, body: &str) -> String {
    let signature = hmac::sign(secret, format!("{at}.{body}").as_bytes());
    signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn http_client(local_allowed: bool) -> HttpClient {
    let mut connector = HttpConnector::new_with_resolver(Resolver { local_allowed });
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls())
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// TLS on ring, with this machine's authorities; none of them is no failure before somebody is called by https.
fn tls() -> rustls::ClientConfig {
    let builder = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them all")
    };
    match builder().with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(_) => builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth(),
    }
}

/// Resolves names to addresses that may be called.
#[derive(Clone)]
struct Resolver {
    local_allowed: bool,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let local_allowed = self.local_allowed;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (local, open): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|address| !local_allowed && is_local(address.ip()));
            match local.first() {
                Some(address) if open.is_empty() => Err(io::Error::other(words(&address.ip()))),
                _ => Ok(open.into_iter()),
            }
        })
    }
}

fn words(address: &IpAddr) -> String {
    format!("{address} is not called (--queue-webhooks-local allows it)")
}

/// Whether an address leads into this machine, to those on its own link, or to nobody.
fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || carried(v6).is_some_and(|v4| is_local(v4.into()))
        }
    }
}

/// The IPv4 address that a gateway finds in an IPv6 one: NAT64 (RFC 6052), 6to4 (RFC 3056).
fn carried(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = v6.octets();
    let (first, last) = match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => (12, 16),
        [0x2002, ..] => (2, 6),
        _ => return None,
    };
    let v4: [u8; 4] = octets.get(first..last)?.try_into().ok()?;
    Some(v4.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_its_link_are_known_in_every_spelling() {
        for local in [
            "127.0.0.1",
            "127.8.9.1",
            "169.254.169.254",
            "0.0.0.0",
            "::1",
            "::",
            "fe80::1",
            "::ffff:127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
        ] {
            assert!(is_local(local.parse().unwrap()), "{local}");
        }
        for open in [
            "10.0.0.1",
            "192.168.1.1",
            "8.8.8.8",
            "2001:db8::1",
            "fd00::1",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(!is_local(open.parse().unwrap()), "{open}");
        }
    }

    #[test]
    fn one_host_does_not_take_all_calls() {
        let caller = Caller::new(None, false);
        let held: Vec<_> = (0..CALLS_TO_ONE_MAX).map(|_| caller.permit("http://a.test/x").unwrap()).collect();
        assert!(caller.permit("http://a.test:81/y").is_none() && caller.permit("http://b.test/").is_some());
        drop(held);
        assert!(caller.permit("http://a.test/y").is_some());
    }

    #[tokio::test]
    async fn a_literal_address_of_this_machine_is_not_called() {
        let caller = Caller::new(None, false);
        for url in ["http://127.0.0.1:1/", "http://[::1]:1/", "http://2130706433:1/", "http://localhost:1/"] {
            let words = caller.permit(url).unwrap().post(String::new()).await.unwrap_err().to_string();
            assert!(words.contains("is not called"), "{url}: {words}");
        }
    }

    /// Computed with another program: `printf '%s' '1790000000.{"a":1}' | openssl dgst -sha256 -hmac secret`.
    #[test]
    fn a_signature_is_the_hmac_of_time_and_body() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        assert_eq!(
            sign(&key, "1790000000", "{\"a\":1}"),
            "da8fe498621aaab99d5b11c51346b13d1a2bf2914b865b8d3edd3531cab25a3e"
        );
    }
}
