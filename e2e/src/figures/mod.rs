//! `cargo figures`: what this machine reaches, as Markdown.
//!
//! [`processes`] measures nodes without Kubernetes, [`kubernetes`] the operator on a local Kubernetes that it starts and takes down.
//! Everything shares one machine with its load: the figures compare releases on the same machine, not machines.

mod kubernetes;
mod processes;

pub use kubernetes::kubernetes;
pub use processes::processes;

use std::fmt::Write as _;

/// The figures so far, said as they come.
#[derive(Debug)]
pub struct Table {
    text: String,
}

impl Default for Table {
    fn default() -> Table {
        Table { text: "| figure | value |\n|---|---|\n".to_owned() }
    }
}

impl Table {
    /// One more figure.
    pub fn row(&mut self, name: &str, value: &str) {
        eprintln!("{name}: {value}");
        let _ = writeln!(self.text, "| {name} | {value} |");
    }

    /// All of it, as Markdown.
    pub fn text(&self) -> &str {
        &self.text
    }
}
