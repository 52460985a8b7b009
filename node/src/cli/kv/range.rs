//! Ranges of keys: named, counted, printed.

use super::path::Path;
use crate::cli::client::{Clients, Output};
use crate::cli::{CliError, output};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use reqwest::Method;
use schedia_api::{KvPage, KvRow, Transport};
use serde_json::json;
use std::ffi::{OsStr, OsString};

/// A value in a table is shown up to here.
const VALUE_CHARS_MAX: usize = 60;

pub(super) const EXAMPLES: &str = "\
Examples:
  schedia kv list                             everything
  schedia kv list users/                      keys that begin with users/
  schedia kv list --start a --end b           from a, before b
  schedia kv list users/ --count-only
  schedia kv list users/ --output json        one object per line; keys and values in base64";

/// Which keys.
#[derive(Args)]
pub(super) struct Range {
    /// Keys that begin with this; an empty one means all
    #[arg(long, value_name = "KEY")]
    pub(super) prefix: Option<OsString>,
    /// Keys from this one
    #[arg(long, value_name = "KEY")]
    pub(super) start: Option<OsString>,
    /// Keys before this one
    #[arg(long, value_name = "KEY")]
    pub(super) end: Option<OsString>,
}

/// What of them, and as of when.
#[derive(Args)]
pub(super) struct View {
    /// At most this many keys
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// As of this revision of the store
    #[arg(long, value_name = "N")]
    pub(super) revision: Option<u64>,
    /// Without values
    #[arg(long)]
    keys_only: bool,
    /// Only how many there are
    #[arg(long, conflicts_with_all = ["keys_only", "limit"])]
    count_only: bool,
    /// What the asked node has, however old
    #[arg(long)]
    pub(super) stale: bool,
}

#[derive(Args)]
pub(in crate::cli) struct List {
    /// Only keys that begin with this
    prefix: Option<OsString>,
    /// Only keys from this one
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,
    #[command(flatten)]
    view: View,
    #[command(flatten)]
    clients: Clients,
}

impl List {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let List { prefix, start, end, view, clients } = self;
        Range { prefix, start, end }.show(view, clients).await
    }
}

impl View {
    /// An option that only a range has.
    pub(super) fn of_ranges(&self) -> Option<&'static str> {
        let given = [
            (self.limit.is_some(), "--limit"),
            (self.keys_only, "--keys-only"),
            (self.count_only, "--count-only"),
        ];
        given.into_iter().find_map(|(given, name)| given.then_some(name))
    }
}

impl Range {
    pub(super) fn path(&self, path: Path) -> Path {
        path.bytes("prefix", self.prefix.as_deref())
            .bytes("start", self.start.as_deref())
            .bytes("end", self.end.as_deref())
    }

    /// How many keys there are.
    pub(super) async fn count(&self, transport: &Transport) -> Result<u64, CliError> {
        let path = self.path(Path::ranges()).flag("count-only", true);
        pages(transport, &path, None, None, |_| Ok(())).await
    }

    /// Prints them.
    pub(super) async fn show(&self, view: View, clients: Clients) -> Result<(), CliError> {
        let View { limit, revision, keys_only, count_only, stale } = view;
        let (transport, form) = (clients.transport()?, clients.common.output);
        let path = self.path(Path::ranges());
        let path = path.flag("keys-only", keys_only).flag("count-only", count_only).stale(stale);
        let mut first = true;
        let count = pages(&transport, &path, revision, limit, |page| {
            if count_only {
                return Ok(());
            }
            rows(&page.rows, std::mem::take(&mut first), form)
        })
        .await?;
        match (count_only, form) {
            (true, Output::Table) => output::line(&count.to_string()),
            (true, Output::Json) => output::json(&json!({ "count": count })),
            (false, _) => Ok(()),
        }
    }
}

/// Page by page, all of them at the revision of the first; how many keys there were.
async fn pages(
    transport: &Transport,
    path: &Path,
    revision: Option<u64>,
    limit: Option<u64>,
    mut each: impl FnMut(&KvPage) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let (mut count, mut left, mut next) = (0, limit, None::<String>);
    loop {
        let page = Path(path.0.clone()).number("limit", left.map(|left| left.min(1_000)));
        let page = match &next {
            None => page.number("revision", revision),
            Some(token) => page.bytes("continue", Some(OsStr::new(token))),
        };
        let page: KvPage = transport.send(Method::GET, &page.0, None).await?.json()?;
        each(&page)?;
        count += page.count;
        left = left.map(|left| left.saturating_sub(page.count));
        next = page.next;
        if next.is_none() || left == Some(0) {
            return Ok(count);
        }
    }
}

fn rows(rows: &[KvRow], first: bool, form: Output) -> Result<(), CliError> {
    if form == Output::Json {
        return rows.iter().try_for_each(output::json);
    }
    let head = ["MOD", "VERSION", "KEY", "VALUE"];
    let row = |row: &KvRow| {
        [row.mod_revision.to_string(), row.version.to_string(), key_text(&row.key), value_text(&row.value)]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    if first { output::table(head, &rows) } else { output::rows(&rows) }
}

/// A key in base64 as a person reads it.
pub(super) fn key_text(key: &str) -> String {
    output::readable(&STANDARD.decode(key).unwrap_or_default(), usize::MAX / 8)
}

/// A value in base64 as a person reads it.
pub(super) fn value_text(value: &str) -> String {
    output::readable(&STANDARD.decode(value).unwrap_or_default(), VALUE_CHARS_MAX)
}
