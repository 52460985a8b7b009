//! Who a request of the queue is: a bearer token becomes a [`Principal`], or the request is [`Denied`] in codeQ's words.
//!
//! # The life of a token
//! 1. [`Auth::producer`], [`Auth::worker`] or [`Auth::any`] takes the `Authorization` header, and `tokens::bearer` the token of it.
//! 2. The side's `Providers` look at it in turn: `tokens` compares it with those of the settings, `jwks` checks its signature
//!    (`jwt`) with a key that its issuer publishes (`keys`, fetched by `fetch`), and its times, issuer and audience.
//! 3. `claims` has found the tenant and the rights in what the token says.
//! 4. The door asks for more where it must: [`Principal::require_scope`], [`Auth::admin`], [`Auth::limit`].
//!
//! Invariants:
//! * Nothing but a token makes a principal: this module sees no other header.
//! * A principal has one tenant, whose name is safe in keys and file names.
//! * A worker is never an admin.
//! * With nothing configured nobody is let in.
//! * No token is logged or shown by `Debug`, and none that the settings hold is kept: only its hash is.
//!
//! Not here: HTTP answers (doors), what a tenant may see (the queue).

mod claims;
mod config;
mod fetch;
mod fields;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod issuer;
mod jwks;
mod jwt;
mod keys;
mod limits;
mod providers;
mod rejected;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tokens;

pub use claims::EventTypes;
pub use config::{AuthConfig, AuthConfigError};
pub use limits::{Operation, Rate, RateLimited, Rates};

use claims::Claims;
use limits::Limiter;
use providers::{Moment, Providers};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Instant;

/// What a worker's token must be allowed, endpoint by endpoint.
pub mod scope {
    /// To claim tasks.
    pub const CLAIM: &str = "codeq:claim";
    /// To prolong a lease.
    pub const HEARTBEAT: &str = "codeq:heartbeat";
    /// To give a task back as if it had not been claimed.
    pub const ABANDON: &str = "codeq:abandon";
    /// To give a task back as failed for now.
    pub const NACK: &str = "codeq:nack";
    /// To end a task.
    pub const RESULT: &str = "codeq:result";
    /// To be told of new tasks.
    pub const SUBSCRIBE: &str = "codeq:subscribe";
    /// To administer the queues; of a producer's token.
    pub const ADMIN: &str = "codeq:admin";

    /// What a producer may do where it stands in for a worker.
    pub(super) const OF_A_WORKER: [&str; 6] = [CLAIM, HEARTBEAT, ABANDON, NACK, RESULT, SUBSCRIBE];
}

/// As what somebody comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Creates tasks, and administers.
    Producer,
    /// Claims and ends them.
    Worker,
}

/// Who a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// As what it was let in.
    pub side: Side,
    /// Its name: the owner of what a worker claims. Unique within a tenant as far as the issuer makes it so; empty if the token
    /// has none but names a tenant.
    pub subject: String,
    /// Its e-mail address, else its subject.
    pub email: String,
    /// Whose queues it sees: `[a-z][a-z0-9-]{1,62}`.
    pub tenant: String,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// Which commands it may claim.
    pub event_types: EventTypes,
    /// Whether it may administer. Never of a worker.
    pub admin: bool,
}

impl Principal {
    fn new(side: Side, claims: Claims) -> Result<Principal, Denied> {
        let Claims { subject, email, scopes, event_types, tenant, admin } = claims;
        let tenant = tenant.ok_or(Denied::Forbidden("invalid tenant claims"))?;
        let event_types = EventTypes::of(event_types);
        Ok(Principal {
            side,
            subject,
            email,
            tenant,
            scopes,
            event_types,
            admin: admin && side == Side::Producer,
        })
    }

    /// Refuses whoever lacks this scope, one of [`scope`].
    pub fn require_scope(&self, scope: &str) -> Result<(), Denied> {
        if self.scopes.contains(scope) { Ok(()) } else { Err(Denied::Forbidden("missing scope")) }
    }
}

