//! [21] The operator ends after each of its effects, and whoever comes next goes on from there.
//!
//! The operators are the test's own, in its namespace; the one that all tests share is away meanwhile.

use crate::demo::{Witness, claims_of, ids};
use schedia_e2e::load::Load;
use schedia_e2e::namespace::{
    Namespace, Operator, Operators, PATIENCE, alone_with_temp_namespace, is_ready, stop_operator,
};
use schedia_e2e::wait::eventually;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// Effects of a bootstrap, and of 3 -> 5 -> 3 with the leader among those who leave.
const EFFECTS: [&str; 13] = [
    "AddLearner",
    "ApplyPodDisruptionBudget",
    "ApplyService",
    "ApplyStatefulSet",
    "AssignNodeId",
    "ChangeVoters",
    "DeleteVolumeClaim",
    "DrawNodeId",
    "Initialize",
    "LatchInitialized",
    "LatchIntent",
    "RemoveMember",
    "TransferLeader",
];

/// Of those the ones of a bootstrap.
const ONLY_AT_FIRST: [&str; 4] = ["ApplyService", "Initialize", "LatchInitialized", "LatchIntent"];
/// What is only the first half of a step (a node id is then given away, a latch then stands in the status as well): a life that always
/// ended there would never get further, so the next one may do one effect more.
const HALF: [&str; 3] = ["DrawNodeId", "LatchIntent", "LatchInitialized"];
/// Many more than there are effects.
const LIVES_MAX: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_ends_after_every_single_effect_still_gets_there() {
    alone_with_temp_namespace("crashes", |here| async move {
        stop_operator(&here.client).await;
        let operators = Operators::of(&here, "crashing").await;
        let mut lives = Lives::of(&operators, "act", 1);
        here.apply_raft("demo", json!({})).await;
        lives.until_ready_with(3).await;
        grow_and_shrink(&here, &mut lives).await;
        for effect in EFFECTS {
            assert!(lives.ends.contains_key(effect), "no life ended after {effect}: {}", lives.report());
        }
        lives.stop().await;
        for (effect, nth) in more_places() {
            let mut lives = Lives::of(&operators, effect, nth);
            grow_and_shrink(&here, &mut lives).await;
            assert!(nth > 1 || !lives.ends.is_empty(), "no life ended: {}", lives.report());
            lives.stop().await;
        }
    })
    .await;
}

/// A quarter of an hour of them, for `E2E_FULL` only: whichever effect comes, labels and statuses included; each effect alone; and lives
/// that do more.
fn more_places() -> Vec<(&'static str, u32)> {
    if std::env::var_os("E2E_FULL").is_none() {
        return Vec::new();
    }
    let alone = EFFECTS.iter().filter(|effect| !ONLY_AT_FIRST.contains(effect)).map(|effect| (*effect, 1));
    [("any", 1), ("any", 2), ("WriteStatus", 1), ("LabelPod", 1), ("act", 2), ("act", 3)]
        .into_iter()
        .chain(alone)
        .collect()
}

/// 3 -> 5 -> 3 under writes; whatever became of its operators, the cluster kept its word.
async fn grow_and_shrink(here: &Namespace, lives: &mut Lives<'_>) {
    let before = ids(here, 3).await;
    let cluster = here.raft("demo").await.unwrap().status.unwrap().cluster_id;
    let witness = Witness::of(here);
    let (_forwards, urls) = here.forwards("demo", 3).await;
    // One writer: many lives are long, and in the end every write is looked for on every node.
    let load = Load::start(&urls, 1, fastrand::u64(..1 << 32));
    load.progress(50, PATIENCE).await;
    here.edit("demo", json!({ "replicas": 5 })).await;
    lives.until_ready_with(5).await;
    let grown = ids(here, 5).await;
    load.progress(50, PATIENCE).await;
    here.make_leader("demo-4").await;
    here.edit("demo", json!({ "replicas": 3 })).await;
    lives.until_ready_with(3).await;
    load.progress(50, PATIENCE).await;
    load.stop().await.verify(&urls).await;
    assert_eq!(witness.end(), [3, 5, 3], "how many voters there were");
    let after = ids(here, 3).await;
    assert!(after == before && grown.is_superset(&before), "{before:?} {grown:?} {after:?}");
    assert_eq!(here.claims().await, claims_of(3), "the volumes of removed members are gone");
    assert_eq!(here.raft("demo").await.unwrap().status.unwrap().cluster_id, cluster);
}

/// One operator after another. Each ends after the same effect, and the next one begins.
struct Lives<'a> {
    operators: &'a Operators,
    effect: &'static str,
    nth: u32,
    /// The life that goes on, and how often the next one is to see the effect.
    now: Option<Operator>,
    next: u32,
    begun: usize,
    /// How often a life ended after which effect.
    ends: BTreeMap<String, usize>,
}

impl<'a> Lives<'a> {
    fn of(operators: &'a Operators, effect: &'static str, nth: u32) -> Lives<'a> {
        Lives { operators, effect, nth, now: None, next: nth, begun: 0, ends: BTreeMap::new() }
    }

    async fn stop(self) {
        if let Some(life) = self.now {
            life.kill().await;
        }
    }

    /// Ends and begins lives until the cluster is Ready. The last life goes on.
    async fn until_ready_with(&mut self, voters: i32) {
        let begun = Instant::now();
        loop {
            let life = match self.now.take() {
                Some(life) => life,
                None => self.begin().await,
            };
            let what = format!("life {} ends, or demo is Ready with {voters} voters", life.name);
            let status = eventually(&what, PATIENCE, || async {
                match life.exit().await? {
                    Some(status) => Ok(Some(status)),
                    None if self.is_ready_with(voters).await? => Ok(None),
                    None => Err("neither".to_owned()),
                }
            })
            .await;
            let Some(status) = status else {
                self.now = Some(life);
                println!("{} after {:.0?}", self.report(), begun.elapsed());
                return;
            };
            let effect =
                life.ended_after().await.unwrap_or_else(|| panic!("{} ended with {status}", life.name));
            assert_eq!(status, Operator::ENDED, "{} ended after {effect}", life.name);
            self.next = if HALF.contains(&effect.as_str()) { self.next + 1 } else { self.nth };
            *self.ends.entry(effect).or_default() += 1;
            assert!(self.begun < LIVES_MAX, "it gets nowhere: {}", self.report());
        }
    }

    async fn is_ready_with(&self, voters: i32) -> Result<bool, String> {
        let raft = self.operators.here.raft("demo").await?;
        let status = raft.status.as_ref();
        Ok(is_ready(&raft)
            && status.is_some_and(|status| status.voters == voters && status.operation.is_none()))
    }

    /// A Lease for each life: waiting until the one of the life before expires is the other test's.
    async fn begin(&mut self) -> Operator {
        self.begun += 1;
        let name = format!("{}-{}-life-{}", self.effect.to_lowercase(), self.nth, self.begun);
        let place = format!("{}:{}", self.effect, self.next);
        self.operators.start(&name, &name, &["--end-after", &place]).await
    }

    fn report(&self) -> String {
        format!("{}:{}: {} lives, ended after {:?}", self.effect, self.nth, self.begun, self.ends)
    }
}
