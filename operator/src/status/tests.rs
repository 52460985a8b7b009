//! Statuses of scenes.

use super::*;
use crate::build::build;
use crate::plan::plan;
use crate::testing::{Scene, id};

struct Seen {
    cluster: Cluster,
    observed: Observed,
}

fn stage(scene: &str) -> Seen {
    let scene: Scene = serde_yaml::from_str(scene).unwrap();
    let (cluster, observed) = scene.stage();
    Seen { cluster, observed }
}

impl Seen {
    fn status(&self) -> RaftClusterStatus {
        self.status_after(None)
    }

    fn status_after(&self, failure: Option<&str>) -> RaftClusterStatus {
        let Seen { cluster, observed } = self;
        let census = Census::of(cluster, observed);
        let built = build(cluster, &census, &observed.live);
        let plan = plan(cluster, observed, &census, &built, &id("fresh"));
        let set = observed.live.stateful_set.clone().unwrap_or(built.stateful_set);
        let applied = Objects::<Applied>::new(set, built.headless, built.client, built.budget);
        let outcome = Outcome { latched: census.latched(), failure: failure.map(str::to_owned) };
        status(cluster, observed, &census, &plan, &applied, &outcome)
    }
}

fn told<'a>(status: &'a RaftClusterStatus, type_: &str) -> (&'a str, &'a str) {
    let condition = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (&condition.status, &condition.reason)
}

const HEALTHY: &str = "
latched: {id: c1, initialized: true}
pods: {0: voter 1, 1: leader 5, 2: voter 7}
record: {generation: 4, members: {1: 0, 5: 1, 7: 2}, voters: [1, 5, 7]}
";

#[test]
fn a_healthy_cluster_is_told_in_full() {
    let status = stage(HEALTHY).status();
    let RaftClusterStatus {
        cluster_id,
        initialized,
        voters,
        learners,
        ready,
        leader,
        leader_id,
        generation,
        ..
    } = &status;
    assert_eq!((cluster_id.as_deref(), *initialized), (Some("c1"), true));
    assert_eq!((*voters, *learners, ready.as_deref()), (3, 0, Some("3/3")));
    assert_eq!((leader.as_deref(), leader_id.as_deref(), *generation), (Some("demo-1"), Some("5"), Some(4)));
    assert_eq!(told(&status, "Ready"), ("True", "Ready"));
    assert_eq!(told(&status, "QuorumAvailable"), ("True", "Confirmed"));
    assert_eq!(told(&status, "Progressing"), ("False", "Complete"));
    assert_eq!(told(&status, "Degraded"), ("False", "AsSpecified"));
    assert_eq!(told(&status, "Paused"), ("False", "Running"));
    assert_eq!(told(&status, "SpecValid"), ("True", "Valid"));
    assert_eq!(told(&status, "StorageReady"), ("True", "Open"));
    assert_eq!(status.updated_replicas, 3);
    assert_eq!(status.observed_generation, Some(1));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(1)));
}

#[test]
fn a_second_look_at_the_same_world_changes_nothing() {
    let mut seen = stage(HEALTHY);
    let first = seen.status();
    seen.cluster.status = first.clone();
    seen.observed.now += SignedDuration::from_hours(1);
    assert_eq!(seen.status(), first);
}

#[test]
fn all_conditions_are_there_from_the_first_visit() {
    let status = stage("set: {absent: true}").status();
    let types: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(
        types,
        ["Ready", "QuorumAvailable", "Progressing", "Degraded", "Paused", "SpecValid", "StorageReady"]
    );
    assert_eq!(told(&status, "Ready"), ("False", "Bootstrapping"));
    assert_eq!(told(&status, "Progressing"), ("True", "Bootstrapping"));
    assert_eq!(told(&status, "StorageReady"), ("Unknown", "Waiting"));
    assert_eq!((status.cluster_id, status.ready.as_deref()), (None, Some("0/3")));
}

#[test]
fn a_member_that_is_down_costs_readiness_but_not_the_quorum() {
    let status = stage(&HEALTHY.replace("2: voter 7", "2: silent")).status();
    assert_eq!(told(&status, "Ready"), ("False", "Degraded"));
    assert_eq!(told(&status, "QuorumAvailable"), ("True", "Confirmed"));
    assert_eq!(told(&status, "Degraded"), ("True", "Degraded"));
    assert_eq!((status.voters, status.ready.as_deref()), (3, Some("2/3")));
    assert_eq!(status.members[2].message.as_deref(), Some("does not answer"));
}

#[test]
fn members_that_are_not_ready_yet_belong_to_the_bootstrap_until_the_first_ready() {
    let mut seen = stage("pods: {0: blank, 1: blank, 2: blank}");
    let bootstrapping = seen.status();
    seen = stage(&HEALTHY.replace("2: voter 7", "2: voter 7 unready"));
    assert_eq!(told(&seen.status(), "Ready"), ("False", "Degraded"));
    seen.cluster.status = bootstrapping;
    assert_eq!(told(&seen.status(), "Ready"), ("False", "Bootstrapping"));
}

