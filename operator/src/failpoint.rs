//! Ends the process on purpose, right after an effect: so that a test can show that whoever comes next goes on from there.
//!
//! Off unless asked for. The process ends as if it were killed: nothing is finished, the Lease is not given back.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

/// The exit status of a process that ended here.
pub const STATUS: i32 = 86;

/// Everything the operator changes, in Kubernetes and in a cluster: the names of failpoints. Steps have those of
/// [`crate::plan::Step::kind`].
pub const EFFECTS: [&str; 21] = [
    "AddLearner",
    "ApplyPodDisruptionBudget",
    "ApplyService",
    "ApplyStatefulSet",
    "AssignNodeId",
    "ChangeVoters",
    "DeletePodDisruptionBudget",
    "DeleteVolumeClaim",
    "DrawNodeId",
    "FinishChange",
    "Initialize",
    "LabelPod",
    "LatchInitialized",
    "LatchIntent",
    "RecreatePod",
    "RemoveMember",
    "ResetNode",
    "TransferLeader",
    "WriteStatus",
    // Whichever comes.
    ANY,
    // Whichever comes but statuses and labels, which decide nothing.
    ACT,
];
const ANY: &str = "any";
const ACT: &str = "act";

/// Where the process ends: `AddLearner`, `ApplyStatefulSet:2` (after the second), `any:7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    effect: String,
    nth: u32,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let (effect, nth) = text.split_once(':').unwrap_or((text, "1"));
        if !EFFECTS.contains(&effect) {
            return Err(format!("{effect} is no effect; these are: {}", EFFECTS.join(", ")));
        }
        let nth = nth.parse().ok().filter(|nth| *nth > 0);
        let nth = nth.ok_or_else(|| format!("behind the colon stands a number from 1 on: {text}"))?;
        Ok(Place { effect: effect.to_owned(), nth })
    }
}

impl Place {
    fn is_about(&self, effect: &str) -> bool {
        match self.effect.as_str() {
            ANY => true,
            ACT => !matches!(effect, "WriteStatus" | "LabelPod"),
            own => own == effect,
        }
    }
}

/// Counts effects up to the place where the process ends.
#[derive(Debug, Default)]
pub struct Failpoint {
    place: Option<Place>,
    seen: AtomicU32,
}

impl Failpoint {
    /// At this place; `None`: nowhere.
    pub fn new(place: Option<Place>) -> Failpoint {
        Failpoint { place, seen: AtomicU32::new(0) }
    }

    /// An effect has just been brought about.
    pub fn after(&self, effect: &str) {
        if self.is_reached(effect) {
            tracing::warn!(effect, status = STATUS, "the process ends here, as --end-after asks");
            std::process::exit(STATUS);
        }
    }

    fn is_reached(&self, effect: &str) -> bool {
        let Some(place) = self.place.as_ref().filter(|place| place.is_about(effect)) else { return false };
        self.seen.fetch_add(1, Ordering::Relaxed) + 1 == place.nth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(place: &str, effects: &[&str]) -> Option<usize> {
        let failpoint = Failpoint::new(Some(place.parse().unwrap()));
        effects.iter().position(|effect| failpoint.is_reached(effect))
    }

    #[test]
    fn a_place_is_an_effect_and_how_often_it_must_come() {
        let effects = ["WriteStatus", "AddLearner", "LabelPod", "AddLearner", "ChangeVoters"];
        assert_eq!(reached("AddLearner", &effects), Some(1));
        assert_eq!(reached("AddLearner:2", &effects), Some(3));
        assert_eq!(reached("AddLearner:3", &effects), None);
        assert_eq!(reached("any", &effects), Some(0));
        assert_eq!(reached("any:5", &effects), Some(4));
        assert_eq!(reached("act:3", &effects), Some(4));
    }

    #[test]
    fn without_a_place_nothing_is_reached() {
        assert!(!Failpoint::new(None).is_reached("AddLearner"));
    }

    #[test]
    fn a_place_that_cannot_be_reached_is_refused_with_those_that_can() {
        let error = "AddLearners".parse::<Place>().unwrap_err();
        assert!(error.contains("AddLearners") && error.contains("AddLearner,"), "{error}");
        assert!("AddLearner:0".parse::<Place>().unwrap_err().contains("from 1 on"));
    }
}
