//! What a token that was accepted says: who, in which tenant, with which rights.
//!
//! The tenant is named by one of five claims, which must agree where there are several; a token without any of them has its subject
//! for a tenant. A claim that is there and is no tenant's name is never passed over: the subject does not stand in for it.

use super::scope;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The claims that may name the tenant: the first is the one to use, the others are those of known issuers.
const TENANT_CLAIMS: [&str; 5] = ["tid", "tenantId", "tenant_id", "organizationId", "organization_id"];

/// What a token says, where it can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) subject: String,
    /// The e-mail address, else the subject.
    pub(super) email: String,
    pub(super) scopes: BTreeSet<String>,
    /// The commands that a worker may claim, `*` for all.
    pub(super) event_types: Vec<String>,
    /// `None`: the token names none, two, or one of a wrong form.
    pub(super) tenant: Option<String>,
    pub(super) admin: bool,
}

impl Claims {
    /// Of a token with this subject and these rights; `raw` is all that it says.
    pub(super) fn new(
        subject: String,
        email: Option<String>,
        scopes: BTreeSet<String>,
        event_types: Vec<String>,
        raw: &Map<String, Value>,
    ) -> Claims {
        let email = email.map(|email| email.trim().to_owned()).filter(|email| !email.is_empty());
        Claims {
            email: email.unwrap_or_else(|| subject.trim().to_owned()),
            tenant: tenant(raw, &subject),
            admin: scopes.contains(scope::ADMIN) || is_admin_by_role(raw),
            subject,
            scopes,
            event_types,
        }
    }

    /// Of a JWT whose signature, times, issuer and audience are right.
    pub(super) fn of_jwt(raw: &Map<String, Value>) -> Claims {
        let text = |name: &str| raw.get(name).and_then(Value::as_str);
        let scopes = text("scope").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let event_types =
            raw.get("eventTypes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let event_types = event_types.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let subject = text("sub").unwrap_or_default().to_owned();
        Claims::new(subject, text("email").map(str::to_owned), scopes, event_types, raw)
    }

    /// The same as a worker that may do all that workers do, with every command.
    pub(super) fn of_a_worker_for_all(self) -> Claims {
        Claims {
            scopes: scope::OF_A_WORKER.map(str::to_owned).into(),
            event_types: vec!["*".to_owned()],
            ..self
        }
    }
}

/// The commands that somebody may claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventTypes {
    /// Every one.
    All,
    /// These, exactly as they are spelt.
    Only(BTreeSet<String>),
}

impl EventTypes {
    pub(super) fn of(list: Vec<String>) -> EventTypes {
        if list.iter().any(|command| command == "*") {
            EventTypes::All
        } else {
            EventTypes::Only(list.into_iter().collect())
        }
    }

    /// Whether this command is one of them.
    pub fn allows(&self, command: &str) -> bool {
        match self {
            EventTypes::All => true,
            EventTypes::Only(commands) => commands.contains(command),
        }
    }
}

fn tenant(raw: &Map<String, Value>, subject: &str) -> Option<String> {
    let mut named =
        TENANT_CLAIMS.iter().filter_map(|claim| raw.get(*claim)).map(|value| checked(value.as_str()?));
    let Some(first) = named.next() else {
        return checked(subject).map(str::to_owned);
    };
    let first = first?;
    named.all(|other| other == Some(first)).then(|| first.to_owned())
}

/// The tenant's name without space around it, if it is one: `[a-z][a-z0-9-]{1,62}`.
fn checked(name: &str) -> Option<&str> {
    let name = name.trim();
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let valid = (2..=63).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(plain);
    valid.then_some(name)
}

