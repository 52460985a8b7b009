//! Subscriptions of a tenant: who is told of ready tasks, and ending that.

use super::*;
use axum::Json;
use schedia_api::QueueSubscriptions;
use schedia_apps::queue::{Subscription, SubscriptionId};

pub(super) async fn list(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let tenant = caller(&door, &parts.headers, Who::Admin).await?.tenant;
        let mut params = Params::parse(parts.uri.query())?;
        let limit = rows(params.number("limit")?) as usize;
        let after = params.value::<SubscriptionId>("after", "the id of a subscription")?;
        params.done()?;
        let (mut found, more) = door.of_tenant(&tenant, after, limit).await?;
        let next = found.get(limit.wrapping_sub(1)).filter(|_| more).map(|last| last.id.to_string());
        found.truncate(limit);
        let subscriptions = found.into_iter().map(words::subscription).collect();
        Ok(Json(QueueSubscriptions { subscriptions, next }).into_response())
    })
    .await
}

impl Door {
    /// The subscriptions of a tenant, `limit` or a few more if there are, and whether more than `limit` are known.
    ///
    /// Goes through those of all tenants: there are some thousands at most.
    async fn of_tenant(
        &self,
        tenant: &str,
        mut after: Option<SubscriptionId>,
        limit: usize,
    ) -> Result<(Vec<Subscription>, bool), DoorError> {
        let mut found: Vec<Subscription> = Vec::new();
        while found.len() <= limit {
            let query = queue_app::Query::Subscriptions { after, limit: 0 };
            let asked = self.node.queues().ask_shard_0(query, deadline()).await;
            let queue_app::Reply::Subscriptions { subscriptions, next } = self.told(asked)? else {
                return Err(unexpected(&"a reply to Query::Subscriptions"));
            };
            found.extend(subscriptions.into_iter().filter(|subscription| subscription.tenant == tenant));
            after = next;
            if after.is_none() {
                break;
            }
        }
        let more = found.len() > limit;
        Ok((found, more))
    }
}

pub(super) async fn delete(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let tenant = caller(&door, &parts.headers, Who::Admin).await?.tenant;
        Params::parse(parts.uri.query())?.done()?;
        let unknown = |_| DoorError::from(queue_app::Refusal::UnknownSubscription);
        let id: SubscriptionId = named(&parts.uri)?.parse().map_err(unknown)?;
        let unsubscribe = queue_app::Command::Unsubscribe { tenant, id };
        let done = door.node.queues().administer(unsubscribe, deadline()).await;
        match door.told(done)? {
            queue_app::Reply::Unsubscribed => Ok(StatusCode::OK.into_response()),
            other => Err(unexpected(&other)),
        }
    })
    .await
}
