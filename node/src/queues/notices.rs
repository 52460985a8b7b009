//! Notices to those who subscribed to ready tasks: hints, sent by the leader of the shard that has the task.
//!
//! A notice may be lost, and says nothing that a claim would not find. So none is kept, tried again, or waited for.

use super::calls::Caller;
use super::{Answer, look, words, wrong};
use crate::raft::News;
use crate::shards::{Shard, Shards};
use schedia_apps::ShardId;
use schedia_apps::queue::{self, Change, Delivery, Event, QueueName, Subscription, SubscriptionId};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

/// Who subscribes is looked up this seldom: a new subscription waits so long for its first notice.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Sends notices of one shard while this node leads it.
pub(super) struct Notices {
    shards: Arc<Shards>,
    caller: Caller,
    subscriptions: Vec<Subscription>,
    looked: Option<Instant>,
    /// When each subscription was told of anything for the last time.
    told: HashMap<SubscriptionId, Instant>,
    /// Whose turn it is, by tenant and group.
    turns: BTreeMap<(String, String), usize>,
}

impl Notices {
    pub(super) fn new(shards: Arc<Shards>, caller: Caller) -> Notices {
        let (subscriptions, told, turns) = (Vec::new(), HashMap::new(), BTreeMap::new());
        Notices { shards, caller, subscriptions, looked: None, told, turns }
    }

    /// Ends when it is dropped.
    pub(super) async fn run(mut self, shard: Shard) {
        let mut news = shard.news();
        loop {
            match news.recv().await {
                Ok(News::Happened(events)) if shard.leads() => self.tell(&events),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn tell(&mut self, events: &[Event]) {
        let ready = events.iter().filter(|event| matches!(event.change, Change::Created | Change::Ready));
        let mut queues: Vec<&QueueName> = ready.map(|event| &*event.queue).collect();
        queues.sort_unstable();
        queues.dedup();
        if queues.is_empty() {
            return;
        }
        if let Err(error) = self.look() {
            tracing::debug!(%error, "who subscribes is not known");
        }
        for queue in queues {
            for chosen in self.chosen(queue) {
                self.send(&chosen, queue);
            }
        }
    }

    /// Who subscribes, as this node knows.
    fn look(&mut self) -> Answer<()> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        let Some(shard_0) = self.shards.shard(ShardId(0)) else { return Ok(()) };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = queue::Query::Subscriptions { after, limit: 0 };
            let (page, next) = match look(shard_0, query)? {
                queue::Reply::Subscriptions { subscriptions, next } => (subscriptions, next),
                other => return Err(wrong(other)),
            };
            found.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }
        let known: HashSet<SubscriptionId> = found.iter().map(|subscription| subscription.id).collect();
        self.told.retain(|id, _| known.contains(id));
        let groups: HashSet<(&str, &str)> = found.iter().filter_map(group).collect();
        self.turns.retain(|(tenant, group), _| groups.contains(&(tenant, group)));
        (self.subscriptions, self.looked) = (found, Some(Instant::now()));
        Ok(())
    }

    /// Those to be told of a queue: all that want all, one of each group, one of the others.
    fn chosen(&mut self, queue: &QueueName) -> Vec<Subscription> {
        let wants = |subscription: &&Subscription| {
            let named = |command: &String| command.eq_ignore_ascii_case(&queue.command);
            subscription.tenant == queue.tenant && subscription.commands.iter().any(named)
        };
        let (mut chosen, mut groups, mut one_of) = (Vec::new(), BTreeMap::<_, Vec<_>>::new(), Vec::new());
        for subscription in self.subscriptions.iter().filter(wants) {
            match &subscription.delivery {
                Delivery::Fanout => chosen.push(subscription.clone()),
                Delivery::Group(group) => groups.entry(group.clone()).or_default().push(subscription),
                Delivery::Hash => one_of.push(subscription),
            }
        }
        for (group, members) in groups {
            let turn = self.turns.entry((queue.tenant.clone(), group)).or_default();
            chosen.extend(members.get(*turn % members.len()).map(|member| (*member).clone()));
            *turn = turn.wrapping_add(1);
        }
        let minute = super::now_ms() / 60_000;
        if let Some(count) = (one_of.len() as u64).checked_sub(1) {
            chosen.extend(one_of.get((minute % (count + 1)) as usize).map(|member| (*member).clone()));
        }
        chosen
    }

    /// Not more often than the subscription allows, and not if there is no room.
    fn send(&mut self, to: &Subscription, queue: &QueueName) {
        let now = Instant::now();
        let least = Duration::from_secs(to.interval_s.into());
        if self.told.get(&to.id).is_some_and(|told| now.duration_since(*told) < least) {
            return;
        }
        let Some(permit) = self.caller.permit(&to.callback_url) else { return };
        self.told.insert(to.id, now);
        let named = to.commands.iter().find(|command| command.eq_ignore_ascii_case(&queue.command));
        let body = json!({
            "eventType": named,
            "available": true,
            "queueDepth": 0,
            "claimUrl": "/v1/codeq/tasks/claim",
            "sentAt": words::seconds(super::now_ms()),
            "notificationId": format!("ntf-{}", to.id),
        });
        let id = to.id;
        tokio::spawn(async move {
            if let Err(error) = permit.post(body.to_string()).await {
                tracing::info!(subscription = %id, %error, "a notice did not arrive");
            }
        });
    }
}

/// The tenant and group of a subscription that is of one.
fn group(subscription: &Subscription) -> Option<(&str, &str)> {
    match &subscription.delivery {
        Delivery::Group(group) => Some((&subscription.tenant, group)),
        Delivery::Fanout | Delivery::Hash => None,
    }
}
