//! Asks every node what it says of itself, all at once, and does not let one that is gone keep the others' news waiting.
//!
//! A node answers from memory, within milliseconds; the machine of one that is silent may be gone, and then only a timeout tells. As long
//! as fewer than half have answered, everybody gets the whole time: whether there is a majority must not be guessed.

use crate::members::Members;
use crate::names::Names;
use crate::observed::{Pod, Silence};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use schedia_api::Status;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Once a majority has answered, the others must have answered within this time since they were asked.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for those that were silent in the pass before. Should one speak again, its own waiting call wakes a pass.
const PATIENCE_KNOWN: Duration = Duration::from_millis(500);

/// The pods with their nodes' answers. `silent`: pods whose node did not answer in the pass before.
pub(super) async fn all(
    members: &Members,
    names: &Names,
    pods: BTreeMap<u32, Pod>,
    silent: &BTreeSet<String>,
) -> BTreeMap<u32, Pod> {
    let calls = pods.into_iter().map(|(ordinal, pod)| {
        let patience = if silent.contains(&pod.name) { PATIENCE_KNOWN } else { PATIENCE };
        let (name, ip) = (pod.name.clone(), pod.ip.clone());
        let call = async move { members.status(names, &name, ip.as_deref()).await };
        ((ordinal, pod), patience, call)
    });
    let answered = collect(calls.collect()).await;
    answered.into_iter().map(|((ordinal, pod), node)| (ordinal, Pod { node, ..pod })).collect()
}

async fn collect<K, F>(calls: Vec<(K, Duration, F)>) -> Vec<(K, Result<Status, Silence>)>
where
    F: Future<Output = Result<Status, Silence>>,
{
    let asked = Instant::now();
    let majority = calls.len() / 2 + 1;
    let (mut waiting, mut keys) = (FuturesUnordered::new(), BTreeMap::new());
    for (number, (key, patience, call)) in calls.into_iter().enumerate() {
        keys.insert(number, (key, asked + patience));
        waiting.push(async move { (number, call.await) });
    }
    let (mut answers, mut spoke) = (Vec::new(), 0);
    while !keys.is_empty() {
        let latest = keys.values().map(|(_, until)| *until).max().unwrap_or(asked);
        let next = if spoke >= majority {
            timeout_at(latest, waiting.next()).await.ok().flatten()
        } else {
            waiting.next().await
        };
        let Some((number, answer)) = next else { break };
        spoke += usize::from(answer.is_ok());
        answers.extend(keys.remove(&number).map(|(key, _)| (key, answer)));
    }
    let silence = || Silence("it did not answer while a majority did".to_owned());
    answers.extend(keys.into_values().map(|(key, _)| (key, Err(silence()))));
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::blank;
    use std::future::pending;
    use tokio::time::sleep;

    /// Far below what the slow node takes.
    const SHORT: Duration = Duration::from_millis(20);
    const SLOW: Duration = Duration::from_millis(200);

    #[derive(Clone, Copy)]
    enum Node {
        Quick,
        Slow,
        Refuses,
        Hangs,
    }

    async fn answer(node: Node) -> Result<Status, Silence> {
        match node {
            Node::Quick => {}
            Node::Slow => sleep(SLOW).await,
            Node::Refuses => return Err(Silence("connection refused".to_owned())),
            Node::Hangs => pending().await,
        }
        Ok(blank("demo-0", "disk"))
    }

    /// Who answered, by number.
    async fn asked(nodes: &[Node]) -> Vec<usize> {
        let calls = nodes.iter().enumerate().map(|(number, node)| (number, SHORT, answer(*node)));
        let answers = collect(calls.collect()).await;
        assert_eq!(answers.len(), nodes.len(), "nobody is forgotten");
        let spoke = answers.iter().filter(|(_, answer)| answer.is_ok());
        let mut spoke: Vec<_> = spoke.map(|(number, _)| *number).collect();
        spoke.sort_unstable();
        spoke
    }

    #[tokio::test]
    async fn once_a_majority_has_answered_a_node_that_hangs_is_waited_for_no_longer_than_patience() {
        assert_eq!(asked(&[Node::Quick, Node::Hangs, Node::Quick]).await, [0, 2]);
        assert_eq!(
            asked(&[Node::Hangs, Node::Refuses, Node::Quick, Node::Quick, Node::Quick]).await,
            [2, 3, 4]
        );
    }

    #[tokio::test]
    async fn without_a_majority_a_slow_node_gets_the_whole_time() {
        assert_eq!(asked(&[Node::Slow, Node::Refuses, Node::Quick]).await, [0, 2]);
        assert_eq!(asked(&[Node::Slow, Node::Hangs, Node::Quick]).await, [0, 2]);
    }

    #[tokio::test]
    async fn nobody_to_ask_is_no_reason_to_wait() {
        assert!(asked(&[]).await.is_empty());
        assert!(asked(&[Node::Refuses]).await.is_empty());
    }
}
