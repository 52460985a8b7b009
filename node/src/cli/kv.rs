//! `schedia kv`: keys and values as raw bytes.
//!
//! Keys go as `/v1/kv?key=`, which carries every key; libraries fold `.` and `..` in paths.

use super::client::{Clients, Output};
use super::{CliError, output};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use reqwest::Method;
use schedia_api::{Answer, ClientError, KvPage, KvRow};
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A value in a table is shown up to here.
const VALUE_CHARS_MAX: usize = 60;

#[derive(Subcommand)]
pub(super) enum Kv {
    /// Print a key's value
    Get(Get),
    /// Write a key
    Put(Put),
    /// Delete a key
    Delete(Delete),
    /// Print keys and values, in key order
    List(List),
}

#[derive(Args)]
pub(super) struct Get {
    /// The key
    key: OsString,
    /// As of this revision of the store
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// What the asked node has, however old
    #[arg(long)]
    stale: bool,
    #[command(flatten)]
    clients: Clients,
}

#[derive(Args)]
pub(super) struct Put {
    /// The key
    key: OsString,
    /// The value; `-` reads standard input
    #[arg(required_unless_present = "file")]
    value: Option<OsString>,
    /// Read the value from this file
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    file: Option<PathBuf>,
    /// Only if the key's newest change has this revision; 0: only if there is no such key
    #[arg(long, value_name = "N")]
    if_mod_revision: Option<u64>,
    #[command(flatten)]
    clients: Clients,
}

#[derive(Args)]
pub(super) struct Delete {
    /// The key
    key: OsString,
    /// Only if the key's newest change has this revision
    #[arg(long, value_name = "N")]
    if_mod_revision: Option<u64>,
    #[command(flatten)]
    clients: Clients,
}

#[derive(Args)]
pub(super) struct List {
    /// Only keys that begin with this
    prefix: Option<OsString>,
    /// Only keys from this one
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,
    /// At most this many keys
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// As of this revision of the store
    #[arg(long, value_name = "N")]
    revision: Option<u64>,
    /// Without values
    #[arg(long)]
    keys_only: bool,
    /// Only how many there are
    #[arg(long, conflicts_with_all = ["keys_only", "limit"])]
    count_only: bool,
    /// What the asked node has, however old
    #[arg(long)]
    stale: bool,
    #[command(flatten)]
    clients: Clients,
}

impl Kv {
    pub(super) async fn run(self) -> Result<(), CliError> {
        match self {
            Kv::Get(get) => get.run().await,
            Kv::Put(put) => put.run().await,
            Kv::Delete(delete) => delete.run().await,
            Kv::List(list) => list.run().await,
        }
    }
}

impl Get {
    async fn run(self) -> Result<(), CliError> {
        let path = Path::key(&self.key).number("revision", self.revision).stale(self.stale);
        let answer = self.clients.transport()?.send(Method::GET, &path.0, None).await?;
        match self.clients.common.output {
            Output::Table => output::raw(&answer.body),
            Output::Json => output::json(&json!({
                "key": STANDARD.encode(self.key.as_bytes()),
                "value": STANDARD.encode(&answer.body),
                "create_revision": number(&answer, "x-schedia-create-revision")?,
                "mod_revision": number(&answer, "x-schedia-mod-revision")?,
                "version": number(&answer, "x-schedia-version")?,
            })),
        }
    }
}

impl Put {
    async fn run(self) -> Result<(), CliError> {
        let value = value(self.value, self.file)?;
        let path = Path::key(&self.key).number("if-mod-revision", self.if_mod_revision);
        let body = Some(("application/octet-stream", value.into()));
        let answer = self.clients.transport()?.send(Method::PUT, &path.0, body).await?;
        written(&self.clients, &answer)
    }
}

impl Delete {
    async fn run(self) -> Result<(), CliError> {
        let path = Path::key(&self.key).number("if-mod-revision", self.if_mod_revision);
        let answer = self.clients.transport()?.send(Method::DELETE, &path.0, None).await?;
        written(&self.clients, &answer)
    }
}

