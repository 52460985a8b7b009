//! `cargo fuzz-all`: libFuzzer on every decoder of bytes of a disk or of the network, with coverage, for as long as asked.
//!
//! Runs on the stable toolchain: the compiler of the workspace's own crates is told to count coverage ([`compiler`]),
//! that of the dependencies is not, so that those are not built again. What the targets assert: `node/src/fuzz`.
//!
//! Invariants:
//! * An input that a target did not bear ends the run of that target, is named, and stays in `target/fuzz/<target>/`.
//! * The tree is written to with `--keep` only: then the smallest inputs of the coverage found become the corpus.

pub mod compiler;
mod corpus;
mod engine;

pub use engine::Engine;

use corpus::Corpus;
use std::time::Duration;

/// What a person asked for.
pub struct Run {
    /// For each target.
    pub lasts: Duration,
    /// Only these targets; none: all.
    pub targets: Vec<String>,
    /// Whether what was found becomes the corpus of the tree.
    pub keep: bool,
}

/// Runs the targets one after another. `Ok(false)`: some input was not borne.
pub fn run(asked: &Run) -> Result<bool, String> {
    let engine = Engine::build()?;
    let known = engine.seeds()?;
    if let Some(unknown) = asked.targets.iter().find(|name| !known.contains_key(*name)) {
        let names: Vec<_> = known.keys().map(String::as_str).collect();
        return Err(format!("no such target: {unknown} (there are {})", names.join(", ")));
    }
    println!("{:<14} {:>10} {:>8} {:>8} {:>7}  ", "target", "executions", "each s", "coverage", "inputs");
    let mut all_borne = true;
    for (name, seeds) in known {
        if !asked.targets.is_empty() && !asked.targets.contains(&name) {
            continue;
        }
        let corpus = Corpus::lay_out(&name, &seeds)?;
        let ran = engine.run(&name, &corpus, asked.lasts)?;
        let inputs = corpus.count()?;
        println!(
            "{name:<14} {:>10} {:>8} {:>8} {inputs:>7}  {}",
            ran.executions,
            ran.each_second,
            ran.coverage,
            ran.end()
        );
        if let Some(input) = &ran.not_borne {
            all_borne = false;
            println!(
                "\n{}\n\nkeep it in {}:\n{}\n",
                ran.last_words,
                corpus.kept().display(),
                corpus::line(input)
            );
        } else if asked.keep {
            let smallest = engine.minimize(&name, &corpus)?;
            corpus.keep(&seeds, smallest)?;
        }
    }
    Ok(all_borne)
}
