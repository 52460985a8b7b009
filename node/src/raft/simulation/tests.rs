//! Seeds: `E2E_SEED` plays one, `E2E_SEEDS` so many.

use super::{play, play_on};
use std::time::{Duration, Instant};

/// However fast the machine: the usual run has others to make.
const TIME: Duration = Duration::from_secs(15);
const TIME_FULL: Duration = Duration::from_secs(300);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_cluster_holds_what_raft_promises_whatever_befalls_it() {
    let time = if std::env::var_os("E2E_FULL").is_some() { TIME_FULL } else { TIME };
    let (one, asked) = (number("E2E_SEED"), number("E2E_SEEDS"));
    let first = one.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let count = if one.is_some() { 1 } else { asked.unwrap_or(u64::MAX) };
    let (end, mut seeds, mut acknowledged, mut read) = (Instant::now() + time, 0, 0, 0);
    let (mut elections, mut crashes) = (0, 0);
    while seeds < count && (asked.is_some() || one.is_some() || Instant::now() < end) {
        let seed = first + seeds;
        // Printed when the test fails.
        println!("E2E_SEED={seed}");
        let played = play(seed);
        assert!(played.acknowledged > 0 && played.read > 0, "nothing was ever written, or read");
        acknowledged += played.acknowledged;
        read += played.read;
        elections += played.elections;
        crashes += played.crashes;
        seeds += 1;
    }
    println!(
        "{seeds} seeds: {acknowledged} writes acknowledged, {read} reads, {elections} leaders, {crashes} crashes"
    );
    // One seed may be a quiet one.
    assert!(seeds < 3 || crashes > 0 && elections > seeds, "nothing has befallen it");
}

/// The judge is no yes-sayer.
#[test]
fn disks_that_lose_what_they_synced_are_found_out() {
    let words = |seed| match std::panic::catch_unwind(|| play_on(seed, false)) {
        Ok(_) => String::new(),
        Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    };
    let is_found = |words: String| {
        println!("found: {words}");
        ["was applied there", "and is not there", "has another state"]
            .iter()
            .any(|found| words.contains(found))
    };
    assert!((0..20).map(words).any(is_found), "20 seeds on such disks, and nothing was noticed");
}

#[test]
fn a_seed_plays_the_same_twice() {
    for seed in [1, 2] {
        let (one, other) = (play(seed).trace, play(seed).trace);
        let differs = one.iter().zip(&other).position(|(a, b)| a != b);
        if let Some(at) = differs {
            let from = at.saturating_sub(5);
            panic!("seed {seed}: {:#?}\n{:#?}", &one[from..=at], &other[from..=at]);
        }
        assert_eq!(one.len(), other.len());
        assert!(one.len() > 1_000, "{} events are few", one.len());
    }
}
