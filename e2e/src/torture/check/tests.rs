//! The checker is shown histories that no correct store gives: it must refuse each, and accept the right ones beside them.

use super::*;
use crate::torture::history::{Answer, Cell, Cells, Change, Event, Operation, Watched};
use crate::torture::tasks::history::{Act, Job, JobOutcome};

/// An operation of group 0: asked at `begun`, answered at `ended`.
fn operation(begun: u64, ended: u64, call: Call, outcome: Outcome) -> Operation {
    let (client, node) = (begun as u32, "n1".to_owned());
    Operation { client, node, copies: 1, group: 0, call, begun_us: begun, ended_us: ended, outcome }
}

fn put(begun: u64, ended: u64, value: u64, revision: u64) -> Operation {
    operation(begun, ended, Call::Put { key: 0, value }, Outcome::Done(Answer::Written { revision }))
}

fn put_if(begun: u64, ended: u64, value: u64, expected: u64, answer: Answer) -> Operation {
    operation(begun, ended, Call::PutIf { key: 0, value, expected }, Outcome::Done(answer))
}

fn lost(begun: u64, call: Call) -> Operation {
    operation(begun, begun + 5, call, Outcome::Unknown("504".into()))
}

fn cell(value: u64, revision: u64) -> Option<Cell> {
    Some(Cell { value, revision })
}

fn get(begun: u64, ended: u64, revision: u64, cell: Option<Cell>) -> Operation {
    operation(begun, ended, Call::Get { key: 0 }, Outcome::Done(Answer::Found { revision, cell }))
}

fn list(begun: u64, call: Call, revision: u64, cells: Cells) -> Operation {
    operation(begun, begun + 5, call, Outcome::Done(Answer::Listed { revision, cells }))
}

fn txn(begun: u64, values: [u64; 2], expected: [u64; 2], answer: Answer) -> Operation {
    operation(begun, begun + 5, Call::Txn { values, expected }, Outcome::Done(answer))
}

fn delete(begun: u64, answer: Answer) -> Operation {
    operation(begun, begun + 5, Call::Delete { key: 0 }, Outcome::Done(answer))
}

fn event(revision: u64, changes: &[(usize, Option<u64>)]) -> Event {
    let changes = changes.iter().map(|(key, value)| Change { group: 0, key: *key, value: *value }).collect();
    Event { revision, changes }
}

fn watched(upto: u64, events: Vec<Event>) -> Watched {
    Watched { from: 2, upto, connections: 1, events, wrong: Vec::new() }
}

fn judge(operations: Vec<Operation>, watches: Vec<Watched>) -> Verdict {
    check(&History { operations, watches, ..History::default() })
}

#[track_caller]
fn accepted(operations: Vec<Operation>, watches: Vec<Watched>) {
    let verdict = judge(operations, watches);
    assert_eq!((verdict.violations, verdict.undecided), (Vec::<String>::new(), 0));
}

/// Refused by porcupine itself, without any watch.
#[track_caller]
fn not_linearizable(operations: Vec<Operation>) {
    let verdict = judge(operations, Vec::new());
    assert_eq!(verdict.refused_groups, [0], "{}", verdict.words());
}

#[track_caller]
fn refused(operations: Vec<Operation>, watches: Vec<Watched>, because: &str) {
    let verdict = judge(operations, watches);
    assert!(verdict.violations.iter().any(|words| words.contains(because)), "{}", verdict.words());
}

#[test]
fn a_history_in_order_is_accepted() {
    let all = [cell(3, 4), cell(4, 4), None];
    let operations = vec![
        put(0, 9, 1, 2),
        get(10, 19, 2, cell(1, 2)),
        put_if(20, 29, 2, 2, Answer::Written { revision: 3 }),
        put_if(30, 39, 9, 2, Answer::Differs { current: 3 }),
        txn(40, [3, 4], [3, 0], Answer::Written { revision: 4 }),
        txn(50, [5, 6], [3, 0], Answer::Otherwise { revision: 4, cells: [all[0], all[1]] }),
        list(60, Call::List, 4, all),
        list(70, Call::Stale, 3, [cell(2, 3), None, None]),
        list(80, Call::Past { at: 2 }, 2, [cell(1, 2), None, None]),
        delete(90, Answer::Written { revision: 5 }),
        delete(100, Answer::Missing),
        get(110, 119, 5, None),
    ];
    let events = vec![
        event(2, &[(0, Some(1))]),
        event(3, &[(0, Some(2))]),
        event(4, &[(0, Some(3)), (1, Some(4))]),
        event(5, &[(0, None)]),
    ];
    accepted(operations, vec![watched(5, events.clone()), watched(4, events[..3].to_vec())]);
}

#[test]
fn concurrent_operations_may_take_effect_in_any_order() {
    accepted(
        vec![put(0, 50, 1, 3), put(0, 50, 2, 2), get(0, 50, 2, cell(2, 2)), get(0, 50, 1, None)],
        Vec::new(),
    );
}

