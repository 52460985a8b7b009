//! The queue as a list of tasks: what it should do, written down without tables, indexes, counts or hints.
//!
//! It learns from the answers only what it cannot know: the numbers of lease tokens, which it has seen none of before.

use super::super::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Model {
    pub now_ms: u64,
    grace_until_ms: u64,
    /// Counts whatever is put in order.
    counter: u64,
    tasks: BTreeMap<TaskId, Known>,
    queues: BTreeMap<QueueName, (bool, Totals)>,
    /// How often nothing was left of a queue: what is known of its keys then is nobody's.
    forgotten: BTreeMap<QueueName, u64>,
    keys: BTreeMap<(QueueName, u64, String), (TaskId, u64)>,
    tokens: BTreeSet<(QueueName, u64)>,
}

struct Known {
    task: Task,
    /// Among those in the same place.
    order: u64,
    /// Among the ready, while in progress.
    ready_order: u64,
    /// When its webhook is due, and tries so far.
    hook: Option<(u64, u32)>,
    result: Option<TaskResult>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Delay,
    Lease,
    Retention,
    Key,
}

type Answer = Result<Reply, Refusal>;

impl Model {
    pub(super) fn apply(&mut self, command: Command, found: Option<&Reply>) -> Answer {
        let answer = self.apply_one(command, found);
        let unused = |name: &QueueName| !self.queues[name].0 && self.of(name).next().is_none();
        for name in self.queues.keys().filter(|name| unused(name)).cloned().collect::<Vec<_>>() {
            self.queues.remove(&name);
            *self.forgotten.entry(name).or_default() += 1;
        }
        answer
    }

    fn apply_one(&mut self, command: Command, found: Option<&Reply>) -> Answer {
        match command {
            Command::Create(batch) => {
                Ok(Reply::Created(batch.into_iter().map(|create| self.create(create)).collect()))
            }
            Command::Claim(claim) => self.claim(&claim, found),
            Command::Heartbeat { task, owner, extend_ms } => self.heartbeat(task, &owner, extend_ms),
            Command::Abandon { task, owner } => self.abandon(task, &owner),
            Command::Nack(Nack { task, owner, delay_s, reason }) => {
                self.leased(task, &owner)?;
                let reason = if reason.is_empty() { "MAX_ATTEMPTS" } else { &reason };
                Ok(Reply::Nacked { delay_s: self.fail(task, delay_s, reason) })
            }
            Command::Finish(batch) => {
                Ok(Reply::Finished(batch.into_iter().map(|finish| self.finish(finish)).collect()))
            }
            Command::Tick { .. } => {
                let done = self.due(&[Kind::Delay, Kind::Lease, Kind::Retention, Kind::Key], self.now_ms);
                Ok(Reply::Ticked { done, next_ms: self.next_due_ms() })
            }
            Command::Lead { grace_ms } => {
                self.grace_until_ms = self.grace_until_ms.max(self.now_ms + grace_ms);
                Ok(Reply::Leading { grace_until_ms: self.grace_until_ms })
            }
            Command::Cancel { tenant, task } => self.cancel(&tenant, task),
            Command::Pause { tenant, command, paused } => {
                let queue = self.queues.entry(QueueName::of(&tenant, &command)).or_default();
                Ok(Reply::Paused { changed: std::mem::replace(&mut queue.0, paused) != paused })
            }
            Command::Move(order) => self.move_tasks(&order),
            Command::Purge(order) => self.purge(&order),
            Command::Cleanup { before_ms, .. } => {
                Ok(Reply::Removed { removed: self.due(&[Kind::Retention], before_ms), next: None })
            }
            Command::Delivered(delivered) => Ok(Reply::Delivered { changed: self.delivered(&delivered) }),
            other => panic!("not modelled: {other:?}"),
        }
    }

