//! What tasks and times are called in JSON.

use jiff::Timestamp;
use schedia_apps::queue::Place;

/// codeQ's four states of a task.
pub(crate) fn status(place: Place) -> &'static str {
    match place {
        Place::Ready | Place::Delayed => "PENDING",
        Place::InProgress => "IN_PROGRESS",
        Place::Completed => "COMPLETED",
        Place::Dead | Place::Failed | Place::Cancelled => "FAILED",
    }
}

/// A time in UTC, to the millisecond.
pub(crate) fn time(ms: u64) -> String {
    timestamp(ms).to_string()
}

/// A time in UTC, to the second: what is left of it is not promised.
pub(crate) fn seconds(ms: u64) -> String {
    timestamp(ms - ms % 1_000).to_string()
}

fn timestamp(ms: u64) -> Timestamp {
    i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        assert_eq!(time(1_790_000_000_123), "2026-09-21T14:13:20.123Z");
        assert_eq!(seconds(1_790_000_000_123), "2026-09-21T14:13:20Z");
        assert_eq!(seconds(u64::MAX), Timestamp::MAX.to_string());
    }
}
