//! Lengths of time as options have them.

use std::time::Duration;

/// A whole number with a unit: `90s`, `15m`, `36h`, `7d`.
pub(super) fn length(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_s: u64 = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 0,
    };
    let seconds = number.parse::<u32>().ok().filter(|_| unit_s > 0);
    let seconds = seconds.map(|number| u64::from(number) * unit_s);
    seconds.map(Duration::from_secs).ok_or_else(|| "a whole number with s, m, h or d, like 90s".to_owned())
}

/// The same, but not nothing.
pub(super) fn some_length(text: &str) -> Result<Duration, String> {
    match length(text)? {
        Duration::ZERO => Err("it must be longer than 0".to_owned()),
        length => Ok(length),
    }
}

/// The same, up to the 30 s that a node lets a claim wait.
pub(super) fn wait(text: &str) -> Result<Duration, String> {
    match length(text)? {
        length if length <= Duration::from_secs(30) => Ok(length),
        _ => Err("a node waits 30s at most".to_owned()),
    }
}

/// A lease that a worker extends at each third: of some seconds at least.
pub(super) fn lease(text: &str) -> Result<Duration, String> {
    match length(text)? {
        length if length >= Duration::from_secs(3) => Ok(length),
        _ => Err("a lease that is extended while a program runs is 3s at least".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_units() {
        for (text, seconds) in [("0s", 0), ("90", 90), ("15m", 900), ("36h", 129_600), ("7d", 604_800)] {
            assert_eq!(length(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5h", "5 s", "1w", "99999999999s"] {
            assert!(length(text).is_err(), "{text}");
        }
        assert!(wait("31s").is_err() && some_length("0s").is_err() && lease("2s").is_err());
    }
}
