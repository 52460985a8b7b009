//! The tree keeps its own rules: who may name which library, how long a file is, where links lead.
//!
//! Every test lists all offenders, as `path:line: what`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that outgrows this holds a second noun that waits for its own file.
const LINES_MAX: usize = 500;

struct Text {
    path: String,
    text: String,
}

/// Files that git knows or would add.
fn files(endings: &[&str]) -> Vec<Text> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the tree's files");
    let listed = String::from_utf8(output.stdout).expect("paths are text");
    let chosen = listed.lines().filter(|path| endings.iter().any(|ending| path.ends_with(ending)));
    // A file that was just deleted is still listed.
    let read = |path: &str| {
        Some(Text { path: path.to_owned(), text: std::fs::read_to_string(root().join(path)).ok()? })
    };
    let texts: Vec<_> = chosen.filter_map(read).collect();
    assert!(!texts.is_empty(), "git lists no files that end in {endings:?}");
    texts
}

fn root() -> &'static Path {
    schedia_e2e::paths::workspace()
}

fn offenders(files: &[Text], wrong: impl Fn(&Text, &str) -> Option<String>) -> Vec<String> {
    let mut list = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(what) = wrong(file, line) {
                list.push(format!("{}:{}: {what}", file.path, number + 1));
            }
        }
    }
    list
}

fn none(offenders: Vec<String>) {
    assert!(offenders.is_empty(), "\n{}", offenders.join("\n"));
}

/// The part of a line that is code: comments may speak of anything.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether code names a crate, as a path or in a `use`: `redb::`, `use redb;`.
fn names(code: &str, krate: &str) -> bool {
    code.match_indices(krate).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + krate.len()..];
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"')
            && (after.starts_with("::")
                || code.trim_start().starts_with("use ") && after.starts_with([';', ' ', ',']))
    })
}

#[test]
fn a_crate_is_recognised_by_its_path_only() {
    assert!(
        names("use redb::Database;", "redb")
            && names("let x: redb::Error;", "redb")
            && names("use redb;", "redb")
    );
    assert!(
        !names("let redb = 1;", "redb")
            && !names("my_redb::x()", "redb")
            && !names("let f = \"redb::\";", "redb")
    );
}

#[test]
fn only_doors_admin_and_cli_name_axum() {
    only("axum", &["node/src/doors/", "node/src/admin/", "node/src/cli/"]);
}

#[test]
fn only_raft_names_openraft() {
    only("openraft", &["node/src/raft/"]);
}

#[test]
fn only_storage_names_redb() {
    only("redb", &["node/src/storage/"]);
}

/// In the crate `schedia-node`, only files below `places` name `krate`.
fn only(krate: &str, places: &[&str]) {
    let files: Vec<_> =
        files(&[".rs"]).into_iter().filter(|file| file.path.starts_with("node/src/")).collect();
    let allowed = |path: &str| places.iter().any(|place| path.starts_with(place));
    assert!(
        files.iter().any(|file| allowed(&file.path)),
        "no file below {places:?}: has the rule lost its object?"
    );
    none(offenders(&files, |file, line| {
        (!allowed(&file.path) && names(code(line), krate)).then(|| line.trim().to_owned())
    }));
}

#[test]
fn the_pure_parts_of_the_operator_hold_no_client() {
    let pure = ["validate", "build", "plan"].map(|name| format!("operator/src/{name}"));
    let files: Vec<_> = files(&[".rs"])
        .into_iter()
        .filter(|file| {
            pure.iter().any(|start| {
                file.path.starts_with(&format!("{start}/")) || file.path == format!("{start}.rs")
            })
        })
        .collect();
    for start in &pure {
        assert!(
            files.iter().any(|file| file.path.starts_with(start)),
            "no file {start}: has the rule lost its object?"
        );
    }
    let held = [
        "kube::Client",
        "kube::Api",
        "kube::client",
        "kube::api::Api",
        "schedia_api::Client",
        "reqwest",
        "tokio",
    ];
    none(offenders(&files, |_, line| {
        let code = code(line);
        let imported = code.contains("use kube::{")
            && (code.contains("Client") || code.contains("Api,") || code.contains("Api}"));
        (imported || held.iter().any(|name| code.contains(name))).then(|| line.trim().to_owned())
    }));
}

fn manifests() -> Vec<(String, toml::Table)> {
    let parse =
        |file: Text| (file.path, file.text.parse::<toml::Table>().expect("cargo has read it before us"));
    files(&["Cargo.toml"]).into_iter().map(parse).collect()
}

