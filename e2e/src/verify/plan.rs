//! Which steps a run takes, and why some are not taken. Pure.

use super::report::Outcome;

/// What a person asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Leave the cluster tests out, on purpose.
    pub no_e2e: bool,
    /// Every scenario, more cases, longer fault runs.
    pub full: bool,
    /// Go on after a failure.
    pub keep_going: bool,
    /// Install nothing, not even with root.
    pub no_install: bool,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Runs `cargo` with these arguments.
    Cargo(&'static [&'static str]),
    /// Runs `cargo cluster` with these arguments, on the cluster [`CLUSTER_NAME`].
    Cluster(&'static [&'static str]),
    /// Checks licences, sources and duplicates of the dependencies.
    Dependencies,
    /// Checks the dependencies against the list of known defects, where it can be fetched.
    Advisories,
    /// Looks for what the cluster left on the machine.
    Leftovers,
    /// Looks for changes of the working tree.
    Tree,
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Its name: in the table, and of its log file.
    pub name: &'static str,
    /// What it does.
    pub work: Work,
    /// When it is taken after a failure.
    pub after_failure: AfterFailure,
}

/// Whether a step is taken after an earlier one failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// No.
    Stop,
    /// Yes, if the named step was taken: it cleans up after it.
    CleanUp(&'static str),
    /// Yes.
    Always,
}

const fn step(name: &'static str, work: Work) -> Step {
    Step { name, work, after_failure: AfterFailure::Stop }
}

/// The cluster of `cargo verify`: one that a person has up (`schedia`, of `cargo demo`) is left alone.
pub const CLUSTER_NAME: &str = "verify";

const BEFORE: [Step; 9] = [
    step("format", Work::Cargo(&["fmt", "--all", "--check"])),
    step(
        "lint",
        Work::Cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ),
    // Tests that a plain `cargo test` leaves out are left out of `--all-targets` as well.
    step(
        "lint e2e",
        Work::Cargo(&[
            "clippy",
            "--locked",
            "--test",
            "processes",
            "--test",
            "chart",
            "--test",
            "kubernetes",
            "--test",
            "local_kubernetes",
            "--test",
            "compose",
            "--test",
            "kind",
            "--",
            "-D",
            "warnings",
        ]),
    ),
    step("docs", Work::Cargo(&["doc", "--locked", "--workspace", "--no-deps"])),
    step("dependencies", Work::Dependencies),
    step("advisories", Work::Advisories),
    step("test", Work::Cargo(&["test", "--locked", "--workspace", "--no-fail-fast"])),
    step("image", Work::Cluster(&["image"])),
    step("processes", Work::Cargo(&["test", "--locked", "--test", "processes"])),
];

/// Sixteen times the usual cases. Only where a case costs no disk: the variable also overrides the number that a property names itself.
const PROPERTIES: Step = step(
    "properties",
    Work::Cargo(&["--config", "env.PROPTEST_CASES='4096'", "test", "--locked", "--package", "schedia-apps"]),
);

/// Two minutes of rounds, each with faults of its own.
const TORTURE: Step =
    step("torture", Work::Cargo(&["run", "--locked", "--bin", "torture", "--", "--minutes", "2"]));

/// Enough for every kind of fault to meet every other.
const TORTURE_FULL: Step =
    step("torture", Work::Cargo(&["run", "--locked", "--bin", "torture", "--", "--minutes", "20"]));

/// Wall clocks are told to processes by a library: those of the dev profile take one, the static ones do not.
const CLOCKS: Step = step(
    "torture clocks",
    Work::Cargo(&[
        "run",
        "--locked",
        "--bin",
        "torture",
        "--",
        "--rounds",
        "20",
        "--nemesis",
        "clock-leaps,clock-flaps,kill-leader,kill-all,cut-leader,freeze-leader,transfers",
    ]),
);

/// Every decoder of bytes of a disk or of the network, with coverage: eight minutes. The usual run has what is kept of it.
const DECODERS: Step =
    step("decoders", Work::Cargo(&["run", "--locked", "--bin", "fuzz_all", "--", "--minutes", "0.5"]));

