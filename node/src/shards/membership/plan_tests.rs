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

/// Of 500 entries, 300 of them there when the change was asked for. Nobody knows yet that those are committed.
fn lag(lag: &[(u64, u64)]) -> Progress {
    let lag = lag.iter().map(|(id, entries)| (NodeId(*id), *entries)).collect();
    Progress { last: 500, lag, seen: 300, ..Progress::default() }
}

fn told(progress: Progress, told: &[u64]) -> Progress {
    Progress { told: ids(told), ..progress }
}

/// As node 1 sees it, which leads. Everybody is where the record says.
fn view<'a>(record: &'a Record, membership: &'a Membership, progress: &'a Progress) -> View<'a> {
    static NOBODY: BTreeMap<NodeId, String> = BTreeMap::new();
    View {
        record,
        membership,
        addresses: &NOBODY,
        progress,
        leader: Some(NodeId(1)),
        voters_may_change: true,
        patience_over: false,
    }
}

fn step(record: &Record, membership: &Membership, progress: &Progress) -> Step {
    next(&view(record, membership, progress))
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
    let silent = Progress { last: 5, seen: 5, ..lag(&[(2, 5)]) };
    assert_eq!(step(&record, &added, &silent), wait("node 2 has not caught up"));
    let answered = Progress { last: 6, seen: 5, ..lag(&[(2, 1)]) };
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
    let view = View { voters_may_change: false, patience_over: true, ..view(&record, &added, &lag) };
    assert_eq!(next(&view), wait("other shards change their voters first"));
}

#[test]
fn a_removed_member_is_dropped_when_it_knows_or_does_not_answer() {
    let (record, with) = (record(&[1], &[1], &[]), membership(&[1], &[4]));
    // It has the entry; that it is committed comes with the next heartbeat.
    assert_eq!(step(&record, &with, &lag(&[(4, 0)])), wait("node 4 has not seen its removal"));
    // How far it is behind by now does not matter.
    assert_eq!(step(&record, &with, &told(lag(&[(4, 200)]), &[4])), Step::RemoveLearners(ids(&[4])));
    let silent = lag(&[(4, 499)]);
    let view = View { patience_over: true, ..view(&record, &with, &silent) };
    assert_eq!(next(&view), Step::RemoveLearners(ids(&[4])));
}

#[test]
fn a_leader_that_loses_its_vote_hands_over_first() {
    let (record, three) = (record(&[1, 2, 3], &[2], &[]), membership(&[1, 2, 3], &[]));
    let far = wait("no majority of the new voters has caught up");
    assert_eq!(step(&record, &three, &lag(&[(2, 129), (3, 0)])), far);
    assert_eq!(step(&record, &three, &lag(&[(2, 5), (3, 0)])), Step::HandOver(ids(&[2])));
    let level = lag(&[(1, 0), (3, 0)]);
    let heir = View { leader: Some(NodeId(2)), ..view(&record, &three, &level) };
    assert_eq!(next(&heir), Step::ChangeVoters(ids(&[2])));
    let last = View { voters_may_change: false, ..view(&record, &three, &level) };
    assert_eq!(next(&last), wait("no majority of the new voters has caught up"));
    let last = View { leader: Some(NodeId(2)), ..last };
    assert_eq!(next(&last), wait("other shards change their voters first"));
}

#[test]
fn a_leader_hands_over_to_who_keeps_its_vote_not_to_who_gets_one() {
    let (record, two) = (record(&[1, 2, 3, 4], &[2, 3, 4], &[]), membership(&[1, 2], &[3, 4]));
    assert_eq!(step(&record, &two, &lag(&[(2, 0), (3, 0), (4, 0)])), Step::HandOver(ids(&[2])));
    // The only one that stays is away: then the leader changes the voters, and leaves afterwards.
    let without = lag(&[(2, 300), (3, 0), (4, 0)]);
    assert_eq!(step(&record, &two, &without), Step::ChangeVoters(ids(&[2, 3, 4])));
}

#[test]
fn a_leader_that_none_of_its_voters_outlives_leaves_when_the_new_ones_vote() {
    let record = record(&[1, 2], &[2], &[]);
    let (before, after) = (membership(&[1], &[2]), membership(&[2], &[1]));
    assert_eq!(step(&record, &before, &lag(&[(2, 0)])), Step::ChangeVoters(ids(&[2])));
    assert_eq!(step(&record, &after, &lag(&[(2, 0)])), Step::HandOver(ids(&[2])));
    // It is seen so by the others too: the record is not settled before.
    let unknown = Progress::default();
    let other = View { leader: Some(NodeId(1)), ..view(&record, &after, &unknown) };
    assert_eq!(next(&other), Step::HandOver(ids(&[2])));
    assert_eq!(next(&View { leader: Some(NodeId(2)), ..other }), Step::Follows);
}

#[test]
fn voters_that_cannot_agree_are_not_asked_to() {
    // The joint configuration counts at once: with two of the new three away nothing could be written any more.
    let (record, five) = (record(&[1, 2, 3, 4, 5], &[1, 4, 5], &[]), membership(&[1, 2, 3, 4, 5], &[]));
    let away = lag(&[(2, 0), (3, 0), (4, 400), (5, 400)]);
    assert_eq!(step(&record, &five, &away), wait("no majority of the new voters has caught up"));
    let one_back = lag(&[(2, 0), (3, 0), (4, 1), (5, 400)]);
    assert_eq!(step(&record, &five, &one_back), Step::ChangeVoters(ids(&[1, 4, 5])));
}

