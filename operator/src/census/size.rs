//! How many pods the StatefulSet must have.
//!
//! Invariants:
//! * The pods of every member that any node names exist, so that each can start on its own disk; for that no majority is needed.
//! * Pods go only when a quorum, read back, is in a membership without them; or when there is no cluster at all.
//! * Without a majority no pod is made for a member that is not one yet.

use crate::names::Names;
use crate::observed::Observed;
use schedia_apps::cluster::Record;

/// What decides about the size.
pub(super) struct Sizing<'a> {
    pub(super) names: &'a Names,
    pub(super) observed: &'a Observed,
    /// The number of voters asked for.
    pub(super) target: u32,
    /// Whether the cluster exists: a node confirmed it, now or ever.
    pub(super) exists: bool,
    /// Whether a cluster may exist: there is an intent to make one, or a node knows of one.
    pub(super) may_exist: bool,
    /// The record as each node of the cluster last applied it.
    pub(super) reported: Vec<&'a Record>,
    /// Whether the settled record was read back from a quorum.
    pub(super) read_back: bool,
}

pub(super) fn size(sizing: &Sizing<'_>) -> u32 {
    let Sizing { names, observed, target, exists, may_exist, reported, read_back } = sizing;
    let named = |record: &Record| {
        let ordinals = record.members.values().filter_map(|member| names.ordinal(&member.name));
        ordinals.map(|ordinal| ordinal + 1).max().unwrap_or(0)
    };
    let confirmed = observed.record.as_ref().map(|probe| named(&probe.record));
    let by_anybody = reported.iter().map(|record| named(record)).max().max(confirmed).unwrap_or(0);
    let set = observed.live.stateful_set.as_ref();
    let live = set.map(|set| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0));
    let live = live.map(|replicas| u32::try_from(replicas).unwrap_or(0));
    let wanted = match (exists, confirmed, live) {
        (false, _, live) if *may_exist => live.unwrap_or(0).max(*target),
        (false, ..) => *target,
        (true, Some(confirmed), _) if *read_back => confirmed.max(*target),
        (true, Some(_), live) => by_anybody.max(*target).max(live.unwrap_or(0)),
        // Nobody can be made a member now. If nobody tells of any member, perhaps somebody has taken the pods away.
        (true, None, Some(live)) if by_anybody > 0 => by_anybody.max(live),
        (true, None, live) => by_anybody.max(*target).max(live.unwrap_or(0)),
    };
    // A pod must not start on a claim that is going: it would lose its disk under its feet.
    let going = observed.claims.iter().filter(|(_, claim)| claim.terminating).map(|(ordinal, _)| *ordinal);
    let live = live.unwrap_or(0);
    let first_going = going.filter(|ordinal| *ordinal >= live).min();
    first_going.map_or(wanted, |ordinal| wanted.min(ordinal.max(live)))
}
