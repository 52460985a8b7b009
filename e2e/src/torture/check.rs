//! What a history must keep to: pure, so that a kept one is judged again.
//!
//! * `linear`: each group of keys is linearizable, by porcupine-rs, against [`super::model`];
//! * `order`: revisions over all groups: each is of one write, and none goes back, for nobody;
//! * `shown`: watches are ordered, unique, without a gap, atomic, the same for all, and agree with every answer;
//! * [`super::tasks::check`]: the queue.
//!
//! Invariant: what nobody knows (an unknown outcome, a search that took too long) is counted, never taken for right or wrong.

mod linear;
mod order;
mod seen;
mod shown;
#[cfg(test)]
mod tests;

pub use linear::visualize;

use super::history::{Call, History, Outcome};
use super::tasks;
use seen::Seen;

/// Of many violations a person reads the first ones.
const SHOWN: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong.
    pub violations: Vec<String>,
    /// Groups that are not linearizable.
    pub refused_groups: Vec<usize>,
    /// Groups whose search took too long.
    pub undecided: usize,
    /// Answers and changes that were compared with something.
    pub compared: usize,
}

impl Verdict {
    /// The first violations, for a person.
    pub fn words(&self) -> String {
        let more = match self.violations.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        let shown: Vec<_> = self.violations.iter().take(SHOWN).map(|line| format!("\n  {line}")).collect();
        format!("{} violations:{}{more}", self.violations.len(), shown.concat())
    }
}

/// Judges a history.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for operation in &history.operations {
        if let Outcome::Wrong(words) = &operation.outcome {
            verdict.violations.push(format!(
                "client {} asked {} for {:?} and got {words}",
                operation.client, operation.node, operation.call
            ));
        }
    }
    let seen = Seen::gather(history, &mut verdict);
    order::check(history, &mut verdict);
    shown::check(history, &mut verdict);
    linear::check(history, &seen, &mut verdict);
    tasks::check::check(&history.jobs, &history.told, &mut verdict);
    verdict
}

/// The values of a call.
fn written(call: &Call) -> Vec<u64> {
    match call {
        Call::Put { value, .. } | Call::PutIf { value, .. } => vec![*value],
        Call::Txn { values, .. } => values.to_vec(),
        Call::Delete { .. } | Call::Get { .. } | Call::List | Call::Stale | Call::Past { .. } => Vec::new(),
    }
}
