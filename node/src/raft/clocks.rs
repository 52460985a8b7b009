//! The voters' wall clocks, as far as a leader knows them: members report theirs with every answer to an append.
//!
//! The middle of them is what log time follows (`crate::shards`). One clock that lies does not move it, however far it is off,
//! as long as the others agree: with an odd number it is the clock in the middle, with an even one all that lies between the two.
//!
//! A reading is as late as its answer was under way. That is little beside the second from which on a clock is called wrong.

use schedia_apps::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A reading older than this is none: its voter may be gone, and one of the two clocks runs wrong by now.
const READING_MAX_AGE: Duration = Duration::from_secs(10);

/// This node's wall clock.
#[derive(Clone)]
pub(crate) struct Wall(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Wall {
    /// The system's.
    pub(crate) fn system() -> Wall {
        Wall::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
    }

    /// One that shows what `now_ms` says, in milliseconds since 1970.
    pub(crate) fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Wall {
        Wall(Arc::new(now_ms))
    }

    /// What it shows.
    pub(crate) fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

/// The middle of several clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Middle {
    /// It begins here,
    pub(crate) low_ms: u64,
    /// and ends here: the same, if the number of clocks is odd.
    pub(crate) high_ms: u64,
}

impl Middle {
    fn of(mut clocks_ms: Vec<u64>) -> Option<Middle> {
        clocks_ms.sort_unstable();
        let last = clocks_ms.len().checked_sub(1)?;
        Some(Middle { low_ms: clocks_ms[last / 2], high_ms: clocks_ms[last.div_ceil(2)] })
    }

    /// How far a clock is ahead of it.
    pub(crate) fn offset_ms(&self, clock_ms: u64) -> i64 {
        let middle_ms = self.low_ms.midpoint(self.high_ms);
        clock_ms.saturating_sub(middle_ms) as i64 - middle_ms.saturating_sub(clock_ms) as i64
    }
}

/// What the members of a shard last reported.
#[derive(Clone, Default)]
pub(super) struct Clocks(Arc<Mutex<BTreeMap<NodeId, Reading>>>);

#[derive(Clone, Copy)]
struct Reading {
    wall_ms: u64,
    at: Instant,
}

impl Clocks {
    pub(super) fn note(&self, id: NodeId, wall_ms: u64) {
        let reading = Reading { wall_ms, at: Instant::now() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, reading);
    }

    /// The middle of the voters' clocks, once a majority of them is known. `own` is this node's.
    pub(super) fn middle(&self, voters: &BTreeSet<NodeId>, own: (NodeId, u64)) -> Option<Middle> {
        let readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let clock_ms = |id: &NodeId| {
            if *id == own.0 {
                return Some(own.1);
            }
            let Reading { wall_ms, at } = *readings.get(id)?;
            let age = now.saturating_duration_since(at);
            (age <= READING_MAX_AGE).then(|| wall_ms.saturating_add(age.as_millis() as u64))
        };
        let clocks_ms: Vec<u64> = voters.iter().filter_map(clock_ms).collect();
        if 2 * clocks_ms.len() > voters.len() { Middle::of(clocks_ms) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn middle(clocks_ms: &[u64]) -> (u64, u64) {
        let Middle { low_ms, high_ms } = Middle::of(clocks_ms.to_vec()).unwrap();
        (low_ms, high_ms)
    }

    #[test]
    fn the_middle_is_a_clock_or_what_lies_between_two() {
        assert_eq!(Middle::of(Vec::new()), None);
        assert_eq!(middle(&[5]), (5, 5));
        assert_eq!(middle(&[9, 5]), (5, 9));
        assert_eq!(middle(&[9, 1, 5]), (5, 5));
        assert_eq!(middle(&[9, 1, 5, 7]), (5, 7));
    }

    #[test]
    fn an_offset_is_told_from_the_middle_in_either_direction() {
        let between = Middle { low_ms: 1_000, high_ms: 3_000 };
        assert_eq!([0, 1_900, 2_000, 5_000].map(|clock| between.offset_ms(clock)), [-2_000, -100, 0, 3_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_majority_of_fresh_readings_is_needed_and_only_voters_count() {
        let (clocks, voters) = (Clocks::default(), BTreeSet::from([1, 2, 3].map(NodeId)));
        let of = |own| clocks.middle(&voters, (NodeId(1), own));
        assert_eq!(of(100), None);
        clocks.note(NodeId(9), 7);
        assert_eq!(of(100), None, "a learner has no say");
        clocks.note(NodeId(2), 200);
        assert_eq!(of(100), Some(Middle { low_ms: 100, high_ms: 200 }));
        clocks.note(NodeId(3), 900);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(of(5_000), Some(Middle { low_ms: 1_900, high_ms: 1_900 }), "a reading goes on");
        tokio::time::advance(READING_MAX_AGE).await;
        assert_eq!(of(5_000), None, "but not for ever");
        assert_eq!(
            clocks.middle(&BTreeSet::from([NodeId(1)]), (NodeId(1), 7)),
            Some(Middle { low_ms: 7, high_ms: 7 })
        );
    }

    proptest! {
        /// Whatever fewer than half of the clocks show, the middle lies within what the others show.
        #[test]
        fn liars_in_the_minority_do_not_move_the_middle_beyond_the_others(
            honest in prop::collection::vec(1_000u64..2_000, 2..6),
            liars in prop::collection::vec(any::<u64>(), 0..5),
        ) {
            prop_assume!(liars.len() < honest.len());
            let Middle { low_ms, high_ms } = Middle::of([&honest[..], &liars].concat()).unwrap();
            let (least, most) = (honest.iter().min().unwrap(), honest.iter().max().unwrap());
            prop_assert!(low_ms <= high_ms && low_ms <= *most && high_ms >= *least);
            if (honest.len() + liars.len()) % 2 == 1 {
                prop_assert!(low_ms >= *least && high_ms <= *most);
            }
        }
    }
}