#[test]
fn the_applications_depend_on_nothing_that_sees_the_world() {
    let manifests = manifests();
    let (_, apps) =
        manifests.iter().find(|(path, _)| path == "node/apps/Cargo.toml").expect("it is a member");
    let listed: BTreeSet<_> =
        apps["dependencies"].as_table().expect("a table").keys().map(String::as_str).collect();
    assert_eq!(listed, BTreeSet::from(["bytes", "postcard", "serde", "sha2", "smallvec", "thiserror"]));
}

#[test]
fn every_member_takes_lints_and_versions_from_the_workspace() {
    let mut wrong = Vec::new();
    for (path, manifest) in manifests().into_iter().filter(|(path, _)| path != "Cargo.toml") {
        if manifest.get("lints").and_then(|lints| lints.get("workspace")) != Some(&toml::Value::Boolean(true))
        {
            wrong.push(format!("{path}: does not say [lints] workspace = true"));
        }
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in manifest.get(table).and_then(|table| table.as_table()).into_iter().flatten()
            {
                if value.get("workspace") != Some(&toml::Value::Boolean(true)) {
                    wrong.push(format!("{path}: {name} has a version of its own"));
                }
            }
        }
    }
    none(wrong);
}

#[test]
fn no_file_is_longer_than_a_reader_likes() {
    let long = |file: &Text| {
        let lines = file.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines, more than {LINES_MAX}", file.path))
    };
    none(files(&[".rs"]).iter().filter_map(long).collect());
}

#[test]
fn every_module_opens_with_what_it_owns() {
    let silent = |file: &Text| !file.text.starts_with("//!");
    none(files(&[".rs"]).iter().filter(|file| silent(file)).map(|file| file.path.clone()).collect());
}

#[test]
fn nothing_is_put_off_switched_off_or_left_from_debugging() {
    // Spelt in two parts, so that this file does not offend itself.
    let words = [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("dbg", "!("),
        ("todo", "!("),
        ("unimplemented", "!("),
        ("#[ig", "nore"),
    ];
    let words = words.map(|(start, end)| format!("{start}{end}"));
    let files = files(&[".rs", ".md", ".toml", ".yaml", ".yml", ".sh", "Dockerfile"]);
    none(offenders(&files, |_, line| words.iter().find(|word| line.contains(word.as_str())).cloned()));
}

#[test]
fn no_line_ends_in_space_and_no_path_of_a_home_is_written_down() {
    let files = files(&[".rs", ".md", ".toml", ".yaml", ".yml", ".sh", ".txt", "Dockerfile", ".ci/run"]);
    none(offenders(&files, |_, line| line.ends_with([' ', '\t']).then(|| "space at the end".to_owned())));
    let homes = [("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/"), ("/wo", "rk/")]
        .map(|(start, end)| format!("{start}{end}"));
    none(offenders(&files, |file, line| {
        let invented = file.path.ends_with(".rs") && line.contains("/home/me/");
        homes.iter().find(|home| !invented && line.contains(home.as_str())).cloned()
    }));
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let mut broken = Vec::new();
    for file in files(&[".md"]) {
        let dir = root().join(&file.path).parent().map(PathBuf::from).expect("a file lies in a directory");
        for (number, target) in links(&file.text) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !dir.join(path).exists() {
                broken.push(format!("{}:{number}: {target}", file.path));
            }
        }
    }
    none(broken);
}

/// The targets of `[text](target)` that point into the tree, with their line.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push((number + 1, target));
            }
        }
    }
    found
}

#[test]
fn links_into_the_tree_are_told_from_those_that_leave_it() {
    assert_eq!(links("a [b](c.md#d) and [e](https://f)\n[g](../h)"), [(1, "c.md#d"), (2, "../h")]);
}

#[test]
fn the_readme_names_the_commands_and_the_pipeline_calls_the_gate() {
    let read =
        |path: &str| std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let readme = read("README.md");
    for command in ["cargo demo", "cargo verify", "cargo fixup", "cargo cluster"] {
        assert!(readme.contains(command), "README.md does not name `{command}`");
    }
    assert!(read(".ci/run").contains("cargo verify"), ".ci/run does not call `cargo verify`");
}

#[test]
fn generated_files_are_fresh() {
    let files = schedia_e2e::generated::files().expect("what they are made from is there");
    let stale = |(path, text): &(&str, String)| {
        let committed = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        (committed != *text).then(|| format!("{path} is stale: run `cargo fixup`"))
    };
    none(files.iter().filter_map(stale).collect());
}
