//! Transactions: JSON in, with keys and values in base64; every mistake is named by its place (`success[2].put.key`).

use super::list::{json, row};
use super::*;
use axum::Json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use schedia_api::{
    KvCompare, KvKeys, KvList, KvOperation, KvOperator, KvResult, KvTarget, KvTxn, KvTxnAnswer,
};
use schedia_apps::kv::{
    self, Compare, Detail, KeyRange, Keys, List, Operation, OperationReply, Relation, Target, Txn, TxnReply,
};
use schedia_apps::once::Outcome;

/// 2 MiB of keys and values, the most a command has, as base64 with room for the rest.
const TXN_BYTES_MAX: usize = 3 << 20;

pub(super) async fn txn(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let (parts, body) = request.into_parts();
        Params::parse(parts.uri.query())?.done()?;
        // Counted until the reply is there: the values wait in the proposal meanwhile.
        let body = door.bounds.body(&parts.headers, body, TXN_BYTES_MAX, "a transaction").await?;
        let txn = parse(asked(&body.bytes)?)?;
        // What only reads needs no place in the log, unless each copy of it is to be answered alike.
        if txn.only_reads() && !once::has_key(&parts.headers) {
            return answer(Outcome::Kv(door.read(kv::Query::Txn(txn), Consistency::Linearizable).await?));
        }
        door.write(&parts, &body.bytes, kv::Command::Txn(txn)).await?.respond(answer)
    })
    .await
}

fn answer(outcome: Outcome) -> Result<Response, DoorError> {
    let answer = match outcome {
        Outcome::Kv(kv::Reply::Txn(TxnReply { revision, succeeded, results })) => {
            let results = results.into_iter().map(result).collect();
            KvTxnAnswer { revision, succeeded, results, results_omitted: false }
        }
        Outcome::Shortened { revision, succeeded } => {
            KvTxnAnswer { revision, succeeded, results: Vec::new(), results_omitted: true }
        }
        other => return Err(unexpected(&other)),
    };
    Ok(Json(answer).into_response())
}

pub(super) fn asked(body: &[u8]) -> Result<KvTxn, DoorError> {
    serde_json::from_slice(body)
        .map_err(|e| DoorError::bad_request(format!("the JSON body is not as expected: {e}")))
}

pub(super) fn parse(txn: KvTxn) -> Result<Txn, DoorError> {
    let KvTxn { compare, success, failure } = txn;
    let compare =
        compare.into_iter().enumerate().map(|(n, asked)| comparison(asked, &format!("compare[{n}]")));
    let branch = |operations: Vec<KvOperation>, name: &str| {
        let parsed =
            operations.into_iter().enumerate().map(|(n, asked)| operation(asked, &format!("{name}[{n}]")));
        parsed.collect::<Result<_, _>>()
    };
    Ok(Txn {
        compare: compare.collect::<Result<_, _>>()?,
        success: branch(success, "success")?,
        failure: branch(failure, "failure")?,
    })
}

fn comparison(asked: KvCompare, at: &str) -> Result<Compare, DoorError> {
    let KvCompare { key, prefix, start, end, target, operator, operand } = asked;
    let number = || {
        let wrong = || wrong(at, format!("operand is a number from 0 for this target, not {operand}"));
        operand.as_u64().ok_or_else(wrong)
    };
    Ok(Compare {
        keys: keys(KvKeys { key, prefix, start, end }, at)?,
        target: match target {
            KvTarget::Version => Target::Version(number()?),
            KvTarget::CreateRevision => Target::CreateRevision(number()?),
            KvTarget::ModRevision => Target::ModRevision(number()?),
            KvTarget::Value => match operand.as_str() {
                Some(text) => Target::Value(decoded(text, at, "operand")?),
                None => {
                    return Err(wrong(at, format!("operand is base64 for the target value, not {operand}")));
                }
            },
        },
        relation: match operator {
            KvOperator::Equal => Relation::Equal,
            KvOperator::NotEqual => Relation::NotEqual,
            KvOperator::Greater => Relation::Greater,
            KvOperator::Less => Relation::Less,
        },
    })
}

