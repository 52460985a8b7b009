//! Any bytes as commands that are applied, and as the rows of a state.

use super::{Input, Target, again, queue};
use bytes::Bytes;
use schedia_apps::cluster::{self, Member, Record};
use schedia_apps::kv::{self, Compare, Detail, KeyRange, Keys, List, Operation, Relation, Since, Txn};
use schedia_apps::once::{self, Fingerprint};
use schedia_apps::tables::{MemoryTables, Tables};
use schedia_apps::{App, Applications, At, Command, Epoch, Level, NodeId, Query, Stop, TABLES, sweep};

/// What a state in memory, and a list whose length nobody trusts, take.
const MEMORY: u64 = 4 << 20;

pub(crate) const TARGETS: [Target; 2] = [
    Target { name: "command", memory: MEMORY, run: commands, seeds: command_seeds },
    Target { name: "state-rows", memory: MEMORY, run: rows, seeds: row_seeds },
];

/// One command after another, each behind its length and the time that has passed. Whatever was decoded is applied or
/// refused, and breaks no state: an entry that did would stop every member for good.
fn commands(input: &[u8]) {
    let mut input = Input(input);
    let mut tables = MemoryTables::default();
    let mut applications = Applications::open(&tables).expect("an empty state");
    let mut at = At { epoch: Epoch(0), index: 0, position: 0, time_ms: 1 };
    while let (Some(passed), Some(bytes)) = (input.byte(), input.bytes()) {
        again(bytes, |bytes| Command::decode(Level::MAX, bytes), Command::encode);
        let Ok(command) = Command::decode(Level::MAX, bytes) else { continue };
        at = At { index: at.index + 1, time_ms: at.time_ms + u64::from(passed) * 3_600_000, ..at };
        let (before, tables_before) = (applications.clone(), tables.clone());
        match applications.apply(at, command, &mut tables) {
            Ok(_) => {}
            Err(Stop::Refused(refusal)) => {
                assert!(!refusal.to_string().is_empty());
                assert!(
                    applications == before && tables == tables_before,
                    "a refusal changed something: {refusal}"
                );
            }
            Err(Stop::Broken(words)) => panic!("a command broke the state: {words}"),
        }
        let opened = Applications::open(&tables).expect("a state that was applied");
        assert_eq!(opened, applications, "what is in memory follows from the tables");
    }
    let digest = Applications::digest(&tables).expect("a state that was applied");
    sweep(&mut tables, 100).expect("a state that was applied");
    assert_eq!(Applications::digest(&tables).expect("a state that was swept"), digest);
    ask(&applications, at, &tables).expect("a state that was applied answers");
}

/// Every kind of question. A refusal is an answer.
fn ask(applications: &Applications, at: At, tables: &MemoryTables) -> Result<(), Stop> {
    let range = KeyRange::all;
    let list = List { range: range(), revision: None, after: None, limit: 10, detail: Detail::Whole };
    let key = Bytes::from_static(b"k");
    let get = Operation::Get { key: key.clone(), revision: None };
    let txn = Txn { compare: vec![], success: vec![get, Operation::List(list.clone())], failure: vec![] };
    let from = kv::Revision { main: 1, sub: 0 };
    let questions = [
        Query::Cluster(cluster::Query::Record),
        Query::Cluster(cluster::Query::Removed(NodeId(7))),
        Query::Kv(kv::Query::Get { key: key.clone(), revision: None }),
        Query::Kv(kv::Query::Get { key, revision: Some(2) }),
        Query::Kv(kv::Query::List(list.clone())),
        Query::Kv(kv::Query::List(List { revision: Some(2), detail: Detail::CountOnly, ..list })),
        Query::Kv(kv::Query::Revisions),
        Query::Kv(kv::Query::Compactable { now_ms: at.time_ms, keep_ms: 0, keep_revisions: 0 }),
        Query::Kv(kv::Query::Txn(txn)),
        Query::Kv(kv::Query::Changes(Since { range: range(), from, previous: true })),
    ];
    for question in questions.into_iter().chain(queue::every_query().into_iter().map(Query::Queue)) {
        match applications.query(at, question, tables) {
            Ok(_) | Err(Stop::Refused(_)) => {}
            Err(broken) => return Err(broken),
        }
    }
    Ok(())
}

/// A state that nobody wrote like this opens and answers, or says what is broken.
fn rows(input: &[u8]) {
    let (mut input, mut tables) = (Input(input), MemoryTables::default());
    while let (Some(table), Some(key), Some(value)) = (input.byte(), input.bytes(), input.bytes()) {
        tables.put(TABLES[usize::from(table) % TABLES.len()], key, Bytes::copy_from_slice(value));
    }
    let in_words = |stop: Stop| assert!(!stop.to_string().is_empty());
    let at = At { epoch: Epoch(0), index: 9, position: 0, time_ms: 1 << 40 };
    match Applications::open(&tables) {
        Err(stop) => in_words(stop),
        Ok(mut applications) => {
            ask(&applications, at, &tables).unwrap_or_else(in_words);
            for command in every_command() {
                drop(applications.apply(at, command, &mut tables).map_err(in_words));
            }
        }
    }
    sweep(&mut tables, 100).map_err(in_words).unwrap_or_default();
    let _ = Applications::digest(&tables).map_err(in_words);
}

