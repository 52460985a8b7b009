//! fixup
fn main() {}
