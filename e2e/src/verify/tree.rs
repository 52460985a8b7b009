//! The working tree before and after: `verify` must not have written to it.

use std::process::Command;

/// What git says of the tree, or nothing where there is no git.
pub fn state() -> Option<String> {
    let output = Command::new("git")
        .args(["status", "--porcelain", "--untracked-files=all"])
        .current_dir(crate::paths::workspace())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The lines that are in `after` only: what this run changed.
pub fn changed(before: &str, after: &str) -> Vec<String> {
    let known: std::collections::BTreeSet<_> = before.lines().collect();
    after.lines().filter(|line| !known.contains(line)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_counts_as_changed() {
        assert_eq!(changed(" M a\n", " M a\n?? b\n"), ["?? b"]);
        assert_eq!(changed(" M a\n", ""), [""; 0]);
    }
}