#[test]
fn a_lost_quorum_is_told_as_that() {
    let scene = "
latched: {id: c1, initialized: true}
pods: {0: voter 1 unready, 1: blank, 2: blank}
record: {generation: 4, members: {1: 0, 5: 1, 7: 2}, voters: [1, 5, 7], confirmed: false}
";
    let status = stage(scene).status();
    assert_eq!(told(&status, "Ready"), ("False", "QuorumLost"));
    assert_eq!(told(&status, "QuorumAvailable"), ("False", "QuorumLost"));
    assert_eq!(status.leader, None);
}

#[test]
fn without_a_view_of_the_nodes_readiness_is_unknown() {
    let scene = "
latched: {id: c1, initialized: true}
pods: {0: silent, 1: silent, 2: silent}
";
    let status = stage(scene).status();
    assert_eq!(told(&status, "Ready"), ("Unknown", "NodesUnreachable"));
    assert_eq!(told(&status, "QuorumAvailable"), ("Unknown", "NodesUnreachable"));
}

#[test]
fn an_election_becomes_a_lost_quorum_after_ten_seconds() {
    let scene = HEALTHY.replace("voters: [1, 5, 7]", "voters: [1, 5, 7], confirmed: false");
    let mut seen = stage(&scene);
    let first = seen.status();
    assert_eq!(told(&first, "Ready"), ("False", "Degraded"));
    assert_eq!(told(&first, "QuorumAvailable"), ("False", "NoLeader"));
    seen.cluster.status = first;
    seen.observed.now += SignedDuration::from_secs(11);
    assert_eq!(told(&seen.status(), "Ready"), ("False", "QuorumLost"));
}

#[test]
fn what_is_not_supported_is_said_while_ready_describes_what_is_in_force() {
    let status = stage(&format!("image: schedia:2\nset: {{image: schedia:1}}\n{HEALTHY}")).status();
    assert_eq!(told(&status, "Ready"), ("True", "Ready"));
    assert_eq!(told(&status, "Progressing"), ("False", "RollUnsupported"));
    assert_eq!(status.target.as_ref().map(|target| target.image.as_str()), Some("schedia:1"));
    assert_eq!(status.updated_replicas, 0);

    let status = stage(&format!("set: {{size: 5Gi}}\n{HEALTHY}")).status();
    assert_eq!(told(&status, "StorageReady"), ("False", "StorageGrowthUnsupported"));
}

#[test]
fn a_paused_cluster_says_so_and_what_it_would_do() {
    let scene = "
paused: true
latched: {id: c1}
pods: {0: blank, 1: blank, 2: blank}
";
    let status = stage(scene).status();
    assert_eq!(told(&status, "Ready"), ("False", "Paused"));
    assert_eq!(told(&status, "Paused"), ("True", "Paused"));
    assert_eq!(status.next_action.as_deref(), Some("initialize demo-0 as cluster c1"));
    assert_eq!(status.cluster_id.as_deref(), Some("c1"));
}

#[test]
fn a_paused_cluster_that_lost_its_quorum_says_the_graver_thing() {
    let status =
        stage("paused: true\nlatched: {id: c1, initialized: true}\npods: {0: blank, 1: blank, 2: blank}")
            .status();
    assert_eq!(told(&status, "Ready"), ("False", "QuorumLost"));
}

#[test]
fn a_foreign_object_blocks_by_name() {
    let status = stage("set: {owner: somebody}").status();
    assert_eq!(told(&status, "Ready"), ("False", "Blocked"));
    assert_eq!(told(&status, "Progressing"), ("False", "NameCollision"));
}

#[test]
fn a_step_that_failed_is_told() {
    let seen = stage("latched: {id: c1}\npods: {0: blank, 1: blank, 2: blank}");
    let status = seen.status_after(Some("demo-0: no endpoint is reachable"));
    assert_eq!(told(&status, "Progressing"), ("False", "StepFailed"));
}

#[test]
fn an_open_joint_configuration_is_shown() {
    let scene = "
latched: {id: c1, initialized: true}
pods: {0: leader 1, 1: voter 5, 2: voter 7}
record: {generation: 4, members: {1: 0, 5: 1, 7: 2}, voters: [1, 5, 7], settled: false, joint: [1]}
";
    let status = stage(scene).status();
    let joint = status.joint.as_ref().unwrap();
    assert_eq!((joint.old.len(), joint.new.len(), status.voters), (1, 3, 3));
    assert_eq!(told(&status, "Ready"), ("False", "ChangingMembership"));
}