fn written(clients: &Clients, answer: &Answer) -> Result<(), CliError> {
    let revision = number(answer, "x-schedia-revision")?;
    match clients.common.output {
        Output::Table => output::line(&format!("revision {revision}")),
        Output::Json => output::json(&json!({ "revision": revision })),
    }
}

impl List {
    /// Page by page, all of them at the revision of the first.
    async fn run(self) -> Result<(), CliError> {
        let transport = self.clients.transport()?;
        let path = Path("/v1/kv?".to_owned())
            .bytes("prefix", self.prefix.as_deref())
            .bytes("start", self.start.as_deref())
            .bytes("end", self.end.as_deref())
            .flag("keys-only", self.keys_only)
            .flag("count-only", self.count_only)
            .stale(self.stale);
        let (mut count, mut left, mut next) = (0, self.limit, None);
        loop {
            let page = Path(path.0.clone()).number("limit", left.map(|left| left.min(1_000)));
            let page = match next {
                None => page.number("revision", self.revision),
                Some(token) => page.bytes("continue", Some(OsStr::new(&token))),
            };
            let page: KvPage = transport.send(Method::GET, &page.0, None).await?.json()?;
            if !self.count_only {
                self.show(&page.rows, count == 0)?;
            }
            count += page.count;
            left = left.map(|left| left.saturating_sub(page.count));
            next = page.next;
            if next.is_none() || left == Some(0) {
                break;
            }
        }
        match (self.count_only, self.clients.common.output) {
            (true, Output::Table) => output::line(&count.to_string()),
            (true, Output::Json) => output::json(&json!({ "count": count })),
            (false, _) => Ok(()),
        }
    }

    fn show(&self, rows: &[KvRow], first: bool) -> Result<(), CliError> {
        if self.clients.common.output == Output::Json {
            return rows.iter().try_for_each(output::json);
        }
        let head = ["MOD", "VERSION", "KEY", "VALUE"];
        let row = |row: &KvRow| {
            let [key, value] = [&row.key, &row.value].map(|text| STANDARD.decode(text).unwrap_or_default());
            let value = output::readable(&value, VALUE_CHARS_MAX);
            [
                row.mod_revision.to_string(),
                row.version.to_string(),
                output::readable(&key, usize::MAX / 8),
                value,
            ]
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        if first { output::table(head, &rows) } else { output::rows(&rows) }
    }
}

/// A path with its query, being written.
struct Path(String);

impl Path {
    fn key(key: &OsStr) -> Path {
        Path("/v1/kv?".to_owned()).bytes("key", Some(key))
    }

    fn bytes(self, name: &str, value: Option<&OsStr>) -> Path {
        match value {
            Some(value) => {
                let value = percent_encode(value.as_bytes(), NON_ALPHANUMERIC);
                Path(format!("{}{name}={value}&", self.0))
            }
            None => self,
        }
    }

    fn number(self, name: &str, value: Option<u64>) -> Path {
        value.map_or_else(|| Path(self.0.clone()), |value| Path(format!("{}{name}={value}&", self.0)))
    }

    fn flag(self, name: &str, value: bool) -> Path {
        if value { Path(format!("{}{name}=true&", self.0)) } else { self }
    }

    fn stale(self, stale: bool) -> Path {
        if stale { Path(format!("{}consistency=stale&", self.0)) } else { self }
    }
}

fn value(argument: Option<OsString>, file: Option<PathBuf>) -> Result<Vec<u8>, CliError> {
    let failed = |what: String| move |source| CliError::Io { what, source };
    match (argument, file) {
        (_, Some(path)) => std::fs::read(&path).map_err(failed(path.display().to_string())),
        (Some(dash), None) if dash == "-" => {
            let mut value = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut value);
            read.map(|_| value).map_err(failed("standard input".to_owned()))
        }
        (Some(value), None) => Ok(value.as_bytes().to_vec()),
        (None, None) => Err(CliError::Usage("a value is missing".to_owned())),
    }
}

fn number(answer: &Answer, header: &str) -> Result<u64, ClientError> {
    let value = answer.headers.get(header).and_then(|value| value.to_str().ok()?.parse().ok());
    value.ok_or_else(|| answer.not_understood(format!("without the header {header}")))
}
