//! Tables: record and membership in, step out; and a model in which the steps lead to the record, whatever happens.

use super::*;
use proptest::prelude::*;
use schedia_api::{Joint, LogId};
use schedia_apps::{Epoch, Level};

fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

fn record(members: &[u64], voters: &[u64], joining: &[u64]) -> Record {
    let member = |id: &u64| Member {
        id: NodeId(*id),
        // 1 and 11 are two lives of one name.
        name: format!("n{}", id % 10),
        address: format!("n{id}:7000"),
        http_url: None,
        store_id: None,
    };
    Record {
        generation: 1,
        members: members.iter().map(|id| (NodeId(*id), member(id))).collect(),
        voters: ids(voters),
        joining: ids(joining),
        settled: false,
        shards: 1,
        level: Level(1),
        epoch: Epoch(0),
        managed_by: None,
    }
}

fn membership(voters: &[u64], learners: &[u64]) -> Membership {
    Membership {
        log_id: Some(LogId { term: 1, index: 5 }),
        committed: true,
        voters: ids(voters),
        learners: ids(learners),
        joint: None,
    }
}

/// Of 500 entries, 300 of them there when the change was asked for.
fn lag(lag: &[(u64, u64)]) -> Progress {
    let lag = lag.iter().map(|(id, entries)| (NodeId(*id), *entries)).collect();
    Progress { last: 500, lag, seen: 300 }
}

fn step(record: &Record, membership: &Membership, progress: &Progress) -> Step {
    next(&View { record, membership, progress, voters_may_change: true, patience_over: false })
}

fn wait(reason: &str) -> Step {
    Step::Wait(reason.to_owned())
}

#[test]
fn a_new_member_is_added_then_waited_for_then_votes() {
    let record = record(&[1, 2, 3], &[1, 2, 3], &[]);
    let missing = [(NodeId(2), "n2:7000".to_owned()), (NodeId(3), "n3:7000".to_owned())].into();
    assert_eq!(step(&record, &membership(&[1], &[]), &lag(&[])), Step::AddLearners(missing));
    let added = membership(&[1], &[2, 3]);
    assert_eq!(step(&record, &added, &lag(&[(2, 0)])), wait("node 3 has not caught up"));
    assert_eq!(step(&record, &added, &lag(&[(2, 0), (3, 129)])), wait("node 3 has not caught up"));
    assert_eq!(step(&record, &added, &lag(&[(2, 7), (3, 128)])), Step::ChangeVoters(ids(&[1, 2, 3])));
    assert_eq!(step(&record, &membership(&[1, 2, 3], &[]), &lag(&[])), Step::Follows);
}

#[test]
fn a_member_that_never_answered_has_not_caught_up_with_a_short_log() {
    let (record, added) = (record(&[1, 2], &[1, 2], &[]), membership(&[1], &[2]));
    let silent = Progress { last: 5, lag: [(NodeId(2), 5)].into(), seen: 5 };
    assert_eq!(step(&record, &added, &silent), wait("node 2 has not caught up"));
    let answered = Progress { last: 6, lag: [(NodeId(2), 1)].into(), seen: 5 };
    assert_eq!(step(&record, &added, &answered), Step::ChangeVoters(ids(&[1, 2])));
}

#[test]
fn an_unfinished_change_is_finished_first() {
    let record = record(&[1, 2], &[1], &[]);
    let joint = Some(Joint { old: ids(&[1]), new: ids(&[1, 2]) });
    let open = Membership { joint, ..membership(&[1, 2], &[]) };
    assert_eq!(step(&record, &open, &lag(&[])), Step::FinishJoint);
    let uncommitted = Membership { committed: false, ..open };
    let reason = wait("the newest membership is not committed yet");
    assert_eq!(step(&record, &uncommitted, &lag(&[])), reason);
    // Then the record's own change.
    assert_eq!(step(&record, &membership(&[1, 2], &[]), &lag(&[])), Step::ChangeVoters(ids(&[1])));
}

#[test]
fn shard_0_changes_its_voters_last() {
    let (record, added, lag) = (record(&[1, 2], &[1, 2], &[]), membership(&[1], &[2]), lag(&[(2, 0)]));
    let view = View {
        record: &record,
        membership: &added,
        progress: &lag,
        voters_may_change: false,
        patience_over: true,
    };
    assert_eq!(next(&view), wait("other shards change their voters first"));
}

