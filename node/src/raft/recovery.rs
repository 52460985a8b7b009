//! When a restarted node has again applied everything that it had applied before. Pure.
//!
//! What was applied was committed, so it is not behind the last entry that the log had at the restart. That entry itself may
//! never be applied: it may not have been committed, and a later leader overwrites it. But a later leader has every committed
//! entry, before the first of its own term (Raft §5.4.3: leader completeness).

use schedia_api::LogId;

/// Whether nothing that was ever applied here is missing. `last_at_open`: the last entry of the log at the restart.
pub(super) fn has_recovered(last_at_open: Option<LogId>, applied: Option<LogId>) -> bool {
    match (last_at_open, applied) {
        // An empty log must first receive something: only a leader knows whether it should be empty.
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(last), Some(applied)) => applied.index >= last.index || applied.term > last.term,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, index: u64) -> Option<LogId> {
        Some(LogId { term, index })
    }

    #[test]
    fn an_empty_log_waits_for_its_first_entry() {
        assert!(!has_recovered(None, None));
        assert!(has_recovered(None, at(1, 1)));
    }

    #[test]
    fn under_the_same_leader_the_last_entry_is_waited_for() {
        assert!(!has_recovered(at(2, 10), at(2, 9)));
        assert!(!has_recovered(at(2, 10), at(1, 9)));
        assert!(has_recovered(at(2, 10), at(2, 10)));
        assert!(has_recovered(at(2, 10), at(2, 11)));
    }

    #[test]
    fn an_entry_of_a_later_leader_is_behind_all_that_was_applied_even_if_the_log_is_shorter_now() {
        assert!(has_recovered(at(2, 10), at(3, 8)));
    }
}