    fn create(&mut self, create: Create) -> Result<Created, Refusal> {
        if create.priority > 9 {
            let (count, what) = (create.priority.into(), "priority".to_owned());
            return Err(Refusal::Count { what, count, count_min: 0, count_max: 9 });
        }
        let queue = QueueName::of(&create.tenant, &create.command);
        let forgotten = self.forgotten.get(&queue).copied().unwrap_or(0);
        let key = create.key.as_ref().map(|key| (queue.clone(), forgotten, key.text.clone()));
        if let Some((id, expires_ms)) = key.as_ref().and_then(|key| self.keys.get(key))
            && *expires_ms > self.now_ms
            && let Some(known) = self.tasks.get(id)
        {
            return Ok(Created { task: known.task.clone(), replayed: true });
        }
        let id = create.id;
        if self.tasks.contains_key(&id) {
            return Err(Refusal::TaskExists { id });
        }
        if let (Some(key), Some(Key { keep_ms, .. })) = (key, &create.key) {
            self.keys.insert(key, (id, self.now_ms + keep_ms));
        }
        self.queues.entry(queue).or_default().1.created += 1;
        let due_ms = match create.due {
            Due::Now => self.now_ms,
            Due::At(due_ms) => due_ms,
            Due::After(delay_ms) => self.now_ms + delay_ms,
        };
        let task = Task {
            id,
            tenant: create.tenant,
            command: create.command,
            payload: create.payload,
            priority: create.priority,
            webhook: create.webhook,
            trace_parent: create.trace_parent,
            trace_state: create.trace_state,
            key: create.key.map(|key| key.text),
            place: Place::Ready,
            lease: None,
            due_ms: None,
            ended_ms: None,
            failures: 0,
            max_attempts: create.max_attempts,
            error: None,
            retry: create.retry,
            retention_ms: create.retention_ms,
            created_ms: self.now_ms,
            updated_ms: self.now_ms,
        };
        self.tasks.insert(id, Known { task, order: 0, ready_order: 0, hook: None, result: None });
        self.wait(id, due_ms);
        Ok(Created { task: self.tasks[&id].task.clone(), replayed: false })
    }

    fn claim(&mut self, claim: &Claim, found: Option<&Reply>) -> Answer {
        if claim.count == 0 {
            let what = "tasks of a claim".to_owned();
            return Err(Refusal::Count { what, count: 0, count_min: 1, count_max: 100 });
        }
        let tokens: Vec<Token> = match found {
            Some(Reply::Claimed(tasks)) => {
                tasks.iter().filter_map(|task| task.lease.as_ref()).map(|lease| lease.token).collect()
            }
            _ => panic!("a claim is not refused"),
        };
        self.due(&[Kind::Delay, Kind::Lease], self.now_ms);
        let mut claimed = Vec::new();
        for source in &claim.from {
            let name = QueueName::of(&claim.tenant, &source.command);
            while claimed.len() < claim.count as usize && self.open(&name, source.in_progress_max) {
                let Some(id) = self.first_ready(&name) else { break };
                // One that was not claimed shows in the reply that is expected.
                let nobodys = Token { epoch: Default::default(), number: u64::MAX };
                let token = tokens.get(claimed.len()).unwrap_or(&nobodys);
                assert!(self.tokens.insert((name.clone(), token.number)), "a token given twice");
                let until_ms = self.now_ms + claim.lease_ms;
                let ready_order = self.tasks[&id].order;
                let known = self.shift(id, Place::InProgress);
                known.ready_order = ready_order;
                known.task.lease = Some(Lease { token: *token, worker: claim.worker.clone(), until_ms });
                self.totals(&name).claimed += 1;
                claimed.push(self.tasks[&id].task.clone());
            }
        }
        Ok(Reply::Claimed(claimed))
    }

    fn open(&self, name: &QueueName, in_progress_max: Option<u32>) -> bool {
        let paused = self.queues.get(name).is_some_and(|queue| queue.0);
        let busy = self.of(name).filter(|known| known.task.place == Place::InProgress).count();
        !paused && in_progress_max.is_none_or(|most| busy < most as usize)
    }

    fn first_ready(&self, name: &QueueName) -> Option<TaskId> {
        let ready = self.of(name).filter(|known| known.task.place == Place::Ready);
        ready.min_by_key(|known| (9 - known.task.priority, known.order)).map(|known| known.task.id)
    }

