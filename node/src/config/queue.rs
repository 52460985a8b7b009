//! The settings of queues, checked.

use super::{ConfigError, Settings, within};
use crate::queues;
use clap::ValueEnum;
use schedia_apps::queue::{self, Retry};
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How the delay grows after which a task is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backoff {
    /// Not at all.
    Fixed,
    /// By the base, each time.
    Linear,
    /// It doubles.
    Exponential,
    /// It doubles, and half of it is drawn.
    EqualJitter,
    /// It doubles, and all of it is drawn.
    FullJitter,
}

impl From<Backoff> for queue::Backoff {
    fn from(backoff: Backoff) -> queue::Backoff {
        match backoff {
            Backoff::Fixed => queue::Backoff::Fixed,
            Backoff::Linear => queue::Backoff::Linear,
            Backoff::Exponential => queue::Backoff::Exponential,
            Backoff::EqualJitter => queue::Backoff::EqualJitter,
            Backoff::FullJitter => queue::Backoff::FullJitter,
        }
    }
}

/// What holds for queues, of these settings.
pub(super) fn checked(given: &Settings) -> Result<queues::Settings, ConfigError> {
    let number = |name: &str, value: Option<u64>, default: u64, range: RangeInclusive<u64>| {
        within(name, value.unwrap_or(default), range)
    };
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let lease_s = number("--queue-lease-seconds", given.queue_lease_seconds, 300, 1..=31_536_000)?;
    let attempts = number("--queue-max-attempts", given.queue_max_attempts, 5, 1..=1_000_000)?;
    let (base, max) = (given.queue_backoff_base_seconds, given.queue_backoff_max_seconds);
    let base_s = number("--queue-backoff-base-seconds", base, 5, 1..=31_536_000)?;
    let max_s = number("--queue-backoff-max-seconds", max, 900, 1..=31_536_000)?;
    let kept = number("--queue-retention-minutes", given.queue_retention_minutes, 1_440, 1..=5_256_000)?;
    let known = number("--queue-key-minutes", given.queue_key_minutes, 1_440, 1..=5_256_000)?;
    let policy = given.queue_backoff.unwrap_or(Backoff::FullJitter).into();
    Ok(queues::Settings {
        follower: given.queue_follower.unwrap_or_default(),
        lease_s,
        attempts: attempts as u32,
        retry: Retry { policy, base_s: base_s as u32, max_s: max_s as u32 },
        retention: minutes(kept),
        keys: minutes(known),
        lease_tokens_required: given.queue_lease_tokens.unwrap_or(false),
        webhook_secret: given.queue_webhook_secret.clone(),
        webhooks_local: given.queue_webhooks_local.unwrap_or(false),
    })
}
