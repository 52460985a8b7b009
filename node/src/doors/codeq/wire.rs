//! codeQ's JSON: tasks and results as it writes them, requests as it reads them.
//!
//! Differs: times are UTC with milliseconds, where codeQ has a zone and nanoseconds; a claimed task also tells the token of its lease.

pub(super) use crate::queues::words::{seconds, status, time};
use schedia_apps::queue::{Artifact, Finish, Finished, Lease, Outcome, Place, Task, TaskResult, Token};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A task.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskJson<'a> {
    id: String,
    command: &'a str,
    /// JSON text in a string.
    payload: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    priority: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    webhook: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_parent: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    status: &'static str,
    last_known_location: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    worker_id: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    lease_until: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lease_token: String,
    #[serde(skip_serializing_if = "is_zero")]
    attempts: u32,
    #[serde(skip_serializing_if = "is_zero")]
    max_attempts: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    result_key: &'static str,
    tenant_id: &'a str,
    created_at: String,
    updated_at: String,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl<'a> TaskJson<'a> {
    /// As its worker sees it: the token of the lease is nobody else's.
    pub(super) fn claimed(task: &'a Task) -> TaskJson<'a> {
        let token = task.lease.as_ref().map(|Lease { token, .. }| token_text(*token));
        TaskJson { lease_token: token.unwrap_or_default(), ..TaskJson::from(task) }
    }
}

impl<'a> From<&'a Task> for TaskJson<'a> {
    fn from(task: &'a Task) -> TaskJson<'a> {
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let lease = task.lease.as_ref();
        TaskJson {
            id: task.id.to_string(),
            command: &task.command,
            payload: std::str::from_utf8(&task.payload).unwrap_or_default(),
            priority: task.priority.into(),
            webhook: text(&task.webhook),
            trace_parent: text(&task.trace_parent),
            trace_state: text(&task.trace_state),
            status: status(task.place),
            last_known_location: location(task.place),
            worker_id: lease.map_or("", |lease| &lease.worker),
            lease_until: lease.map_or_else(String::new, |lease| seconds(lease.until_ms)),
            lease_token: String::new(),
            attempts: task.attempts(),
            max_attempts: task.max_attempts,
            error: text(&task.error),
            result_key: if matches!(task.place, Place::Completed | Place::Failed) {
                "codeq:results"
            } else {
                ""
            },
            tenant_id: &task.tenant,
            created_at: time(task.created_ms),
            updated_at: time(task.updated_ms),
        }
    }
}

fn location(place: Place) -> &'static str {
    match place {
        Place::Ready => "PENDING_LIST",
        Place::Delayed => "DELAYED_ZSET",
        Place::InProgress => "INPROG_SET",
        Place::Dead => "DLQ_SET",
        Place::Completed | Place::Failed | Place::Cancelled => "NONE",
    }
}

/// What a worker said of a task.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResultJson<'a> {
    task_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    artifacts: Vec<ArtifactJson<'a>>,
    completed_at: String,
}

#[derive(Serialize)]
struct ArtifactJson<'a> {
    name: &'a str,
    url: &'a str,
}

impl<'a> ArtifactJson<'a> {
    fn all(artifacts: &'a [Artifact]) -> Vec<ArtifactJson<'a>> {
        artifacts.iter().map(|Artifact { name, url }| ArtifactJson { name, url }).collect()
    }
}

impl<'a> ResultJson<'a> {
    /// What a worker said, and when that was kept.
    pub(super) fn kept(finish: &'a Finish, Finished { ended_ms }: Finished) -> ResultJson<'a> {
        let Finish { task, outcome, artifacts, .. } = finish;
        let (place, result, error) = match outcome {
            Outcome::Completed { result } => (Place::Completed, Some(result), ""),
            Outcome::Failed { error, result } => (Place::Failed, result.as_ref(), error.as_str()),
        };
        ResultJson {
            task_id: task.to_string(),
            status: status(place),
            result: result.and_then(|result| serde_json::from_slice(result).ok()),
            error,
            artifacts: ArtifactJson::all(artifacts),
            completed_at: time(ended_ms),
        }
    }

    /// Of a task that has ended; nothing of one that no worker said anything of.
    pub(super) fn of(task: &'a Task, result: &'a Option<TaskResult>) -> Option<ResultJson<'a>> {
        let TaskResult { result, artifacts } = result.as_ref()?;
        Some(ResultJson {
            task_id: task.id.to_string(),
            status: status(task.place),
            result: result.as_ref().and_then(|result| serde_json::from_slice(result).ok()),
            error: task.error.as_deref().unwrap_or_default(),
            artifacts: ArtifactJson::all(artifacts),
            completed_at: time(task.ended_ms?),
        })
    }
}

/// A lease's token as workers send it back.
pub(super) fn token_text(Token { epoch, number }: Token) -> String {
    format!("{epoch}.{number}")
}

/// The token in a text.
pub(super) fn parse_token(text: &str) -> Option<Token> {
    let (epoch, number) = text.split_once('.')?;
    Some(Token { epoch: schedia_apps::Epoch(epoch.parse().ok()?), number: number.parse().ok()? })
}

/// JSON without the white space between its parts: what is kept and told again is not larger than it need be.
pub(super) fn compact(json: &RawValue) -> String {
    let (mut out, mut text, mut escaped) = (String::with_capacity(json.get().len()), false, false);
    for char in json.get().chars() {
        if !text && char.is_ascii_whitespace() {
            continue;
        }
        text ^= char == '"' && !escaped;
        escaped = text && char == '\\' && !escaped;
        out.push(char);
    }
    out
}

/// What is `null` is as if it were left out: Go reads it so, and writes it so.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    json: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or_default())
}

/// A request to create a task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateJson {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) command: String,
    pub(super) payload: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) priority: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) webhook: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) max_attempts: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) idempotency_key: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) run_at: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) delay_seconds: i64,
}

/// What a worker did.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FinishJson {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) status: String,
    pub(super) result: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) error: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) artifacts: Vec<UploadJson>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) lease_token: String,
}

/// A file that a worker made: where it is, or what is in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UploadJson {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) url: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) content_base64: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_texts_stay_as_they_are() {
        let compacted = |json: &str| compact(&RawValue::from_string(json.to_owned()).unwrap());
        assert_eq!(
            compacted("{ \"a\" : [ 1 ,\t2.50 ],\n\"b c\": \" x \\\" y \\\\\" }"),
            r#"{"a":[1,2.50],"b c":" x \" y \\"}"#
        );
        assert_eq!(compacted(" \"\\\\\" "), r#""\\""#);
        assert_eq!(compacted("12345678901234567890"), "12345678901234567890");
    }

    #[test]
    fn a_token_comes_back_as_it_went() {
        let token = Token { epoch: schedia_apps::Epoch(3), number: 12 };
        assert_eq!((token_text(token).as_str(), parse_token("3.12")), ("3.12", Some(token)));
        assert_eq!((parse_token("3"), parse_token("a.b"), parse_token("3.-1")), (None, None, None));
    }
}
