//! Log time: the stamps that a leader writes on entries. Pure: every clock is handed in.
//!
//! A stamp is the one before plus what the monotonic clock adds, pulled toward the middle of the voters' wall clocks by at
//! most one part in [`SLEW`] of that. So log time runs at 0.9 to 1.1 of real time, whatever wall clocks do: one that lies
//! does not move the middle, and a middle that leaps is followed at that rate, so that no lease ends at once or lasts for ever.
//!
//! A new leader goes on from the last stamp it has seen, and from when it saw it. After a restart nobody here knows for how
//! long the log stood still: then, once a term, log time goes forward to the middle at once. It never goes back.
//!
//! Invariants:
//! * Log time never runs backwards.
//! * Within a process's knowledge it runs at 0.9 to 1.1 of the monotonic clock.
//!
//! Not here: what the voters' clocks show (`crate::raft`), and what apply makes of stamps.

use crate::raft::Middle;
use std::time::Duration;
use tokio::time::Instant;

/// Log time is pulled by one part in so many of the time that passed.
const SLEW: u32 = 10;

/// A leader's clock that is further off the middle of the voters' is an alarm.
const SKEW_MS: u64 = 1_000;

/// What is wrong with a leader's clock that is so far ahead of the middle of the voters', if anything is.
pub(super) fn skew(offset_ms: i64) -> Option<String> {
    let side = if offset_ms > 0 { "ahead of" } else { "behind" };
    (offset_ms.unsigned_abs() > SKEW_MS).then(|| {
        format!("this node leads, and its clock is over a second {side} the middle of the voters' clocks: set it right")
    })
}

/// What is known when a stamp is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// The term led.
    pub(super) term: u64,
    /// Log time as applied here.
    pub(super) applied_ms: u64,
    /// When that was, unless it was read back after a restart.
    pub(super) applied_at: Option<Instant>,
    /// The middle of the voters' clocks, once a majority of them is known.
    pub(super) middle: Option<Middle>,
    pub(super) now: Instant,
}

/// Where the stamps of a leader come from.
#[derive(Default)]
pub(super) struct LogClock {
    base: Option<Base>,
    /// The stamp given last, in whichever term.
    last: Duration,
}

/// Log time at some moment of a term.
struct Base {
    term: u64,
    /// Since 1970.
    time: Duration,
    at: Instant,
    /// It is not known how long the log stood still before this term.
    may_leap: bool,
}

impl LogClock {
    /// The next stamp, in milliseconds since 1970.
    pub(super) fn stamp(&mut self, known: Known) -> u64 {
        let Known { term, applied_ms, applied_at, middle, now } = known;
        let applied = Duration::from_millis(applied_ms);
        let base = self.base.take().filter(|base| base.term == term).unwrap_or(Base {
            term,
            time: applied,
            at: applied_at.unwrap_or(now),
            may_leap: applied_at.is_none(),
        });
        let elapsed = now.saturating_duration_since(base.at);
        let free = base.time.saturating_add(elapsed);
        let time = match middle {
            Some(middle) => pulled(free, middle, if base.may_leap { None } else { Some(elapsed / SLEW) }),
            None => free,
        };
        let time = time.max(applied).max(self.last);
        self.base = Some(Base { term, time, at: now, may_leap: base.may_leap && middle.is_none() });
        self.last = time;
        time.as_millis() as u64
    }
}

