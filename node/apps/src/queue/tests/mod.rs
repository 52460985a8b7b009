//! Random commands against a plain model, and against a member that forgets its hints all the time.

mod model;
mod steps;
mod verify;

use super::*;
use crate::tables::{MemoryTables, Range};
use crate::{Applications, Refusal as AnyRefusal};
use model::Model;
use proptest::prelude::*;
use steps::{Step, steps};

/// A member: its queues, and the tables under them.
struct Member {
    queues: Queues,
    tables: MemoryTables,
}

impl Member {
    fn new() -> Member {
        let tables = MemoryTables::default();
        Member { queues: Queues::open(&tables).unwrap(), tables }
    }

    /// As all applications do: what a refused command has changed is dropped.
    fn apply(&mut self, at: At, command: Command) -> Result<(Reply, Vec<Event>), Refusal> {
        let mut delta = crate::tables::Delta::new(&self.tables);
        match self.queues.apply(at, command, &mut delta) {
            Ok(done) => {
                delta.into_changes().merge_into(&mut self.tables);
                Ok(done)
            }
            Err(Stop::Refused(AnyRefusal::Queue(refusal))) => Err(refusal),
            Err(stop) => panic!("{stop}"),
        }
    }

    fn query(&self, at: At, query: Query) -> Result<Reply, Refusal> {
        match self.queues.query(at, query, &self.tables) {
            Ok(reply) => Ok(reply),
            Err(Stop::Refused(AnyRefusal::Queue(refusal))) => Err(refusal),
            Err(stop) => panic!("{stop}"),
        }
    }

    /// Starts again from a copy of its rows, as after a snapshot was installed.
    fn install(&mut self) {
        let mut copy = MemoryTables::default();
        for table in TABLES {
            for row in self.tables.scan(table, Range::all(), false) {
                let (key, value) = row.unwrap();
                copy.put(table, &key, value);
            }
        }
        *self = Member { queues: Queues::open(&copy).unwrap(), tables: copy };
    }

    fn hints(&self) -> usize {
        self.queues.hints.len()
    }
}

/// Every page of a queue's tasks.
fn listed(member: &Member, at: At, name: &QueueName, limit: u32) -> Vec<Task> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let QueueName { tenant, command } = name.clone();
        let (created, ended) = (Span::default(), Span::default());
        let list = List { tenant, command, place: None, created, ended, after, limit, payloads: true };
        let Ok(Reply::Tasks { tasks, next }) = member.query(at, Query::List(list)) else {
            panic!("a list is answered with tasks")
        };
        all.extend(tasks);
        match next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// Everything a reader can see is as the model has it.
fn check_reads(member: &Member, model: &Model, at: At, limit: u32) -> Result<(), TestCaseError> {
    for name in steps::queues() {
        prop_assert_eq!(listed(member, at, &name, limit), model.listed(&name));
        let QueueName { tenant, command } = name.clone();
        let queue = member.query(at, Query::Queue { tenant, command });
        prop_assert_eq!(queue, Ok(Reply::Queue(model.queue(&name).map(Box::new))));
        let Reply::Head(head) = member.query(at, steps::head(&name)).unwrap() else { panic!("no head") };
        prop_assert_eq!(head.is_some(), model.claimable(&name));
    }
    for id in steps::ids() {
        let query = Query::Result { tenant: None, id };
        prop_assert_eq!(member.query(at, query), model.result(id));
    }
    let Reply::Hooks { due, next_ms } =
        member.query(at, Query::Hooks { until_ms: at.time_ms, after: None, limit: 0 }).unwrap()
    else {
        panic!("no hooks")
    };
    let due: Vec<(u64, TaskId, u32)> = due.iter().map(|hook| (hook.due_ms, hook.task, hook.tries)).collect();
    prop_assert_eq!((due, next_ms), model.hooks());
    prop_assert_eq!(member.query(at, Query::NextDue), Ok(Reply::NextDue(model.next_due_ms())));
    Ok(())
}

