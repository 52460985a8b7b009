//! Asking a person before something is deleted; nobody else can answer.

use super::CliError;
use std::io::{IsTerminal, Write};

/// Asks whether `what`, such as `3 keys`, may be deleted.
pub(super) fn deletion(what: &str) -> Result<(), CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "{what} would be deleted: give --yes to do so without being asked"
        )));
    }
    let failed = |source| CliError::Io { what: "the terminal".to_owned(), source };
    eprint!("delete {what}? [y/N] ");
    std::io::stderr().flush().map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CliError::Failed("nothing was deleted".to_owned())),
    }
}

/// A number of things in words.
pub(super) fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
