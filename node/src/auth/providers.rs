//! What the tokens of one side are accepted by: the first provider that takes one says who it is.

use super::claims::Claims;
use super::config::{AuthConfigError, ProviderConfig, SideConfig};
use super::jwks::Jwks;
use super::rejected::Rejected;
use super::tokens::{self, StaticToken};
use std::time::{Duration, Instant, SystemTime};

/// A moment, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Since 1970: what tokens speak of.
    pub(super) unix: Duration,
    /// What the age of keys is measured by.
    pub(super) instant: Instant,
}

impl Moment {
    pub(super) fn now() -> Moment {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Moment { unix, instant: Instant::now() }
    }
}

/// The providers of one side: none, one, or what `multi` names.
#[derive(Debug)]
pub(super) struct Providers {
    list: Vec<Provider>,
    /// Whether a refusal names them all, as `multi` does.
    multi: bool,
}

#[derive(Debug)]
enum Provider {
    Static(Vec<StaticToken>),
    Jwks(Jwks),
}

impl Providers {
    pub(super) fn new(config: &SideConfig) -> Result<Providers, AuthConfigError> {
        let SideConfig { providers, multi } = config;
        let list = providers.iter().map(Provider::new).collect::<Result<_, _>>()?;
        Ok(Providers { list, multi: *multi })
    }

    /// Whether there is one.
    pub(super) fn any(&self) -> bool {
        !self.list.is_empty()
    }

    /// Who has this token.
    pub(super) async fn verify(&self, token: &str, now: Moment) -> Result<Claims, Rejected> {
        let mut refusals = Vec::new();
        for provider in &self.list {
            match provider.verify(token, now).await {
                Ok(claims) => return Ok(claims),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if self.multi {
            let words: Vec<_> = refusals.iter().map(Rejected::to_string).collect();
            return Err(Rejected::ByAll(words.join("\n")));
        }
        Err(refusals.pop().unwrap_or(Rejected::Unknown))
    }
}

impl Provider {
    fn new(config: &ProviderConfig) -> Result<Provider, AuthConfigError> {
        match config {
            ProviderConfig::Static(tokens) => Ok(Provider::Static(tokens.clone())),
            ProviderConfig::Jwks(issuer) => Jwks::new(issuer).map(Provider::Jwks),
        }
    }

    async fn verify(&self, token: &str, now: Moment) -> Result<Claims, Rejected> {
        match self {
            Provider::Static(list) => tokens::find(list, token).cloned().ok_or(Rejected::Unknown),
            Provider::Jwks(issuer) => issuer.verify(token, now).await,
        }
    }
}