fn is_admin_by_role(raw: &Map<String, Value>) -> bool {
    raw.get("role").and_then(Value::as_str).is_some_and(|role| role.trim().eq_ignore_ascii_case("ADMIN"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn tenant_of(raw: Value, subject: &str) -> Option<String> {
        tenant(raw.as_object().unwrap(), subject)
    }

    #[test]
    fn the_tenant_is_what_all_its_claims_say_else_the_subject() {
        for (raw, subject, wanted) in [
            (json!({"tid": " payments "}), "ignored", Some("payments")),
            (json!({"tenantId": "identity"}), "", Some("identity")),
            (json!({"tenant_id": "analytics"}), "", Some("analytics")),
            (json!({"organizationId": "platform"}), "", Some("platform")),
            (json!({"organization_id": "platform"}), "", Some("platform")),
            (
                json!({"tid": "payments", "tenantId": "payments", "organization_id": "payments"}),
                "other",
                Some("payments"),
            ),
            (json!({}), " single-tenant ", Some("single-tenant")),
            (json!({"tid": "payments", "tenantId": "analytics"}), "payments", None),
            (json!({"tenant_id": "payments", "organizationId": "analytics"}), "payments", None),
            (json!({"tid": "aa", "tenantId": "aa", "organization_id": "bb"}), "aa", None),
            (json!({"tid": "payments", "tenantId": 7}), "payments", None),
            (json!({"tid": " "}), "payments", None),
            (json!({"tid": 7}), "payments", None),
            (json!({"tid": null}), "payments", None),
            (json!({"tid": "../payments"}), "payments", None),
            (json!({}), "", None),
            (json!({}), "user@example.com", None),
        ] {
            assert_eq!(tenant_of(raw.clone(), subject).as_deref(), wanted, "{raw} of {subject:?}");
        }
    }

    #[test]
    fn a_tenant_has_two_to_sixty_three_characters_and_begins_with_a_letter() {
        let longest = "a".repeat(63);
        for name in ["ab", "a-", "a1", &longest] {
            assert_eq!(checked(name), Some(name));
        }
        let too_long = "a".repeat(64);
        for name in ["", "a", "1a", "-a", "Ab", "a_b", "a.b", "ä1", "a\n", "a b", &too_long] {
            assert_eq!(checked(name), None, "{name:?}");
        }
    }

    #[test]
    fn the_role_makes_an_admin_in_any_case_and_a_scope_does_exactly() {
        let admin = |raw: Value| Claims::of_jwt(raw.as_object().unwrap()).admin;
        assert!(admin(json!({"role": "ADMIN"})) && admin(json!({"role": " admin "})));
        assert!(admin(json!({"scope": "a codeq:admin"})));
        for raw in [
            json!({}),
            json!({"role": "USER"}),
            json!({"role": ["ADMIN"]}),
            json!({"scope": "codeq:administer"}),
        ] {
            assert!(!admin(raw.clone()), "{raw}");
        }
    }

    #[test]
    fn a_token_says_its_rights_in_a_text_and_in_a_list() {
        let raw = json!({"sub": "w1", "email": " ", "scope": "  codeq:claim  codeq:nack", "eventTypes": ["A", 7, "b"]});
        let claims = Claims::of_jwt(raw.as_object().unwrap());
        assert_eq!(claims.scopes, ["codeq:claim", "codeq:nack"].map(str::to_owned).into());
        assert_eq!(
            (claims.email.as_str(), claims.event_types.clone()),
            ("w1", vec!["A".to_owned(), "b".to_owned()])
        );
        let only = EventTypes::of(claims.event_types);
        assert!(only.allows("A") && !only.allows("a") && !only.allows("*"));
        assert!(EventTypes::of(vec!["A".to_owned(), "*".to_owned()]).allows("anything"));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_safe_and_is_said_by_every_claim(
            named in prop::collection::btree_map(0..TENANT_CLAIMS.len(), "( ?[a-c]{1,2}-?)|\\PC{0,4}", 0..5),
            subject in "[a-z0-9@.]{0,5}",
        ) {
            let raw: Map<String, Value> =
                named.iter().map(|(claim, name)| (TENANT_CLAIMS[*claim].to_owned(), json!(name))).collect();
            if let Some(tenant) = tenant(&raw, &subject) {
                prop_assert_eq!(checked(&tenant), Some(tenant.as_str()));
                let said = |name: &String| name.trim() == tenant;
                let by_all = if named.is_empty() { said(&subject) } else { named.values().all(said) };
                prop_assert!(by_all);
            }
        }
    }
}
