//! The statements of `schedia kv txn`, read into the JSON that the server takes. Pure; every mistake is told with its line
//! and with what would be right.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schedia_api::{KvCompare, KvGet, KvKeys, KvList, KvOperation, KvOperator, KvPut, KvTarget, KvTxn};
use std::collections::VecDeque;

pub(super) fn parse(text: &str) -> Result<KvTxn, String> {
    let mut txn = KvTxn::default();
    for (number, line) in text.lines().enumerate() {
        statement(line, &mut txn).map_err(|mistake| format!("line {}: {mistake}", number + 1))?;
    }
    Ok(txn)
}

fn statement(line: &str, txn: &mut KvTxn) -> Result<(), String> {
    let mut words = Words(words(line)?);
    let Some(first) = words.0.pop_front() else { return Ok(()) };
    match first.text().as_str() {
        "if" => txn.compare.push(comparison(&mut words)?),
        "then" => txn.success.push(operation(&mut words)?),
        "else" => txn.failure.push(operation(&mut words)?),
        other => return Err(format!("a statement begins with if, then or else, not {other:?}")),
    }
    match words.0.pop_front() {
        None => Ok(()),
        Some(word) => Err(format!("{:?} is too much: words with spaces stand in quotes", word.text())),
    }
}

fn comparison(words: &mut Words) -> Result<KvCompare, String> {
    let (target, name) = match words.next("a target")?.text().as_str() {
        "value" => (KvTarget::Value, "value"),
        "version" => (KvTarget::Version, "version"),
        "create-revision" => (KvTarget::CreateRevision, "create-revision"),
        "mod-revision" => (KvTarget::ModRevision, "mod-revision"),
        other => {
            return Err(format!(
                "no target is called {other:?}: it is value, version, create-revision or mod-revision"
            ));
        }
    };
    let KvKeys { key, prefix, start, end } = words.keys()?;
    let operator = match words.next("an operator (= != > <)")?.text().as_str() {
        "=" => KvOperator::Equal,
        "!=" => KvOperator::NotEqual,
        ">" => KvOperator::Greater,
        "<" => KvOperator::Less,
        other => return Err(format!("no operator is {other:?}: it is =, !=, > or <")),
    };
    let operand = words.next("an operand")?;
    let operand = match target {
        KvTarget::Value => operand.base64().into(),
        _ => {
            let text = operand.text();
            let number = text.parse::<u64>();
            number.map_err(|_| format!("{name} is compared with a number from 0, not {text:?}"))?.into()
        }
    };
    Ok(KvCompare { key, prefix, start, end, target, operator, operand })
}

fn operation(words: &mut Words) -> Result<KvOperation, String> {
    Ok(match words.next("an operation")?.text().as_str() {
        "put" => {
            let key = words.next("a key")?.base64();
            KvOperation::Put(KvPut { key, value: words.next("a value")?.base64() })
        }
        "delete" => KvOperation::Delete(words.keys()?),
        "get" => {
            let key = words.next("a key")?.base64();
            let mut revision = None;
            while let Some(option) = words.option() {
                match option.as_str() {
                    "--revision" => revision = Some(words.number(&option)?),
                    _ => return Err(format!("get has no option {option}: it has --revision")),
                }
            }
            KvOperation::Get(KvGet { key, revision })
        }
        "list" => KvOperation::List(list(words)?),
        other => return Err(format!("no operation is called {other:?}: it is put, delete, get or list")),
    })
}

fn list(words: &mut Words) -> Result<KvList, String> {
    let mut list = KvList::default();
    while let Some(option) = words.option() {
        match option.as_str() {
            "--prefix" => list.prefix = Some(words.next("a key behind --prefix")?.base64()),
            "--start" => list.start = Some(words.next("a key behind --start")?.base64()),
            "--end" => list.end = Some(words.next("a key behind --end")?.base64()),
            "--revision" => list.revision = Some(words.number(&option)?),
            "--limit" => list.limit = Some(words.number(&option)?),
            "--keys-only" => list.keys_only = true,
            "--count-only" => list.count_only = true,
            _ => {
                return Err(format!(
                    "list has no option {option}: it has --prefix, --start, --end, --limit, --revision, --keys-only and --count-only"
                ));
            }
        }
    }
    Ok(list)
}

/// A word, and whether it stood in quotes: then it is never an option.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    bytes: Vec<u8>,
    quoted: bool,
}

impl Word {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    fn is_option(&self) -> bool {
        !self.quoted && self.bytes.starts_with(b"--")
    }
}

struct Words(VecDeque<Word>);

impl Words {
    fn next(&mut self, what: &str) -> Result<Word, String> {
        self.0.pop_front().ok_or_else(|| format!("{what} is missing"))
    }

    /// The next word, if it is an option.
    fn option(&mut self) -> Option<String> {
        self.0.pop_front_if(|word| word.is_option()).map(|word| word.text())
    }

    fn number<T: std::str::FromStr>(&mut self, option: &str) -> Result<T, String> {
        let text = self.next(&format!("a number behind {option}"))?.text();
        text.parse().map_err(|_| format!("{option} takes a number from 0, not {text:?}"))
    }

