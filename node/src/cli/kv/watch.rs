//! `schedia kv watch`: changes as they happen, over broken connections and from node to node.

use super::path::Path;
use super::range::{Range, key_text, value_text};
use crate::cli::client::{Clients, Output};
use crate::cli::{CliError, output};
use clap::Args;
use schedia_api::{KvChange, KvChanges, Watched};
use std::ffi::OsString;

pub(super) const EXAMPLES: &str = "\
Goes on by itself after a broken connection, on the next endpoint, without a gap and without anything twice.

Examples:
  schedia kv watch greeting
  schedia kv watch --prefix users/            all keys that begin with users/
  schedia kv watch --prefix \'\'               all keys
  schedia kv watch greeting --from-revision 2 what happened since, then what happens
  schedia kv watch greeting --output json     one object per revision and line; keys and values in base64";

#[derive(Args)]
pub(in crate::cli) struct Watch {
    /// The key
    #[arg(required_unless_present_any = ["prefix", "start", "end"], conflicts_with_all = ["prefix", "start", "end"])]
    key: Option<OsString>,
    #[command(flatten)]
    range: Range,
    /// Begin with this revision instead of with what happens from now on
    #[arg(long, value_name = "N")]
    from_revision: Option<u64>,
    /// Print what each key was before, too
    #[arg(long)]
    prev: bool,
    #[command(flatten)]
    clients: Clients,
}

impl Watch {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let path = self.range.path(Path::watch()).bytes("key", self.key.as_deref());
        let path = path.number("from-revision", self.from_revision).flag("prev", self.prev);
        let mut watch = self.clients.transport()?.watch(&path.0);
        loop {
            match watch.next().await? {
                Watched::Progress(_) => {}
                Watched::Changes(changes) => match self.clients.common.output {
                    Output::Json => output::json(&changes)?,
                    Output::Table => output::raw(text(&changes).as_bytes())?,
                },
            }
        }
    }
}

/// One line per change, the revision first.
fn text(changes: &KvChanges) -> String {
    let line = |change: &KvChange| {
        let (what, prev) = match change {
            KvChange::Put { row, prev } => {
                (format!("put {} = {}", key_text(&row.key), value_text(&row.value)), prev)
            }
            KvChange::Delete { key, prev } => (format!("delete {}", key_text(key)), prev),
        };
        let prev = prev.as_ref().map(|prev| format!("   (was {})", value_text(&prev.value)));
        format!("{:<8} {what}{}\n", changes.revision, prev.unwrap_or_default())
    };
    changes.changes.iter().map(line).collect()
}
