//! Subscriptions: who is told that tasks are ready. Written down here; the leader tells them.

use super::position::{Kind, due_key, prefix_range};
use super::work::Work;
use super::{Refusal, Reply, SUBSCRIPTIONS_MAX, Subscribe, Subscription, SubscriptionId, bounds, rows};
use crate::tables::Tables;
use crate::{At, Stop};

pub(super) fn subscribe(work: &mut Work<'_>, asked: Subscribe) -> Result<Reply, Stop> {
    bounds::subscribe(&asked)?;
    let Subscribe { id, tenant, callback_url, commands, delivery, interval_s, ttl_ms } = asked;
    if work.tables.get(rows::SUBSCRIPTIONS, &id.0)?.is_some() {
        return Err(Refusal::SubscriptionExists { id }.into());
    }
    if work.meta.subscriptions >= SUBSCRIPTIONS_MAX {
        let count_max = SUBSCRIPTIONS_MAX.into();
        return Err(Refusal::Full { what: "subscription".to_owned(), count_max }.into());
    }
    work.meta.subscriptions += 1;
    let created_ms = work.at.time_ms;
    let expires_ms = created_ms.saturating_add(ttl_ms);
    put(
        work,
        &Subscription {
            id,
            tenant,
            callback_url,
            commands,
            delivery,
            interval_s,
            ttl_ms,
            expires_ms,
            created_ms,
        },
    );
    Ok(Reply::Subscribed { expires_ms })
}

/// It holds so long from now on.
pub(super) fn renew(
    work: &mut Work<'_>,
    tenant: &str,
    id: SubscriptionId,
    ttl_ms: Option<u64>,
) -> Result<Reply, Stop> {
    let mut subscription = owned(work, tenant, id)?;
    work.tables.delete(rows::DUE, &due_key(Kind::Subscription, subscription.expires_ms, &id.0));
    subscription.ttl_ms = ttl_ms.unwrap_or(subscription.ttl_ms);
    subscription.expires_ms = work.at.time_ms.saturating_add(subscription.ttl_ms);
    put(work, &subscription);
    Ok(Reply::Subscribed { expires_ms: subscription.expires_ms })
}

pub(super) fn unsubscribe(work: &mut Work<'_>, tenant: &str, id: SubscriptionId) -> Result<Reply, Stop> {
    let subscription = owned(work, tenant, id)?;
    work.tables.delete(rows::DUE, &due_key(Kind::Subscription, subscription.expires_ms, &id.0));
    work.tables.delete(rows::SUBSCRIPTIONS, &id.0);
    work.meta.subscriptions =
        work.meta.subscriptions.checked_sub(1).ok_or_else(|| rows::broken(rows::SUBSCRIPTIONS, &id.0))?;
    Ok(Reply::Unsubscribed)
}

/// A subscription of a tenant that has not ended, though nothing may have removed it yet.
fn owned(work: &Work<'_>, tenant: &str, id: SubscriptionId) -> Result<Subscription, Stop> {
    let found: Option<Subscription> = rows::get(&*work.tables, rows::SUBSCRIPTIONS, &id.0)?;
    found
        .filter(|found| found.tenant == tenant && found.expires_ms > work.at.time_ms)
        .ok_or_else(|| Refusal::UnknownSubscription.into())
}

fn put(work: &mut Work<'_>, subscription: &Subscription) {
    rows::put_subscription(work.tables, subscription);
    let due_ms = subscription.expires_ms;
    work.put_due(Kind::Subscription, due_ms, &due_key(Kind::Subscription, due_ms, &subscription.id.0));
}

/// A page of those that have not ended, of all tenants.
pub(super) fn list(
    tables: &dyn Tables,
    at: At,
    after: Option<SubscriptionId>,
    limit: u32,
) -> Result<Reply, Stop> {
    let limit = super::read::page(limit);
    let range = prefix_range(&[], after.as_ref().map(|after| &after.0[..]));
    let (mut subscriptions, mut examined, mut last) = (Vec::new(), 0, None);
    for row in tables.scan(rows::SUBSCRIPTIONS, range, false) {
        let (key, row) = row?;
        if examined == limit {
            return Ok(Reply::Subscriptions { subscriptions, next: last });
        }
        examined += 1;
        let subscription: Subscription = rows::parse(rows::SUBSCRIPTIONS, &key, &row)?;
        last = Some(subscription.id);
        if subscription.expires_ms > at.time_ms {
            subscriptions.push(subscription);
        }
    }
    Ok(Reply::Subscriptions { subscriptions, next: None })
}