fn operation(asked: KvOperation, at: &str) -> Result<Operation, DoorError> {
    Ok(match asked {
        KvOperation::Put(put) => Operation::Put {
            key: decoded(&put.key, at, "put.key")?,
            value: decoded(&put.value, at, "put.value")?,
        },
        KvOperation::Delete(doomed) => Operation::Delete(keys(doomed, &format!("{at}.delete"))?),
        KvOperation::Get(get) => {
            Operation::Get { key: decoded(&get.key, at, "get.key")?, revision: get.revision }
        }
        KvOperation::List(list) => Operation::List(listed(list, &format!("{at}.list"))?),
    })
}

fn listed(asked: KvList, at: &str) -> Result<List, DoorError> {
    let KvList { prefix, start, end, revision, limit, keys_only, count_only } = asked;
    let detail = match (keys_only, count_only) {
        (false, false) => Detail::Whole,
        (true, false) => Detail::KeysOnly,
        (false, true) => Detail::CountOnly,
        (true, true) => return Err(wrong(at, "keys_only and count_only exclude each other")),
    };
    let range = range(prefix, start, end, at)?;
    Ok(List { range, revision, after: None, limit: limit.unwrap_or(0), detail })
}

fn keys(asked: KvKeys, at: &str) -> Result<Keys, DoorError> {
    match asked {
        KvKeys { key: Some(key), prefix: None, start: None, end: None } => {
            Ok(Keys::One(decoded(&key, at, "key")?))
        }
        KvKeys { key: None, prefix: None, start: None, end: None } => {
            Err(wrong(at, "names no keys: say key, or a range by prefix, start or end"))
        }
        KvKeys { key: None, prefix, start, end } => Ok(Keys::Range(range(prefix, start, end, at)?)),
        KvKeys { key: Some(_), .. } => Err(wrong(at, "key excludes prefix, start and end")),
    }
}

fn range(
    prefix: Option<String>,
    start: Option<String>,
    end: Option<String>,
    at: &str,
) -> Result<KeyRange, DoorError> {
    let bytes = |text: Option<String>, name| text.map(|text| decoded(&text, at, name)).transpose();
    let prefix = bytes(prefix, "prefix")?.map_or_else(KeyRange::all, KeyRange::prefix);
    let between = KeyRange { start: bytes(start, "start")?.unwrap_or_default(), end: bytes(end, "end")? };
    Ok(prefix.and(between))
}

fn decoded(text: &str, at: &str, name: &str) -> Result<Bytes, DoorError> {
    let decoded = STANDARD.decode(text).map(Bytes::from);
    decoded.map_err(|error| DoorError::bad_request(format!("{at}.{name} is not base64: {error}")))
}

fn wrong(at: &str, what: impl std::fmt::Display) -> DoorError {
    DoorError::bad_request(format!("{at}: {what}"))
}

fn result(reply: OperationReply) -> KvResult {
    match reply {
        OperationReply::Put { create_revision, version } => KvResult::Put { create_revision, version },
        OperationReply::Deleted { keys } => KvResult::Delete { deleted: keys },
        OperationReply::Got(found) => KvResult::Get { row: found.map(row) },
        OperationReply::Page(page) => KvResult::List(json(page)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        let asked: KvTxn = serde_json::from_str(json).unwrap();
        parse(asked).unwrap_err().message().to_owned()
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        for (json, expected) in [
            (
                r#"{"compare":[{"key":"YQ==","target":"version","operator":"=","operand":"1"}]}"#,
                "compare[0]: operand is a number from 0 for this target, not \"1\"",
            ),
            (
                r#"{"compare":[{"key":"YQ==","target":"value","operator":"=","operand":1}]}"#,
                "compare[0]: operand is base64 for the target value, not 1",
            ),
            (
                r#"{"compare":[{"target":"value","operator":"=","operand":""}]}"#,
                "compare[0]: names no keys: say key, or a range by prefix, start or end",
            ),
            (
                r#"{"success":[{"get":{"key":"YQ=="}},{"delete":{"key":"YQ==","prefix":""}}]}"#,
                "success[1].delete: key excludes prefix, start and end",
            ),
            (
                r#"{"failure":[{"list":{"keys_only":true,"count_only":true}}]}"#,
                "failure[0].list: keys_only and count_only exclude each other",
            ),
        ] {
            assert_eq!(refused(json), expected);
        }
        let not_base64 = refused(r#"{"failure":[{"put":{"key":"YQ==","value":"a"}}]}"#);
        assert!(not_base64.starts_with("failure[0].put.value is not base64: "), "{not_base64}");
    }
}
