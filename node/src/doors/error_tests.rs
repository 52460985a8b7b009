//! The table itself, golden: an error's status, code and message are part of the interface.

use super::*;
use crate::storage::{Failed, Full};
use schedia_apps::queue::{Place, SubscriptionId, TaskId};
use schedia_apps::{NodeId, ShardId};
use std::path::PathBuf;

#[test]
fn every_error_has_its_status_code_and_words() {
    let shard: Vec<ShardError> = vec![
        ShardError::Unavailable { reason: "the leader did not take it".into() },
        ShardError::NoLeader,
        ShardError::NotLeader { leader: Some(NodeId(2)) },
        ShardError::OutcomeUnknown { reason: "the deadline passed".into() },
        ShardError::Busy,
        ShardError::NotRecovered,
        ShardError::Stopped { reason: "/data/log: sync failed".into() },
        ShardError::TooLarge { bytes: 3, bytes_max: 2 },
        ShardError::DiskLow,
        ShardError::DiskFull,
    ];
    let kv: Vec<kv::Refusal> = vec![
        kv::Refusal::KeyNotFound,
        kv::Refusal::ModRevisionDiffers { current: 7 },
        kv::Refusal::Compacted { compacted: 5 },
        kv::Refusal::FutureRevision { current: 9 },
        kv::Refusal::KeyLength { bytes: 0 },
        kv::Refusal::KeyLength { bytes: 4097 },
        kv::Refusal::ValueTooLarge { bytes: 1572865 },
        kv::Refusal::TooManyOperations { operations: 129 },
        kv::Refusal::DuplicateKey { key: "a\n".into() },
        kv::Refusal::TooManyKeys { keys_max: 10000 },
        kv::Refusal::ReadsTooMuch { bytes_max: 2097152 },
        kv::Refusal::NotOnlyReads,
    ];
    let task = TaskId([7; 16]);
    let length = queue::Refusal::Length { what: "command".into(), bytes: 0, bytes_min: 1, bytes_max: 255 };
    let count = queue::Refusal::Count { what: "ids".into(), count: 1_001, count_min: 0, count_max: 1_000 };
    let queue: Vec<queue::Refusal> = vec![
        queue::Refusal::UnknownTask,
        queue::Refusal::NotOwner,
        queue::Refusal::NotInProgress,
        queue::Refusal::AlreadyEnded,
        queue::Refusal::TaskExists { id: task },
        queue::Refusal::UnknownSubscription,
        queue::Refusal::SubscriptionExists { id: SubscriptionId([7; 16]) },
        queue::Refusal::Full { what: "queue".into(), count_max: 100_000 },
        queue::Refusal::AnswersTooMuch { bytes_max: 1_048_576 },
        length,
        count,
        queue::Refusal::WrongPlace { place: Place::InProgress },
    ];
    let limited = RateLimited { scope: "admin", operation: "cleanup", retry_after_s: 3 };
    let denied = [
        Denied::Unauthorized("invalid token".into()),
        Denied::Forbidden("missing scope"),
        Denied::RateLimited(limited),
    ];
    let id = NodeId(4);
    let cluster: Vec<cluster::Refusal> = vec![
        cluster::Refusal::Stale { current: 3 },
        cluster::Refusal::ChangeInProgress { current: 3 },
        cluster::Refusal::NotInitialized,
        cluster::Refusal::AlreadyInitialized { difference: "name".into() },
        cluster::Refusal::UnknownMember { id },
        cluster::Refusal::Removed { id, index: 12 },
        cluster::Refusal::OtherMember { id, difference: "name".into() },
        cluster::Refusal::IdNotGiven { id },
        cluster::Refusal::StillVotes { id },
        cluster::Refusal::Managed { by: "operator".into() },
        cluster::Refusal::NameTaken { id, address: "n4:7000".into() },
        cluster::Refusal::Invalid { reason: "no voters".into() },
    ];
    let once = ShardError::Refused(Unrepeatable::KeyReused.into());
    let membership = vec![
        MembershipError::Stale,
        MembershipError::InProgress,
        MembershipError::JointOpen,
        MembershipError::NotMember(id),
        MembershipError::NotCaughtUp(id),
        MembershipError::Impossible("no voters".into()),
        MembershipError::Shard(ShardError::NoLeader),
    ];
    let address = || "127.0.0.1:9001".to_owned();
    let invite = vec![
        InviteError::Silent { address: address(), reason: "connection refused".into() },
        InviteError::OtherCluster { address: address(), cluster_id: "c2".parse().unwrap() },
        InviteError::OtherNode { address: address(), is: "n2".into(), meant: "n9".into() },
        InviteError::Declined { address: address() },
        InviteError::Join(JoinError::Unassigned),
    ];
    let join = vec![
        JoinError::AlreadyAssigned { cluster_id: "c-1".parse().unwrap(), node_id: id },
        JoinError::Unassigned,
        JoinError::ManagedByOperator,
        JoinError::NotThatMember { is: "node 5 of cluster c-2".into() },
        JoinError::NotConfirmed { reason: "no leader".into() },
        JoinError::Invalid("an address is host:port".into()),
        JoinError::Storage(std::io::Error::other("no such directory")),
        JoinError::Membership(MembershipError::NotCaughtUp(id)),
        JoinError::Shard(ShardError::NoLeader),
    ];
    let file = PathBuf::from("/data/log");
    let unready: Vec<Unready> = vec![
        Failed { file: file.clone(), reason: "input/output error".into() }.into(),
        Full { file, reason: "no space left on device".into() }.into(),
        Unready::Stopped { shard: ShardId(0), reason: "the state is broken".into() },
        Unready::Unassigned,
        Unready::Removed(id),
        Unready::NotMember,
        Unready::Recovering,
        Unready::NoLeader { since: None },
        Unready::ShuttingDown,
    ];
    let errors = (shard.into_iter().map(DoorError::from))
        .chain(kv.into_iter().map(|e| ShardError::Refused(e.into()).into()))
        .chain(cluster.into_iter().map(|e| ShardError::Refused(e.into()).into()))
        .chain([once.into()])
        .chain(queue.into_iter().map(|e| ShardError::Refused(e.into()).into()))
        .chain(denied.into_iter().map(DoorError::from))
        .chain(membership.into_iter().map(DoorError::from))
        .chain(invite.into_iter().map(DoorError::from))
        .chain(join.into_iter().map(DoorError::from))
        .chain(unready.into_iter().map(DoorError::from));
    let line = |e: DoorError| {
        let current = e.info.current.map_or(String::new(), |n| format!(" current={n}"));
        format!("{} {}{current}: {}\n", e.status.as_u16(), e.info.code, e.info.message)
    };
    let table: String = errors.map(line).collect();
    let golden = include_str!("error_table.txt");
    assert_eq!(table, golden, "the table changed:\n{table}");
}

