//! Tokens that an issuer signs: its keys, kept and fetched again as they change.
//!
//! Keys are kept for [`KEEP`], and all replaced by what the issuer then says. A key that is not among them makes the issuer be asked,
//! too; but it is never asked more often than every [`PAUSE`], whatever tokens come in.
//!
//! Invariants:
//! * At most one fetch is under way; all who need it wait for the same one. It goes on if they go away.
//! * While the issuer does not answer, its last keys are used. Only the first request after they grew old waits for it; then it is asked
//!   beside the requests.

use super::claims::Claims;
use super::config::AuthConfigError;
use super::fetch::{FetchError, Source};
use super::issuer::IssuerConfig;
use super::jwt::{self, Unverified};
use super::keys::{self, Key, KeyName, Keys};
use super::providers::Moment;
use super::rejected::Rejected;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How soon a key that the issuer took back is refused.
const KEEP: Duration = Duration::from_secs(300);
/// How soon a new key is known, and how little an issuer is bothered.
const PAUSE: Duration = Duration::from_secs(10);

/// Accepts the tokens of one issuer.
#[derive(Debug)]
pub(super) struct Jwks {
    config: IssuerConfig,
    cache: Arc<Cache>,
}

impl Jwks {
    pub(super) fn new(config: &IssuerConfig) -> Result<Jwks, AuthConfigError> {
        let source = Source::new(config)?;
        let cache = Cache { issuer: config.issuer.clone(), source, state: Mutex::default() };
        Ok(Jwks { config: config.clone(), cache: Arc::new(cache) })
    }

    /// Who has this token.
    pub(super) async fn verify(&self, token: &str, now: Moment) -> Result<Claims, Rejected> {
        let unverified = Unverified::parse(token)?;
        let key = self.cache.key(unverified.key(), now.instant).await?;
        let claims = unverified.verified(&key)?;
        jwt::check_times(&claims, now.unix, self.config.clock_skew)?;
        jwt::check_parties(&claims, &self.config.issuer, &self.config.audience)?;
        Ok(Claims::of_jwt(&claims))
    }
}

#[derive(Debug)]
struct Cache {
    issuer: String,
    source: Source,
    /// std Mutex: never held across an await.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Keys,
    /// As of when `keys` are; `None`: there were none yet.
    fetched: Option<Instant>,
    /// When the issuer was last asked.
    asked: Option<Instant>,
    /// Whether it did not answer then.
    failing: bool,
    under_way: Option<Shared<BoxFuture<'static, ()>>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("keys", &self.keys.len())
            .field("failing", &self.failing)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// The key of this name. Waits for the issuer if it must be asked.
    async fn key(self: &Arc<Self>, name: &KeyName, now: Instant) -> Result<Arc<Key>, Rejected> {
        let fetch = {
            let mut state = self.state();
            let known = state.keys.get(name).cloned();
            match known {
                Some(key) if state.are_fresh(now) => return Ok(key),
                Some(key) if state.failing => {
                    self.fetch(&mut state, now);
                    return Ok(key);
                }
                _ => self.fetch(&mut state, now),
            }
        };
        if let Some(fetch) = fetch {
            fetch.await;
        }
        let state = self.state();
        match state.keys.get(name) {
            Some(key) => Ok(Arc::clone(key)),
            None if state.fetched.is_none() => Err(Rejected::NoKeys),
            None => Err(Rejected::Key(name.id.clone())),
        }
    }

    /// The fetch that is under way, else a new one; `None`: the issuer was asked a moment ago.
    fn fetch(self: &Arc<Self>, state: &mut State, now: Instant) -> Option<Shared<BoxFuture<'static, ()>>> {
        if state.under_way.is_some() {
            return state.under_way.clone();
        }
        if state.asked.is_some_and(|asked| now.saturating_duration_since(asked) < PAUSE) {
            return None;
        }
        state.asked = Some(now);
        let cache = Arc::clone(self);
        let task = tokio::spawn(async move {
            let answer = cache.source.get().await.and_then(|body| Ok(keys::parse(&body)?));
            cache.store(answer, now);
        });
        state.under_way = Some(task.map(|_| ()).boxed().shared());
        state.under_way.clone()
    }

    fn store(&self, answer: Result<Keys, FetchError>, asked: Instant) {
        let mut state = self.state();
        state.under_way = None;
        state.failing = answer.is_err();
        match answer {
            Ok(keys) => {
                if keys.is_empty() {
                    tracing::warn!(
                        issuer = self.issuer,
                        "an issuer has no key that we can use: its tokens are refused"
                    );
                }
                (state.keys, state.fetched) = (keys, Some(asked));
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    issuer = self.issuer,
                    error,
                    last_keys = state.keys.len(),
                    "an issuer's keys were not fetched"
                );
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn are_fresh(&self, now: Instant) -> bool {
        self.fetched.is_some_and(|fetched| now.saturating_duration_since(fetched) < KEEP)
    }
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
