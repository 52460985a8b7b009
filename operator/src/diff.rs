//! Tells whether a live object already is what the operator wants, so that nothing is written at steady state. Pure.
//!
//! The API server adds defaults and writes quantities in another form: every field that is wanted must be there with an equal
//! value, fields that nobody wanted do not count. What was wanted once and no longer is shows in the digest among the annotations.

use serde_json::Value;

/// Whether everything in `wanted` is in `live`.
pub fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| field(key, live.get(key).unwrap_or(&Value::Null), wanted))
        }
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        // The API server drops what is empty.
        (Value::Null, wanted) => is_empty(wanted),
        (live, wanted) => live == wanted,
    }
}

fn field(key: &str, live: &Value, wanted: &Value) -> bool {
    match (key, live, wanted) {
        ("requests" | "limits", Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| live.get(name).is_some_and(|live| same_quantity(live, wanted)))
        }
        _ => contains(live, wanted),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn same_quantity(a: &Value, b: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (a, b) = (text(a), text(b));
    a == b || nanos(&a).is_some_and(|nanos_a| Some(nanos_a) == nanos(&b))
}

/// The value of a quantity in whole bytes, rounded down; `None` if it is none.
pub fn bytes(quantity: &str) -> Option<i128> {
    nanos(quantity).map(|nanos| nanos / NANOS)
}

const NANOS: i128 = 1_000_000_000;

/// The value of a quantity in billionths, the smallest unit there is.
fn nanos(quantity: &str) -> Option<i128> {
    let end = quantity.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(end);
    let negative = number.starts_with('-');
    let number = number.trim_start_matches(['+', '-']);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 || whole.len() > 19 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.checked_pow(fraction.len() as u32)?;
    let value = digits.checked_mul(unit(suffix)?)?.checked_div(scale)?;
    Some(if negative { -value } else { value })
}

fn unit(suffix: &str) -> Option<i128> {
    let power = |base: i128, exponent: u32| base.checked_pow(exponent)?.checked_mul(NANOS);
    match suffix {
        "n" => Some(1),
        "u" => Some(1_000),
        "m" => Some(1_000_000),
        "" => Some(NANOS),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let size = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent >= 0 { size.checked_mul(NANOS) } else { NANOS.checked_div(size) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_added_by_the_api_server_are_no_difference() {
        let live = json!({"spec": {"replicas": 3, "revisionHistoryLimit": 10, "ports": [{"port": 80, "protocol": "TCP"}]}});
        assert!(contains(&live, &json!({"spec": {"replicas": 3, "ports": [{"port": 80}]}})));
    }

    #[test]
    fn another_value_a_missing_field_or_a_longer_list_is_a_difference() {
        let live = json!({"a": 1, "b": [1, 2]});
        assert!(!contains(&live, &json!({"a": 2})));
        assert!(!contains(&live, &json!({"c": 1})));
        assert!(!contains(&live, &json!({"b": [1]})));
        assert!(!contains(&live, &json!({"b": [2, 1]})));
    }

    #[test]
    fn what_is_empty_may_be_dropped() {
        assert!(contains(&json!({}), &json!({"a": {}, "b": [], "c": null})));
        assert!(!contains(&json!({}), &json!({"a": {"b": 0}})));
    }

    #[test]
    fn one_quantity_has_many_forms() {
        let resources = |cpu: &str, memory: &str| json!({"limits": {"cpu": cpu, "memory": memory}});
        assert!(contains(&resources("500m", "1Gi"), &resources("0.5", "1024Mi")));
        assert!(contains(&resources("1", "1k"), &resources("1000m", "1e3")));
        assert!(!contains(&resources("1", "1Gi"), &resources("1", "1G")));
        assert!(!contains(&json!({"limits": {}}), &resources("1", "1G")));
    }

    #[test]
    fn only_quantities_are_compared_as_quantities() {
        assert!(!contains(&json!({"labels": {"version": "1"}}), &json!({"labels": {"version": "1000m"}})));
    }

    #[test]
    fn quantities_in_bytes() {
        let values = ["10Gi", "1.5k", "0", "-1Ki", "1e3", "100m", "x", "", "1Zi"].map(bytes);
        let gib = 1024 * 1024 * 1024;
        assert_eq!(
            values,
            [Some(10 * gib), Some(1500), Some(0), Some(-1024), Some(1000), Some(0), None, None, None]
        );
    }
}
