//! What is kept, for how long, and whose it is.

use super::*;
use crate::kv;
use crate::tables::{MemoryTables, Range};

fn at(index: u64, time_ms: u64) -> At {
    At { index, time_ms, ..At::default() }
}

fn command(key: &str) -> Command {
    let write = Write::Kv(kv::Command::Compact { revision: 1 });
    let fingerprint = Fingerprint::of(&[key.as_bytes()]);
    Command { principal: String::new(), key: key.to_owned(), fingerprint, write }
}

fn outcome(revision: u64) -> Outcome {
    Outcome::Kv(kv::Reply::Deleted { revision })
}

fn keep(once: &mut Once, at: At, key: &str, tables: &mut MemoryTables) {
    let Begun::First(pending) = once.begin(at, &command(key), tables).unwrap() else {
        panic!("{key} was used before")
    };
    once.keep(at, pending, &outcome(at.index), tables);
}

fn kept(once: &Once, at: At, key: &str, tables: &MemoryTables) -> Option<Outcome> {
    match once.begin(at, &command(key), tables).unwrap() {
        Begun::First(_) => None,
        Begun::Before(reply) => Some(reply.outcome),
    }
}

fn rows(tables: &MemoryTables) -> [usize; 2] {
    TABLES.map(|table| tables.scan(table, Range::all(), false).count())
}

#[test]
fn beyond_the_bound_the_oldest_go_first() {
    let (mut once, mut tables) = (Once::default(), MemoryTables::default());
    for n in 0..10 {
        keep(&mut once, at(n, n), &format!("k{n}"), &mut tables);
        once.remove_beyond(3, at(n, n), &mut tables).unwrap();
        assert_eq!(once, Once::open(&tables).unwrap());
    }
    assert_eq!(rows(&tables), [3, 3]);
    assert_eq!(kept(&once, at(10, 10), "k6", &tables), None);
    assert_eq!(kept(&once, at(10, 10), "k7", &tables), Some(outcome(7)));
}

#[test]
fn one_command_removes_a_few_and_what_is_left_is_not_answered() {
    let (mut once, mut tables) = (Once::default(), MemoryTables::default());
    for n in 0..10 {
        keep(&mut once, at(n, 0), &format!("k{n}"), &mut tables);
    }
    let later = at(10, KEEP_MS);
    once.remove_old(later, &mut tables).unwrap();
    assert_eq!(rows(&tables), [10 - REMOVED_PER_COMMAND; 2]);
    assert_eq!(kept(&once, at(9, KEEP_MS - 1), "k9", &tables), Some(outcome(9)));
    assert_eq!(kept(&once, later, "k9", &tables), None, "its time is over, though its row is there");
    // Used again, it is another one: the old one's place must not take it away.
    keep(&mut once, later, "k9", &mut tables);
    for _ in 0..10 {
        once.remove_old(later, &mut tables).unwrap();
        assert_eq!(once, Once::open(&tables).unwrap());
    }
    assert_eq!(rows(&tables), [1, 1]);
    assert_eq!(kept(&once, later, "k9", &tables), Some(outcome(10)));
    once.remove_old(at(11, 2 * KEEP_MS), &mut tables).unwrap();
    assert_eq!((rows(&tables), &once), ([0, 0], &Once::default()));
}

#[test]
fn the_keys_of_two_principals_never_meet() {
    let key = |principal, key| rows::reply_key(principal, 1, key);
    assert_ne!(key("a", "b"), key("", "ab"));
    assert_ne!(key("a\0", "b"), key("a", "\0b"));
}

#[test]
fn a_fingerprint_tells_where_one_part_ends() {
    assert_ne!(Fingerprint::of(&[b"ab", b"c"]), Fingerprint::of(&[b"a", b"bc"]));
    assert_eq!(Fingerprint::of(&[b"ab", b"c"]), Fingerprint::of(&[b"ab", b"c"]));
}