    /// A key, or the options of a range.
    fn keys(&mut self) -> Result<KvKeys, String> {
        let mut keys = KvKeys::default();
        while let Some(option) = self.option() {
            let place = match option.as_str() {
                "--prefix" => &mut keys.prefix,
                "--start" => &mut keys.start,
                "--end" => &mut keys.end,
                _ => return Err(format!("keys are named by --prefix, --start and --end, not by {option}")),
            };
            *place = Some(self.next(&format!("a key behind {option}"))?.base64());
        }
        if keys == KvKeys::default() {
            keys.key = Some(self.next("a key, or --prefix, --start, --end,")?.base64());
        }
        Ok(keys)
    }
}

fn words(line: &str) -> Result<VecDeque<Word>, String> {
    let mut words = VecDeque::new();
    let mut rest = line.trim_start().as_bytes();
    while let Some(first) = rest.first() {
        match first {
            b'#' => break,
            b'"' => {
                let (bytes, behind) = quoted(&rest[1..])?;
                if behind.first().is_some_and(|next| !next.is_ascii_whitespace()) {
                    return Err("a word goes on behind its closing quote".to_owned());
                }
                words.push_back(Word { bytes, quoted: true });
                rest = behind.trim_ascii_start();
            }
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                words.push_back(Word { bytes: rest[..end].to_vec(), quoted: false });
                rest = rest[end..].trim_ascii_start();
            }
        }
    }
    Ok(words)
}

/// A word up to its closing quote, and what follows.
fn quoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [] => return Err("a quote is not closed".to_owned()),
            [b'"', behind @ ..] => return Ok((bytes, behind)),
            [b'\\', b'x', high, low, behind @ ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok();
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or("\\x is followed by two hexadecimal digits")?);
                rest = behind;
            }
            [b'\\', escaped, behind @ ..] => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'"' | b'\\' => *escaped,
                    _ => return Err("in quotes, \\ stands before \" \\ n t or xNN".to_owned()),
                });
                rest = behind;
            }
            [byte, behind @ ..] => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A transaction in the words of JSON, texts not in base64 where they can be read.
    fn parsed(text: &str) -> String {
        serde_json::to_string(&parse(text).unwrap()).unwrap()
    }

    fn encoded(text: &[u8]) -> String {
        STANDARD.encode(text)
    }

    #[test]
    fn statements_become_a_transaction() {
        let text = "# takes a lock\nif mod-revision lock = 0\n\n  then put lock \"me and you\" # mine\nelse get lock";
        let (lock, value) = (encoded(b"lock"), encoded(b"me and you"));
        assert_eq!(
            parsed(text),
            format!(
                r#"{{"compare":[{{"key":"{lock}","target":"mod_revision","operator":"=","operand":0}}],"success":[{{"put":{{"key":"{lock}","value":"{value}"}}}}],"failure":[{{"get":{{"key":"{lock}"}}}}]}}"#
            )
        );
        let a = encoded(b"a");
        assert_eq!(
            parsed(
                "then delete --prefix a\nthen list --start a --limit 3 --keys-only\nthen get a --revision 7"
            ),
            format!(
                r#"{{"success":[{{"delete":{{"prefix":"{a}"}}}},{{"list":{{"start":"{a}","limit":3,"keys_only":true}}}},{{"get":{{"key":"{a}","revision":7}}}}]}}"#
            )
        );
    }

    #[test]
    fn words_in_quotes_are_any_bytes_and_never_options() {
        let key = encoded(b"--prefix");
        assert_eq!(
            parsed("then get \"--prefix\""),
            format!(r#"{{"success":[{{"get":{{"key":"{key}"}}}}]}}"#)
        );
        let (key, value) = (encoded(b"a \"b\"\\\n\t\x00\xff"), encoded(b""));
        assert_eq!(
            parsed(r#"then put "a \"b\"\\\n\t\x00\xff" """#),
            format!(r#"{{"success":[{{"put":{{"key":"{key}","value":"{value}"}}}}]}}"#)
        );
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_with_what_would_be_right() {
        for (text, expected) in [
            ("put a 1", "line 1: a statement begins with if, then or else, not \"put\""),
            (
                "then get a\nthen putt a 1",
                "line 2: no operation is called \"putt\": it is put, delete, get or list",
            ),
            ("if", "line 1: a target is missing"),
            (
                "if revision a = 1",
                "line 1: no target is called \"revision\": it is value, version, create-revision or mod-revision",
            ),
            ("if version a == 1", "line 1: no operator is \"==\": it is =, !=, > or <"),
            ("if version a = one", "line 1: version is compared with a number from 0, not \"one\""),
            ("if version a =", "line 1: an operand is missing"),
            (
                "if value --limit 3 = 1",
                "line 1: keys are named by --prefix, --start and --end, not by --limit",
            ),
            ("then put a", "line 1: a value is missing"),
            ("then put a b c", "line 1: \"c\" is too much: words with spaces stand in quotes"),
            ("then delete", "line 1: a key, or --prefix, --start, --end, is missing"),
            ("then get a --limit 3", "line 1: get has no option --limit: it has --revision"),
            (
                "then list --all",
                "line 1: list has no option --all: it has --prefix, --start, --end, --limit, --revision, --keys-only and --count-only",
            ),
            ("then list --limit many", "line 1: --limit takes a number from 0, not \"many\""),
            ("then put a \"b", "line 1: a quote is not closed"),
            ("then put \"a\"b c", "line 1: a word goes on behind its closing quote"),
            ("then put a \"\\q\"", "line 1: in quotes, \\ stands before \" \\ n t or xNN"),
            ("then put a \"\\xg0\"", "line 1: \\x is followed by two hexadecimal digits"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
