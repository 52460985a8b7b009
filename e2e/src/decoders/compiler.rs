//! The compiler of the workspace's own crates, as cargo calls it (`RUSTC_WORKSPACE_WRAPPER`): with counters of coverage,
//! and optimised.
//!
//! `-C passes` and `-C llvm-args` are stable flags. Without a sanitizer (those need a nightly compiler) libFuzzer sees no
//! reads beyond an allocation; safe Rust has none.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// The crates whose coverage counts.
const COUNTED: [&str; 3] = ["schedia_node", "schedia_apps", "schedia_api"];

const COUNTERS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Copt-level=1",
    "-Cdebuginfo=1",
];

/// Takes the place of this process if cargo called it as a compiler: `PROGRAM rustc ARGUMENTS`.
pub fn be_it_if_called() {
    let mut arguments = std::env::args_os().skip(1);
    let Some(rustc) = arguments.next().filter(|first| first.to_string_lossy().ends_with("rustc")) else {
        return;
    };
    let arguments: Vec<_> = arguments.collect();
    let counted = arguments
        .windows(2)
        .any(|pair| pair[0] == "--crate-name" && COUNTED.iter().any(|name| pair[1] == **name));
    let mut compiler = Command::new(rustc);
    compiler.args(&arguments);
    if counted {
        compiler.args(COUNTERS);
    }
    eprintln!("error: the compiler could not be called: {}", compiler.exec());
    std::process::exit(1);
}
