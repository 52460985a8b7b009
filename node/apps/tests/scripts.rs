//! Runs the golden scripts: text files named after the behaviour they show, lines of `input -> output`.
//!
//! After every line the applications must be what `open` makes of their tables, and a refused command must have left
//! the digest as it was. `REWRITE_SCRIPTS=1 cargo test -p schedia-apps --test scripts` writes the outputs found.

#![allow(clippy::unwrap_used)] // a panic here is the message of a failed test

mod vocabulary;

use std::fs;
use std::path::{Path, PathBuf};
use vocabulary::Machine;

#[test]
fn kv_behaves_as_its_scripts_say() {
    check_all("kv");
}

#[test]
fn cluster_behaves_as_its_scripts_say() {
    check_all("cluster");
}

#[test]
fn writes_that_may_be_sent_again_behave_as_their_scripts_say() {
    check_all("once");
}

#[test]
fn the_queue_behaves_as_its_scripts_say() {
    check_all("queue");
}

fn check_all(application: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(application);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", directory.display());
    for path in paths {
        check(&path);
    }
}

fn check(path: &Path) {
    let script = fs::read_to_string(path).unwrap();
    let mut machine = Machine::default();
    let found: Vec<(String, Option<String>)> = script.lines().map(|line| run(&mut machine, line)).collect();
    let expected: Vec<(String, Option<String>)> = script.lines().map(parse).collect();
    if std::env::var_os("REWRITE_SCRIPTS").is_some() {
        fs::write(path, aligned(&found)).unwrap();
    } else if found != expected {
        panic!("{} now behaves so:\n\n{}", path.display(), aligned(&found));
    }
}

fn run(machine: &mut Machine, line: &str) -> (String, Option<String>) {
    let (input, _) = parse(line);
    if input.is_empty() || input.starts_with('#') {
        return (input, None);
    }
    let output = machine.run(&input);
    (input, Some(output))
}

/// The two sides of a line; comments and empty lines have but one.
fn parse(line: &str) -> (String, Option<String>) {
    match line.split_once("->") {
        Some((input, output)) if !line.starts_with('#') => {
            (input.trim().to_owned(), Some(output.trim().to_owned()))
        }
        _ => (line.trim_end().to_owned(), None),
    }
}

fn aligned(lines: &[(String, Option<String>)]) -> String {
    let width = lines.iter().filter(|line| line.1.is_some()).map(|line| line.0.len()).max().unwrap_or(0);
    let line = |(input, output): &(String, Option<String>)| match output {
        Some(output) => format!("{input:width$} -> {output}\n"),
        None => format!("{input}\n"),
    };
    lines.iter().map(line).collect()
}