#[test]
fn a_removed_member_is_dropped_when_it_knows_or_does_not_answer() {
    let (record, with) = (record(&[1], &[1], &[]), membership(&[1], &[4]));
    assert_eq!(step(&record, &with, &lag(&[(4, 2)])), wait("node 4 has not seen its removal"));
    assert_eq!(step(&record, &with, &lag(&[(4, 0)])), Step::RemoveLearners(ids(&[4])));
    let silent = lag(&[(4, 99)]);
    let view = View {
        record: &record,
        membership: &with,
        progress: &silent,
        voters_may_change: true,
        patience_over: true,
    };
    assert_eq!(next(&view), Step::RemoveLearners(ids(&[4])));
}

#[test]
fn those_that_join_get_their_votes_together() {
    let mut record = record(&[1, 2, 3], &[1], &[2, 3]);
    let (one, both) = (lag(&[(2, 0)]), lag(&[(2, 0), (3, 5)]));
    assert_eq!(promoted(&record, &both, false), None, "the record is not settled");
    record.settled = true;
    assert_eq!(promoted(&record, &lag(&[]), true), None);
    assert_eq!(promoted(&record, &one, false), None);
    assert_eq!(promoted(&record, &one, true), Some(ids(&[1, 2])));
    assert_eq!(promoted(&record, &both, false), Some(ids(&[1, 2, 3])));
}

#[test]
fn who_lost_its_disk_is_replaced_by_its_next_life() {
    let mut record = record(&[1, 2, 3, 11], &[1, 2, 3], &[11]);
    record.settled = true;
    assert_eq!(replaced(&record), None);
    assert_eq!(promoted(&record, &lag(&[(11, 0)]), false), Some(ids(&[2, 3, 11])));
    (record.voters, record.joining) = (ids(&[2, 3, 11]), ids(&[]));
    assert_eq!(replaced(&record), Some(NodeId(1)));
    // Another life was lost before it had its vote.
    let mut twice = self::record(&[2, 3, 11, 21], &[2, 3, 21], &[11]);
    twice.settled = true;
    assert_eq!(replaced(&twice), Some(NodeId(11)));
    record.managed_by = Some("operator".to_owned());
    assert_eq!(replaced(&record), None, "only its manager removes members");
}

proptest! {
    /// From any membership, with the change perhaps stopping halfway, the steps lead to the record and stay there.
    #[test]
    fn the_steps_lead_to_the_record(
        voters in prop::collection::btree_set(1u64..7, 1..5), learners in prop::collection::btree_set(1u64..7, 0..4),
        old in prop::collection::btree_set(1u64..7, 1..5), wanted in prop::collection::btree_set(1u64..7, 1..5),
        more in prop::collection::btree_set(1u64..7, 0..4), halfway: bool,
    ) {
        let all: Vec<u64> = wanted.union(&more).copied().collect();
        let record = record(&all, &wanted.iter().copied().collect::<Vec<_>>(), &[]);
        let lag = lag(&[(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)]);
        let set = |ids: &BTreeSet<u64>| -> BTreeSet<NodeId> { ids.iter().map(|id| NodeId(*id)).collect() };
        let mut now = membership(&[], &[]);
        now.voters = set(&voters);
        now.learners = set(&learners).difference(&now.voters).copied().collect();
        now.joint = halfway.then(|| Joint { old: set(&old), new: set(&voters) });
        for _ in 0..6 {
            match step(&record, &now, &lag) {
                Step::Follows => break,
                Step::Wait(reason) => prop_assert!(false, "waits for nothing: {}", reason),
                Step::AddLearners(new) => now.learners.extend(new.into_keys()),
                Step::ChangeVoters(new) => {
                    let all: BTreeSet<NodeId> = now.voters.union(&now.learners).copied().collect();
                    prop_assert!(new.is_subset(&all), "only members vote");
                    now.learners = all.difference(&new).copied().collect();
                    now.voters = new;
                }
                Step::FinishJoint => {
                    let Some(Joint { old, .. }) = now.joint.take() else { panic!("no joint configuration") };
                    now.learners.extend(old.difference(&now.voters));
                }
                Step::RemoveLearners(gone) => now.learners.retain(|id| !gone.contains(id)),
            }
        }
        prop_assert_eq!(step(&record, &now, &lag), Step::Follows);
        prop_assert_eq!(&now.voters, &record.voters);
        let members: BTreeSet<NodeId> = now.voters.union(&now.learners).copied().collect();
        prop_assert_eq!(members, record.members.keys().copied().collect());
    }
}
