//! `schedia kv txn`: transactions in statements or as JSON.

use super::range::{key_text, value_text};
use super::statements;
use crate::cli::client::{Clients, Output};
use crate::cli::{CliError, output};
use clap::Args;
use reqwest::Method;
use schedia_api::{KvOperation, KvResult, KvRow, KvTxn, KvTxnAnswer};
use std::io::Read;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  schedia kv txn <<\'END\'
  if   mod-revision lock = 0
  then put lock me
  else get lock
  END
  schedia kv txn --file change.txt
  schedia kv txn --file change.json --output json

`schedia kv txn --help` tells all statements.";

pub(super) const LONG_HELP: &str = "\
Statements, one a line:
  if   TARGET KEY OPERATOR OPERAND   what must hold; all of them
  then OPERATION                     done if it does
  else OPERATION                     done if it does not

  TARGET     value, version, create-revision or mod-revision; of a key that is not there: 0, and no value
  OPERATOR   = != > <
  OPERATION  put KEY VALUE
             delete KEY
             get KEY [--revision N]
             list [--limit N] [--revision N] [--keys-only] [--count-only]
  In place of KEY, and in a list: --prefix KEY, --start KEY, --end KEY name a range.

Words are divided by spaces. \"a word in quotes\" may contain them, and \\\" \\\\ \\n \\t \\x00. An empty line, and what
follows a # at the beginning of a word, is nothing. A text that begins with { is JSON, as docs/api.md tells.

All changes are one revision. At most 128 statements of each kind.

Examples:
  schedia kv txn <<\'END\'
  if   mod-revision lock = 0
  then put lock me
  else get lock
  END
  echo \'then delete --prefix tmp/\' | schedia kv txn
  schedia kv txn --file change.json --output json";

#[derive(Args)]
pub(in crate::cli) struct Txn {
    /// Read the transaction from this file instead of standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    clients: Clients,
}

impl Txn {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let txn = parse(&self.text()?).map_err(CliError::Usage)?;
        let body = serde_json::to_vec(&txn).expect("texts and numbers");
        let body = Some(("application/json", body.into()));
        let (transport, path) = (self.clients.transport()?, "/v1/kv:txn");
        let answer = match changes(&txn) {
            true => transport.write(Method::POST, path, body).await?,
            false => transport.send(Method::POST, path, body).await?,
        };
        let answer: KvTxnAnswer = answer.json()?;
        match self.clients.common.output {
            Output::Json => output::json(&answer),
            Output::Table => output::raw(show(&txn, &answer).as_bytes()),
        }
    }

    fn text(&self) -> Result<String, CliError> {
        let (what, read) = match &self.file {
            Some(path) => (path.display().to_string(), std::fs::read_to_string(path)),
            None => {
                let mut text = String::new();
                let read = std::io::stdin().lock().read_to_string(&mut text);
                ("standard input".to_owned(), read.map(|_| text))
            }
        };
        read.map_err(|source| CliError::Io { what, source })
    }
}

fn changes(txn: &KvTxn) -> bool {
    let change = |operation: &KvOperation| matches!(operation, KvOperation::Put(_) | KvOperation::Delete(_));
    txn.success.iter().chain(&txn.failure).any(change)
}

fn parse(text: &str) -> Result<KvTxn, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|e| format!("the transaction is not as expected: {e}"));
    }
    let txn = statements::parse(text)?;
    if txn == KvTxn::default() {
        return Err(
            "an empty transaction: give statements or JSON, `schedia kv txn --help` shows them".to_owned()
        );
    }
    Ok(txn)
}

/// Which branch was done, and a line for each of its operations.
fn show(txn: &KvTxn, answer: &KvTxnAnswer) -> String {
    let KvTxnAnswer { revision, succeeded, results, results_omitted } = answer;
    let (word, branch) = if *succeeded { ("then", &txn.success) } else { ("else", &txn.failure) };
    let head = if *succeeded { "what was compared holds" } else { "what was compared does not hold" };
    let mut text = format!("{head}, revision {revision}\n");
    for (operation, result) in branch.iter().zip(results) {
        text.push_str(&format!("{word} {}\n", line(operation, result)));
    }
    if *results_omitted {
        text.push_str("the answer was lost on its way, and what was read was too long to be kept for the second try: read it again\n");
    }
    text
}

fn line(operation: &KvOperation, result: &KvResult) -> String {
    let row = |row: &KvRow| {
        format!("{} = {} (mod revision {})", key_text(&row.key), value_text(&row.value), row.mod_revision)
    };
    match (operation, result) {
        (KvOperation::Put(put), KvResult::Put { version, .. }) => {
            format!("put {}: version {version}", key_text(&put.key))
        }
        (_, KvResult::Put { version, .. }) => format!("put: version {version}"),
        (_, KvResult::Delete { deleted }) => format!("delete: {deleted} deleted"),
        (_, KvResult::Get { row: Some(found) }) => format!("get {}", row(found)),
        (KvOperation::Get(get), KvResult::Get { row: None }) => {
            format!("get {}: not found", key_text(&get.key))
        }
        (_, KvResult::Get { row: None }) => "get: not found".to_owned(),
        (_, KvResult::List(page)) => {
            let more = if page.next.is_some() { ", and more" } else { "" };
            let rows: String = page.rows.iter().map(|found| format!("\n     {}", row(found))).collect();
            format!("list: {} keys{more}{rows}", page.count)
        }
    }
}
