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
    let fixture = Fixture::with(Options::default(), Flushed::until(43), None);
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
    state.snapshot().chunks().map(|chunk| chunk.unwrap().to_vec()).collect::<Vec<_>>().concat()
}

fn receive(state: &State, stream: &[u8]) -> io::Result<Received> {
    let mut receiver = state.receive()?;
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
    assert!(from.state.snapshot().chunks().count() > 4, "several blocks");
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
    let mut chunks = old.chunks();
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
        let (mut receiver, mut rest) = (to.state.receive().unwrap(), stream.as_slice());
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
    let chunks: Vec<_> = from.state.snapshot().chunks().map(|chunk| chunk.unwrap()).collect();
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
    check(&|chunks| chunks.insert(1, Bytes::from(vec![255; 20])), "a chunk of 4294967295 bytes");
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
    let last = from.state.snapshot().chunks().last().unwrap();
    assert!(last.unwrap_err().to_string().contains("bad checksum in table test.a"));
    assert!(from.failure.get().is_some());
}
