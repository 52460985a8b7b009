//! libFuzzer around one target of `schedia_node::fuzz`: that of `E2E_FUZZ_TARGET`.
//!
//! With `E2E_FUZZ_LIST` it prints the targets and their seeds, and ends. Built and run by `cargo fuzz-all`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schedia_node::fuzz::{Target, corpus, targets};
use std::sync::OnceLock;

static TARGET: OnceLock<Target> = OnceLock::new();

fuzz_target!(init: begin(), |input: &[u8]| {
    if let Some(target) = TARGET.get() {
        target.check(input);
    }
});

fn begin() {
    if std::env::var_os("E2E_FUZZ_LIST").is_some() {
        for target in targets() {
            target.seeds().iter().for_each(|seed| println!("{} {}", target.name, corpus::line(seed)));
        }
        std::process::exit(0);
    }
    let name = std::env::var("E2E_FUZZ_TARGET").expect("E2E_FUZZ_TARGET names a target");
    let found = targets().into_iter().find(|target| target.name == name);
    let _ = TARGET.set(found.unwrap_or_else(|| panic!("there is no target {name}")));
}