const CLUSTER: [Step; 9] = [
    step("cluster build", Work::Cluster(&["build"])),
    step("chart", Work::Cargo(&["test", "--locked", "--test", "chart"])),
    step("cluster tests", Work::Cargo(&["test", "--locked", "--test", "local_kubernetes"])),
    step("compose", Work::Cargo(&["test", "--locked", "--test", "compose"])),
    step("cluster up", Work::Cluster(&["up"])),
    step("load image", Work::Cluster(&["load-image"])),
    step("kubernetes", Work::Cargo(&["test", "--locked", "--test", "kubernetes"])),
    Step {
        name: "cluster down",
        work: Work::Cluster(&["down"]),
        after_failure: AfterFailure::CleanUp("cluster up"),
    },
    Step { name: "leftovers", work: Work::Leftovers, after_failure: AfterFailure::CleanUp("cluster up") },
];

/// A second opinion, with a node image that takes minutes to make the first time.
const FULL: Step = step("kind", Work::Cargo(&["test", "--locked", "--test", "kind"]));

const TREE: Step = Step { name: "tree", work: Work::Tree, after_failure: AfterFailure::Always };

/// The steps in order; one with an outcome already is not to be taken.
pub fn plan(options: Options, root: bool) -> Vec<(Step, Option<Outcome>)> {
    let torture = if options.full { TORTURE_FULL } else { TORTURE };
    let more: &[Step] = if options.full { &[CLOCKS, PROPERTIES, DECODERS] } else { &[] };
    let steps = BEFORE.iter().chain([&torture]).chain(more);
    let mut steps: Vec<_> = steps.map(|step| (*step, None)).collect();
    match (options.no_e2e, root) {
        (true, _) => {}
        (false, true) => {
            steps.extend(CLUSTER.into_iter().chain(options.full.then_some(FULL)).map(|step| (step, None)));
        }
        (false, false) => {
            let reason = Outcome::NotRun("not root (say --no-e2e to leave it out on purpose)".into());
            steps.push((
                Step { name: "e2e", work: Work::Leftovers, after_failure: AfterFailure::Always },
                Some(reason),
            ));
        }
    }
    steps.push((TREE, None));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: Options, root: bool) -> Vec<&'static str> {
        plan(options, root).into_iter().map(|(step, _)| step.name).collect()
    }

    #[test]
    fn without_root_all_but_the_cluster_is_run_and_that_is_said() {
        let steps = plan(Options::default(), false);
        let (last, _) = steps.iter().rev().nth(1).unwrap();
        assert_eq!(last.name, "e2e");
        assert!(steps.iter().any(|(step, given)| step.name == "processes" && given.is_none()));
        assert!(steps.iter().filter(|(_, given)| matches!(given, Some(Outcome::NotRun(_)))).count() == 1);
    }

    #[test]
    fn no_e2e_leaves_the_cluster_out_without_a_word_of_regret() {
        let options = Options { no_e2e: true, ..Options::default() };
        assert_eq!(names(options, true), names(options, false));
        assert!(plan(options, false).iter().all(|(_, given)| given.is_none()));
    }

    #[test]
    fn a_full_run_asks_kind_for_a_second_opinion() {
        let full = Options { full: true, ..Options::default() };
        assert!(names(full, true).contains(&"kind") && !names(Options::default(), true).contains(&"kind"));
        assert!(!names(full, false).contains(&"kind"), "it needs root");
    }

    #[test]
    fn what_is_started_is_always_taken_down_and_the_tree_is_always_checked() {
        let steps = plan(Options::default(), true);
        let cleaning: Vec<_> = steps
            .iter()
            .filter(|(step, _)| step.after_failure != AfterFailure::Stop)
            .map(|(step, _)| step.name)
            .collect();
        assert_eq!(cleaning, ["cluster down", "leftovers", "tree"]);
    }
}
