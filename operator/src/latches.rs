//! The two latches of a bootstrap, kept in two places each: the status and an annotation of the StatefulSet.
//!
//! `cluster_id` is the intent, written to both places before any node is initialized with it. `initialized` says that a node confirmed
//! it. Either place may be wiped: the other one restores it. Pure.
//!
//! Invariants:
//! * A latched cluster id is never replaced by another one.
//! * Once either place says `initialized`, nothing is initialized again.

use crate::names::{ANNOTATION_CLUSTER_ID, ANNOTATION_INITIALIZED};
use crate::validate::Cluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use schedia_apps::ClusterId;
use std::collections::BTreeMap;

/// What is latched in one place, or in both together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latched {
    /// The intent.
    pub cluster_id: Option<ClusterId>,
    /// Whether a node has confirmed it.
    pub initialized: bool,
}

/// The latches as found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latches {
    /// What either place says.
    pub union: Latched,
    /// Whether both places say all of it.
    pub complete: bool,
}

impl Latches {
    /// Reads both places. `Err`: they contradict each other, in words.
    pub fn read(cluster: &Cluster, stateful_set: Option<&StatefulSet>) -> Result<Latches, String> {
        let status =
            Latched { cluster_id: cluster.latched_id.clone(), initialized: cluster.status.initialized };
        let annotations = stateful_set.and_then(|set| set.metadata.annotations.as_ref());
        let annotation = annotations.map(Latched::read).transpose()?.unwrap_or_default();
        let Some(cluster_id) = agreed(&status.cluster_id, &annotation.cluster_id)? else {
            return Ok(Latches::default());
        };
        let union = Latched {
            cluster_id: Some(cluster_id),
            initialized: status.initialized || annotation.initialized,
        };
        let complete = status == union && annotation == union;
        Ok(Latches { union, complete })
    }
}

fn agreed(status: &Option<ClusterId>, annotation: &Option<ClusterId>) -> Result<Option<ClusterId>, String> {
    match (status, annotation) {
        (Some(a), Some(b)) if a != b => Err(format!(
            "status.clusterId says {a}, the annotation {ANNOTATION_CLUSTER_ID} of the StatefulSet says {b}: \
             remove the one that the nodes do not report"
        )),
        (a, b) => Ok(a.clone().or_else(|| b.clone())),
    }
}

impl Latched {
    fn read(annotations: &BTreeMap<String, String>) -> Result<Latched, String> {
        let text = |key: &str| annotations.get(key).cloned();
        let cluster_id = text(ANNOTATION_CLUSTER_ID).map(ClusterId::try_from).transpose();
        Ok(Latched {
            cluster_id: cluster_id
                .map_err(|e| format!("annotation {ANNOTATION_CLUSTER_ID} of the StatefulSet is {e}"))?,
            initialized: text(ANNOTATION_INITIALIZED).as_deref() == Some("true"),
        })
    }

    /// As the StatefulSet carries it.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let Latched { cluster_id, initialized } = self;
        let pairs = [
            (ANNOTATION_CLUSTER_ID, cluster_id.as_ref().map(ToString::to_string)),
            (ANNOTATION_INITIALIZED, initialized.then(|| "true".to_owned())),
        ];
        pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn latched(id: &str, initialized: bool) -> Latched {
        Latched { cluster_id: Some(id.parse().unwrap()), initialized }
    }

    fn read(status: Option<&Latched>, annotation: Option<&Latched>) -> Result<Latches, String> {
        let mut cluster = testing::cluster(3);
        if let Some(status) = status {
            testing::latch_status(&mut cluster, status);
        }
        let mut set = StatefulSet::default();
        set.metadata.annotations = annotation.map(Latched::annotations);
        Latches::read(&cluster, Some(&set))
    }

    #[test]
    fn nothing_is_latched_at_first() {
        assert_eq!(read(None, None).unwrap(), Latches::default());
    }

    #[test]
    fn one_place_restores_the_other() {
        let latch = latched("a", true);
        assert_eq!(read(Some(&latch), None).unwrap(), Latches { union: latch.clone(), complete: false });
        assert_eq!(read(None, Some(&latch)).unwrap(), Latches { union: latch.clone(), complete: false });
        assert_eq!(read(Some(&latch), Some(&latch)).unwrap(), Latches { union: latch, complete: true });
    }

    #[test]
    fn initialized_in_one_place_is_initialized() {
        let latches = read(Some(&latched("a", false)), Some(&latched("a", true))).unwrap();
        assert_eq!(latches, Latches { union: latched("a", true), complete: false });
    }

    #[test]
    fn two_ids_are_a_contradiction() {
        let error = read(Some(&latched("a", true)), Some(&latched("b", true))).unwrap_err();
        assert!(error.contains("says a") && error.contains("says b"), "{error}");
    }
}
