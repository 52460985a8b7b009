//! Topics: what is to hold for the tasks of a command.
//!
//! A topic's name is a DNS label. It is that of a command in lower case with each of `_`, `.`, `:` and blanks as `-`: the topic
//! `process-order` holds for `PROCESS_ORDER`.

use super::error::{CodeqError, answer};
use super::wire::time;
use super::{Call, SMALL_BYTES_MAX, Side};
use crate::doors::native::Door;
use crate::doors::params::Params;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use schedia_apps::queue::{self, Policy, Topic};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The longest name: a DNS label's.
const NAME_BYTES_MAX: usize = 63;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[derive(Default)]
struct PolicyJson {
    priority_tiers: Vec<i64>,
    max_attempts: i64,
    dead_letter_topic_ref: String,
    #[serde(skip_serializing_if = "is_zero")]
    retention_seconds: i64,
    #[serde(skip_serializing_if = "is_zero")]
    max_consumers: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicJson {
    topic_id: String,
    tenant_id: String,
    topic_name: String,
    policy: PolicyJson,
    version: u64,
    created_at: String,
    updated_at: String,
}

/// The name of the topic of a command.
pub(in crate::doors) fn name_of(command: &str) -> String {
    let dashed =
        |char: char| if matches!(char, '_' | '.' | ':' | ' ') { '-' } else { char.to_ascii_lowercase() };
    command.trim().chars().map(dashed).collect()
}

pub(super) async fn put(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Admin).await?;
        let path = super::path(request.uri());
        let (parts, body) = request.into_parts();
        let bytes = super::read(&door, &parts.headers, body, SMALL_BYTES_MAX).await?;
        let json: PolicyJson = serde_json::from_slice(&bytes.bytes)
            .map_err(|error| CodeqError::bad_request(format!("invalid request body: {error}")))?;
        check_name(&name)?;
        let policy = json.check(&name)?;
        super::stay_on_shard_0(&door, &path)?;
        let command = queue::Command::PutTopic { tenant: call.caller.tenant, name, policy };
        match door.node.queues().administer(command, super::deadline()).await? {
            queue::Reply::TopicPut { topic, created, .. } => {
                let status = if created { StatusCode::CREATED } else { StatusCode::OK };
                Ok(answer(status, &TopicJson::from(topic)))
            }
            other => Err(crate::queues::wrong(other).into()),
        }
    })
    .await
}

pub(super) async fn get(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, &headers, Side::Admin).await?;
        check_name(&name)?;
        let tenant = call.caller.tenant;
        let query = queue::Query::Topic { tenant: tenant.clone(), name: name.clone() };
        match door.node.queues().ask_shard_0(query, super::deadline()).await? {
            queue::Reply::Topic(Some(topic)) => Ok(answer(StatusCode::OK, &TopicJson::from(topic))),
            queue::Reply::Topic(None) => {
                Err(CodeqError::not_found(&format!("queue topic {:?} not found", format!("{tenant}.{name}"))))
            }
            other => Err(crate::queues::wrong(other).into()),
        }
    })
    .await
}

pub(super) async fn delete(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, &headers, Side::Admin).await?;
        let mut params = Params::parse(uri.query())?;
        if params.bytes("deletionPolicy").as_deref() != Some(b"Delete") {
            return Err(CodeqError::bad_request("deletionPolicy=Delete is required"));
        }
        check_name(&name)?;
        super::stay_on_shard_0(&door, &super::path(&uri))?;
        let command = queue::Command::DeleteTopic { tenant: call.caller.tenant, name };
        door.node.queues().administer(command, super::deadline()).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

fn is_label(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn check_name(name: &str) -> Result<(), CodeqError> {
    match is_label(name) {
        true => Ok(()),
        false => {
            Err(CodeqError::invalid_field("topicName", "must be a DNS label with at most 63 characters"))
        }
    }
}

impl PolicyJson {
    /// codeQ's checks, in its order and words.
    fn check(self, name: &str) -> Result<Policy, CodeqError> {
        let PolicyJson {
            priority_tiers,
            max_attempts,
            dead_letter_topic_ref,
            retention_seconds,
            max_consumers,
        } = self;
        let wrong = CodeqError::invalid_field;
        let number = |field, value: i64, most: i64| {
            let words = format!("must be between 0 and {most}");
            u32::try_from(value)
                .ok()
                .filter(|value| i64::from(*value) <= most)
                .ok_or_else(|| wrong(field, &words))
        };
        let tiers = tiers(priority_tiers)?;
        if !(1..=100).contains(&max_attempts) {
            return Err(wrong("maxAttempts", "must be between 1 and 100"));
        }
        if !is_label(&dead_letter_topic_ref) {
            return Err(wrong("deadLetterTopicRef", "must be a DNS label with at most 63 characters"));
        }
        if dead_letter_topic_ref == name {
            return Err(wrong("deadLetterTopicRef", "must differ from topicName"));
        }
        Ok(Policy {
            priority_tiers: tiers,
            max_attempts: max_attempts as u32,
            dead_letter: dead_letter_topic_ref,
            retention_s: number("retentionSeconds", retention_seconds, 2_147_483_647)?,
            consumers_max: number("maxConsumers", max_consumers, 10_000)?,
        })
    }
}

fn tiers(mut tiers: Vec<i64>) -> Result<Vec<u8>, CodeqError> {
    let wrong = |words| CodeqError::invalid_field("priorityTiers", words);
    if tiers.is_empty() || tiers.len() > 10 {
        return Err(wrong("must contain between 1 and 10 priorities"));
    }
    if tiers.iter().any(|tier| !(0..=10).contains(tier)) {
        return Err(wrong("priorities must be integers from 0 through 10"));
    }
    tiers.sort_unstable();
    if tiers.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(wrong("priorities must be unique"));
    }
    Ok(tiers.into_iter().map(|tier| tier as u8).collect())
}

impl From<Topic> for TopicJson {
    fn from(topic: Topic) -> TopicJson {
        let Topic { tenant, name, policy, version, created_ms, updated_ms } = topic;
        let Policy { priority_tiers, max_attempts, dead_letter, retention_s, consumers_max } = policy;
        TopicJson {
            topic_id: format!("{tenant}.{name}"),
            tenant_id: tenant,
            topic_name: name,
            policy: PolicyJson {
                priority_tiers: priority_tiers.into_iter().map(i64::from).collect(),
                max_attempts: max_attempts.into(),
                dead_letter_topic_ref: dead_letter,
                retention_seconds: retention_s.into(),
                max_consumers: consumers_max.into(),
            },
            version,
            created_at: time(created_ms),
            updated_at: time(updated_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_after_its_command() {
        assert_eq!(name_of("PROCESS_ORDER"), "process-order");
        assert_eq!(name_of("mail.Send now"), "mail-send-now");
        assert!(is_label("process-order") && !is_label("-a") && !is_label("A") && !is_label(""));
    }
}
