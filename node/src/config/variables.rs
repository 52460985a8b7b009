//! One variable of the environment at a time, as codeQ writes them: texts, numbers, yes or no, words, lists of pairs.
//!
//! Every error names the variable.

use super::{ConfigError, refuse, within};
use std::ffi::OsString;

/// The environment, as codeQ looks at it.
pub(super) struct Variables<'a> {
    find: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Variables<'a> {
    /// Those that this function finds.
    pub(super) fn new(find: &'a dyn Fn(&str) -> Option<OsString>) -> Variables<'a> {
        Variables { find }
    }

    /// Whether there is one of this name. One that is empty is not set.
    pub(super) fn is_set(&self, name: &str) -> bool {
        (self.find)(name).is_some_and(|value| !value.is_empty())
    }

    /// Its text.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let value = (self.find)(name).filter(|value| !value.is_empty());
        value.map(OsString::into_string).transpose().map_err(|_| ConfigError(format!("{name} is no UTF-8")))
    }

    /// A number up to `max`; `None` for 0, too.
    pub(super) fn number(&self, name: &str, max: u64) -> Result<Option<u64>, ConfigError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.trim().parse::<u64>() {
            Ok(number) => Ok(Some(within(name, number, 0..=max)?).filter(|number| *number > 0)),
            Err(_) => refuse(format_args!("{name} must be a number from 0 to {max}, not {text:?}")),
        }
    }

    /// Whether it says yes.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ConfigError> {
        let words =
            [("true", true), ("1", true), ("yes", true), ("false", false), ("0", false), ("no", false)];
        self.one_of(name, &words)
    }

    /// What goes with its word, in capitals or not.
    pub(super) fn one_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let found = words.iter().find(|(word, _)| text.trim().eq_ignore_ascii_case(word));
        let Some((_, value)) = found else {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            return refuse(format_args!("{name} must be {}, not {text:?}", words.join(", ")));
        };
        Ok(Some(*value))
    }

    /// `NAME=VALUE,…`, with room around each and perhaps a comma at the end.
    pub(super) fn pairs(&self, name: &str) -> Result<Option<Vec<(String, String)>>, ConfigError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let pair = |item: &str| match item.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() && !value.trim().is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => refuse(format_args!("{name} is a list of NAME=VALUE, this is not one: {item:?}")),
        };
        items.map(pair).collect::<Result<Vec<_>, _>>().map(Some)
    }
}
