//! Transactions in the golden scripts: `if mod a = 3; if value prefix=b != x; then put a 1; else get a`.

use super::{Line, bytes, list, page_text, range, row};
use schedia_apps::kv::{Compare, Keys, Operation, OperationReply, Relation, Target, Txn};

pub(super) fn parse(statements: &str) -> Txn {
    let mut txn = Txn::default();
    for statement in statements.split(';') {
        let (word, rest) = statement.trim().split_once(' ').unwrap_or((statement.trim(), ""));
        match word {
            "if" => txn.compare.push(compare(rest)),
            // `then put*129 a` is that many puts, of a000, a001, ...
            "then" => txn.success.extend(operations(rest)),
            "else" => txn.failure.extend(operations(rest)),
            other => panic!("a statement begins with if, then or else: {other}"),
        }
    }
    txn
}

fn compare(text: &str) -> Compare {
    let relations = ["=", "!=", ">", "<"];
    let at = text.split_whitespace().find(|word| relations.contains(word)).expect("a relation");
    let (left, operand) = text.split_once(&format!(" {at} ")).expect("both sides of a relation");
    let line = Line::parse(left);
    let number = || operand.trim().parse().expect("a number");
    Compare {
        keys: keys(&line),
        target: match line.words[0] {
            "version" => Target::Version(number()),
            "create" => Target::CreateRevision(number()),
            "mod" => Target::ModRevision(number()),
            "value" => Target::Value(bytes(operand.trim())),
            other => panic!("no target: {other}"),
        },
        relation: match at {
            "=" => Relation::Equal,
            "!=" => Relation::NotEqual,
            ">" => Relation::Greater,
            _ => Relation::Less,
        },
    }
}

fn keys(line: &Line<'_>) -> Keys {
    match line.words.get(1) {
        Some(key) => Keys::One(bytes(key)),
        None => Keys::Range(range(line)),
    }
}

fn operations(text: &str) -> Vec<Operation> {
    let line = Line::parse(text);
    let key = || bytes(line.words.get(1).copied().unwrap_or_default());
    let value = || bytes(line.words.get(2).copied().unwrap_or_default());
    match line.words[0] {
        "put" => vec![Operation::Put { key: key(), value: value() }],
        "delete" => vec![Operation::Delete(keys(&line))],
        "get" => vec![Operation::Get { key: key(), revision: line.number("revision") }],
        "list" => vec![Operation::List(list(&line))],
        many => {
            let times = many.strip_prefix("put*").unwrap_or_else(|| panic!("no operation: {many}"));
            let put =
                |n| Operation::Put { key: [key(), format!("{n:03}").into()].concat().into(), value: value() };
            (0..times.parse::<u32>().unwrap()).map(put).collect()
        }
    }
}

pub(super) fn result(reply: &OperationReply) -> String {
    match reply {
        OperationReply::Put { create_revision, version } => {
            format!("put create={create_revision} version={version}")
        }
        OperationReply::Deleted { keys } => format!("deleted {keys}"),
        OperationReply::Got(None) => "none".to_owned(),
        OperationReply::Got(Some(found)) => row(found),
        OperationReply::Page(page) => page_text(page),
    }
}
