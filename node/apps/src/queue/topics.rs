//! Topics: what is to hold for the tasks of one command of a tenant. Written down here, made true by the doors.

use super::position::prefix_range;
use super::work::Work;
use super::{Refusal, Reply, TENANT_BYTES_MAX, TIERS_MAX, TOPICS_MAX, Topic, bounds, rows};
use crate::Stop;
use crate::keys::put_text;
use crate::tables::{RowKey, Tables};
use serde::{Deserialize, Serialize};

/// What is to hold for the tasks of a topic: codeQ's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Priorities that its tasks may have; at most [`TIERS_MAX`].
    pub priority_tiers: Vec<u8>,
    /// How many claims of a task may fail.
    pub max_attempts: u32,
    /// The topic that dead letters belong to. At most 63 bytes.
    pub dead_letter: String,
    /// How long a task is kept once it has ended, in seconds; 0 = as long as others.
    pub retention_s: u32,
    /// How many tasks may be in progress at a time; 0 = any number.
    pub consumers_max: u32,
}

/// Writes a topic. Another policy is another version.
pub(super) fn put(work: &mut Work<'_>, tenant: String, name: String, policy: Policy) -> Result<Reply, Stop> {
    bounds::queue(&tenant, &name)?;
    bounds::count("priority tiers", policy.priority_tiers.len(), 0, TIERS_MAX)?;
    bounds::text("dead letter topic", policy.dead_letter.len(), 0, TENANT_BYTES_MAX)?;
    let now_ms = work.at.time_ms;
    let (topic, created, changed) = match rows::topic(&*work.tables, &tenant, &name)? {
        Some(topic) if topic.policy == policy => (topic, false, false),
        Some(topic) => {
            let version = topic.version.saturating_add(1);
            (Topic { policy, version, updated_ms: now_ms, ..topic }, false, true)
        }
        None => {
            if of_tenant(&*work.tables, &tenant, None).take(TOPICS_MAX).count() == TOPICS_MAX {
                return Err(Refusal::Full { what: "topic".to_owned(), count_max: TOPICS_MAX as u64 }.into());
            }
            (Topic { tenant, name, policy, version: 1, created_ms: now_ms, updated_ms: now_ms }, true, true)
        }
    };
    if changed {
        rows::put_topic(work.tables, &topic);
    }
    Ok(Reply::TopicPut { topic, created, changed })
}

/// Deletes a topic, if it is there.
pub(super) fn delete(work: &mut Work<'_>, tenant: &str, name: &str) -> Result<Reply, Stop> {
    let deleted = rows::topic(&*work.tables, tenant, name)?.is_some();
    work.tables.delete(rows::TOPICS, &rows::name_key(tenant, name));
    Ok(Reply::TopicDeleted { deleted })
}

/// A page of the topics of a tenant.
pub(super) fn list(
    tables: &dyn Tables,
    tenant: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Reply, Stop> {
    let limit = super::read::page(limit);
    let mut topics: Vec<Topic> =
        of_tenant(tables, tenant, after).take(limit + 1).collect::<Result<_, Stop>>()?;
    let more = topics.len() > limit;
    topics.truncate(limit);
    let next = topics.last().filter(|_| more).map(|topic| topic.name.clone());
    Ok(Reply::Topics { topics, next })
}

fn of_tenant<'t>(
    tables: &'t dyn Tables,
    tenant: &str,
    after: Option<&str>,
) -> impl Iterator<Item = Result<Topic, Stop>> + use<'t> {
    let mut prefix = RowKey::new();
    put_text(&mut prefix, tenant.as_bytes());
    let after = after.map(|after| rows::name_key(tenant, after));
    tables.scan(rows::TOPICS, prefix_range(&prefix, after.as_deref()), false).map(|row| {
        let (key, row) = row?;
        rows::parse(rows::TOPICS, &key, &row)
    })
}
