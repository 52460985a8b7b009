//! Commands as they stand in logs: the bytes of every level decode for ever, and apply to the same digest.

#![allow(clippy::unwrap_used)] // a panic here is the message of a failed test

#[path = "levels/queue.rs"]
mod queue;

use bytes::Bytes;
use schedia_apps::cluster::Command::{
    AddLearner, Initialize, Join, RaiseLevel, RemoveMember, SetVoters, Settle, UpdateMember,
};
use schedia_apps::cluster::{Member, Record};
use schedia_apps::tables::MemoryTables;
use schedia_apps::{App, Applications, At, Command, Epoch, Level, NodeId, StoreId, kv, once};

/// One of each command, in an order in which all succeed.
fn level_1() -> Vec<Command> {
    let id = |text: &str| -> StoreId { text.parse().unwrap() };
    let member = |n: u64, http_url: Option<&str>| Member {
        id: NodeId(n),
        name: format!("n{n}"),
        address: format!("n{n}:7000"),
        http_url: http_url.map(str::to_owned),
        store_id: Some(id(&format!("s{n}"))),
    };
    let record = Record {
        generation: 1,
        members: [(NodeId(1), member(1, None))].into(),
        voters: [NodeId(1)].into(),
        joining: Default::default(),
        settled: true,
        shards: 1,
        level: Level(1),
        epoch: Epoch(0),
        managed_by: None,
    };
    let put = kv::Put { key: Bytes::from("key"), value: Bytes::from("value"), if_mod_revision: Some(0) };
    let mut commands = vec![
        Command::Cluster(Initialize(record)),
        Command::Cluster(AddLearner { member: member(7, None), expected: 1 }),
        Command::Cluster(Settle { generation: 2 }),
        Command::Cluster(SetVoters { voters: [NodeId(1), NodeId(7)].into(), expected: 2 }),
        Command::Cluster(Settle { generation: 3 }),
        Command::Cluster(UpdateMember { member: member(7, Some("http://n7:8080")), expected: 3 }),
        Command::Cluster(Settle { generation: 4 }),
        Command::Cluster(SetVoters { voters: [NodeId(1)].into(), expected: 4 }),
        Command::Cluster(Settle { generation: 5 }),
        Command::Cluster(RemoveMember { id: NodeId(7), expected: 5 }),
        Command::Cluster(Settle { generation: 6 }),
        Command::Cluster(RaiseLevel { level: Level(1), expected: 6 }),
        Command::Cluster(Join {
            name: "n9".to_owned(),
            address: "n9:7000".to_owned(),
            http_url: None,
            store_id: id("s9"),
        }),
        Command::Kv(kv::Command::Put(put)),
        Command::Kv(kv::Command::Delete(kv::Delete { key: Bytes::from("key"), if_mod_revision: None })),
        Command::Kv(kv::Command::Compact { revision: 2 }),
        Command::Kv(kv::Command::DeleteRange(kv::DeleteRange {
            range: range("a", Some("b")),
            limit: Some(3),
        })),
        Command::Kv(kv::Command::DeleteRange(kv::DeleteRange { range: range("a", None), limit: None })),
        Command::Kv(kv::Command::Txn(txn())),
        Command::Once(once::Command {
            principal: "alice".to_owned(),
            key: "k".to_owned(),
            fingerprint: once::Fingerprint::of(&[b"PUT", b"/v1/kv/b", b"1"]),
            write: once::Write::Kv(kv::Command::Put(kv::Put {
                key: Bytes::from("b"),
                value: Bytes::from("1"),
                if_mod_revision: None,
            })),
        }),
    ];
    commands.extend(queue::commands().into_iter().map(Command::Queue));
    commands
}

fn range(start: &'static str, end: Option<&'static str>) -> kv::KeyRange {
    kv::KeyRange { start: Bytes::from(start), end: end.map(Bytes::from) }
}

/// One of everything a transaction has.
fn txn() -> kv::Txn {
    let compare = |keys, target, relation| kv::Compare { keys, target, relation };
    let one = || kv::Keys::One(Bytes::from("key"));
    let list = kv::List {
        range: range("", None),
        revision: Some(3),
        after: Some(kv::Continuation { revision: 3, key: Bytes::from("a") }),
        limit: 10,
        detail: kv::Detail::KeysOnly,
    };
    kv::Txn {
        compare: vec![
            compare(one(), kv::Target::Version(0), kv::Relation::Equal),
            compare(one(), kv::Target::CreateRevision(1), kv::Relation::NotEqual),
            compare(kv::Keys::Range(range("k", Some("l"))), kv::Target::ModRevision(1), kv::Relation::Less),
            compare(one(), kv::Target::Value(Bytes::from("value")), kv::Relation::Greater),
        ],
        success: vec![],
        failure: vec![
            kv::Operation::Put { key: Bytes::from("key"), value: Bytes::from("value") },
            kv::Operation::Delete(kv::Keys::One(Bytes::from("other"))),
            kv::Operation::Delete(kv::Keys::Range(range("o", None))),
            kv::Operation::Get { key: Bytes::from("key"), revision: None },
            kv::Operation::List(list),
        ],
    }
}

