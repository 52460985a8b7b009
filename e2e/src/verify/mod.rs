//! `cargo verify`: the one read-only gate. Takes its steps one after another and says what became of each.
//!
//! [`plan`] decides the steps (pure), [`exec`] runs a command, [`report`] counts and prints (pure).
//!
//! Invariants:
//! * A cluster that was started is taken down, whatever failed and whoever interrupts.
//! * Nothing in the working tree is written: the last step compares.
//! * A step that was not run is never shown as passed.

pub mod deny;
pub mod exec;
pub mod plan;
pub mod report;
pub mod tree;

pub use plan::Options;
pub use report::{Counts, Outcome, Row, Verdict, count_tests, time};

use crate::preflight::{self, Needs};
use crate::process::binary;
use exec::End;
use plan::{AfterFailure, Step, Work};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Status of a machine that lacks something, and of a run that a person stopped.
const NOT_READY: u8 = 3;
const INTERRUPTED: u8 = 130;

/// Takes all steps; the result is the exit status.
pub async fn run(options: Options) -> std::io::Result<u8> {
    let root = rustix::process::geteuid().is_root();
    let needs = if options.no_e2e || !root { Needs::Build } else { Needs::Cluster };
    if let Err(reason) = preflight::check(needs, !options.no_install) {
        println!("{reason}");
        return Ok(NOT_READY);
    }
    let dir = crate::paths::target().join("verify");
    std::fs::create_dir_all(&dir)?;
    println!("preflight ok; logs in {}", dir.display());
    let mut run =
        Run { options, dir, tree: tree::state(), rows: Vec::new(), stopped: false, interrupted: false };
    for (step, given) in plan::plan(options, root) {
        match given {
            Some(outcome) => run.note(step.name, outcome, Duration::ZERO, Counts::default()),
            None => run.take(step).await?,
        }
    }
    let table = report::table(&run.rows);
    println!("\n{table}");
    std::fs::write(run.dir.join("report.md"), &table)?;
    let verdict = report::verdict(&run.rows);
    if run.rows.iter().any(|row| row.name == "e2e") {
        println!("e2e: NOT RUN");
    }
    Ok(if run.interrupted { INTERRUPTED } else { verdict.code() })
}

struct Run {
    options: Options,
    dir: PathBuf,
    tree: Option<String>,
    rows: Vec<Row>,
    stopped: bool,
    interrupted: bool,
}

impl Run {
    async fn take(&mut self, step: Step) -> std::io::Result<()> {
        let taken = |name: &str| self.rows.iter().any(|row| row.name == name && row.outcome != skipped());
        let due = match step.after_failure {
            AfterFailure::Stop => !self.stopped,
            AfterFailure::CleanUp(of) => taken(of),
            AfterFailure::Always => true,
        };
        if !due {
            self.note(step.name, skipped(), Duration::ZERO, Counts::default());
            return Ok(());
        }
        let log = self.dir.join(format!("{}.log", step.name.replace(' ', "-")));
        let started = Instant::now();
        let mut outcome = self.work(step, &log).await?;
        let mut counts = Counts::default();
        if let Work::Cargo(["test", ..]) = step.work {
            counts = count_tests(&std::fs::read_to_string(&log).unwrap_or_default());
            // Cargo is content when it finds no test at all.
            if outcome == Outcome::Passed && counts.passed == 0 {
                outcome = Outcome::Failed;
            }
        }
        if outcome == Outcome::Failed {
            println!("{}\n  whole log: {}", exec::tail(&log, 60), log.display());
            self.stopped |= !self.options.keep_going;
        }
        self.note(step.name, outcome, started.elapsed(), counts);
        Ok(())
    }

    fn note(&mut self, name: &'static str, outcome: Outcome, took: Duration, tests: Counts) {
        let counted = if tests.passed > 0 { format!(", {} tests", tests.passed) } else { String::new() };
        if outcome != skipped() {
            println!("{name}: {outcome} ({}{counted})", time(took));
        }
        self.rows.push(Row { name, outcome, took, tests });
    }

