//! `schedia kv`: keys and values as raw bytes.
//!
//! Keys go as `/v1/kv?key=`, which carries every key; libraries fold `.` and `..` in paths. What changes keys is sent until
//! its outcome is known, or its time is over.

mod path;
mod range;
mod statements;
mod txn;
mod watch;

use super::client::{Clients, Output};
use super::{CliError, confirm, output};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use path::Path;
use range::Range;
use reqwest::Method;
use schedia_api::{Answer, ClientError, KvDeleted};
use serde_json::json;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum Kv {
    /// Print a key's value, or the keys of a range
    #[command(after_help = GET_EXAMPLES)]
    Get(Get),
    /// Write a key
    #[command(after_help = PUT_EXAMPLES)]
    Put(Put),
    /// Delete a key, or the keys of a range
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(Delete),
    /// Print keys and values, in key order
    #[command(after_help = range::EXAMPLES)]
    List(range::List),
    /// Compare, then change and read several keys at one revision
    #[command(after_help = txn::EXAMPLES, after_long_help = txn::LONG_HELP)]
    Txn(txn::Txn),
    /// Print the changes of keys as they happen
    #[command(after_help = watch::EXAMPLES)]
    Watch(watch::Watch),
}

const GET_EXAMPLES: &str = "\
Examples:
  schedia kv get greeting                     the value, byte by byte
  schedia kv get greeting --output json       with its numbers; key and value in base64
  schedia kv get greeting --revision 7        as it was then
  schedia kv get --prefix users/ --limit 10   a table of keys and values
  schedia kv get --prefix users/ --count-only";

const PUT_EXAMPLES: &str = "\
Examples:
  schedia kv put greeting hello
  schedia kv put certificate --file tls.crt
  date | schedia kv put time -
  schedia kv put lock me --if-mod-revision 0  only if there is no such key";

const DELETE_EXAMPLES: &str = "\
Examples:
  schedia kv delete greeting
  schedia kv delete greeting --if-mod-revision 7
  schedia kv delete --prefix tmp/             asks first, and says how many
  schedia kv delete --prefix tmp/ --yes";

#[derive(Args)]
pub(super) struct Get {
    /// The key
    #[arg(required_unless_present_any = ["prefix", "start", "end"], conflicts_with_all = ["prefix", "start", "end"])]
    key: Option<OsString>,
    #[command(flatten)]
    range: Range,
    #[command(flatten)]
    view: range::View,
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
    #[arg(required_unless_present_any = ["prefix", "start", "end"], conflicts_with_all = ["prefix", "start", "end"])]
    key: Option<OsString>,
    #[command(flatten)]
    range: Range,
    /// Delete the keys of a range without asking
    #[arg(long, conflicts_with = "key")]
    yes: bool,
    /// Only if the key's newest change has this revision
    #[arg(long, value_name = "N", conflicts_with_all = ["prefix", "start", "end"])]
    if_mod_revision: Option<u64>,
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
            Kv::Txn(txn) => txn.run().await,
            Kv::Watch(watch) => watch.run().await,
        }
    }
}

impl Get {
    async fn run(self) -> Result<(), CliError> {
        let Get { key, range, view, clients } = self;
        let Some(key) = key else { return range.show(view, clients).await };
        if let Some(option) = view.of_ranges() {
            let message = format!(
                "{option} is about ranges: leave the key out and name one with --prefix, --start or --end"
            );
            return Err(CliError::Usage(message));
        }
        let path = Path::key(&key).number("revision", view.revision).stale(view.stale);
        let answer = clients.transport()?.send(Method::GET, &path.0, None).await?;
        match clients.common.output {
            Output::Table => output::raw(&answer.body),
            Output::Json => output::json(&json!({
                "key": STANDARD.encode(key.as_bytes()),
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
        let answer = self.clients.transport()?.write(Method::PUT, &path.0, body).await?;
        written(&self.clients, &answer)
    }
}

/// Keys that one step deletes: what the server deletes at one revision.
const DELETE_STEP: u64 = 10_000;

impl Delete {
    async fn run(self) -> Result<(), CliError> {
        let Some(key) = &self.key else { return self.delete_range().await };
        let path = Path::key(key).number("if-mod-revision", self.if_mod_revision);
        let answer = self.clients.transport()?.write(Method::DELETE, &path.0, None).await?;
        written(&self.clients, &answer)
    }

    /// At one revision, or in steps if there are too many for that.
    async fn delete_range(&self) -> Result<(), CliError> {
        let transport = self.clients.transport()?;
        if !self.yes {
            let count = self.range.count(&transport).await?;
            confirm::deletion(&confirm::counted(count, "key"))?;
        }
        let path = self.range.path(Path::ranges()).number("limit", Some(DELETE_STEP));
        let mut deleted = 0;
        let done = loop {
            let step: KvDeleted = transport.write(Method::DELETE, &path.0, None).await?.json()?;
            deleted += step.deleted;
            if !step.more {
                break KvDeleted { deleted, ..step };
            }
        };
        match self.clients.common.output {
            Output::Table => output::line(&format!("deleted {deleted}, revision {}", done.revision)),
            Output::Json => output::json(&json!({ "deleted": deleted, "revision": done.revision })),
        }
    }
}

fn written(clients: &Clients, answer: &Answer) -> Result<(), CliError> {
    let revision = number(answer, "x-schedia-revision")?;
    match clients.common.output {
        Output::Table => output::line(&format!("revision {revision}")),
        Output::Json => output::json(&json!({ "revision": revision })),
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