/// What a release of level 1 wrote. Never edited: a difference means that old logs can no longer be read.
const GOLDEN: [&str; 53] = [
    "000001010101026e31076e313a3730303000010273310101000101010000",
    "000107026e37076e373a37303030000102733701",
    "000302",
    "000202010702",
    "000303",
    "000507026e37076e373a37303030010e687474703a2f2f6e373a383038300102733703",
    "000304",
    "0002010104",
    "000305",
    "00040705",
    "000306",
    "00060106",
    "0007026e39076e393a3730303000027339",
    "0100036b65790576616c75650100",
    "0101036b657900",
    "010202",
    "010301610101620103",
    "010301610000",
    "01040400036b657900000000036b657901010101016b01016c02010300036b6579030576616c756502000500036b65790576616c75650100056f746865720101016f0002036b6579000300000103010301610a01",
    "0205616c696365016b112201bb3d65fd98d2eb4de09db8ac4d7b9bad4d7d0e963bc462d338a445c44000000162013100",
    "030004000000000001400080000000000000010461636d65064f7264657273077b226e223a317d090109687474703a2f2f682f0501016be0d403000001840780b89929010430302d310103613d62000000000001400080000000000000020461636d65064f7264657273077b226e223a317d0000050002010001840780b899290000000000000001400080000000000000030461636d65064f7264657273077b226e223a317d00000500018095f52a0001840780b899290000000000000001400080000000000000040461636d65064f7264657273077b226e223a317d00000500000001840780b899290000",
    "030004000000000001400080000000000000050461636d65046d61696c077b226e223a317d000001000001010080b899290000000000000001400080000000000000060461636d65046d61696c077b226e223a317d000001000002010080b899290000000000000001400080000000000000070461636d65046d61696c077b226e223a317d000001000003010080b899290000000000000001400080000000000000080461636d65046d61696c077b226e223a317d000001000004010080b899290000",
    "03010461636d6502066f726465727300046d61696c010303616e6e80dddb0103",
    "0302000000000001400080000000000000010461636d6503616e6e01000680bab703",
    "0303000000000001400080000000000000040461636d6503616e6e00",
    "0304000000000001400080000000000000020461636d6503616e6e0001050178",
    "030502000000000001400080000000000000010461636d6503616e6e01000600027b7d01036c6f670c687474703a2f2f662f6c6f67000000000001400080000000000000040461636d6503616e6e0001026e6f0000",
    "03060a",
    "0307e807",
    "03010461636d6502066f726465727300046d61696c010303616e6e80dddb0106",
    "030501000000000001400080000000000000040461636d6503616e6e0001026e6f01013100",
    "0304000000000001400080000000000000050461636d6503616e6e00000178",
    "0304000000000001400080000000000000060461636d6503616e6e00000178",
    "030d000000000001400080000000000000010a00018095f52a",
    "030d000000000001400080000000000000010a0100",
    "030a0461636d65046d61696c03018095f52a01010000000000014000800000000000000509",
    "030a0461636d65046d61696c01000009",
    "030a0461636d65066f726465727305000009",
    "03080461636d6500000000000140008000000000000003",
    "030a0461636d65066f726465727306000009",
    "03090461636d65064f726465727301",
    "030b0461636d65064f72646572730001010009",
    "030b0461636d65064f7264657273040001010509",
    "030c8095f52a01",
    "030e0461636d65066f7264657273030005090504646561643c07",
    "030e0461636d65046d61696c030005090504646561643c07",
    "030f0461636d65046d61696c",
    "0310000000000001400080000000000000010461636d6509687474703a2f2f772f01064f7264657273000580dddb01",
    "0310000000000001400080000000000000020461636d6509687474703a2f2f772f01064f72646572730101670580dddb01",
    "0310000000000001400080000000000000030461636d6509687474703a2f2f772f01064f7264657273020580dddb01",
    "03110461636d650000000000014000800000000000000101e0d403",
    "03110461636d650000000000014000800000000000000200",
    "03120461636d6500000000000140008000000000000003",
];
/// The digests of the first so many: those that came later must not have changed what they do.
const DIGESTS: [(usize, &str); 4] = [
    (16, "1b04395a937644c191dd3069dca52f509ed34139fc3a227d6b3b31973e4e4f99"),
    (19, "4c32882fbc8910446d0587986b824ac40418de7ca46981d89072c2257d22aeeb"),
    (20, "b4ccf6cc0e8bec33d0a0894edccb5a455786825fb3b86920467475a5c27c3174"),
    (53, "52ea72a5f98c23d063f95f38b2505d88d126deaddc4214e2667dea0b58a3e51d"),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn commands_of_level_1_are_written_as_they_always_were() {
    let found: Vec<String> = level_1().iter().map(|command| hex(&command.encode())).collect();
    assert_eq!(found, GOLDEN, "append variants instead of changing them, and raise the level");
}

#[test]
fn golden_commands_of_level_1_apply_to_the_same_digest() {
    let mut tables = MemoryTables::default();
    let mut apps = Applications::open(&tables).unwrap();
    for (n, golden) in GOLDEN.iter().enumerate() {
        let command = Command::decode(Level(1), &unhex(golden)).unwrap();
        let at = At { index: 10 + n as u64, time_ms: 60_000 * n as u64, ..At::default() };
        apps.apply(at, command, &mut tables).unwrap_or_else(|stop| panic!("command {n}: {stop}"));
        if let Some((count, digest)) = DIGESTS.iter().find(|(count, _)| *count == n + 1) {
            assert_eq!(Applications::digest(&tables).unwrap().to_string(), *digest, "of the first {count}");
        }
    }
}

#[test]
fn what_is_no_command_of_its_level_is_refused_in_words() {
    let bytes = Command::Kv(kv::Command::Compact { revision: 2 }).encode();
    let refusal = |level, bytes: &[u8]| Command::decode(level, bytes).unwrap_err().to_string();
    assert_eq!(refusal(Level(2), &bytes), "no command of level 2: this release knows levels 1 to 1");
    assert_eq!(
        refusal(Level(1), &[&bytes[..], &[0]].concat()),
        "no command of level 1: 1 bytes behind its end"
    );
    assert!(refusal(Level(1), &bytes[..2]).starts_with("no command of level 1: "));
    assert!(refusal(Level(1), &[9]).starts_with("no command of level 1: "));
}
