//! What the end of a program means for its task. Decides only.

use super::program::{Ended, Kept};
use crate::cli::output::readable;
use serde_json::json;
use serde_json::value::RawValue;

/// `EX_DATAERR` of sysexits: what the program was given is wrong, and will be wrong the next time.
const BAD_DATA: i32 = 65;

/// Standard output that is no JSON object is kept up to here: escaped it may be six times as long.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Why a task failed is told up to here.
const REASON_CHARS_MAX: usize = 4_096;

/// What a task came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is done; the result is a JSON object.
    Done(Box<RawValue>),
    /// It cannot be done; why.
    Impossible(String),
    /// This try failed; why.
    Failed(String),
}

/// What the end of a program means.
pub(super) fn of(ended: Ended) -> Outcome {
    let Ended { code, signal, output, last_line } = ended;
    let reason = |otherwise: String| match readable(last_line.trim().as_bytes(), REASON_CHARS_MAX) {
        said if said.is_empty() => otherwise,
        said => said,
    };
    match (code, signal) {
        (Some(0), _) => Outcome::Done(result(output)),
        (Some(BAD_DATA), _) => Outcome::Impossible(reason(format!("exit status {BAD_DATA}"))),
        (Some(code), _) => Outcome::Failed(reason(format!("exit status {code}"))),
        (None, signal) => Outcome::Failed(reason(format!("killed by signal {}", signal.unwrap_or_default()))),
    }
}

/// The JSON object that the program wrote, or its text.
fn result(output: Kept) -> Box<RawValue> {
    let Kept { bytes, cut } = output;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim).filter(|text| text.starts_with('{') && !cut);
    let object = text.and_then(|text| RawValue::from_string(text.to_owned()).ok());
    object.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]);
        let value = match cut || bytes.len() > TEXT_BYTES_MAX {
            false => json!({ "stdout": text }),
            true => json!({ "stdout": text, "truncated": true }),
        };
        RawValue::from_string(value.to_string()).expect("it was JSON a moment ago")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: Option<i32>, output: &str, last_line: &str) -> Ended {
        let output = Kept { bytes: output.as_bytes().to_vec(), cut: false };
        Ended { code, signal: code.is_none().then_some(9), output, last_line: last_line.to_owned() }
    }

    fn done(output: &str) -> String {
        match of(ended(Some(0), output, "")) {
            Outcome::Done(result) => result.get().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_object_on_standard_output_is_the_result_and_anything_else_a_text() {
        assert_eq!(done(" {\"b\":1, \"a\":2.50}\n"), "{\"b\":1, \"a\":2.50}");
        assert_eq!(done(""), "{\"stdout\":\"\"}");
        assert_eq!(done("[1]\n"), "{\"stdout\":\"[1]\\n\"}");
        assert_eq!(done("{\"a\":"), "{\"stdout\":\"{\\\"a\\\":\"}");
        let long = done(&"x".repeat(TEXT_BYTES_MAX + 1));
        assert!(
            long.len() < TEXT_BYTES_MAX + 100 && long.ends_with(",\"truncated\":true}"),
            "{}",
            long.len()
        );
    }

    #[test]
    fn what_was_cut_is_no_object_even_if_it_looks_like_one() {
        let output = Kept { bytes: b"{}".to_vec(), cut: true };
        let cut = Ended { output, ..ended(Some(0), "", "") };
        let Outcome::Done(result) = of(cut) else { panic!("it is done") };
        assert_eq!(result.get(), "{\"stdout\":\"{}\",\"truncated\":true}");
    }

    #[test]
    fn the_exit_status_says_whether_to_try_again_and_standard_error_why() {
        for (code, line, expected) in [
            (Some(65), "no such address", "Impossible(\"no such address\")"),
            (Some(65), "", "Impossible(\"exit status 65\")"),
            (Some(1), " away\r", "Failed(\"away\")"),
            (Some(127), "", "Failed(\"exit status 127\")"),
            (None, "", "Failed(\"killed by signal 9\")"),
        ] {
            assert_eq!(format!("{:?}", of(ended(code, "", line))), expected);
        }
    }
}
