//! Asking an issuer for its keys: one GET by http or https, with a bound on time and bytes.
//!
//! A redirect is an error: whoever could add one could add keys. Proxies are not asked.

use super::config::AuthConfigError;
use super::fields::At;
use super::issuer::IssuerConfig;
use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;

/// A hundred keys with their certificates.
pub(super) const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Why there was no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no connection: {0}")]
    Connect(#[source] hyper_util::client::legacy::Error),
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("the answer broke off or has more than {ANSWER_BYTES_MAX} bytes: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Keys(#[from] super::keys::NoKeySet),
}

/// Where the keys of one issuer are.
#[derive(Debug)]
pub(super) struct Source {
    url: Uri,
    timeout: Duration,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Source {
    /// Fails where https is asked for, no authority is named and this machine knows none.
    pub(super) fn new(config: &IssuerConfig) -> Result<Source, AuthConfigError> {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls(config)?).https_or_http().enable_http1().build();
        // A connection would be idle for minutes.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Source { url: config.url.clone(), timeout: config.http_timeout, client })
    }

    /// Its body, if the answer is 200.
    pub(super) async fn get(&self) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.timeout, self.ask()).await.map_err(|_| FetchError::Timeout(self.timeout))?
    }

    async fn ask(&self) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.url.clone();
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.client.request(request).await.map_err(FetchError::Connect)?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok(body.map_err(FetchError::Body)?.to_bytes())
    }
}

fn tls(config: &IssuerConfig) -> Result<ClientConfig, AuthConfigError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them all");
    let builder = match &config.authorities {
        Some(authorities) => builder.with_root_certificates(of(authorities)?),
        None if config.url.scheme_str() == Some("http") => {
            builder.with_root_certificates(RootCertStore::empty())
        }
        None => builder.with_native_roots().map_err(|error| {
            let at = At::new(format!("jwksUrl of {}", config.issuer));
            at.error(format_args!("begins with https, and caFile names no authority: {error}"))
        })?,
    };
    Ok(builder.with_no_client_auth())
}

fn of(authorities: &[rustls::pki_types::CertificateDer<'static>]) -> Result<RootCertStore, AuthConfigError> {
    let mut store = RootCertStore::empty();
    for certificate in authorities {
        store
            .add(certificate.clone())
            .map_err(|error| At::new("caFile").error(format_args!("cannot be used: {error}")))?;
    }
    Ok(store)
}
