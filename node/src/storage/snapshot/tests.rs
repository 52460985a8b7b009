//! Streams between two states: whole, cut, torn, and installed under readers.

use super::*;
use crate::storage::tests::{Fixture, NEEDLE, applied, apply, flip_a_bit, rows};
use crate::storage::{Flushed, Options, State};
use bytes::Bytes;
use proptest::prelude::*;
use schedia_apps::tables::{Table, Tables};
use std::io;

const TABLE: Table = Table("test.a");
const OTHER: Table = Table("test.b");

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A state with `count` rows in one table and one in another, on disk. What is applied later stays in the overlay: the log
/// has not flushed it.
fn filled(count: u32, value_bytes: usize) -> Fixture {
    filled_with(count, value_bytes, Flushed::until(43))
}

fn filled_with(count: u32, value_bytes: usize, flushed: Flushed) -> Fixture {
    let fixture = Fixture::with(Options::default(), flushed, None);
    let value = Bytes::from(vec![7; value_bytes]);
    let mut batch = fixture.state.batch();
    for n in 0..count {
        batch.put(TABLE, &n.to_be_bytes(), value.clone());
    }
    batch.put(OTHER, b"", Bytes::new());
    batch.commit(applied(42));
    runtime().block_on(fixture.state.flush()).unwrap();
    fixture
}

fn stream(state: &State) -> Vec<u8> {
    state.snapshot().chunks(None).map(|chunk| chunk.unwrap().to_vec()).collect::<Vec<_>>().concat()
}

fn receive(state: &State, stream: &[u8]) -> io::Result<Received> {
    let mut receiver = state.receive();
    receiver.push(stream)?;
    receiver.finish()
}

