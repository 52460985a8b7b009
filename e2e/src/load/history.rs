//! What a load remembers, and whether a cluster kept its word.

use super::wire::{Answer, Wire};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// Reads in flight while verifying: enough to share read-index rounds, few enough not to be refused.
const READS_AT_ONCE: usize = 32;
/// A read that is refused is repeated so often: a leader may be elected meanwhile.
const READ_ATTEMPTS: usize = 200;
/// Of many violations a person reads the first ones; all are in the kept file.
const VIOLATIONS_SHOWN: usize = 20;

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, at this revision.
    Acknowledged {
        /// The revision the answer named.
        revision: u64,
    },
    /// Refused, certainly not applied.
    NotApplied(String),
    /// Applied or not.
    Unknown(String),
    /// Answered with something that a correct write must not get.
    Wrong(String),
}

/// One write of a load.
#[derive(Clone, Debug)]
pub struct Write {
    /// Its key: no other write has it.
    pub key: String,
    /// Where it was sent.
    pub endpoint: String,
    /// When, counted from the start of the load.
    pub begun: Duration,
    /// When its answer was there.
    pub ended: Duration,
    /// The answer.
    pub outcome: Outcome,
}

/// All a load remembers.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Repeats the keys and values.
    pub seed: u64,
    /// Every write.
    pub writes: Vec<Write>,
    /// Acknowledged writes that were seen at once through another endpoint.
    pub read_back: usize,
    /// What was wrong already while the load ran.
    pub violations: Vec<String>,
}

/// The value of a key: known from the seed, 100 to 1,123 bytes.
pub(super) fn value_of(seed: u64, key: &str) -> Bytes {
    let mut random =
        key.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let length = 100 + random as usize % 1024;
    let mut value = Vec::with_capacity(length + 8);
    while value.len() < length {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        value.extend_from_slice(&random.to_be_bytes());
    }
    value.truncate(length);
    value.into()
}

impl History {
    /// Writes that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.writes.iter().filter(|write| matches!(write.outcome, Outcome::Acknowledged { .. })).count()
    }

    /// The longest time without any acknowledgement, between the first and the last one.
    pub fn longest_gap(&self) -> Duration {
        let mut ends: Vec<_> = self
            .writes
            .iter()
            .filter(|write| matches!(write.outcome, Outcome::Acknowledged { .. }))
            .map(|write| write.ended)
            .collect();
        ends.sort_unstable();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// One line for a person.
    pub fn summary(&self) -> String {
        let count = |of: fn(&Outcome) -> bool| self.writes.iter().filter(|write| of(&write.outcome)).count();
        format!(
            "{} writes: {} acknowledged, {} not applied, {} unknown; {} read back at once; longest gap {} ms",
            self.writes.len(),
            self.acknowledged(),
            count(|outcome| matches!(outcome, Outcome::NotApplied(_))),
            count(|outcome| matches!(outcome, Outcome::Unknown(_))),
            self.read_back,
            self.longest_gap().as_millis(),
        )
    }

    /// Asks every endpoint for every write, first linearizably, then as the node has it (which by then is caught up).
    /// Panics with what is wrong, and where the whole history is kept.
    pub async fn verify(&self, endpoints: &[String]) {
        let mut wrong = self.violations.clone();
        wrong.extend(self.writes.iter().filter_map(|write| match &write.outcome {
            Outcome::Wrong(reason) => {
                Some(format!("a put of {} at {} got {reason}", write.key, write.endpoint))
            }
            _ => None,
        }));
        wrong.extend(self.repeated_revisions());
        let mut views = BTreeMap::new();
        for endpoint in endpoints {
            for stale in [false, true] {
                let view = if stale { "stale" } else { "linearizable" };
                views.insert(format!("{endpoint} ({view})"), self.look(endpoint, stale).await);
            }
        }
        wrong.extend(self.judge(&views));
        if !wrong.is_empty() {
            let kept = self.keep(&wrong);
            let shown = wrong[..wrong.len().min(VIOLATIONS_SHOWN)].join("\n  ");
            panic!("{} violations (seed {}), all in {}:\n  {shown}", wrong.len(), self.seed, kept.display());
        }
        println!("load: every write verified on {} nodes", endpoints.len());
    }

    async fn look(&self, endpoint: &str, stale: bool) -> Vec<Answer> {
        let wire = Wire::new();
        let reads = self.writes.iter().map(|write| read(&wire, endpoint, &write.key, stale));
        stream::iter(reads).buffered(READS_AT_ONCE).collect().await
    }

    /// Pure: what the answers of the views say of each write.
    fn judge(&self, views: &BTreeMap<String, Vec<Answer>>) -> Vec<String> {
        let mut wrong = Vec::new();
        for (place, write) in self.writes.iter().enumerate() {
            let value = value_of(self.seed, &write.key);
            for (view, answers) in views {
                let answer = &answers[place];
                let right = match (&write.outcome, answer) {
                    (Outcome::Acknowledged { revision }, Answer::Done { revision: seen, value: found }) => {
                        revision == seen && *found == value
                    }
                    (Outcome::NotApplied(_), Answer::Missing) => true,
                    (Outcome::Unknown(_) | Outcome::Wrong(_), Answer::Done { value: found, .. }) => {
                        *found == value
                    }
                    (Outcome::Unknown(_) | Outcome::Wrong(_), Answer::Missing) => true,
                    _ => false,
                };
                if !right {
                    wrong.push(format!("{} was {:?}, but {view} says {answer:?}", write.key, write.outcome));
                }
            }
            let mut answers = views.values().map(|answers| &answers[place]);
            if let Some(first) = answers.next()
                && matches!(write.outcome, Outcome::Unknown(_))
                && answers.any(|other| other != first)
            {
                wrong.push(format!("{} of unknown outcome is on some nodes only", write.key));
            }
        }
        wrong
    }

    fn repeated_revisions(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let revisions = self.writes.iter().filter_map(|write| match write.outcome {
            Outcome::Acknowledged { revision } => Some((revision, &write.key)),
            _ => None,
        });
        revisions
            .filter(|(revision, _)| !seen.insert(*revision))
            .map(|(revision, key)| format!("revision {revision} was answered twice, once to {key}"))
            .collect()
    }

    pub(super) fn merge(&mut self, other: History) {
        let History { seed: _, writes, read_back, violations } = other;
        self.writes.extend(writes);
        self.read_back += read_back;
        self.violations.extend(violations);
    }

    fn keep(&self, wrong: &[String]) -> PathBuf {
        let dir = crate::paths::target().join("e2e");
        let path = dir.join(format!("history-{}.txt", self.seed));
        let mut text = format!("seed {}\n{}\n", self.seed, wrong.join("\n"));
        for write in &self.writes {
            let Write { key, endpoint, begun, ended, outcome } = write;
            let _ = writeln!(text, "{:?} {:?} {endpoint} {key} {outcome:?}", begun, ended);
        }
        let written = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, text));
        written.unwrap_or_else(|e| eprintln!("the history could not be kept: {e}"));
        path
    }
}

