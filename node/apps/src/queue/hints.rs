//! Where the first row of a walk can be at the earliest.
//!
//! Rows that were removed since the last flush are stepped over one by one, and a queue removes at its head: without a hint
//! every claim would step over all tasks claimed since then.
//!
//! Invariants:
//! * No answer depends on a hint: there is no row below it, and none need be there. After a start there are none.
//! * A hint is raised only by what a command that succeeded removed or found missing: a command changes an [`Overlay`].

use std::collections::BTreeMap;

/// More are forgotten, all at once: one for each priority of some hundred busy queues.
const HINTS_MAX: usize = 4_096;

/// What is walked from its first row on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Walk {
    /// The ready tasks of a queue (by its number) and a priority, by their numbers.
    Ready(u32, u8),
    /// What is due, of one kind, by time.
    Due(u8),
    /// Webhooks, by time.
    Hooks,
}

/// For some walks the least number or time of a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints(BTreeMap<Walk, u64>);

/// Hints are no state: whoever has them and who has not are the same.
impl PartialEq for Hints {
    fn eq(&self, _: &Hints) -> bool {
        true
    }
}

impl Eq for Hints {}

impl Hints {
    /// The first number or time that a row of a walk can have.
    pub(super) fn first(&self, walk: Walk) -> u64 {
        self.0.get(&walk).copied().unwrap_or(0)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes what a command made of them.
    pub(super) fn merge(&mut self, changed: BTreeMap<Walk, u64>) {
        if self.0.len() + changed.len() > HINTS_MAX {
            self.0.clear();
        }
        self.0.extend(changed.into_iter().take(HINTS_MAX));
    }
}

/// The hints as one command changes them.
pub(super) struct Overlay<'a> {
    under: &'a Hints,
    changed: BTreeMap<Walk, u64>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(under: &'a Hints) -> Overlay<'a> {
        Overlay { under, changed: BTreeMap::new() }
    }

    pub(super) fn first(&self, walk: Walk) -> u64 {
        self.changed.get(&walk).copied().unwrap_or_else(|| self.under.first(walk))
    }

    /// There is nothing before this.
    pub(super) fn raise(&mut self, walk: Walk, first: u64) {
        self.changed.insert(walk, first);
    }

    /// A row is put here.
    pub(super) fn lower(&mut self, walk: Walk, place: u64) {
        if place < self.first(walk) {
            self.changed.insert(walk, place);
        }
    }

    pub(super) fn into_changed(self) -> BTreeMap<Walk, u64> {
        self.changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_put_below_lowers_a_hint_and_one_above_does_not() {
        let (mut hints, walk) = (Hints::default(), Walk::Ready(1, 9));
        let changed = |hints: &Hints, change: &dyn Fn(&mut Overlay<'_>)| {
            let mut overlay = Overlay::new(hints);
            change(&mut overlay);
            (overlay.first(walk), overlay.into_changed())
        };
        assert_eq!(changed(&hints, &|hints| hints.lower(walk, 3)), (0, BTreeMap::new()));
        let (first, raised) = changed(&hints, &|hints| hints.raise(walk, 7));
        assert_eq!((first, hints.first(walk)), (7, 0), "only the command that succeeded has raised it");
        hints.merge(raised);
        assert_eq!(changed(&hints, &|hints| hints.lower(walk, 9)), (7, BTreeMap::new()));
        hints.merge(changed(&hints, &|hints| hints.lower(walk, 5)).1);
        assert_eq!(hints.first(walk), 5);
    }

    #[test]
    fn hints_are_forgotten_before_there_are_too_many() {
        let mut hints = Hints::default();
        for number in 0..10_000 {
            hints.merge(BTreeMap::from([(Walk::Ready(number, 0), 1)]));
            assert!(hints.0.len() <= HINTS_MAX);
            assert_eq!(hints.first(Walk::Ready(number, 0)), 1);
        }
        hints.merge((0..10_000).map(|number| (Walk::Ready(number, 0), 1)).collect());
        assert!(hints.0.len() <= HINTS_MAX);
    }
}