#[test]
fn a_member_that_moved_is_found_before_anything_else() {
    let (record, with) = (record(&[1, 2], &[1, 2], &[]), membership(&[1], &[2]));
    let addresses = [(NodeId(1), "n1:7000".to_owned()), (NodeId(2), "old:7000".to_owned())].into();
    let lag = lag(&[(2, 0)]);
    let view = View { addresses: &addresses, ..view(&record, &with, &lag) };
    assert_eq!(next(&view), Step::SetAddresses([(NodeId(2), "n2:7000".to_owned())].into()));
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

/// A shard in the model: what its leader sees, and what the steps make of it.
struct Model {
    now: Membership,
    leader: u64,
    addresses: BTreeMap<NodeId, String>,
}

impl Model {
    fn step(&self, record: &Record, progress: &Progress) -> Step {
        let (membership, addresses, leader) = (&self.now, &self.addresses, Some(NodeId(self.leader)));
        next(&View { membership, addresses, leader, ..view(record, membership, progress) })
    }

    fn members(&self) -> BTreeSet<NodeId> {
        self.now.voters.union(&self.now.learners).copied().collect()
    }

    /// Carries a step out, and holds the invariants that no step may break.
    fn take(&mut self, step: Step, record: &Record) {
        let now = &mut self.now;
        match step {
            Step::Follows => {}
            Step::Wait(reason) => panic!("waits for nothing: {reason}"),
            Step::AddLearners(new) => {
                now.learners.extend(new.keys());
                self.addresses.extend(new);
            }
            Step::SetAddresses(moved) => self.addresses.extend(moved),
            Step::HandOver(to) => {
                assert!(to.is_subset(&now.voters), "only a voter can be elected");
                assert!(to.is_subset(&record.voters), "whoever leads next stays");
                self.leader = to.first().unwrap().0;
            }
            Step::ChangeVoters(new) => {
                let stays = now.voters.intersection(&new).next().is_some();
                assert!(
                    new.contains(&NodeId(self.leader)) || !stays,
                    "the leader left before it handed over"
                );
                let all: BTreeSet<NodeId> = now.voters.union(&now.learners).copied().collect();
                assert!(new.is_subset(&all), "only members vote");
                now.learners = all.difference(&new).copied().collect();
                now.voters = new;
            }
            Step::FinishJoint => {
                let Some(Joint { old, .. }) = now.joint.take() else { panic!("no joint configuration") };
                now.learners.extend(old.difference(&now.voters));
            }
            Step::RemoveLearners(gone) => {
                assert!(
                    gone.is_disjoint(&now.voters) && gone.iter().all(|id| !record.members.contains_key(id))
                );
                assert_eq!(now.voters, record.voters, "nobody is dropped before the votes are settled");
                assert!(record.voters.contains(&NodeId(self.leader)), "nor by a leader without a vote");
                now.learners.retain(|id| !gone.contains(id));
            }
        }
    }
}

proptest! {
    /// From any membership, with the change perhaps stopping halfway, the steps lead to the record and stay there.
    #[test]
    fn the_steps_lead_to_the_record(
        voters in prop::collection::btree_set(1u64..7, 1..5), learners in prop::collection::btree_set(1u64..7, 0..4),
        old in prop::collection::btree_set(1u64..7, 1..5), wanted in prop::collection::btree_set(1u64..7, 1..5),
        more in prop::collection::btree_set(1u64..7, 0..4), moved in prop::collection::btree_set(1u64..7, 0..3),
        halfway: bool,
    ) {
        let all: Vec<u64> = wanted.union(&more).copied().collect();
        let record = record(&all, &wanted.iter().copied().collect::<Vec<_>>(), &[]);
        let lag = told(lag(&[(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)]), &[1, 2, 3, 4, 5, 6]);
        let set = |ids: &BTreeSet<u64>| -> BTreeSet<NodeId> { ids.iter().map(|id| NodeId(*id)).collect() };
        let mut now = membership(&[], &[]);
        now.voters = set(&voters);
        now.learners = set(&learners).difference(&now.voters).copied().collect();
        now.joint = halfway.then(|| Joint { old: set(&old), new: set(&voters) });
        let leader = *if halfway { old.first() } else { voters.first() }.unwrap();
        let addresses = moved.iter().map(|id| (NodeId(*id), "elsewhere:7000".to_owned())).collect();
        let mut model = Model { now, leader, addresses };
        for _ in 0..8 {
            let step = model.step(&record, &lag);
            if step == Step::Follows {
                break;
            }
            model.take(step, &record);
        }
        prop_assert_eq!(model.step(&record, &lag), Step::Follows);
        prop_assert_eq!(&model.now.voters, &record.voters);
        prop_assert_eq!(model.members(), record.members.keys().copied().collect());
        prop_assert!(record.voters.contains(&NodeId(model.leader)), "whoever leads votes");
    }
}
