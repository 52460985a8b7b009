//! Reading settings that hold secrets: field by field, each named by its path.
//!
//! Invariant: no message shows a value, since any of them may be a token at the wrong place. Numbers out of range are the exception.

use serde_json::{Map, Value};
use std::fmt;
use std::ops::RangeInclusive;

/// A setting that cannot be used, in words that name it and show no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthConfigError(String);

pub(super) type Read<T> = Result<T, AuthConfigError>;

/// Where in the settings: `PRODUCER_AUTH_CONFIG.token`.
#[derive(Clone, Debug)]
pub(super) struct At(String);

impl At {
    /// A variable, or a file's name with a colon.
    pub(super) fn new(text: impl Into<String>) -> At {
        At(text.into())
    }

    /// A field of it.
    pub(super) fn field(&self, name: &str) -> At {
        let At(at) = self;
        if at.ends_with(':') { At(format!("{at} {name}")) } else { At(format!("{at}.{name}")) }
    }

    /// An element of it.
    pub(super) fn element(&self, index: usize) -> At {
        At(format!("{}[{index}]", self.0))
    }

    pub(super) fn refuse<T>(&self, what: impl fmt::Display) -> Read<T> {
        Err(self.error(what))
    }

    pub(super) fn error(&self, what: impl fmt::Display) -> AuthConfigError {
        let At(at) = self;
        AuthConfigError(format!("{at} {what}"))
    }
}

/// A table that is read field by field. `null` is as good as absent.
pub(super) struct Fields {
    at: At,
    left: Map<String, Value>,
}

impl Fields {
    pub(super) fn of(at: At, value: Value) -> Read<Fields> {
        match value {
            Value::Object(left) => Ok(Fields { at, left }),
            _ => at.refuse("must be a table of settings"),
        }
    }

    pub(super) fn at(&self, name: &str) -> At {
        self.at.field(name)
    }

    pub(super) fn value(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// Of the value, what it is if it has the right type.
    fn typed<T>(&mut self, name: &str, kind: &str, take: impl FnOnce(Value) -> Option<T>) -> Read<Option<T>> {
        let at = self.at(name);
        let Some(value) = self.value(name) else { return Ok(None) };
        take(value).map(Some).ok_or_else(|| at.error(format_args!("must be {kind}")))
    }

    pub(super) fn text(&mut self, name: &str) -> Read<Option<String>> {
        self.typed(name, "a text", text)
    }

    /// A text with something in it, which must be there.
    pub(super) fn required(&mut self, name: &str) -> Read<String> {
        let text = self.text(name)?.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        text.ok_or_else(|| self.at(name).error("is missing"))
    }

    pub(super) fn texts(&mut self, name: &str) -> Read<Vec<String>> {
        let texts = |value| match value {
            Value::Array(list) => list.into_iter().map(text).collect(),
            _ => None,
        };
        Ok(self.typed(name, "a list of texts", texts)?.unwrap_or_default())
    }

    pub(super) fn flag(&mut self, name: &str) -> Read<bool> {
        Ok(self.typed(name, "true or false", |value| value.as_bool())?.unwrap_or_default())
    }

    /// A number, which must be there.
    pub(super) fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Read<u64> {
        let number = self.typed(name, "a whole number", |value| value.as_u64())?;
        let number = number.ok_or_else(|| self.at(name).error("is missing"))?;
        if range.contains(&number) {
            return Ok(number);
        }
        self.at(name).refuse(format_args!("must be {}..={}, not {number}", range.start(), range.end()))
    }

    pub(super) fn map(&mut self, name: &str) -> Read<Map<String, Value>> {
        let map = |value| match value {
            Value::Object(map) => Some(map),
            _ => None,
        };
        Ok(self.typed(name, "a table", map)?.unwrap_or_default())
    }

    pub(super) fn table(&mut self, name: &str) -> Read<Option<Fields>> {
        let at = self.at(name);
        self.value(name).map(|value| Fields::of(at, value)).transpose()
    }

    /// Refuses what nobody has read.
    pub(super) fn end(self) -> Read<()> {
        match self.left.keys().next() {
            Some(name) => self.at.field(name).refuse("is no setting"),
            None => Ok(()),
        }
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}
