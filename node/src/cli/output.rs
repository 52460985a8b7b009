//! Standard output: bytes as they are, JSON, or a table for people.

use super::CliError;
use serde::Serialize;
use std::io::Write;

/// Writes bytes as they are.
pub(super) fn raw(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|source| CliError::Io { what: "standard output".to_owned(), source })
}

/// Writes one line.
pub(super) fn line(text: &str) -> Result<(), CliError> {
    raw(format!("{text}\n").as_bytes())
}

/// Writes JSON on one line.
pub(super) fn json(value: &impl Serialize) -> Result<(), CliError> {
    line(&serde_json::to_string(value).expect("our answers are plain data"))
}

/// Writes rows under a head, columns aligned.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Result<(), CliError> {
    let head = head.map(str::to_owned);
    let all: Vec<_> = std::iter::once(&head).chain(rows).collect();
    raw(aligned(&all).as_bytes())
}

/// Writes rows that go on a table.
pub(super) fn rows<const N: usize>(rows: &[[String; N]]) -> Result<(), CliError> {
    raw(aligned(&rows.iter().collect::<Vec<_>>()).as_bytes())
}

fn aligned<const N: usize>(rows: &[&[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &&[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Bytes as a person may read them on one line: at most `chars_max` characters, the rest as `…`.
pub(super) fn readable(bytes: &[u8], chars_max: usize) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * chars_max)]);
    let mut text: String = shown.chars().take(chars_max).flat_map(printable).collect();
    if shown.chars().count() > chars_max || bytes.len() > 4 * chars_max {
        text.push('…');
    }
    text
}

fn printable(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_on_one_line() {
        assert_eq!(readable(b"a\nb\x1b[2J", 20), "a\\nb\\u{1b}[2J");
        assert_eq!(readable("αβγδ".as_bytes(), 3), "αβγ…");
        assert_eq!(readable(b"abc", 3), "abc");
    }
}