fn every_command() -> Vec<Command> {
    let member = |n: u64| Member {
        id: NodeId(n),
        name: format!("n{n}"),
        address: format!("n{n}:7000"),
        http_url: None,
        store_id: Some(format!("s{n}").parse().expect("an id")),
    };
    let record = Record {
        generation: 1,
        members: [(NodeId(1), member(1))].into(),
        voters: [NodeId(1)].into(),
        joining: [].into(),
        settled: true,
        shards: 1,
        level: Level(1),
        epoch: Epoch(0),
        managed_by: None,
    };
    let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
    let range = KeyRange { start: Bytes::new(), end: Some(Bytes::from_static(b"z")) };
    let put = || kv::Command::Put(kv::Put { key: key.clone(), value: value.clone(), if_mod_revision: None });
    let target = kv::Target::Version(1);
    let compare = Compare { keys: Keys::One(key.clone()), target, relation: Relation::Greater };
    let success = vec![
        Operation::Put { key: Bytes::from_static(b"l"), value: value.clone() },
        Operation::Delete(Keys::Range(range.clone())),
    ];
    let join = cluster::Command::Join {
        name: "n9".to_owned(),
        address: "n9:7000".to_owned(),
        http_url: None,
        store_id: "s9".parse().expect("an id"),
    };
    let fingerprint = Fingerprint::of(&[b"PUT", b"/v1/kv/k", b"v"]);
    let (principal, write) = (String::new(), once::Write::Kv(put()));
    let mut commands = vec![
        Command::Cluster(cluster::Command::Initialize(record)),
        Command::Cluster(cluster::Command::AddLearner { member: member(3), expected: 1 }),
        Command::Cluster(cluster::Command::Settle { generation: 2 }),
        Command::Cluster(cluster::Command::SetVoters { voters: [NodeId(1), NodeId(3)].into(), expected: 2 }),
        Command::Cluster(cluster::Command::Settle { generation: 3 }),
        Command::Cluster(join),
        Command::Cluster(cluster::Command::RemoveMember { id: NodeId(3), expected: 3 }),
        Command::Kv(put()),
        Command::Kv(put()),
        Command::Kv(kv::Command::Delete(kv::Delete { key: key.clone(), if_mod_revision: None })),
        Command::Once(once::Command { principal, key: "once".to_owned(), fingerprint, write }),
        Command::Kv(kv::Command::Txn(Txn { compare: vec![compare], success, failure: vec![] })),
        Command::Kv(kv::Command::DeleteRange(kv::DeleteRange { range, limit: Some(3) })),
        Command::Kv(kv::Command::Compact { revision: 4 }),
    ];
    commands.extend(queue::every_command().into_iter().map(Command::Queue));
    commands
}

fn listed(commands: &[Command]) -> Vec<u8> {
    let one = |command: &Command| {
        let bytes = command.encode();
        let length = u8::try_from(bytes.len()).expect("a short command");
        [&[1, length], &bytes[..]].concat()
    };
    commands.iter().flat_map(one).collect()
}

fn command_seeds() -> Vec<Vec<u8>> {
    let commands = every_command();
    let each = commands.iter().map(|command| listed(std::slice::from_ref(command)));
    each.chain([listed(&commands)]).collect()
}

/// The rows that the commands leave.
fn row_seeds() -> Vec<Vec<u8>> {
    let mut tables = MemoryTables::default();
    let mut applications = Applications::open(&tables).expect("an empty state");
    let commands = every_command().into_iter().zip(1..);
    let mut seeds = Vec::new();
    for (command, index) in commands {
        let at = At { epoch: Epoch(0), index, position: 0, time_ms: 1 << 40 };
        let _ = applications.apply(at, command, &mut tables);
        // With and without history; a task in progress and one delayed; ended, with a webhook; waiting again.
        if [8, 14, 19, 23, 28].contains(&index) {
            seeds.push(all_rows(&tables));
        }
    }
    seeds
}

fn all_rows(tables: &MemoryTables) -> Vec<u8> {
    let mut all = Vec::new();
    for (number, table) in TABLES.into_iter().enumerate() {
        for row in tables.scan(table, schedia_apps::tables::Range::all(), false) {
            let (key, value) = row.expect("rows in memory");
            all.push(number as u8);
            for bytes in [key, value] {
                all.push(bytes.len() as u8);
                all.extend_from_slice(&bytes);
            }
        }
    }
    all
}