#[test]
fn a_stale_read_is_refused() {
    not_linearizable(vec![put(0, 9, 1, 2), put(10, 19, 2, 3), get(20, 29, 2, cell(1, 2))]);
    // Even if it claims the newest revision.
    not_linearizable(vec![put(0, 9, 1, 2), put(10, 19, 2, 3), get(20, 29, 3, cell(1, 2))]);
}

#[test]
fn a_lost_write_is_refused() {
    not_linearizable(vec![put(0, 9, 1, 2), get(10, 19, 2, None)]);
    not_linearizable(vec![put(0, 9, 1, 2), put_if(10, 19, 2, 0, Answer::Written { revision: 3 })]);
}

#[test]
fn an_update_that_was_built_on_a_lost_one_is_refused() {
    let first = put_if(10, 19, 2, 2, Answer::Written { revision: 3 });
    let second = put_if(20, 29, 3, 2, Answer::Written { revision: 4 });
    not_linearizable(vec![put(0, 9, 1, 2), first, second]);
}

#[test]
fn two_winners_of_one_comparison_are_refused() {
    let won = |value, revision| put_if(0, 50, value, 0, Answer::Written { revision });
    not_linearizable(vec![won(1, 2), won(2, 3)]);
    let both = |values, revision| txn(0, values, [0, 0], Answer::Written { revision });
    not_linearizable(vec![both([1, 2], 2), both([3, 4], 3)]);
}

#[test]
fn a_comparison_that_failed_without_a_reason_is_refused() {
    not_linearizable(vec![put(0, 9, 1, 2), put_if(10, 19, 2, 2, Answer::Differs { current: 2 })]);
    not_linearizable(vec![put(0, 9, 1, 2), put_if(10, 19, 2, 7, Answer::Differs { current: 5 })]);
    let cells = [cell(1, 2), None];
    not_linearizable(vec![
        put(0, 9, 1, 2),
        txn(10, [2, 3], [2, 0], Answer::Otherwise { revision: 2, cells }),
    ]);
}

#[test]
fn a_read_from_the_future_is_refused() {
    not_linearizable(vec![get(0, 9, 2, cell(1, 2)), put(10, 19, 1, 2)]);
}

#[test]
fn half_a_transaction_is_refused() {
    let whole = txn(0, [1, 2], [0, 0], Answer::Written { revision: 2 });
    not_linearizable(vec![whole.clone(), list(10, Call::List, 2, [cell(1, 2), None, None])]);
    let shown = vec![watched(2, vec![event(2, &[(0, Some(1))])])];
    refused(vec![whole], shown, "was written");
}

#[test]
fn a_deletion_that_found_nothing_or_deleted_nothing_is_refused() {
    not_linearizable(vec![put(0, 9, 1, 2), delete(10, Answer::Missing)]);
    not_linearizable(vec![delete(0, Answer::Written { revision: 2 })]);
}

#[test]
fn a_write_that_appears_twice_is_refused() {
    let again = vec![put(0, 9, 1, 2), put(10, 19, 2, 3), get(20, 29, 4, cell(1, 4))];
    refused(again.clone(), Vec::new(), "appears twice");
    not_linearizable(again);
}

#[test]
fn a_write_of_unknown_outcome_may_be_there_or_not_but_not_come_and_go() {
    let open = || lost(0, Call::Put { key: 0, value: 1 });
    accepted(vec![open(), get(10, 19, 1, None)], Vec::new());
    accepted(vec![open(), get(10, 19, 2, cell(1, 2))], Vec::new());
    // Late, as when the node that has it was hung.
    accepted(vec![open(), get(10, 19, 1, None), get(20, 29, 2, cell(1, 2))], Vec::new());
    // Seen by nobody, and yet deleted.
    accepted(vec![open(), delete(10, Answer::Written { revision: 3 })], Vec::new());
    not_linearizable(vec![open(), get(10, 19, 2, cell(1, 2)), get(20, 29, 2, None)]);
    let seen = lost(0, Call::PutIf { key: 0, value: 1, expected: 7 });
    not_linearizable(vec![seen, get(10, 19, 2, cell(1, 2))]);
}

#[test]
fn a_write_that_was_refused_and_is_there_is_refused() {
    let no = operation(0, 9, Call::Put { key: 0, value: 1 }, Outcome::NotApplied("503".into()));
    not_linearizable(vec![no.clone(), get(10, 19, 2, cell(1, 2))]);
    refused(vec![no], vec![watched(2, vec![event(2, &[(0, Some(1))])])], "was refused as not applied");
}

#[test]
fn an_answer_that_makes_no_sense_is_refused() {
    let wrong = operation(0, 9, Call::Get { key: 0 }, Outcome::Wrong("500".into()));
    refused(vec![wrong], Vec::new(), "got 500");
}