    fn heartbeat(&mut self, id: TaskId, owner: &Owner, extend_ms: u64) -> Answer {
        self.leased(id, owner)?;
        let until_ms = self.now_ms + extend_ms;
        let task = &mut self.tasks.get_mut(&id).unwrap().task;
        task.lease.as_mut().unwrap().until_ms = until_ms;
        task.updated_ms = self.now_ms;
        Ok(Reply::Extended { until_ms })
    }

    fn abandon(&mut self, id: TaskId, owner: &Owner) -> Answer {
        self.leased(id, owner)?;
        let order = self.tasks[&id].ready_order;
        self.shift(id, Place::Ready).order = order;
        Ok(Reply::Abandoned)
    }

    fn finish(&mut self, finish: Finish) -> Result<Finished, Refusal> {
        let Finish { task: id, owner, outcome, artifacts } = finish;
        let task = self.owned(&owner.tenant, id)?;
        if !self.is_leased(task) {
            return Err(Refusal::NotInProgress);
        }
        self.leased(id, &owner)?;
        let (place, error, result) = match outcome {
            Outcome::Completed { result } => (Place::Completed, None, Some(result)),
            Outcome::Failed { error, result } => (Place::Failed, Some(error), result),
        };
        self.end(id, place, error);
        self.tasks.get_mut(&id).unwrap().result = Some(TaskResult { result, artifacts });
        Ok(Finished { ended_ms: self.now_ms })
    }

    fn cancel(&mut self, tenant: &str, id: TaskId) -> Answer {
        if self.owned(tenant, id)?.ended_ms.is_some() {
            return Err(Refusal::AlreadyEnded);
        }
        self.end(id, Place::Cancelled, Some("CANCELLED".to_owned()));
        Ok(Reply::Cancelled)
    }

    fn move_tasks(&mut self, order: &Move) -> Answer {
        let from = order.from;
        match from {
            Place::Dead | Place::Failed | Place::Cancelled => {}
            Place::Delayed if order.due_ms.is_none() => {}
            _ => return Err(Refusal::WrongPlace { place: from }),
        }
        let name = QueueName::of(&order.tenant, &order.command);
        let there = |id: &TaskId| {
            let known = self.tasks.get(id);
            known.is_some_and(|known| known.task.place == from && known.queue() == name)
        };
        let mut ids: Vec<TaskId> = match &order.ids {
            Some(ids) => ids.clone(),
            None => self.listed(&name).iter().map(|task| task.id).collect(),
        };
        ids.retain(there);
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        let moved = ids.len().min(order.limit as usize);
        for id in &ids[..moved] {
            let known = self.tasks.get_mut(id).unwrap();
            if from != Place::Delayed {
                known.task.failures = 0;
                known.task.error = None;
                known.result = None;
            }
            self.wait(*id, order.due_ms.unwrap_or(0));
        }
        Ok(Reply::Moved { moved: moved as u32, more: ids.len() > moved })
    }

    fn purge(&mut self, order: &Purge) -> Answer {
        if order.place == Place::InProgress {
            return Err(Refusal::WrongPlace { place: order.place });
        }
        let name = QueueName::of(&order.tenant, &order.command);
        let before = self.tasks.len();
        self.tasks.retain(|_, known| {
            let time_ms = known.task.ended_ms.unwrap_or(known.task.created_ms);
            let kept = order.before_ms.is_some_and(|before_ms| time_ms >= before_ms);
            known.queue() != name || known.task.place != order.place || kept
        });
        Ok(Reply::Removed { removed: (before - self.tasks.len()) as u32, next: None })
    }

    fn delivered(&mut self, delivered: &Delivered) -> bool {
        let Some(known) = self.tasks.get_mut(&delivered.task) else { return false };
        match known.hook {
            // No end has the number 0, which stands for another one.
            Some((_, tries)) if tries == delivered.tries && delivered.end > 0 => {
                known.hook = delivered.again_ms.map(|again_ms| (again_ms, tries + 1));
                true
            }
            _ => false,
        }
    }