#[test]
fn an_unworkable_spec_keeps_what_was_last_seen() {
    let mut resource = crate::testing::resource(3);
    let before = stage(HEALTHY).status();
    resource.status = Some(before.clone());
    let now = Timestamp::from_second(2_000_000_000).unwrap();
    let after = unworkable(&resource, "Invalid", "replicas must be odd", now);
    assert_eq!(told(&after, "Ready"), ("False", "Invalid"));
    assert_eq!(told(&after, "SpecValid"), ("False", "Invalid"));
    assert_eq!((after.cluster_id, after.voters), (before.cluster_id, 3));
    let again = RaftCluster { status: Some(after_of(&resource, now)), ..resource.clone() };
    let later = now + SignedDuration::from_hours(1);
    assert_eq!(Some(unworkable(&again, "Invalid", "replicas must be odd", later)), again.status);
}

fn after_of(resource: &RaftCluster, now: Timestamp) -> RaftClusterStatus {
    unworkable(resource, "Invalid", "replicas must be odd", now)
}

#[test]
fn a_missing_permission_leaves_readiness_unknown() {
    let resource = crate::testing::resource(3);
    let after = unworkable(&resource, "Forbidden", "cannot list pods", Timestamp::from_second(0).unwrap());
    assert_eq!(told(&after, "Ready"), ("Unknown", "Blocked"));
    assert_eq!(told(&after, "Progressing"), ("False", "Forbidden"));
}

const GROWING: &str = "
replicas: 5
latched: {id: c1, initialized: true}
pods: {0: voter 1, 1: leader 5 lag=5000, 2: voter 7, 3: learner 9, 4: learner 11}
record: {generation: 6, members: {1: 0, 5: 1, 7: 2, 9: 3, 11: 4}, voters: [1, 5, 7]}
";

#[test]
fn a_change_under_way_is_told_with_its_step_and_member() {
    let status = stage(GROWING).status();
    assert_eq!(told(&status, "Ready"), ("False", "CatchingUp"));
    assert_eq!(told(&status, "Progressing"), ("True", "CatchingUp"));
    assert_eq!(told(&status, "Degraded"), ("False", "AsSpecified"));
    assert_eq!((status.voters, status.learners, status.ready.as_deref()), (3, 2, Some("3/5")));
    assert_eq!(status.target.as_ref().map(|target| (target.replicas, target.generation)), Some((5, 0)));
    let operation = status.operation.unwrap();
    assert_eq!((operation.type_.as_str(), operation.step.as_str()), ("ScaleUp", "CatchingUp"));
    assert_eq!(operation.member.as_deref(), Some("demo-3"));
}

#[test]
fn a_step_that_lasts_longer_than_it_may_is_told_and_goes_on() {
    let mut seen = stage(GROWING);
    let first = seen.status();
    seen.cluster.status = first.clone();
    seen.observed.now += SignedDuration::from_secs(600);
    assert_eq!(seen.status(), first, "the same step began when it began");
    seen.observed.now += SignedDuration::from_secs(1);
    let late = seen.status();
    assert_eq!(told(&late, "Progressing"), ("False", "DeadlineExceeded"));
    assert_eq!(told(&late, "Ready"), ("False", "CatchingUp"));
    assert_eq!(told(&late, "QuorumAvailable"), ("True", "Confirmed"));
    assert!(is_overdue(&late) && !is_overdue(&first));
    assert_eq!(late.operation, first.operation);
}

#[test]
fn another_step_gets_its_own_time() {
    let mut seen = stage(GROWING);
    let mut before = seen.status();
    before.operation.as_mut().unwrap().step = "AddingLearner".to_owned();
    seen.cluster.status = before;
    seen.observed.now += SignedDuration::from_hours(1);
    let status = seen.status();
    assert_eq!(told(&status, "Progressing"), ("True", "CatchingUp"));
    assert_eq!(status.operation.unwrap().started_at, Time(seen.observed.now));
}

#[test]
fn a_scale_down_that_would_not_be_safe_is_refused_in_words() {
    let status = stage(&format!("replicas: 1\n{}", HEALTHY.replace("0: voter 1", "0: silent"))).status();
    assert_eq!(told(&status, "Progressing"), ("False", "ScaleDownUnsafe"));
    assert_eq!(told(&status, "Ready"), ("False", "Degraded"));
    let message = &status.conditions[0].message;
    assert!(message.contains("from 3 to 1") && message.contains("demo-0 does not answer"), "{message}");
}

#[test]
fn while_paused_the_target_stays_and_the_next_action_is_said() {
    let mut seen = stage(HEALTHY);
    seen.cluster.status = seen.status();
    let paused = stage(&format!("replicas: 5\npaused: true\n{}", HEALTHY));
    let mut paused = Seen { cluster: Cluster { status: seen.cluster.status, ..paused.cluster }, ..paused };
    paused.cluster.generation = 2;
    let status = paused.status();
    assert_eq!(status.target.as_ref().map(|target| (target.replicas, target.generation)), Some((3, 1)));
    assert_eq!(told(&status, "Ready"), ("False", "Paused"));
    assert_eq!(told(&status, "Progressing"), ("False", "Paused"));
    assert_eq!(status.next_action.as_deref(), Some("apply StatefulSet demo (3 -> 5 pods)"));
    assert_eq!(status.operation, None);
    assert_eq!(status.observed_generation, Some(2));
}