async fn read(wire: &Wire, endpoint: &str, key: &str, stale: bool) -> Answer {
    let mut answer = wire.get(endpoint, key, stale).await;
    for _ in 1..READ_ATTEMPTS {
        if !matches!(answer, Answer::NotApplied(_) | Answer::Unknown(_)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        answer = wire.get(endpoint, key, stale).await;
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(outcome: Outcome) -> History {
        let write = Write {
            key: "k".into(),
            endpoint: "e".into(),
            begun: Duration::ZERO,
            ended: Duration::from_millis(1),
            outcome,
        };
        History { seed: 7, writes: vec![write], ..History::default() }
    }

    fn there(revision: u64) -> Answer {
        Answer::Done { revision, value: value_of(7, "k") }
    }

    fn judge(outcome: Outcome, answers: [Answer; 2]) -> usize {
        let views =
            answers.into_iter().enumerate().map(|(i, answer)| (format!("n{i}"), vec![answer])).collect();
        history(outcome).judge(&views).len()
    }

    #[test]
    fn an_acknowledged_write_must_be_everywhere_with_its_value_and_revision() {
        let acknowledged = Outcome::Acknowledged { revision: 5 };
        assert_eq!(judge(acknowledged.clone(), [there(5), there(5)]), 0);
        assert_eq!(judge(acknowledged.clone(), [there(5), Answer::Missing]), 1);
        assert_eq!(judge(acknowledged.clone(), [there(5), there(6)]), 1);
        let other = Answer::Done { revision: 5, value: Bytes::from_static(b"other") };
        assert_eq!(judge(acknowledged, [other, there(5)]), 1);
    }

    #[test]
    fn a_write_refused_as_not_applied_must_be_nowhere() {
        assert_eq!(judge(Outcome::NotApplied("503".into()), [Answer::Missing, Answer::Missing]), 0);
        assert_eq!(judge(Outcome::NotApplied("503".into()), [Answer::Missing, there(5)]), 1);
    }

    #[test]
    fn a_write_of_unknown_outcome_must_be_everywhere_or_nowhere() {
        assert_eq!(judge(Outcome::Unknown("504".into()), [there(5), there(5)]), 0);
        assert_eq!(judge(Outcome::Unknown("504".into()), [Answer::Missing, Answer::Missing]), 0);
        assert_eq!(judge(Outcome::Unknown("504".into()), [there(5), Answer::Missing]), 1);
    }

    #[test]
    fn a_node_that_does_not_answer_is_not_taken_for_one_that_agrees() {
        let silent = Answer::NotApplied("503".into());
        assert_eq!(judge(Outcome::Acknowledged { revision: 5 }, [there(5), silent]), 1);
    }
}
