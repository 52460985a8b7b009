//! Tokens of the settings, and how one is found in a header.
//!
//! Invariants:
//! * Only the hash of a token is kept. It is compared in constant time with that of every token of the list, so that the time of an
//!   answer tells nothing about any of them.
//! * `Debug` shows neither a token nor its hash.

use super::Denied;
use super::claims::Claims;
use ring::digest::{SHA256, digest};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(super) fn of(token: &str) -> TokenHash {
        TokenHash(digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// A token of the settings, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StaticToken {
    hash: TokenHash,
    claims: Claims,
}

impl StaticToken {
    pub(super) fn new(token: &str, claims: Claims) -> StaticToken {
        StaticToken { hash: TokenHash::of(token), claims }
    }

    pub(super) fn hash(&self) -> TokenHash {
        self.hash
    }
}

/// What the token stands for, if it is one of these. Looks at all of them, found or not.
pub(super) fn find<'t>(tokens: &'t [StaticToken], token: &str) -> Option<&'t Claims> {
    let given = TokenHash::of(token);
    let mut found = None;
    for known in tokens {
        let same: Choice = known.hash.0.ct_eq(&given.0);
        if same.into() {
            found = Some(&known.claims);
        }
    }
    found
}

/// The token of an `Authorization` header: `Bearer`, in any case, a space, the token.
pub(super) fn bearer(authorization: Option<&str>) -> Result<&str, Denied> {
    let header = authorization.unwrap_or_default();
    if header.trim().is_empty() {
        return Err(Denied::unauthorized("missing Authorization header"));
    }
    match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => Ok(token.trim()),
        _ => Err(Denied::unauthorized("invalid Authorization format")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Map;

    fn token(token: &str, subject: &str) -> StaticToken {
        StaticToken::new(token, Claims::new(subject.to_owned(), None, [].into(), vec![], &Map::new()))
    }

    #[test]
    fn the_header_is_read_as_codeq_reads_it() {
        for header in [None, Some(""), Some("  ")] {
            assert_eq!(bearer(header).unwrap_err().to_string(), "missing Authorization header", "{header:?}");
        }
        for header in ["Basic x", "Bearer", "dev-token", "Bearer\tx", " Bearer x"] {
            assert_eq!(
                bearer(Some(header)).unwrap_err().to_string(),
                "invalid Authorization format",
                "{header:?}"
            );
        }
        for (header, token) in [("Bearer x", "x"), ("bEARER  x y ", "x y"), ("Bearer ", "")] {
            assert_eq!(bearer(Some(header)), Ok(token), "{header:?}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_token() {
        let shown = format!("{:?}", token("very-secret", "me"));
        assert!(
            shown.contains("TokenHash(..)") && shown.contains("me") && !shown.contains("secret"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn a_token_is_found_where_it_is_and_nowhere_else(
            tokens in prop::collection::btree_set("[ab]{1,3}", 0..8),
            wanted in "[ab]{0,4}",
        ) {
            let list: Vec<_> = tokens.iter().map(|text| token(text, text)).collect();
            let found = find(&list, &wanted).map(|claims| claims.subject.clone());
            prop_assert_eq!(found, tokens.contains(&wanted).then_some(wanted));
        }
    }
}
