//! Writes that may be sent again against a plain model: a store that gets each of them once, and a map of what was answered.

#![allow(clippy::unwrap_used)] // a panic here is the message of a failed test

use bytes::Bytes;
use proptest::prelude::*;
use schedia_apps::once::{self, Fingerprint, KEEP_MS, Outcome, Unrepeatable, Write};
use schedia_apps::tables::MemoryTables;
use schedia_apps::{App, Applications, At, Command, Query, Refusal, Reply, Stop, kv};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    /// Sent with a key, perhaps again.
    Once(once::Command),
    /// Sent without one.
    Plain(kv::Command),
    /// Log time goes on.
    Wait(u64),
    /// One member begins anew from its tables: a restart, or a snapshot that it received.
    Reopen,
}

fn write() -> impl Strategy<Value = kv::Command> {
    let key = || proptest::sample::select(vec!["a", "b", ""]).prop_map(Bytes::from);
    let condition = || proptest::option::of(0u64..6);
    prop_oneof![
        4 => (key(), 0u8..3, condition()).prop_map(|(key, value, if_mod_revision)| {
            kv::Command::Put(kv::Put { key, value: vec![value].into(), if_mod_revision })
        }),
        2 => (key(), condition())
            .prop_map(|(key, if_mod_revision)| kv::Command::Delete(kv::Delete { key, if_mod_revision })),
        1 => (0u64..6).prop_map(|revision| kv::Command::Compact { revision }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let once = (proptest::sample::select(vec!["", "p"]), proptest::sample::select(vec!["k1", "k2"]), write());
    prop_oneof![
        8 => once.prop_map(|(principal, key, write)| {
            let fingerprint = Fingerprint::of(&[format!("{write:?}").as_bytes()]);
            let (principal, key, write) = (principal.to_owned(), key.to_owned(), Write::Kv(write));
            Step::Once(once::Command { principal, key, fingerprint, write })
        }),
        2 => write().prop_map(Step::Plain),
        2 => (0..KEEP_MS).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
    ]
}

/// A member: the applications, and the tables under them.
struct Member(Applications, MemoryTables);

impl Member {
    fn new() -> Member {
        let tables = MemoryTables::default();
        Member(Applications::open(&tables).unwrap(), tables)
    }

    fn apply(&mut self, at: At, command: Command) -> Result<Reply, Stop> {
        self.0.apply(at, command, &mut self.1).map(|(reply, _)| reply)
    }

    fn list(&self) -> Reply {
        let list = kv::List {
            range: kv::KeyRange::all(),
            revision: None,
            after: None,
            limit: 0,
            detail: kv::Detail::Whole,
        };
        self.0.query(At::default(), Query::Kv(kv::Query::List(list)), &self.1).unwrap()
    }
}

/// What was answered: when, to what, how.
type Answered = BTreeMap<(String, String), (u64, Fingerprint, Outcome)>;

fn expected(
    answered: &mut Answered,
    plain: &mut Member,
    at: At,
    command: &once::Command,
) -> Result<Reply, Stop> {
    let once::Command { principal, key, fingerprint, write: Write::Kv(write) } = command;
    let key = (principal.clone(), key.clone());
    if let Some((_, asked, outcome)) = answered.get(&key).filter(|kept| kept.0 + KEEP_MS > at.time_ms) {
        return match asked == fingerprint {
            true => Ok(Reply::Once(once::Reply { replayed: true, outcome: outcome.clone() })),
            false => Err(Stop::Refused(Unrepeatable::KeyReused.into())),
        };
    }
    let outcome = match plain.apply(at, Command::Kv(write.clone())) {
        Ok(Reply::Kv(reply)) => Outcome::Kv(reply),
        Ok(other) => panic!("not the reply of kv: {other:?}"),
        Err(Stop::Refused(Refusal::Kv(kv::Refusal::KeyLength { bytes }))) => {
            return Err(Stop::Refused(kv::Refusal::KeyLength { bytes }.into()));
        }
        Err(Stop::Refused(refusal)) => Outcome::Refused(refusal),
        Err(stop) => panic!("{stop}"),
    };
    answered.insert(key, (at.time_ms, *fingerprint, outcome.clone()));
    Ok(Reply::Once(once::Reply { replayed: false, outcome }))
}

proptest! {
    /// Two members apply the same log, one of them beginning anew at any time. They answer alike, and as a store that was
    /// given every write once.
    #[test]
    fn each_write_takes_effect_once_and_every_copy_is_answered_alike(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let (mut plain, mut stays, mut reopens) = (Member::new(), Member::new(), Member::new());
        let (mut answered, mut time_ms) = (Answered::new(), 1_000);
        for (index, step) in steps.into_iter().enumerate() {
            let at = At { index: index as u64, time_ms, ..At::default() };
            let (command, expected) = match step {
                Step::Wait(ms) => {
                    time_ms += ms;
                    continue;
                }
                Step::Reopen => {
                    reopens.0 = Applications::open(&reopens.1).unwrap();
                    continue;
                }
                Step::Once(once) => {
                    let expected = expected(&mut answered, &mut plain, at, &once);
                    (Command::Once(once), expected)
                }
                Step::Plain(write) => (Command::Kv(write.clone()), plain.apply(at, Command::Kv(write))),
            };
            let before = Applications::digest(&stays.1).unwrap();
            let found = stays.apply(at, command.clone());
            prop_assert_eq!(&found, &reopens.apply(at, command));
            prop_assert_eq!(&found, &expected);
            let digest = Applications::digest(&stays.1).unwrap();
            prop_assert_eq!(digest, Applications::digest(&reopens.1).unwrap());
            prop_assert!(found.is_ok() || digest == before, "refused, and changed something");
            prop_assert_eq!(&stays.0, &reopens.0);
        }
        prop_assert_eq!(stays.list(), plain.list());
        prop_assert_eq!(reopens.list(), plain.list());
    }
}