/// Why a request is not let in. Its text is what codeQ says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody knows who it is, or it is no admin: 401.
    #[error("{0}")]
    Unauthorized(Cow<'static, str>),
    /// It is known, and may not: 403.
    #[error("{0}")]
    Forbidden(&'static str),
    /// It may, but not so often: 429.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
}

impl Denied {
    fn unauthorized(text: &'static str) -> Denied {
        Denied::Unauthorized(Cow::Borrowed(text))
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Denied::Unauthorized(_) => 401,
            Denied::Forbidden(_) => 403,
            Denied::RateLimited(_) => 429,
        }
    }
}

/// Decides who is let in.
#[derive(Debug)]
pub struct Auth {
    producers: Providers,
    workers: Providers,
    allow_producer_as_worker: bool,
    limiter: Limiter,
}

impl Auth {
    /// Of checked settings. Fails where an issuer is asked by https and this machine knows no certificate authority.
    pub fn new(config: &AuthConfig) -> Result<Auth, AuthConfigError> {
        Ok(Auth {
            producers: Providers::new(&config.producer)?,
            workers: Providers::new(&config.worker)?,
            allow_producer_as_worker: config.allow_producer_as_worker,
            limiter: Limiter::new(config.rates),
        })
    }

    /// Whether any token at all can be let in on this side.
    pub fn is_configured(&self, side: Side) -> bool {
        match side {
            Side::Producer => self.producers.any(),
            Side::Worker => self.workers.any() || self.allow_producer_as_worker && self.producers.any(),
        }
    }

    /// Lets a producer in.
    pub async fn producer(&self, authorization: Option<&str>) -> Result<Principal, Denied> {
        let claims = self.producers.verify(tokens::bearer(authorization)?, Moment::now()).await?;
        Principal::new(Side::Producer, claims)
    }

    /// Lets a worker in; where the settings allow it, a producer too, as a worker for every command.
    pub async fn worker(&self, authorization: Option<&str>) -> Result<Principal, Denied> {
        let token = tokens::bearer(authorization)?;
        let denied = match self.real_worker(token).await {
            Ok(claims) => return Principal::new(Side::Worker, claims),
            Err(denied) => denied,
        };
        if !self.allow_producer_as_worker {
            return Err(denied);
        }
        let claims = self.producers.verify(token, Moment::now()).await.map_err(|_| denied)?;
        Principal::new(Side::Worker, claims.of_a_worker_for_all())
    }

    /// Lets a worker in, whatever its scopes are, else a producer. All others are told the same.
    pub async fn any(&self, authorization: Option<&str>) -> Result<Principal, Denied> {
        let nobody = || Denied::unauthorized("invalid token");
        let token = tokens::bearer(authorization).map_err(|_| nobody())?;
        match self.workers.verify(token, Moment::now()).await {
            Ok(claims) if !claims.event_types.is_empty() => return Principal::new(Side::Worker, claims),
            _ => {}
        }
        let claims = self.producers.verify(token, Moment::now()).await.map_err(|_| nobody())?;
        Principal::new(Side::Producer, claims)
    }

    /// Lets an admin in: a producer with the scope `codeq:admin` or the claim `role` of `ADMIN`.
    pub async fn admin(&self, authorization: Option<&str>) -> Result<Principal, Denied> {
        let principal = self.producer(authorization).await?;
        if principal.admin { Ok(principal) } else { Err(Denied::unauthorized("unauthorized. Admin only")) }
    }

    /// Counts one operation of a token that was let in, and refuses it if there were too many.
    pub fn limit(
        &self,
        operation: Operation,
        authorization: Option<&str>,
        now: Instant,
    ) -> Result<(), Denied> {
        let token = tokens::bearer(authorization)?;
        Ok(self.limiter.take(operation, &tokens::TokenHash::of(token), now)?)
    }

    async fn real_worker(&self, token: &str) -> Result<Claims, Denied> {
        let claims = self.workers.verify(token, Moment::now()).await?;
        if claims.event_types.is_empty() {
            return Err(Denied::unauthorized("missing eventTypes"));
        }
        if claims.scopes.is_empty() {
            return Err(Denied::unauthorized("missing scope"));
        }
        Ok(claims)
    }
}
