//! Why a token was not accepted, in the words of codeQ and of the library it checks tokens with.
//!
//! Invariant: no part of a token is in the words, save what its issuer signed and the name of a key or method.

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    /// It is none of those that are known.
    #[error("invalid token")]
    Unknown,
    /// It is no JWT.
    #[error("token is malformed: {0}")]
    Malformed(&'static str),
    /// Nobody could check its signature.
    #[error("token is unverifiable: {0}")]
    Unverifiable(&'static str),
    /// The method is one that is not taken, or that does not exist.
    #[error("token is unverifiable: error while executing keyfunc: unexpected signing method: {0}")]
    Method(String),
    /// The issuer has no such key.
    #[error("token is unverifiable: error while executing keyfunc: key {0} not found in JWKS")]
    Key(String),
    /// The issuer's keys were never seen.
    #[error("token is unverifiable: error while executing keyfunc: failed to fetch JWKS")]
    NoKeys,
    /// The signature is not that of the key.
    #[error("token signature is invalid")]
    Signature,
    /// It is too old, too new, or says nothing about it.
    #[error("token has invalid claims: {0}")]
    Time(&'static str),
    /// Somebody else issued it.
    #[error("invalid issuer: {0}")]
    Issuer(String),
    /// It is for somebody else.
    #[error("invalid audience: [{}]", .0.join(" "))]
    Audience(Vec<String>),
    /// None of several providers took it.
    #[error("multi auth: token rejected by every provider: {0}")]
    ByAll(String),
}

impl From<Rejected> for super::Denied {
    fn from(rejected: Rejected) -> super::Denied {
        super::Denied::Unauthorized(rejected.to_string().into())
    }
}
