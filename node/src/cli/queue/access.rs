//! What all commands of the queue have in common: where, by which token, and JSON out and in.

use super::{CliError, output};
use crate::cli::client::{Clients, Output};
use bytes::Bytes;
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use schedia_api::{Answer, Transport};
use serde::Serialize;
use serde_json::value::RawValue;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most that is read of a file or of standard input: a node takes 1.5 MiB of a task.
const INPUT_BYTES_MAX: u64 = 2 << 20;

const JSON: &str = "application/json";

/// Where the queue is, and who asks.
#[derive(Args)]
pub(super) struct Access {
    /// Who asks. Others may see the arguments of a process: a file or the variable keeps the token from them
    #[arg(long, env = "SCHEDIA_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Read the token from this file; goes before --token
    #[arg(long, env = "SCHEDIA_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    clients: Clients,
}

impl Access {
    pub(super) fn form(&self) -> Output {
        self.clients.common.output
    }

    pub(super) fn transport(&self) -> Result<Transport, CliError> {
        let transport = self.clients.transport()?;
        let token = match (&self.token_file, &self.token) {
            (Some(path), _) => Some(text_of(path)?),
            (None, token) => token.clone(),
        };
        match token {
            Some(token) => Ok(transport.with_token(token.trim())?),
            None => Ok(transport),
        }
    }

    /// Reads.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, CliError> {
        Ok(self.transport()?.send(Method::GET, path, None).await?)
    }

    /// Sends what is not to be done twice: again only where it certainly was not applied.
    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer, CliError> {
        Ok(self.transport()?.send(Method::POST, path, Some(encoded(body))).await?)
    }

    /// Sends what changes nothing more when it is done twice, until its outcome is known.
    pub(super) async fn write(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer, CliError> {
        Ok(self.transport()?.write(method, path, Some(encoded(body))).await?)
    }
}

/// A JSON body.
pub(super) fn encoded(body: &impl Serialize) -> (&'static str, Bytes) {
    (JSON, serde_json::to_vec(body).expect("texts and numbers").into())
}

/// Prints the JSON of an answer as it came, on one line.
pub(super) fn print(answer: &Answer) -> Result<(), CliError> {
    output::json(&answer.json::<Box<RawValue>>()?)
}

/// A part of a path.
pub(super) fn part(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A query being written.
#[derive(Clone, Default)]
pub(super) struct Query(String);

impl Query {
    pub(super) fn with(mut self, name: &str, value: Option<impl ToString>) -> Query {
        if let Some(value) = value {
            let mark = if self.0.is_empty() { '?' } else { '&' };
            self.0.push_str(&format!("{mark}{name}={}", part(&value.to_string())));
        }
        self
    }

    pub(super) fn after(&self, path: &str) -> String {
        format!("{path}{}", self.0)
    }
}

/// JSON that was given: itself, `@FILE`, or `-` for standard input.
pub(super) fn json_argument(what: &str, given: &OsStr) -> Result<Box<RawValue>, CliError> {
    let text = match given.as_bytes() {
        b"-" => text_from("standard input", std::io::stdin().lock())?,
        [b'@', path @ ..] => text_of(Path::new(OsStr::from_bytes(path)))?,
        _ => utf8(what, given.as_bytes().to_vec())?,
    };
    RawValue::from_string(text.trim().to_owned()).map_err(|error| {
        CliError::Usage(format!(
            "the {what} is not JSON: {error}; a text stands in quotes: '\"like this\"'; a file is @FILE"
        ))
    })
}

fn text_of(path: &Path) -> Result<String, CliError> {
    let what = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|source| CliError::Io { what: what.clone(), source })?;
    text_from(&what, file)
}

fn text_from(what: &str, from: impl Read) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let read = from.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|source| CliError::Io { what: what.to_owned(), source })?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(CliError::Failed(format!("{what} has more than {INPUT_BYTES_MAX} bytes")));
    }
    utf8(what, bytes)
}

fn utf8(what: &str, bytes: Vec<u8>) -> Result<String, CliError> {
    // The bytes are not shown: they may be a token.
    String::from_utf8(bytes).map_err(|_| CliError::Failed(format!("{what} is not UTF-8")))
}

/// A text that was given: itself, or `-` or `@FILE` as above.
pub(super) type Given = OsString;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_given_as_it_is_or_in_a_file() {
        let read = |given: &str| json_argument("payload", OsStr::new(given));
        assert_eq!(read(r#" {"b":1, "a":2.50} "#).unwrap().get(), r#"{"b":1, "a":2.50}"#);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[1]\n").unwrap();
        assert_eq!(read(&format!("@{}", file.path().display())).unwrap().get(), "[1]");
        let said = read("hello").unwrap_err().to_string();
        assert!(said.starts_with("the payload is not JSON: ") && said.contains("@FILE"), "{said}");
        assert!(read("@/does/not/exist").unwrap_err().to_string().starts_with("/does/not/exist: "));
    }

    #[test]
    fn a_query_is_percent_encoded() {
        let query =
            Query::default().with("command", Some("a b&c")).with("limit", Some(3)).with("x", None::<u8>);
        assert_eq!(query.after("/v1/queue/tasks"), "/v1/queue/tasks?command=a%20b%26c&limit=3");
    }
}
