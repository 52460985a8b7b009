//! Times and ages as parameters and bodies have them, and the spans that they mean.

use super::*;
use jiff::Timestamp;
use schedia_apps::queue::{Place, Span};
use std::str::FromStr;

const A_TIME: &str = "a time like 2026-11-23T10:00:00Z";
const AN_AGE: &str = "an age like 90s, 15m, 36h or 7d";

/// A time in milliseconds since 1970. What lies before is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time(u64);

impl FromStr for Time {
    type Err = ();

    fn from_str(text: &str) -> Result<Time, ()> {
        let time: Timestamp = text.parse().map_err(|_| ())?;
        Ok(Time(u64::try_from(time.as_millisecond()).unwrap_or(0)))
    }
}

/// How long ago something was, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Age(u64);

impl FromStr for Age {
    type Err = ();

    fn from_str(text: &str) -> Result<Age, ()> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(()),
        };
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)).map(Age).ok_or(())
    }
}

/// When tasks were created and when they ended, as parameters say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans {
    pub(super) created: Span,
    pub(super) ended: Span,
    younger: Option<Age>,
    older: Option<Age>,
}

impl Spans {
    pub(super) fn take(params: &mut Params) -> Result<Spans, DoorError> {
        let mut time = |name: &str| params.value::<Time>(name, A_TIME).map(|time| time.map(|Time(ms)| ms));
        let created = Span { from_ms: time("createdAfter")?, before_ms: time("createdBefore")? };
        let ended = Span { from_ms: time("endedAfter")?, before_ms: time("endedBefore")? };
        let younger = params.value("youngerThan", AN_AGE)?;
        let older = params.value("olderThan", AN_AGE)?;
        Ok(Spans { created, ended, younger, older })
    }

    /// The spans of creation and of end, ages counted back from now: from the end of tasks that have ended, of others from their
    /// creation.
    pub(super) fn at(self, now_ms: u64, place: Option<Place>) -> (Span, Span) {
        let Spans { mut created, mut ended, younger, older } = self;
        let ends = matches!(place, Some(Place::Dead | Place::Completed | Place::Failed | Place::Cancelled));
        let aged = if ends { &mut ended } else { &mut created };
        if let Some(Age(ms)) = younger {
            aged.from_ms = aged.from_ms.max(Some(now_ms.saturating_sub(ms)));
        }
        if let Some(Age(ms)) = older {
            let before_ms = now_ms.saturating_sub(ms);
            aged.before_ms = Some(aged.before_ms.map_or(before_ms, |known_ms| known_ms.min(before_ms)));
        }
        (created, ended)
    }
}

/// The time of a field of a body, in milliseconds since 1970.
pub(super) fn time_ms(field: &str, text: &str) -> Result<u64, DoorError> {
    let wrong = |()| DoorError::bad_request(format!("{field} must be {A_TIME}: {text:?}"));
    text.parse().map(|Time(ms)| ms).map_err(wrong)
}

/// The time that was so long ago, in milliseconds since 1970.
pub(super) fn ago_ms(field: &str, text: &str, now_ms: u64) -> Result<u64, DoorError> {
    let wrong = |()| DoorError::bad_request(format!("{field} must be {AN_AGE}: {text:?}"));
    text.parse().map(|Age(ms)| now_ms.saturating_sub(ms)).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(query: &str, place: Option<Place>) -> Result<(Span, Span), String> {
        let mut params = Params::parse(Some(query)).unwrap();
        let spans = Spans::take(&mut params).map_err(|error| error.message().to_owned())?;
        params.done().unwrap();
        Ok(spans.at(100_000, place))
    }

    #[test]
    fn ages_have_units_and_nothing_else() {
        for (text, ms) in [("5ms", 5), ("90s", 90_000), ("2m", 120_000), ("36h", 129_600_000), ("0d", 0)] {
            assert_eq!(text.parse(), Ok(Age(ms)), "{text}");
        }
        for text in ["", "90", "s", "-1s", "1.5h", "1 s", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(text.parse::<Age>(), Err(()), "{text}");
        }
    }

    #[test]
    fn an_age_counts_from_the_end_where_there_is_one() {
        let before = |before_ms| Span { from_ms: None, before_ms: Some(before_ms) };
        let none = Span::default();
        assert_eq!(spans("olderThan=90s", None), Ok((before(10_000), none)));
        assert_eq!(spans("olderThan=90s", Some(Place::Ready)), Ok((before(10_000), none)));
        assert_eq!(spans("olderThan=90s", Some(Place::Dead)), Ok((none, before(10_000))));
        let between = Span { from_ms: Some(40_000), before_ms: Some(90_000) };
        assert_eq!(spans("youngerThan=1m&olderThan=10s", None), Ok((between, none)));
    }

    #[test]
    fn of_two_bounds_the_narrower_holds() {
        let query = "createdBefore=1970-01-01T00:00:05Z&olderThan=10s&createdAfter=1970-01-01T00:00:01Z";
        let both = Span { from_ms: Some(1_000), before_ms: Some(5_000) };
        assert_eq!(spans(query, None), Ok((both, Span::default())));
        assert_eq!(
            spans("endedBefore=soon", None),
            Err("parameter endedBefore must be a time like 2026-11-23T10:00:00Z: \"soon\"".to_owned())
        );
        assert_eq!(
            spans("olderThan=1w", None),
            Err("parameter olderThan must be an age like 90s, 15m, 36h or 7d: \"1w\"".to_owned())
        );
    }
}