fn files(fixture: &Fixture) -> Vec<String> {
    let names = std::fs::read_dir(fixture.dir.path()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_state_arrives_whole_and_is_there_after_a_restart() {
    let (from, to) = (filled(20_000, 200), Fixture::new());
    apply(&to.state, 3, &[(TABLE, b"of the old state", Some(b"x"))]);
    apply(&from.state, 43, &[(TABLE, b"of the overlay", Some(b"x"))]);
    assert!(from.state.snapshot().chunks(None).count() > 4, "several blocks");
    let received = receive(&to.state, &stream(&from.state)).unwrap();
    assert_eq!(received.checkpoint(), &applied(42));
    assert_eq!(to.state.applied(), applied(3), "not in force yet");
    drop(to.state.install(received).unwrap().swap());
    let check = |to: &Fixture| {
        assert_eq!((to.state.applied(), to.state.checkpoint()), (applied(42), applied(42)));
        assert_eq!(rows(&to.state.view(), TABLE).len(), 20_000);
        assert_eq!(rows(&to.state.view(), OTHER).len(), 1);
        assert_eq!(to.state.view().get(TABLE, b"of the overlay"), Ok(None));
        assert_eq!(files(to), ["state.redb"]);
    };
    check(&to);
    check(&to.reopen(Flushed::all()));
}

#[test]
fn apply_and_flush_go_on_after_an_install() {
    let (from, to) = (filled(10, 10), Fixture::new());
    let received = receive(&to.state, &stream(&from.state)).unwrap();
    drop(to.state.install(received).unwrap().swap());
    apply(&to.state, 43, &[(TABLE, b"new", Some(b"1"))]);
    assert_eq!(runtime().block_on(to.state.flush()).unwrap(), applied(43));
    let to = to.reopen(Flushed::all());
    assert_eq!(rows(&to.state.view(), TABLE).len(), 11);
}

#[test]
fn who_holds_the_state_of_before_an_install_goes_on_reading_it() {
    let (from, to) = (filled(10, 10), filled(3, 10));
    let old = to.state.snapshot();
    let mut chunks = old.chunks(None);
    let begun = chunks.next().unwrap().unwrap();
    let received = receive(&to.state, &stream(&from.state)).unwrap();
    std::thread::scope(|threads| {
        let view = to.state.view();
        let install = threads.spawn(|| drop(to.state.install(received).unwrap().swap()));
        for _ in 0..100 {
            assert_eq!(rows(&view, TABLE).len(), 3, "a view is of one moment");
        }
        drop(view);
        install.join().unwrap();
    });
    assert_eq!(rows(&to.state.view(), TABLE).len(), 10);
    let rest: Vec<_> = chunks.map(|chunk| chunk.unwrap().to_vec()).collect();
    let other = Fixture::new();
    let received = receive(&other.state, &[begun.to_vec(), rest.concat()].concat()).unwrap();
    drop(other.state.install(received).unwrap().swap());
    assert_eq!(rows(&other.state.view(), TABLE).len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn it_does_not_matter_where_the_stream_is_cut(cuts in proptest::collection::vec(1..400_usize, 1..40)) {
        let (from, to) = (filled(50, 20), Fixture::new());
        let stream = stream(&from.state);
        let (mut receiver, mut rest) = (to.state.receive(), stream.as_slice());
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            receiver.push(now).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        drop(to.state.install(receiver.finish().unwrap()).unwrap().swap());
        prop_assert_eq!(rows(&to.state.view(), TABLE), rows(&from.state.view(), TABLE));
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused_and_leaves_nothing() {
    let (from, to) = (filled(20, 20), Fixture::new());
    let stream = stream(&from.state);
    for at in 0..stream.len() {
        let mut flipped = stream.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(receive(&to.state, &flipped).is_err(), "byte {at} of {}", stream.len());
    }
    assert_eq!(files(&to), ["state.redb"]);
    assert_eq!(to.failure.get(), None, "a bad stream is not this node's trouble");
}

#[test]
fn a_truncated_stream_is_refused_with_words() {
    let (from, to) = (filled(20, 20), Fixture::new());
    let stream = stream(&from.state);
    for end in 0..stream.len() {
        let error = receive(&to.state, &stream[..end]).err().unwrap();
        assert_eq!(error.to_string(), "the snapshot ends before its trailer", "cut at {end}");
    }
    assert!(receive(&to.state, &stream).is_ok());
}

#[test]
fn a_chunk_left_out_repeated_or_added_is_refused_with_words() {
    let (from, to) = (filled(20_000, 200), Fixture::new());
    let (snapshot, receiver) = broken_off(&from, &Fixture::new());
    let resumption = snapshot.chunks(receiver.position()).next().unwrap().unwrap();
    let chunks: Vec<_> = from.state.snapshot().chunks(None).map(|chunk| chunk.unwrap()).collect();
    let check = |change: &dyn Fn(&mut Vec<Bytes>), words: &str| {
        let mut chunks = chunks.clone();
        change(&mut chunks);
        let error = receive(&to.state, &chunks.concat()).err().unwrap();
        assert!(error.to_string().starts_with(words), "{error}");
    };
    check(&|chunks| drop(chunks.remove(0)), "a chunk of kind 2 has no place here");
    check(&|chunks| drop(chunks.remove(1)), "the snapshot has ");
    check(&|chunks| chunks.insert(1, chunks[1].clone()), "rows of the snapshot out of order");
    check(&|chunks| chunks.swap(1, 2), "rows of the snapshot out of order");
    check(&|chunks| chunks.insert(1, chunks[0].clone()), "a chunk of kind 1 has no place here");
    check(&|chunks| chunks.push(chunks[0].clone()), "a chunk of kind 1 has no place here");
    check(&|chunks| drop(chunks.splice(..1, [resumption.clone()])), "a chunk of kind 4 has no place here");
    check(&|chunks| chunks.insert(1, Bytes::from(vec![255; 20])), "a chunk of 4294967295 bytes");
}

/// Sends what the receiver does not have, until `bytes` of it have arrived; whether that was all.
fn send(snapshot: &Snapshot, receiver: &mut Receiver, mut bytes: usize) -> bool {
    let behind = receiver.position().filter(|position| snapshot.leads_to(position));
    for chunk in snapshot.chunks(behind) {
        let chunk = chunk.unwrap();
        receiver.push(&chunk[..chunk.len().min(bytes)]).unwrap();
        if chunk.len() > bytes {
            return false;
        }
        bytes -= chunk.len();
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_stream_goes_on_behind_the_last_whole_block_wherever_it_breaks_off(parts in proptest::collection::vec(0..60_000_usize, 1..8)) {
        let (from, to) = (filled(20_000, 200), Fixture::new());
        let (snapshot, whole) = (from.state.snapshot(), stream(&from.state).len());
        let (mut receiver, mut left) = (to.state.receive(), parts.iter());
        while !send(&snapshot, &mut receiver, left.next().copied().unwrap_or(whole)) {
            let before = receiver.position();
            receiver = receiver.broken_off().unwrap_or_else(|| to.state.receive());
            let blocks = |position: Option<Position>| position.map_or(0, |position| position.blocks());
            prop_assert!(blocks(receiver.position()) >= blocks(before));
        }
        drop(to.state.install(receiver.finish().unwrap()).unwrap().swap());
        prop_assert_eq!(rows(&to.state.view(), TABLE), rows(&from.state.view(), TABLE));
        prop_assert_eq!(rows(&to.state.view(), OTHER).len(), 1);
        prop_assert_eq!(files(&to), ["state.redb"]);
    }
}

/// A snapshot, and a receiver that has its first two blocks.
fn broken_off(from: &Fixture, to: &Fixture) -> (Snapshot, Receiver) {
    let snapshot = from.state.snapshot();
    let mut receiver = to.state.receive();
    for chunk in snapshot.chunks(None).take(3) {
        receiver.push(&chunk.unwrap()).unwrap();
    }
    receiver.push(&[1, 2, 3]).unwrap();
    let receiver = receiver.broken_off().unwrap();
    assert_eq!(receiver.position().map(|position| position.blocks()), Some(2));
    (snapshot, receiver)
}

#[test]
fn only_the_rest_is_sent_and_the_trailer_proves_the_whole() {
    let (from, to) = (filled_with(20_000, 200, Flushed::all()), Fixture::new());
    let (snapshot, mut receiver) = broken_off(&from, &to);
    // The next checkpoint is not in it.
    apply(&from.state, 43, &[(TABLE, b"later", Some(b"x"))]);
    runtime().block_on(from.state.flush()).unwrap();
    let behind = receiver.position().filter(|position| snapshot.leads_to(position));
    let rest: Vec<_> = snapshot.chunks(behind).map(|chunk| chunk.unwrap()).collect();
    assert_eq!(rest.len(), snapshot.chunks(None).count() - 2, "as many, a resumption in the header's place");
    for chunk in &rest {
        receiver.push(chunk).unwrap();
    }
    let received = receiver.finish().unwrap();
    assert_eq!(received.checkpoint(), &applied(42));

    let without_one = |left_out: usize| {
        let (again, mut receiver) = broken_off(&from, &to);
        let behind = receiver.position().filter(|position| again.leads_to(position));
        for (_, chunk) in again.chunks(behind).enumerate().filter(|(at, _)| *at != left_out) {
            if let Err(error) = receiver.push(&chunk.unwrap()) {
                return error.to_string();
            }
        }
        receiver.finish().err().unwrap().to_string()
    };
    assert!(without_one(0).starts_with("a chunk of kind 2 has no place here"));
    assert!(without_one(1).starts_with("the snapshot has "), "{}", without_one(1));
    assert!(without_one(rest.len() - 1).starts_with("the snapshot ends before its trailer"));
}

#[test]
fn a_sender_that_does_not_agree_begins_again_and_so_does_the_receiver() {
    let (from, to) = (filled(20_000, 200), Fixture::new());
    let (snapshot, receiver) = broken_off(&from, &to);
    let position = receiver.position().unwrap();
    assert!(snapshot.leads_to(&position));
    assert!(
        !from.state.snapshot().leads_to(&position),
        "a checkpoint that was opened anew is another snapshot"
    );
    let others = [
        Position { blocks: 0, ..position.clone() },
        Position { blocks: 3, ..position.clone() },
        Position { blocks: u64::MAX, ..position.clone() },
        Position { key: b"elsewhere".to_vec(), ..position.clone() },
        Position { table: "test.b".into(), ..position.clone() },
        Position { so_far: Default::default(), ..position },
    ];
    for other in others {
        assert!(!snapshot.leads_to(&other), "{other:?}");
    }
    // A header in place of a resumption: another file, and what was in the first one is gone.
    let mut receiver = receiver;
    let anew = from.state.snapshot();
    assert!(send(&anew, &mut receiver, usize::MAX));
    assert_eq!(files(&to).len(), 2, "one draft");
    drop(to.state.install(receiver.finish().unwrap()).unwrap().swap());
    assert_eq!(rows(&to.state.view(), TABLE), rows(&from.state.view(), TABLE));
}

#[test]
fn what_is_not_the_rest_of_a_draft_is_refused_and_ends_it() {
    let (from, to) = (filled(20_000, 200), Fixture::new());
    let (_, mut receiver) = broken_off(&from, &to);
    let (other, longer) = broken_off(&filled(20_000, 210), &Fixture::new());
    let error = other.chunks(longer.position()).try_for_each(|chunk| receiver.push(&chunk.unwrap()));
    assert_eq!(error.unwrap_err().to_string(), "the snapshot goes on where this one does not end");
    assert!(receiver.broken_off().is_none() && files(&to) == ["state.redb"]);
    let fresh = to.state.receive();
    assert!(fresh.broken_off().is_none(), "nothing has arrived");
}

#[test]
fn a_declined_snapshot_and_a_leftover_are_deleted() {
    let (from, to) = (filled(10, 10), Fixture::new());
    let received = receive(&to.state, &stream(&from.state)).unwrap();
    assert_eq!(files(&to), ["incoming-0.redb", "state.redb"]);
    drop(received);
    assert_eq!(files(&to), ["state.redb"]);
    std::fs::write(to.dir.path().join("incoming-7.redb"), "of a killed process").unwrap();
    assert_eq!(files(&to.reopen(Flushed::all())), ["state.redb"]);
}

#[test]
fn a_row_that_went_bad_is_not_sent_on_and_stops_the_node() {
    let from = Fixture::new();
    apply(&from.state, 1, &[(TABLE, b"a", Some(b"1")), (TABLE, b"b", Some(NEEDLE))]);
    runtime().block_on(from.state.flush()).unwrap();
    let from = flip_a_bit(from);
    let last = from.state.snapshot().chunks(None).last().unwrap();
    assert!(last.unwrap_err().to_string().contains("bad checksum in table test.a"));
    assert!(from.failure.get().is_some());
}