#[test]
fn a_client_is_told_when_to_come_back_and_where() {
    let busy = DoorError::from(ShardError::Busy).with_leader(Some("http://n1:8080".into()));
    assert_eq!(busy.info.leader, None, "the leader is as busy");
    assert_eq!(busy.into_response().headers()[RETRY_AFTER], "1");
    let elsewhere =
        DoorError::from(ShardError::NotLeader { leader: None }).with_leader(Some("http://n1:8080".into()));
    assert_eq!(elsewhere.info.leader.as_deref(), Some("http://n1:8080"));
    let unknown = DoorError::from(ShardError::OutcomeUnknown { reason: "x".into() }).into_response();
    assert!(!unknown.headers().contains_key(RETRY_AFTER), "nobody may blindly repeat this");
}

#[test]
fn whose_rate_is_limited_is_told_for_how_long() {
    let limited = RateLimited { scope: "admin", operation: "cleanup", retry_after_s: 17 };
    let response = DoorError::from(Denied::RateLimited(limited)).into_response();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()[RETRY_AFTER], "17");
}

#[test]
fn a_failed_precondition_shows_the_current_revision_in_a_header() {
    let response = DoorError::from(kv::Refusal::ModRevisionDiffers { current: 7 }).into_response();
    assert_eq!(response.status(), 412);
    assert_eq!(response.headers()[MOD_REVISION], "7");
}
