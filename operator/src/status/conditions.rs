//! Sets a condition without moving its time unless its status flips.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// The value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// The operator cannot tell.
    Unknown,
}

impl Truth {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Truth {
        if value { Truth::True } else { Truth::False }
    }
}

/// Messages are cut here: the API server refuses more than 32,768 bytes, and nobody reads a thousand.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// Sets one condition of a list, at its place, or appends it.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    truth: Truth,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) {
    let mut condition = Condition {
        type_: type_.to_owned(),
        status: truth.as_str().to_owned(),
        reason: reason.to_owned(),
        message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
        observed_generation: Some(generation),
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|old| old.type_ == type_) {
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time = old.last_transition_time.clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn set(conditions: &mut Vec<Condition>, truth: Truth, reason: &str, second: i64) {
        set_condition(conditions, "Ready", truth, reason, "words", 7, at(second));
    }

    #[test]
    fn the_time_moves_only_when_the_status_flips() {
        let mut conditions = Vec::new();
        set(&mut conditions, Truth::False, "Bootstrapping", 1);
        set(&mut conditions, Truth::False, "CatchingUp", 2);
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].reason, "CatchingUp");
        assert_eq!(conditions[0].last_transition_time, Time(at(1)));
        set(&mut conditions, Truth::True, "Ready", 3);
        assert_eq!(conditions[0].last_transition_time, Time(at(3)));
        set(&mut conditions, Truth::True, "Ready", 4);
        assert_eq!(conditions[0].last_transition_time, Time(at(3)));
    }

    #[test]
    fn the_same_condition_again_changes_nothing() {
        let mut conditions = Vec::new();
        set(&mut conditions, Truth::Unknown, "Reconciling", 1);
        let before = conditions.clone();
        set(&mut conditions, Truth::Unknown, "Reconciling", 2);
        assert_eq!(conditions, before);
    }

    #[test]
    fn conditions_keep_their_places() {
        let mut conditions = Vec::new();
        set_condition(&mut conditions, "A", Truth::True, "R", "", 1, at(1));
        set_condition(&mut conditions, "B", Truth::True, "R", "", 1, at(1));
        set_condition(&mut conditions, "A", Truth::False, "R", "", 1, at(2));
        let types: Vec<_> = conditions.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(types, ["A", "B"]);
    }
}
