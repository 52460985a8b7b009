//! What became of each step, and the table at the end. Pure.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Passed,
    /// It did not.
    Failed,
    /// It was not run, for this reason; the run is not complete.
    NotRun(String),
    /// It could not be judged here, for this reason; the run may still pass.
    NotChecked(String),
}

/// Tests as cargo counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ran and passed.
    pub passed: u32,
    /// Ran and failed.
    pub failed: u32,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The step.
    pub name: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// The tests it ran, if it ran any.
    pub tests: Counts,
}

/// The process's answer to whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything asked for passed.
    Green,
    /// Something failed.
    Red,
    /// All that could be run passed, but the cluster tests were not run although nobody said `--no-e2e`.
    Incomplete,
}

impl Verdict {
    /// The exit status.
    pub fn code(self) -> u8 {
        match self {
            Verdict::Green => 0,
            Verdict::Red => 1,
            Verdict::Incomplete => 4,
        }
    }
}

/// The verdict over all rows.
pub fn verdict(rows: &[Row]) -> Verdict {
    if rows.iter().any(|row| row.outcome == Outcome::Failed) {
        Verdict::Red
    } else if rows.iter().any(|row| matches!(row.outcome, Outcome::NotRun(_))) {
        Verdict::Incomplete
    } else {
        Verdict::Green
    }
}

/// Adds up the `test result:` lines of a log of `cargo test`.
pub fn count_tests(log: &str) -> Counts {
    let number = |line: &str, word: &str| {
        let before = line.split(';').find(|part| part.trim_end().ends_with(word))?;
        before.split_whitespace().rev().nth(1)?.parse::<u32>().ok()
    };
    log.lines().filter(|line| line.starts_with("test result:")).fold(Counts::default(), |sum, line| Counts {
        passed: sum.passed + number(line, "passed").unwrap_or(0),
        failed: sum.failed + number(line, "failed").unwrap_or(0),
    })
}

/// The table at the end.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!("| {:<14} | {:<11} | {:>7} | {:>6} |\n", "step", "result", "time", "tests");
    text.push_str("|----------------|-------------|---------|--------|\n");
    let mut total =
        Row { name: "total", outcome: Outcome::Passed, took: Duration::ZERO, tests: Counts::default() };
    for row in rows {
        line(&mut text, row, &row.outcome.to_string());
        total.took += row.took;
        total.tests.passed += row.tests.passed;
        total.tests.failed += row.tests.failed;
    }
    line(&mut text, &total, "");
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for row in rows {
        if let Outcome::NotRun(reason) | Outcome::NotChecked(reason) = &row.outcome {
            let said = format!("{}: {reason}", row.outcome);
            match reasons.iter_mut().find(|(known, _)| *known == said) {
                Some((_, names)) => names.push(row.name),
                None => reasons.push((said, vec![row.name])),
            }
        }
    }
    for (said, names) in reasons {
        let _ = writeln!(text, "{said} ({})", names.join(", "));
    }
    text
}

fn line(text: &mut String, row: &Row, result: &str) {
    let tests = match row.tests {
        Counts { passed: 0, failed: 0 } => String::new(),
        Counts { passed, failed: 0 } => passed.to_string(),
        Counts { passed, failed } => format!("{failed} of {}", passed + failed),
    };
    let _ = writeln!(text, "| {:<14} | {result:<11} | {:>7} | {tests:>6} |", row.name, time(row.took));
}

/// `59.3 s` or `12 m 04`.
pub fn time(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        format!("{:.1} s", took.as_secs_f64())
    } else {
        format!("{} m {:02}", seconds / 60, seconds % 60)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::NotRun(_) => "NOT RUN",
            Outcome::NotChecked(_) => "NOT CHECKED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, outcome: Outcome) -> Row {
        Row { name, outcome, took: Duration::from_millis(61_500), tests: Counts { passed: 3, failed: 0 } }
    }

    #[test]
    fn tests_are_counted_over_all_binaries_of_a_run() {
        let log = "running 2 tests\n\
                   test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                   test result: FAILED. 11 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        assert_eq!(count_tests(log), Counts { passed: 13, failed: 1 });
    }

    #[test]
    fn one_failure_makes_the_run_red_even_if_something_was_not_run() {
        let rows = [row("lint", Outcome::Failed), row("kubernetes", Outcome::NotRun("not root".into()))];
        assert_eq!(verdict(&rows), Verdict::Red);
        assert_eq!(verdict(&rows[1..]), Verdict::Incomplete);
        assert_eq!(verdict(&[row("advisories", Outcome::NotChecked("no network".into()))]), Verdict::Green);
    }

    #[test]
    fn the_table_says_why_a_step_was_not_run() {
        let not_run = || Outcome::NotRun("not root".into());
        let rows = [row("test", Outcome::Passed), row("kubernetes", not_run()), row("leftovers", not_run())];
        let expected = "\
| step           | result      |    time |  tests |
|----------------|-------------|---------|--------|
| test           | ok          |  1 m 01 |      3 |
| kubernetes     | NOT RUN     |  1 m 01 |      3 |
| leftovers      | NOT RUN     |  1 m 01 |      3 |
| total          |             |  3 m 04 |      9 |
NOT RUN: not root (kubernetes, leftovers)
";
        assert_eq!(table(&rows), expected);
    }
}