    async fn work(&mut self, step: Step, log: &Path) -> std::io::Result<Outcome> {
        let end = match step.work {
            Work::Cargo(arguments) => exec::run(step.name, self.cargo(arguments), log).await?,
            Work::Cluster(verb) => {
                let start = ["run", "--locked", "--bin", "cluster", "--", "--name", plan::CLUSTER_NAME];
                exec::run(step.name, self.cargo(&[&start, verb].concat()), log).await?
            }
            Work::Dependencies => match deny::program(log).await? {
                Ok(program) => exec::run(step.name, in_workspace(deny::dependencies(&program)), log).await?,
                Err(end) => end,
            },
            Work::Advisories => return self.advisories(step.name, log).await,
            Work::Leftovers => return found(log, leftovers()),
            Work::Tree => return self.compare_tree(log),
        };
        Ok(self.judge(end))
    }

    fn judge(&mut self, end: End) -> Outcome {
        match end {
            End::Done => Outcome::Passed,
            End::Failed => Outcome::Failed,
            End::Interrupted => {
                self.interrupted = true;
                self.stopped = true;
                Outcome::NotRun("stopped by a person".into())
            }
        }
    }

    async fn advisories(&mut self, name: &str, log: &Path) -> std::io::Result<Outcome> {
        let end = match deny::program(log).await? {
            Ok(program) => exec::run(name, in_workspace(deny::advisories(&program)), log).await?,
            Err(end) => end,
        };
        let unreachable = deny::list_unreachable(&std::fs::read_to_string(log).unwrap_or_default());
        Ok(match (end, unreachable) {
            (End::Failed, Some(reason)) => Outcome::NotChecked(reason),
            (end, _) => self.judge(end),
        })
    }

    fn compare_tree(&self, log: &Path) -> std::io::Result<Outcome> {
        match (&self.tree, tree::state()) {
            (Some(before), Some(after)) => found(log, tree::changed(before, &after)),
            _ => Ok(Outcome::NotChecked("this is no git checkout".into())),
        }
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(arguments).env("CARGO_TERM_COLOR", "never");
        match arguments {
            ["doc", ..] => drop(command.env("RUSTDOCFLAGS", "-D warnings")),
            ["test", .., "processes"] | ["run", "--locked", "--bin", "torture", "--", "--minutes", ..] => {
                command.env(binary::VARIABLE, crate::paths::static_schedia());
            }
            ["test", .., "kubernetes"] => {
                if let Ok(paths) = crate::kube::Paths::new(plan::CLUSTER_NAME) {
                    command.env("KUBECONFIG", paths.kubeconfig()).env("E2E_CLUSTER", plan::CLUSTER_NAME);
                }
            }
            _ => {}
        }
        if self.options.full {
            command.env("E2E_FULL", "1");
        }
        in_workspace(command)
    }
}

fn in_workspace(mut command: Command) -> Command {
    command.current_dir(crate::paths::workspace());
    command
}

/// What the cluster of [`plan::CLUSTER_NAME`] left, or why that cannot be told.
fn leftovers() -> Vec<String> {
    let look = || {
        let paths = crate::kube::Paths::new(plan::CLUSTER_NAME)?;
        // It starts no machine: it needs no program for them.
        crate::kube::Cluster::new(paths, PathBuf::new()).leftovers()
    };
    look().unwrap_or_else(|e| vec![e.chain()])
}

/// A step after the first failure.
fn skipped() -> Outcome {
    Outcome::NotRun("an earlier step failed or was stopped".into())
}

/// A check that passes if it found nothing.
fn found(log: &Path, lines: Vec<String>) -> std::io::Result<Outcome> {
    std::fs::write(log, lines.join("\n"))?;
    Ok(if lines.is_empty() { Outcome::Passed } else { Outcome::Failed })
}