    /// Does what is due, oldest first.
    fn due(&mut self, kinds: &[Kind], upto_ms: u64) -> u32 {
        let mut due: Vec<(u64, Kind, u64, TaskId)> = self.all_due();
        let held = |kind| kind == Kind::Lease && self.now_ms < self.grace_until_ms;
        due.retain(|(due_ms, kind, ..)| *due_ms <= upto_ms && kinds.contains(kind) && !held(*kind));
        due.sort();
        for (_, kind, _, id) in &due {
            match kind {
                Kind::Delay => self.wait(*id, 0),
                Kind::Lease => {
                    let name = self.tasks[id].queue();
                    self.totals(&name).expired += 1;
                    self.fail(*id, None, "LEASE_EXPIRED");
                }
                Kind::Retention => drop(self.tasks.remove(id)),
                Kind::Key => {}
            }
        }
        if kinds.contains(&Kind::Key) {
            self.keys.retain(|_, (_, expires_ms)| *expires_ms > upto_ms);
        }
        due.len() as u32
    }

    fn all_due(&self) -> Vec<(u64, Kind, u64, TaskId)> {
        let of_task = |known: &Known| {
            let task = &known.task;
            let (kind, due_ms) = match task.place {
                Place::Ready => return None,
                Place::Delayed => (Kind::Delay, task.due_ms.unwrap()),
                Place::InProgress => (Kind::Lease, task.lease.as_ref().unwrap().until_ms),
                _ => (Kind::Retention, task.ended_ms.unwrap() + task.retention_ms),
            };
            Some((due_ms, kind, known.order, task.id))
        };
        let keys = self.keys.values().map(|(id, expires_ms)| (*expires_ms, Kind::Key, 0, *id));
        self.tasks.values().filter_map(of_task).chain(keys).collect()
    }

    pub(super) fn next_due_ms(&self) -> Option<u64> {
        let held = |(due_ms, kind, ..): (u64, Kind, u64, TaskId)| match kind {
            Kind::Lease => self.grace_until_ms.max(due_ms),
            _ => due_ms,
        };
        self.all_due().into_iter().map(held).min()
    }

    fn fail(&mut self, id: TaskId, asked_s: Option<u32>, reason: &str) -> Option<u32> {
        let task = &mut self.tasks.get_mut(&id).unwrap().task;
        task.failures += 1;
        if task.failures >= task.max_attempts {
            self.end(id, Place::Dead, Some(reason.to_owned()));
            return None;
        }
        let (base_s, n) = (task.retry.base_s.max(1), task.failures);
        let by_policy = match task.retry.policy {
            Backoff::Fixed => base_s,
            Backoff::Linear => base_s * n,
            _ => base_s << n,
        };
        let most = if task.retry.max_s == 0 { base_s } else { task.retry.max_s };
        let delay_s = asked_s.filter(|asked_s| *asked_s > 0).unwrap_or(by_policy).min(most);
        self.wait(id, self.now_ms + u64::from(delay_s) * 1_000);
        Some(delay_s)
    }

    fn end(&mut self, id: TaskId, place: Place, error: Option<String>) {
        let now_ms = self.now_ms;
        let known = self.shift(id, place);
        known.task.error = error;
        known.task.ended_ms = Some(now_ms);
        known.hook = known.task.webhook.is_some().then_some((now_ms, 0));
        let name = known.queue();
        let totals = self.totals(&name);
        *match place {
            Place::Dead => &mut totals.dead,
            Place::Completed => &mut totals.completed,
            Place::Failed => &mut totals.failed,
            _ => &mut totals.cancelled,
        } += 1;
    }

    fn wait(&mut self, id: TaskId, due_ms: u64) {
        if due_ms <= self.now_ms {
            self.shift(id, Place::Ready);
        } else {
            self.shift(id, Place::Delayed).task.due_ms = Some(due_ms);
        }
    }

    /// Puts a task last in a place.
    fn shift(&mut self, id: TaskId, place: Place) -> &mut Known {
        self.counter += 1;
        let known = self.tasks.get_mut(&id).unwrap();
        known.order = self.counter;
        known.hook = None;
        let task = &mut known.task;
        (task.place, task.lease, task.due_ms, task.ended_ms) = (place, None, None, None);
        task.updated_ms = self.now_ms;
        known
    }

