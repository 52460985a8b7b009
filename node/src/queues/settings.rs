//! What holds for queues where neither a request nor a topic says otherwise.

use clap::ValueEnum;
use schedia_apps::queue::{Backoff, Policy, Retry};
use serde::Deserialize;
use std::time::Duration;

/// A day.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What a node that does not lead does with a request that only the leader can answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Follower {
    /// Has the leader do it.
    #[default]
    Forward,
    /// Names the leader, where codeQ does.
    Redirect,
}

/// The settings of all queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a follower does.
    pub follower: Follower,
    /// How long a task is leased, in seconds.
    pub lease_s: u64,
    /// How many claims of a task may fail.
    pub attempts: u32,
    /// When a task is tried again.
    pub retry: Retry,
    /// How long a task is kept once it has ended.
    pub retention: Duration,
    /// How long an idempotency key is known.
    pub keys: Duration,
    /// Whether a worker must send back the token of its lease.
    pub lease_tokens_required: bool,
    /// Signs what webhooks and subscriptions are told.
    pub webhook_secret: Option<String>,
    /// Whether they may lead to this machine and those on its link.
    pub webhooks_local: bool,
}

impl Default for Settings {
    /// codeQ's, where it has them.
    fn default() -> Settings {
        let day = Duration::from_millis(DAY_MS);
        Settings {
            follower: Follower::Forward,
            lease_s: 300,
            attempts: 5,
            retry: Retry { policy: Backoff::FullJitter, base_s: 5, max_s: 900 },
            retention: day,
            keys: day,
            lease_tokens_required: false,
            webhook_secret: None,
            webhooks_local: false,
        }
    }
}

impl Settings {
    /// How many claims of a task may fail: as many as asked for, but not more than its topic allows.
    pub fn attempts(&self, asked: i64, policy: Option<&Policy>) -> u32 {
        let most = policy.map_or(u32::MAX, |policy| policy.max_attempts);
        let usual = policy.map_or(self.attempts, |policy| policy.max_attempts);
        u32::try_from(asked).ok().filter(|asked| *asked > 0).unwrap_or(usual).min(most)
    }

    /// How long a task is kept once it has ended, in milliseconds.
    pub fn retention_ms(&self, policy: Option<&Policy>) -> u64 {
        match policy.map_or(0, |policy| policy.retention_s) {
            0 => self.retention.as_millis() as u64,
            seconds => u64::from(seconds) * 1_000,
        }
    }

    /// How long an idempotency key is known, in milliseconds.
    pub fn keys_ms(&self) -> u64 {
        self.keys.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_bounds_what_is_asked_for_and_says_what_is_usual() {
        let (settings, policy) = (Settings::default(), |max_attempts, retention_s| Policy {
            priority_tiers: vec![1],
            max_attempts,
            dead_letter: "dead".to_owned(),
            retention_s,
            consumers_max: 0,
        });
        assert_eq!(
            (settings.attempts(0, None), settings.attempts(-1, None), settings.attempts(9, None)),
            (5, 5, 9)
        );
        let three = policy(3, 60);
        assert_eq!((settings.attempts(0, Some(&three)), settings.attempts(9, Some(&three))), (3, 3));
        assert_eq!(settings.attempts(2, Some(&three)), 2);
        assert_eq!(
            (settings.retention_ms(Some(&three)), settings.retention_ms(Some(&policy(3, 0)))),
            (60_000, DAY_MS)
        );
    }
}
