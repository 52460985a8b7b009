//! Members lose their votes, then their membership: in this order, whoever leads and whoever is away.

use super::nodes::{Node, Operator, PATIENCE, code};
use schedia_api::{Changed, Client, RemoveLearner, Role, SetVoters, TransferLeader};
use schedia_apps::NodeId;
use schedia_node::config::Start;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// Three voters: node 1 leads.
pub(super) struct Three {
    pub(super) nodes: [Node; 3],
    pub(super) ids: [NodeId; 3],
    pub(super) operator: Operator,
    _dir: TempDir,
}

impl Three {
    pub(super) async fn new() -> Three {
        Three::with(1).await
    }

    pub(super) async fn with(shards: u32) -> Three {
        let dir = TempDir::new().unwrap();
        let nodes = ["n1", "n2", "n3"].map(|name| {
            let mut node = Node::new(dir.path(), name, Start::Wait);
            node.start();
            node
        });
        let operator = Operator::begin_with(&nodes[0], shards).await;
        let added = operator.voters(&[&nodes[1], &nodes[2]]).await;
        Three { nodes, ids: [NodeId(1), added[0], added[1]], operator, _dir: dir }
    }

    /// To whoever leads.
    pub(super) fn client(&self) -> Client {
        let all = self.nodes.each_ref().map(|node| format!("http://{}", node.addresses.admin));
        Client::new(&all, PATIENCE).unwrap()
    }

    /// Takes votes away; the generation after it.
    pub(super) async fn keep(&self, voters: &[NodeId]) -> u64 {
        let expected = self.client().record().await.unwrap().generation;
        let verb = SetVoters { voters: voters.iter().copied().collect(), expected };
        let changed = self.client().set_voters(&verb).await.unwrap();
        assert!(changed.settled, "{changed:?}");
        changed.generation
    }

    pub(super) async fn remove(&self, node_id: NodeId) -> Changed {
        let expected = self.client().record().await.unwrap().generation;
        self.client().remove_learner(&RemoveLearner { node_id, expected }).await.unwrap()
    }
}