    fn owned(&self, tenant: &str, id: TaskId) -> Result<&Task, Refusal> {
        let task = self.tasks.get(&id).map(|known| &known.task);
        task.filter(|task| task.tenant == tenant).ok_or(Refusal::UnknownTask)
    }

    fn is_leased(&self, task: &Task) -> bool {
        let lease = task.lease.as_ref();
        lease.is_some_and(|lease| lease.until_ms > self.now_ms || self.grace_until_ms > self.now_ms)
    }

    fn leased(&self, id: TaskId, owner: &Owner) -> Result<(), Refusal> {
        let task = self.owned(&owner.tenant, id)?;
        let lease = task.lease.as_ref().filter(|_| self.is_leased(task)).ok_or(Refusal::NotOwner)?;
        let right = lease.worker == owner.worker && owner.token.is_none_or(|token| token == lease.token);
        right.then_some(()).ok_or(Refusal::NotOwner)
    }

    fn totals(&mut self, name: &QueueName) -> &mut Totals {
        &mut self.queues.get_mut(name).unwrap().1
    }

    fn of(&self, name: &QueueName) -> impl Iterator<Item = &Known> {
        let name = name.clone();
        self.tasks.values().filter(move |known| known.queue() == name)
    }

    /// The tasks of a queue in the order of a list.
    pub(super) fn listed(&self, name: &QueueName) -> Vec<Task> {
        let mut known: Vec<&Known> = self.of(name).collect();
        known.sort_by_key(|known| {
            let task = &known.task;
            let within = match task.place {
                Place::Ready => u64::from(9 - task.priority),
                Place::Delayed => task.due_ms.unwrap(),
                _ => 0,
            };
            (task.place, within, known.order)
        });
        known.into_iter().map(|known| known.task.clone()).collect()
    }

    pub(super) fn queue(&self, name: &QueueName) -> Option<Queue> {
        let (paused, totals) = self.queues.get(name)?.clone();
        let at = |place| self.of(name).filter(move |known| known.task.place == place);
        let count = |place| at(place).count() as u64;
        let mut ready = [0; PRIORITIES];
        at(Place::Ready).for_each(|known| ready[usize::from(known.task.priority)] += 1);
        let first = (0..10).filter_map(|priority| {
            let those = at(Place::Ready).filter(move |known| known.task.priority == priority);
            those.min_by_key(|known| known.order).map(|known| known.task.updated_ms)
        });
        let oldest_ready_ms = first.min();
        let counts = Counts {
            ready,
            delayed: count(Place::Delayed),
            in_progress: count(Place::InProgress),
            dead: count(Place::Dead),
            completed: count(Place::Completed),
            failed: count(Place::Failed),
            cancelled: count(Place::Cancelled),
        };
        Some(Queue { name: name.clone(), paused, counts, totals, oldest_ready_ms })
    }

    pub(super) fn claimable(&self, name: &QueueName) -> bool {
        self.open(name, None) && self.first_ready(name).is_some()
    }

    pub(super) fn result(&self, id: TaskId) -> Answer {
        let known = self.tasks.get(&id).ok_or(Refusal::UnknownTask)?;
        Ok(Reply::Result { task: Box::new(known.task.clone()), result: known.result.clone() })
    }

    /// Those to be called now, and when the next one is.
    pub(super) fn hooks(&self) -> (Vec<(u64, TaskId, u32)>, Option<u64>) {
        let hook = |known: &Known| known.hook.map(|(due_ms, tries)| (due_ms, known.task.id, tries));
        let mut hooks: Vec<_> = self.tasks.values().filter_map(hook).collect();
        hooks.sort();
        let later = hooks.split_off(hooks.partition_point(|(due_ms, ..)| *due_ms <= self.now_ms));
        (hooks, later.first().map(|(due_ms, ..)| *due_ms))
    }
}

impl Known {
    fn queue(&self) -> QueueName {
        QueueName::of(&self.task.tenant, &self.task.command)
    }
}