proptest! {
    /// Whatever is done in whatever order: answers and state are the model's, every row follows from the tasks, and what is
    /// refused changes nothing.
    #[test]
    fn the_queue_is_its_model(steps in steps(false, 1..60), limit in 1u32..5) {
        let (mut member, mut model) = (Member::new(), Model::default());
        for (index, step) in steps.into_iter().enumerate() {
            let command = match step {
                Step::Wait(ms) => {
                    model.now_ms += ms;
                    continue;
                }
                Step::Install => {
                    member.install();
                    continue;
                }
                Step::Command(command) => steps::resolved(command, &member.tables),
            };
            let at = At { index: index as u64, time_ms: model.now_ms, ..At::default() };
            let before = (member.queues.clone(), member.tables.clone(), member.hints());
            let found = member.apply(at, command.clone()).map(|(reply, _)| reply);
            let expected = model.apply(command, found.as_ref().ok());
            prop_assert_eq!(&found, &expected);
            if found.is_err() {
                prop_assert_eq!(&before, &(member.queues.clone(), member.tables.clone(), member.hints()));
            }
            verify::verify(&member.tables);
            check_reads(&member, &model, at, limit)?;
        }
    }

    /// Two members apply the same log; one has no hints before any command. Nobody can tell them apart.
    #[test]
    fn no_answer_depends_on_hints(steps in steps(true, 1..120)) {
        let (mut stays, mut forgets, mut time_ms) = (Member::new(), Member::new(), 1_000);
        for (index, step) in steps.into_iter().enumerate() {
            let command = match step {
                Step::Wait(ms) => {
                    time_ms += ms;
                    continue;
                }
                Step::Install => {
                    forgets.install();
                    continue;
                }
                Step::Command(command) => steps::resolved(command, &stays.tables),
            };
            forgets.queues = Queues::open(&forgets.tables).unwrap();
            let at = At { index: index as u64, time_ms, ..At::default() };
            prop_assert_eq!(stays.apply(at, command.clone()), forgets.apply(at, command));
            prop_assert_eq!(Applications::digest(&stays.tables), Applications::digest(&forgets.tables));
            verify::verify(&stays.tables);
            verify::hints(&stays.queues, &stays.tables);
            for query in [Query::Hooks { until_ms: time_ms, after: None, limit: 0 }, Query::NextDue] {
                prop_assert_eq!(stays.query(at, query.clone()), forgets.query(at, query));
            }
        }
    }
}

/// Rows removed since the last flush are stepped over: a claim must not begin before them.
#[test]
fn a_claim_begins_where_the_one_before_ended() {
    let mut member = Member::new();
    let at = |index| At { index, time_ms: 1, ..At::default() };
    for index in 0..100 {
        member.apply(at(index), Command::Create(vec![steps::plain(TaskId::new(1, index.into()))])).unwrap();
    }
    for index in 100..150 {
        let (reply, _) = member.apply(at(index), steps::claim_one()).unwrap();
        assert!(matches!(reply, Reply::Claimed(tasks) if tasks.len() == 1));
    }
    // Numbers 1 to 100 were given to the tasks, and the claims have taken the first 50 of them.
    assert_eq!(member.queues.hints.first(hints::Walk::Ready(0, 0)), 51);
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    let id = TaskId::new(1, 1);
    for (table, key) in [
        (rows::TASKS, id.0.to_vec()),
        (rows::BODIES, id.0.to_vec()),
        (rows::NAMES, vec![0; 4]),
        (rows::RESULTS, id.0.to_vec()),
    ] {
        for row in [&b""[..], b"\x02", b"\x01\xff"] {
            let mut member = Member::new();
            member.apply(At::default(), Command::Create(vec![steps::plain(id)])).unwrap();
            member.tables.put(table, &key, bytes::Bytes::from_static(row));
            let query = Query::Result { tenant: None, id };
            let found = member.queues.query(At::default(), query, &member.tables);
            let Err(Stop::Broken(words)) = found else { panic!("{table:?} {row:?}: {found:?}") };
            assert_eq!(words, format!("unreadable row of {}: {}", table.0, key.escape_ascii()));
        }
    }
}