/// The status of `/readyz`, and what it says.
pub(super) async fn readyz(node: &Node) -> (u16, String) {
    let answer = reqwest::get(format!("http://{}/readyz", node.addresses.admin)).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_become_one_and_the_removed_know_it_at_once() {
    let three = Three::new().await;
    let [n1, n2, n3] = &three.nodes;
    let [one, two, last] = three.ids;
    three.keep(&[one]).await;
    for node in [n2, n3] {
        node.role_becomes(Role::Learner).await;
    }
    let begun = Instant::now();
    for id in [last, two] {
        assert!(three.remove(id).await.settled);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody was waited for: {:?}", begun.elapsed());
    let removed = Duration::from_secs(4);
    for node in [n2, n3] {
        let status = node.status_when("it knows", |status| status.role == Role::Retired).await;
        assert!(status.alarms.iter().any(|alarm| alarm.code == "removed"), "{:?}", status.alarms);
        let (status, words) = readyz(node).await;
        assert!(status == 503 && words.contains("was removed from its cluster"), "{status} {words}");
    }
    assert!(begun.elapsed() < removed + Duration::from_secs(5), "they were told by the log");
    let record = n1.admin().record().await.unwrap();
    assert_eq!((record.voters, record.members.len(), record.settled), ([one].into(), 1, true));
    let membership = n1.admin().status().await.unwrap().shards.swap_remove(0).membership;
    assert_eq!((membership.voters, membership.learners), ([one].into(), [].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_to_leave_hands_over_first() {
    let three = Three::new().await;
    let [n1, n2, _] = &three.nodes;
    let [one, two, last] = three.ids;
    let before = n1.admin().status().await.unwrap().shards[0].term;
    // Asked of the one that leaves: it answers when all is done.
    let verb = SetVoters { voters: [two].into(), expected: n1.admin().record().await.unwrap().generation };
    let changed = n1.admin().set_voters(&verb).await.unwrap();
    assert!(changed.settled, "{changed:?}");
    let status = n2.status_when("it leads", |status| status.shards[0].leader == Some(two)).await;
    assert_eq!(status.shards[0].term, before + 1, "one election, which the leader asked for");
    assert_eq!(three.client().set_voters(&verb).await.unwrap(), changed, "already so");
    for id in [one, last] {
        assert!(three.remove(id).await.settled);
    }
    n1.role_becomes(Role::Retired).await;
    assert_eq!(n2.admin().record().await.unwrap().voters, [two].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checks_of_a_removal_come_in_order() {
    let three = Three::new().await;
    let [one, two, last] = three.ids;
    let leader = &three.operator.leader;
    let generation = leader.record().await.unwrap().generation;
    let verb = |node_id, expected| RemoveLearner { node_id, expected };
    assert_eq!(code(leader.remove_learner(&verb(last, generation)).await).1, "still_votes");
    assert_eq!(code(leader.remove_learner(&verb(NodeId(9_999), generation)).await).0, 404);
    let stale = code(leader.remove_learner(&verb(last, generation - 1)).await);
    assert_eq!(stale, (409, "stale".into(), Some(generation)));
    let follower = three.nodes[1].admin();
    assert_eq!(code(follower.remove_learner(&verb(last, generation)).await).1, "not_leader");

    let generation = three.keep(&[one]).await;
    let removed = leader.remove_learner(&verb(last, generation)).await.unwrap();
    assert_eq!(removed, Changed { generation: generation + 1, settled: true });
    let again = leader.remove_learner(&verb(last, 1)).await.unwrap();
    assert_eq!(again, removed, "already removed, whatever the caller knows");
    let back = SetVoters { voters: [one, last].into(), expected: removed.generation };
    assert_eq!(code(leader.set_voters(&back).await), (410, "removed".into(), None));
    let again = three.operator.learner(&three.nodes[2], last, removed.generation);
    assert_eq!(code(leader.add_learner(&again).await).1, "removed");
    three.keep(&[one, two]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_never_answers_is_waited_for_and_dropped_and_retires_when_it_returns() {
    let mut three = Three::new().await;
    let [one, two, last] = three.ids;
    three.nodes[2].end().await;
    three.keep(&[one, two]).await;
    let (begun, generation) = (Instant::now(), three.client().record().await.unwrap().generation);
    let leader = three.operator.leader.clone();
    let verb = RemoveLearner { node_id: last, expected: generation };
    let removing = tokio::spawn(async move { leader.remove_learner(&verb).await });
    three.nodes[0].record_when("the intent", |record| record.generation > generation).await;
    let other = SetVoters { voters: [one].into(), expected: generation + 1 };
    let refused = code(three.operator.leader.set_voters(&other).await);
    assert_eq!(refused, (409, "change_in_progress".into(), Some(generation + 1)));
    assert!(removing.await.unwrap().unwrap().settled);
    let took = begun.elapsed();
    assert!(Duration::from_secs(9) < took && took < Duration::from_secs(15), "ten seconds: {took:?}");

    // It slept through its demotion too: its own log says that it votes.
    three.nodes[2].start();
    let status = three.nodes[2].status_when("it learns it", |status| status.role == Role::Retired).await;
    assert!(status.shards[0].membership.voters.contains(&last), "not from its log");
    let terms = || async { three.nodes[0].admin().status().await.unwrap().shards[0].term };
    let (before, own) = (terms().await, status.shards[0].term);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(terms().await, before, "it disturbs nobody");
    assert_eq!(three.nodes[2].admin().status().await.unwrap().shards[0].term, own, "and stands for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn voters_that_do_not_answer_cannot_be_all_that_is_left() {
    let mut three = Three::new().await;
    let [one, two, last] = three.ids;
    three.nodes[2].end().await;
    let generation = three.operator.leader.record().await.unwrap().generation;
    // The leader goes by a silence of one maximal election timeout.
    tokio::time::sleep(Duration::from_secs(1)).await;
    // One of two is no majority: the cluster would stand still until node 3 returns.
    for voters in [[two, last], [one, last]] {
        let verb = SetVoters { voters: voters.into(), expected: generation };
        assert_eq!(code(three.operator.leader.set_voters(&verb).await).1, "not_caught_up");
    }
    assert_eq!(three.operator.leader.record().await.unwrap().generation, generation, "nothing was changed");
    three.operator.leader.transfer_leader(&TransferLeader { to: two }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_shards_follow_one_decision() {
    let mut three = Three::with(3).await;
    let [_, two, last] = three.ids;
    for node in &three.nodes {
        let status =
            node.status_when("all shards run", |status| status.shards.len() == 3 && status.ready).await;
        assert!(status.shards.iter().all(|shard| shard.membership.voters.len() == 3), "{status:?}");
    }
    // Node 1 leads all of them, and node 2 is all that stays.
    three.keep(&[two]).await;
    let status = three.nodes[1].admin().status().await.unwrap();
    for shard in &status.shards {
        assert_eq!((&shard.membership.voters, shard.leader), (&[two].into(), Some(two)), "{}", shard.shard);
    }
    assert!(three.remove(last).await.settled);
    let status = three.nodes[1].admin().status().await.unwrap();
    for shard in &status.shards {
        let members = shard.membership.voters.len() + shard.membership.learners.len();
        assert_eq!(members, 2, "dropped from {}", shard.shard);
    }
    three.nodes[2].role_becomes(Role::Retired).await;
    three.nodes[1].end().await;
    three.nodes[1].start();
    let again = three.nodes[1].status_when("it is back", |status| status.ready).await;
    assert_eq!(again.shards.len(), 3);
}
