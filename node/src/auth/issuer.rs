//! The settings of an issuer of signed tokens.

use super::fields::{At, Fields, Read};
use http::Uri;
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use std::time::Duration;

/// Of a token's times: a clock that is wrong by more is no clock.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(3600);
const HTTP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const HTTP_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// An issuer, and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IssuerConfig {
    /// Where it publishes its keys: http or https, without a user.
    pub(super) url: Uri,
    pub(super) issuer: String,
    pub(super) audience: String,
    /// How far its clock and ours may differ.
    pub(super) clock_skew: Duration,
    /// How long it may take to answer.
    pub(super) http_timeout: Duration,
    /// Who may certify its server; `None`: whom this machine trusts.
    pub(super) authorities: Option<Vec<CertificateDer<'static>>>,
}

impl IssuerConfig {
    /// The `config` of a `jwks` provider.
    pub(super) fn read(mut fields: Fields) -> Read<IssuerConfig> {
        let url = fields.required("jwksUrl")?;
        let config = IssuerConfig {
            url: key_url(&fields.at("jwksUrl"), &url)?,
            issuer: fields.required("issuer")?,
            audience: fields.required("audience")?,
            clock_skew: time(&mut fields, "clockSkew", CLOCK_SKEW_MAX)?.unwrap_or_default(),
            http_timeout: time(&mut fields, "httpTimeout", HTTP_TIMEOUT_MAX)?
                .filter(|time| !time.is_zero())
                .unwrap_or(HTTP_TIMEOUT_DEFAULT),
            authorities: authorities(&mut fields, "caFile")?,
        };
        fields.end()?;
        Ok(config)
    }
}

/// As people read URLs, and as HTTP sends them.
fn key_url(at: &At, text: &str) -> Read<Uri> {
    let url = Url::parse(text).map_err(|error| at.error(format_args!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return at.refuse("must begin with http:// or https:// and a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return at.refuse("must name no user");
    }
    url.as_str()
        .parse()
        .map_err(|error: http::uri::InvalidUri| at.error(format_args!("cannot be asked for: {error}")))
}

/// `"30s"`; or as codeQ has it, nanoseconds: then a number below a millisecond is one that was meant to be seconds.
fn time(fields: &mut Fields, name: &str, max: Duration) -> Read<Option<Duration>> {
    let at = fields.at(name);
    let Some(value) = fields.value(name) else { return Ok(None) };
    let time = match value {
        Value::Number(number) => {
            number.as_u64().filter(|ns| *ns == 0 || *ns >= 1_000_000).map(Duration::from_nanos)
        }
        Value::String(text) => with_unit(&text),
        _ => None,
    };
    match time {
        Some(time) if time <= max => Ok(Some(time)),
        Some(_) => at.refuse(format_args!("must be {} s at most", max.as_secs())),
        None => at.refuse("must be a time like \"30s\", or a number of nanoseconds, 1000000 at least"),
    }
}

fn with_unit(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

/// The certificates of a PEM file.
fn authorities(fields: &mut Fields, name: &str) -> Read<Option<Vec<CertificateDer<'static>>>> {
    let at = fields.at(name);
    let Some(path) = fields.text(name)? else { return Ok(None) };
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match certificates {
        Ok(certificates) if certificates.is_empty() => at.refuse("has no certificate"),
        Ok(certificates) => Ok(Some(certificates)),
        Err(error) => at.refuse(format_args!("cannot be read: {error}")),
    }
}
