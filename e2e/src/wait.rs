//! Waiting for a condition with a deadline: the only way our tests and tools wait.

use std::future::Future;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Between two looks. Short beside every deadline, long beside the cost of a look.
const PAUSE: Duration = Duration::from_millis(50);

/// The deadline passed; the last look said this.
#[derive(Debug, thiserror::Error)]
#[error("{what}: not within {} s: {last}", within.as_secs())]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub within: Duration,
    /// What the last look saw instead.
    pub last: String,
}

/// Looks until `look` is `Ok`. An `Err` says what is there instead.
pub async fn until<T, F>(what: &str, within: Duration, mut look: impl FnMut() -> F) -> Result<T, TimedOut>
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + within;
    let mut last = "never looked".to_owned();
    while Instant::now() < deadline {
        // A look that hangs must not outlive the deadline.
        match tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), look()).await {
            Ok(Ok(seen)) => return Ok(seen),
            Ok(Err(instead)) => last = instead,
            Err(_) => last = format!("the last look did not answer; before it: {last}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(TimedOut { what: what.to_owned(), within, last })
}

/// [`until`] for tests: panics at the deadline with what was seen instead.
pub async fn eventually<T, F>(what: &str, within: Duration, look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    match until(what, within, look).await {
        Ok(seen) => seen,
        Err(timed_out) => panic!("{timed_out}"),
    }
}

/// Runs a tool to its end; `None` if it was interrupted or terminated before. What it runs goes when it is dropped: no process and no
/// directory stays.
pub async fn unless_told_to_end<T>(
    work: impl Future<Output = Result<T, String>>,
) -> Result<Option<T>, String> {
    let told = |kind| signal(kind).map_err(|e| format!("signals: {e}"));
    let (mut interrupt, mut terminate) = (told(SignalKind::interrupt())?, told(SignalKind::terminate())?);
    tokio::select! {
        done = work => done.map(Some),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_never_holds_says_what_was_there_instead() {
        let error =
            until("a leader", Duration::from_millis(1), || async { Err::<(), _>("two leaders".to_owned()) })
                .await;
        assert_eq!(error.unwrap_err().to_string(), "a leader: not within 0 s: two leaders");
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_outlive_the_deadline() {
        let error =
            until("an answer", Duration::from_millis(20), std::future::pending::<Result<(), _>>).await;
        assert!(error.unwrap_err().last.starts_with("the last look did not answer"));
    }
}
