//! What the command line says of itself: help, completion scripts, manual pages.

use super::{finish, schedia};
use std::path::Path;

async fn said(args: &[&str]) -> String {
    let mut command = schedia();
    command.args(args).env("COLUMNS", "110");
    let (status, out, words) = finish(command, Vec::new()).await;
    assert_eq!(status, 0, "{args:?}: {words}");
    String::from_utf8(out).unwrap()
}

/// The commands a help page lists.
fn commands(help: &str) -> Vec<String> {
    let lines =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let first = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    first
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Golden: `REWRITE_HELP=1 cargo test -p schedia-node --test command_line` writes what was found.
#[tokio::test(flavor = "multi_thread")]
async fn the_help_of_kv_is_as_it_was() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command_line/kv_help.txt");
    let mut found = String::new();
    for verb in ["get", "put", "delete", "list", "txn", "watch"] {
        found.push_str(&format!("$ schedia kv {verb} --help\n{}\n", said(&["kv", verb, "--help"]).await));
    }
    // clap pads empty lines.
    let found: String = found.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    if std::env::var_os("REWRITE_HELP").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, golden, "the help changed:\n{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_kv_and_queue_shows_examples_and_every_command_has_a_manual_page() {
    for verb in commands(&said(&["kv", "--help"]).await) {
        let help = said(&["kv", &verb, "--help"]).await;
        assert!(help.contains("Examples:\n  schedia kv "), "{verb}:\n{help}");
    }
    for verb in commands(&said(&["queue", "--help"]).await) {
        let verbs = commands(&said(&["queue", &verb, "--help"]).await);
        let names = verbs.iter().map(|more| vec!["queue", verb.as_str(), more.as_str()]);
        for words in if verbs.is_empty() { vec![vec!["queue", verb.as_str()]] } else { names.collect() } {
            let help = said(&[&words[..], &["--help"]].concat()).await;
            let example = format!("schedia {} ", words.join(" "));
            assert!(
                help.contains("Examples:\n  ") && help.contains(example.trim_end()),
                "{words:?}:\n{help}"
            );
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    said(&["man", pages.to_str().unwrap()]).await;
    for command in commands(&said(&["--help"]).await) {
        let page = std::fs::read_to_string(pages.join(format!("schedia-{command}.1"))).unwrap_or_default();
        assert!(page.starts_with(".ie") && page.contains(".SH NAME"), "{command}: {page}");
    }
    let txn = std::fs::read_to_string(pages.join("schedia-kv-txn.1")).unwrap();
    assert!(txn.contains("OPERATOR"), "{txn}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_can_complete() {
    for (shell, word) in
        [("bash", "complete -F _schedia"), ("zsh", "#compdef schedia"), ("fish", "complete -c schedia")]
    {
        let script = said(&["completion", shell]).await;
        assert!(script.contains(word) && script.contains("from-revision"), "{shell}");
    }
    let mut wrong = schedia();
    wrong.args(["completion", "tcsh"]);
    let (status, _, words) = finish(wrong, Vec::new()).await;
    assert!(status == 2 && words.contains("bash") && words.contains("fish"), "{words}");
}