/// The time nearest to the middle that may be given; `at_most` = `None`: any that is not before `free`.
fn pulled(free: Duration, middle: Middle, at_most: Option<Duration>) -> Duration {
    let (low, high) = (Duration::from_millis(middle.low_ms), Duration::from_millis(middle.high_ms));
    let wanted = free.clamp(low, high);
    match at_most {
        Some(pull) => wanted.clamp(free.saturating_sub(pull), free.saturating_add(pull)),
        None => wanted.max(free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Option<Middle> {
        Some(Middle { low_ms: ms, high_ms: ms })
    }

    /// Stamps of one leader whose log time was [`BEGIN`] when it saw the last entry, a moment ago.
    struct Leader {
        clock: LogClock,
        now: Instant,
    }

    const BEGIN: u64 = 1_000_000_000;

    impl Leader {
        fn new() -> Leader {
            let mut leader = Leader { clock: LogClock::default(), now: Instant::now() };
            assert_eq!(leader.after(0, None), BEGIN);
            leader
        }

        fn after(&mut self, ms: u64, middle: Option<Middle>) -> u64 {
            let seen = self.now;
            self.now += Duration::from_millis(ms);
            let known = Known { term: 1, applied_ms: BEGIN, applied_at: Some(seen), middle, now: self.now };
            self.clock.stamp(known)
        }
    }

    #[test]
    fn without_a_majority_of_clocks_only_the_monotonic_clock_counts() {
        let mut leader = Leader::new();
        assert_eq!(leader.after(500, None), BEGIN + 500);
        assert_eq!(leader.after(7, None), BEGIN + 507);
    }

    #[test]
    fn a_middle_that_leaps_is_followed_by_a_tenth() {
        let mut leader = Leader::new();
        let hour = 3_600_000;
        assert_eq!(leader.after(1_000, at(BEGIN + hour)), BEGIN + 1_100);
        assert_eq!(leader.after(1_000, at(BEGIN - hour)), BEGIN + 2_000);
        assert_eq!(leader.after(10, at(BEGIN - hour)), BEGIN + 2_009);
        assert_eq!(leader.after(1_000, at(BEGIN + 3_000)), BEGIN + 3_000, "it ends there");
    }

    #[test]
    fn between_two_middle_clocks_log_time_runs_freely() {
        let mut leader = Leader::new();
        let wide = Some(Middle { low_ms: 0, high_ms: u64::MAX });
        assert_eq!(leader.after(1_000, wide), BEGIN + 1_000);
    }

    #[test]
    fn stamps_that_follow_each_other_closely_lose_no_time() {
        let mut leader = Leader::new();
        for _ in 0..10_000 {
            leader.now += Duration::from_micros(100);
            leader.after(0, None);
        }
        assert_eq!(leader.after(0, None), BEGIN + 1_000);
    }

    #[test]
    fn a_new_leader_goes_on_from_when_it_saw_the_last_entry() {
        let (mut clock, seen) = (LogClock::default(), Instant::now());
        let now = seen + Duration::from_secs(100);
        let known =
            Known { term: 1, applied_ms: BEGIN, applied_at: Some(seen), middle: at(BEGIN + 900_000), now };
        assert_eq!(clock.stamp(known), BEGIN + 110_000, "as if it had led meanwhile");
    }

    #[test]
    fn after_a_restart_it_goes_forward_to_the_middle_once_and_never_back() {
        let (mut clock, now) = (LogClock::default(), Instant::now());
        let hour = 3_600_000;
        let known = Known { term: 1, applied_ms: BEGIN, applied_at: None, middle: None, now };
        assert_eq!(clock.stamp(known), BEGIN, "nobody's clock is known yet");
        assert_eq!(clock.stamp(Known { middle: at(BEGIN + hour), ..known }), BEGIN + hour);
        assert_eq!(clock.stamp(Known { middle: at(BEGIN + 2 * hour), ..known }), BEGIN + hour, "once a term");
        let behind = Known { term: 2, applied_ms: BEGIN + hour, middle: at(BEGIN), ..known };
        assert_eq!(clock.stamp(behind), BEGIN + hour, "not back");
    }

    /// A stretch of time under some leader, and what the middle shows then.
    fn stretch() -> impl Strategy<Value = (bool, u64, Option<u64>)> {
        (any::<bool>(), 0u64..5_000, proptest::option::of(BEGIN - 1_500_000..BEGIN + 1_500_000))
    }

    proptest! {
        #[test]
        fn log_time_never_runs_backwards_and_keeps_its_rate(
            steps in prop::collection::vec(stretch(), 1..50),
        ) {
            let (mut clock, mut now, mut term) = (LogClock::default(), Instant::now(), 1);
            let (mut last, mut seen) = (BEGIN, now);
            for (elected, elapsed_ms, middle) in steps {
                now += Duration::from_millis(elapsed_ms);
                if elected {
                    // Another process, which applied the last entry when it was written.
                    clock = LogClock::default();
                    term += 1;
                }
                let middle = middle.and_then(at);
                let stamp = clock.stamp(Known { term, applied_ms: last, applied_at: Some(seen), middle, now });
                prop_assert!(stamp >= last);
                let (least, most) = (elapsed_ms * 9 / 10, elapsed_ms * 11 / 10 + 1);
                prop_assert!((least.saturating_sub(1)..=most).contains(&(stamp - last)), "{} in {elapsed_ms}", stamp - last);
                (last, seen) = (stamp, now);
            }
        }

        /// Two of three clocks show the time; the third shows anything, at any moment.
        #[test]
        fn one_liar_of_three_does_not_move_it(
            lies in prop::collection::vec((1u64..2_000, any::<u64>()), 1..50), behind: bool,
        ) {
            let (mut leader, mut real) = (Leader::new(), if behind { BEGIN + 50 } else { BEGIN - 50 });
            for (elapsed_ms, lie) in lies {
                real += elapsed_ms;
                let mut clocks = [real, real, lie];
                clocks.sort_unstable();
                let stamp = leader.after(elapsed_ms, at(clocks[1]));
                prop_assert!(stamp.abs_diff(real) <= 50, "{stamp} at {real}");
            }
        }

        /// A tenth of the time that passes is made good, in either direction.
        #[test]
        fn log_time_comes_to_the_middle(ahead: bool, off_ms in 0u64..100_000) {
            let mut leader = Leader::new();
            let mut real = if ahead { BEGIN - off_ms } else { BEGIN + off_ms };
            let mut stamp = BEGIN;
            for _ in 0..=off_ms / 100 + 1 {
                real += 1_000;
                stamp = leader.after(1_000, at(real));
            }
            prop_assert_eq!(stamp, real);
        }
    }
}