#[test]
fn a_revision_that_goes_back_over_groups_or_is_given_twice_is_refused() {
    let elsewhere = |operation| Operation { group: 1, ..operation };
    refused(vec![put(0, 9, 1, 5), elsewhere(put(10, 19, 2, 4))], Vec::new(), "after 5 was answered");
    refused(vec![put(0, 9, 1, 5), elsewhere(get(10, 19, 4, None))], Vec::new(), "after 5 was answered");
    refused(vec![put(0, 50, 1, 5), elsewhere(put(0, 50, 2, 5))], Vec::new(), "given to two writes");
    accepted(vec![put(0, 9, 1, 5), elsewhere(get(10, 19, 5, None))], Vec::new());
}

#[test]
fn copies_of_a_write_come_to_what_the_first_answer_says() {
    let done = |revision| Outcome::Done(Answer::Written { revision });
    let (refused, lost) = (|| Outcome::NotApplied("503".into()), || Outcome::Unknown("504".into()));
    assert_eq!(lost().and(done(2)), done(2));
    assert_eq!(refused().and(done(2)), done(2));
    assert_eq!(refused().and(lost()), lost(), "a refused copy says nothing of the one before");
    assert_eq!(refused().and(refused()), refused());
    assert!(matches!(done(2).and(done(3)), Outcome::Wrong(words) if words.contains("two answers")));
}

/// Three puts, acknowledged.
fn three() -> (Vec<Operation>, Vec<Event>) {
    let operations = vec![put(0, 9, 1, 2), put(10, 19, 2, 3), put(20, 29, 3, 4)];
    (operations, vec![event(2, &[(0, Some(1))]), event(3, &[(0, Some(2))]), event(4, &[(0, Some(3))])])
}

#[test]
fn a_watch_with_a_gap_is_refused() {
    let (operations, mut events) = three();
    let whole = watched(4, events.clone());
    events.remove(1);
    refused(
        operations.clone(),
        vec![watched(4, events.clone())],
        "acknowledged at revision 3, where watches show None",
    );
    refused(operations, vec![whole, watched(4, events)], "where another shows");
}

#[test]
fn a_watch_that_repeats_or_swaps_revisions_is_refused() {
    let (operations, events) = three();
    let [one, two, three] = [0, 1, 2].map(|place| events[place].clone());
    let twice = vec![one.clone(), two.clone(), two.clone(), three.clone()];
    refused(operations.clone(), vec![watched(4, twice)], "came after");
    refused(operations, vec![watched(4, vec![one, three, two])], "came after");
}

#[test]
fn a_watch_that_shows_what_nobody_wrote_is_refused() {
    let (operations, mut events) = three();
    events.push(event(5, &[(1, Some(77))]));
    refused(operations, vec![watched(5, events)], "nobody wrote 77");
}

#[test]
fn a_read_that_shows_another_state_than_watches_at_its_revision_is_refused() {
    let (operations, events) = three();
    let with = |read: Operation| [operations.clone(), vec![read]].concat();
    let watches = || vec![watched(4, events.clone())];
    accepted(with(list(30, Call::Stale, 3, [cell(2, 3), None, None])), watches());
    refused(with(list(30, Call::Stale, 3, [cell(1, 2), None, None])), watches(), "where watches show");
    refused(
        with(list(30, Call::Past { at: 2 }, 2, [cell(2, 3), None, None])),
        watches(),
        "where watches show",
    );
}

#[test]
fn what_a_complete_watch_has_not_shown_is_known_not_to_have_happened() {
    let (mut operations, events) = three();
    operations.push(lost(0, Call::Put { key: 0, value: 9 }));
    operations.push(lost(0, Call::Delete { key: 0 }));
    accepted(operations.clone(), vec![watched(4, events)]);
    let verdict = judge(operations, Vec::new());
    assert_eq!(verdict.violations, Vec::<String>::new(), "without a watch they are open, and allowed");
}

#[test]
fn a_kept_history_is_judged_the_same_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let (mut operations, events) = three();
    operations.push(get(30, 39, 4, cell(1, 2)));
    operations.push(lost(40, Call::Delete { key: 1 }));
    let history = History {
        seed: 7,
        operations,
        watches: vec![watched(4, events)],
        faults: vec![crate::torture::history::Noted { at_us: 3, what: "a fault".into() }],
        jobs: vec![Job {
            client: 1,
            node: "n1".into(),
            begun_us: 1,
            ended_us: 2,
            act: Act::Look { task: "a".into() },
            outcome: JobOutcome::Unknown("504".into()),
        }],
        told: [("a".into(), vec!["FAILED".into()])].into(),
    };
    let path = dir.path().join("history.jsonl");
    history.write(&path).unwrap();
    let read = History::read(&path).unwrap();
    assert_eq!(read, history);
    let verdict = check(&read);
    assert_eq!((verdict.refused_groups.clone(), verdict.violations.is_empty()), (vec![0], false));
    let page = dir.path().join("group-0.html");
    visualize(&read, 0, &page).unwrap();
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("Found") && page.contains("a fault"));
}
