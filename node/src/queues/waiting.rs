//! Who waits on this node for which queue or task.
//!
//! Invariants:
//! * A task that becomes ready wakes one claim of this node; one that ends wakes all who wait for its result.
//! * Nothing of somebody who waits remains when it is dropped.
//!
//! Whoever leaves passes on to the next: it may have been woken for a task and have taken another one, or none. What is no news,
//! a queue that is not paused any more, those who wait find by themselves (`LOOK_AGAIN_AFTER`).

use schedia_apps::queue::{Change, Event, QueueName, TaskId};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Who waits on this node.
#[derive(Default)]
pub(super) struct Waiting {
    queues: Slots<QueueName>,
    tasks: Slots<TaskId>,
}

/// Those who wait, by what they wait for.
struct Slots<K>(Arc<Mutex<HashMap<K, Slot>>>);

struct Slot {
    bell: Arc<Notify>,
    waiters: usize,
}

/// One who waits.
pub(super) struct Waiter<K: Eq + Hash> {
    bell: Arc<Notify>,
    key: K,
    /// std Mutex: never held across an await.
    slots: Arc<Mutex<HashMap<K, Slot>>>,
}

impl Waiting {
    /// Waits for a claim from this queue to be worth a try.
    pub(super) fn for_queue(&self, queue: QueueName) -> Waiter<QueueName> {
        self.queues.enter(queue)
    }

    /// Waits for this task to end.
    pub(super) fn for_task(&self, task: TaskId) -> Waiter<TaskId> {
        self.tasks.enter(task)
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.queues.count() + self.tasks.count()
    }

    /// Wakes whom these concern.
    pub(super) fn tell(&self, events: &[Event]) {
        for Event { queue, task, change } in events {
            match change {
                // Room below a bound on tasks in progress is as good as a task.
                Change::Created | Change::Ready | Change::Delayed => {
                    self.queues.ring(queue, Notify::notify_one)
                }
                Change::Completed | Change::Failed | Change::Dead | Change::Cancelled => {
                    self.queues.ring(queue, Notify::notify_one);
                    self.tasks.ring(task, Notify::notify_waiters);
                }
                Change::CreatedDelayed | Change::Claimed | Change::Expired => {}
                Change::Removed => self.tasks.ring(task, Notify::notify_waiters),
            }
        }
    }

    /// Wakes everybody.
    pub(super) fn tell_all(&self) {
        self.queues.ring_all();
        self.tasks.ring_all();
    }
}

impl<K> Default for Slots<K> {
    fn default() -> Self {
        Slots(Arc::default())
    }
}

impl<K> Slots<K> {
    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(|slot| slot.waiters).sum()
    }
}

impl<K: Clone + Eq + Hash> Slots<K> {
    fn enter(&self, key: K) -> Waiter<K> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(key.clone()).or_insert_with(|| Slot { bell: Arc::default(), waiters: 0 });
        slot.waiters += 1;
        Waiter { bell: slot.bell.clone(), key, slots: self.0.clone() }
    }

    fn ring(&self, key: &K, ring: impl Fn(&Notify)) {
        if let Some(slot) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            ring(&slot.bell);
        }
    }

    fn ring_all(&self) {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values() {
            slot.bell.notify_waiters();
            // Somebody may be looking, and not wait yet.
            slot.bell.notify_one();
        }
    }
}

impl<K: Eq + Hash> Waiter<K> {
    /// Returns at the next ring, or at once if there was one that nobody took.
    pub(super) fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.bell.notified()
    }
}

impl<K: Eq + Hash> Drop for Waiter<K> {
    fn drop(&mut self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(&self.key) {
            slot.waiters -= 1;
            if slot.waiters == 0 {
                slots.remove(&self.key);
                return;
            }
        }
        // It may have been woken, and not have used that: whoever is next looks, too.
        self.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn queue(command: &str) -> QueueName {
        QueueName::of("t", command)
    }

    fn event(command: &str, change: Change) -> Event {
        Event { queue: Arc::new(queue(command)), task: TaskId([1; 16]), change }
    }

    #[test]
    fn a_ready_task_wakes_one_claim_of_its_queue() {
        let waiting = Waiting::default();
        let [a, b, other] = ["q", "Q", "r"].map(|command| waiting.for_queue(queue(command)));
        let (mut first, mut second, mut third) =
            (Box::pin(a.woken()), Box::pin(b.woken()), Box::pin(other.woken()));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        waiting.tell(&[event("q", Change::Created), event("q", Change::Claimed)]);
        assert!(first.as_mut().now_or_never().is_some());
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        waiting.tell(&[event("q", Change::Ready)]);
        assert!(second.as_mut().now_or_never().is_some());
    }

    #[test]
    fn news_that_come_between_looking_and_waiting_are_not_lost() {
        let waiting = Waiting::default();
        let waiter = waiting.for_queue(queue("q"));
        waiting.tell(&[event("q", Change::Ready)]);
        assert!(waiter.woken().now_or_never().is_some());
        assert!(waiter.woken().now_or_never().is_none());
    }

    #[test]
    fn the_end_of_a_task_wakes_all_who_wait_for_it() {
        let waiting = Waiting::default();
        let waiters = [(); 3].map(|()| waiting.for_task(TaskId([1; 16])));
        let mut woken: Vec<_> = waiters.iter().map(|waiter| Box::pin(waiter.woken())).collect();
        woken.iter_mut().for_each(|woken| assert!(woken.as_mut().now_or_never().is_none()));
        waiting.tell(&[event("q", Change::Failed)]);
        assert!(woken.into_iter().all(|woken| woken.now_or_never().is_some()));
    }

    #[test]
    fn whoever_leaves_passes_on_what_it_may_have_been_woken_for() {
        let waiting = Waiting::default();
        let [a, b] = ["q", "q"].map(|command| waiting.for_queue(queue(command)));
        let mut second = Box::pin(b.woken());
        assert!(second.as_mut().now_or_never().is_none());
        drop(a);
        assert!(second.as_mut().now_or_never().is_some());
    }

    #[test]
    fn nothing_remains_of_those_who_have_left() {
        let waiting = Waiting::default();
        let (a, b) = (waiting.for_queue(queue("q")), waiting.for_queue(queue("q")));
        drop(a);
        assert_eq!(waiting.queues.0.lock().unwrap().len(), 1);
        drop(b);
        assert!(waiting.queues.0.lock().unwrap().is_empty());
    }
}
