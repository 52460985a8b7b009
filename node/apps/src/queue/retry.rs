//! When a task is tried again.

use super::{TaskId, fnv1a};
use crate::At;
use serde::{Deserialize, Serialize};

/// When a task is tried again after a claim failed. All in whole seconds; `n` is how many claims have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How the delay grows.
    pub policy: Backoff,
    /// The first delay; 0 = 1 s.
    pub base_s: u32,
    /// No delay is longer, not even one that was asked for; 0 = `base_s`.
    pub max_s: u32,
}

/// How a delay grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backoff {
    /// Always the base.
    Fixed,
    /// The base times n.
    Linear,
    /// The base times 2 to the nth.
    Exponential,
    /// At least half of the exponential delay; the rest is drawn.
    EqualJitter,
    /// Drawn from 0 to the exponential delay.
    FullJitter,
}

impl Retry {
    /// The delay after a claim failed, in seconds: as asked, or else by the policy.
    pub(super) fn delay_s(self, asked_s: Option<u32>, failures: u32, drawn: u64) -> u32 {
        let base_s = self.base_s.max(1);
        let max_s = if self.max_s == 0 { base_s } else { self.max_s };
        if let Some(asked_s @ 1..) = asked_s {
            return asked_s.min(max_s);
        }
        let doubled = base_s.saturating_mul(2u32.saturating_pow(failures)).min(max_s);
        match self.policy {
            Backoff::Fixed => base_s.min(max_s),
            Backoff::Linear => base_s.saturating_mul(failures.max(1)).min(max_s),
            Backoff::Exponential => doubled,
            Backoff::EqualJitter => doubled / 2 + one_of(drawn, doubled / 2),
            Backoff::FullJitter => one_of(drawn, doubled),
        }
    }
}

/// One of 0 to `most`.
fn one_of(drawn: u64, most: u32) -> u32 {
    (drawn % (u64::from(most) + 1)) as u32
}

/// A number as good as random that every member draws alike, and no two commands nor two tasks of one.
pub(super) fn draw(at: At, id: TaskId) -> u64 {
    let At { epoch, index, position, time_ms: _ } = at;
    let hash = fnv1a(&[&epoch.0.to_be_bytes(), &index.to_be_bytes(), &position.to_be_bytes(), &id.0]);
    // The low bits of FNV alone depend on little.
    let mixed = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(policy: Backoff, drawn: u64) -> Vec<u32> {
        let retry = Retry { policy, base_s: 5, max_s: 60 };
        (1..=5).map(|failures| retry.delay_s(None, failures, drawn)).collect()
    }

    #[test]
    fn each_policy_grows_in_its_way_up_to_the_most() {
        assert_eq!(delays(Backoff::Fixed, 7), [5, 5, 5, 5, 5]);
        assert_eq!(delays(Backoff::Linear, 7), [5, 10, 15, 20, 25]);
        assert_eq!(delays(Backoff::Exponential, 7), [10, 20, 40, 60, 60]);
        assert_eq!(delays(Backoff::EqualJitter, 7), [5 + 1, 10 + 7, 20 + 7, 30 + 7, 30 + 7]);
        assert_eq!(delays(Backoff::FullJitter, 50), [50 % 11, 50 % 21, 50 % 41, 50, 50]);
    }

    #[test]
    fn what_was_asked_for_is_bounded_too_and_nothing_overflows() {
        let retry = Retry { policy: Backoff::Exponential, base_s: 0, max_s: 0 };
        assert_eq!(retry.delay_s(Some(9), 1, 0), 1);
        let retry = Retry { policy: Backoff::FullJitter, base_s: u32::MAX, max_s: u32::MAX };
        assert_eq!(retry.delay_s(Some(9), 1, 0), 9);
        assert_eq!(retry.delay_s(Some(0), u32::MAX, u64::MAX), (u64::MAX % (1 << 32)) as u32);
    }

    #[test]
    fn what_is_drawn_is_spread_over_all_delays() {
        let drawn = |index| draw(At { index, ..At::default() }, TaskId([7; 16])) % 10;
        for wanted in 0..10 {
            let count = (0..1_000).filter(|index| drawn(*index) == wanted).count();
            assert!((60..140).contains(&count), "{wanted}: {count} of 1,000");
        }
    }
}
