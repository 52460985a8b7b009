//! codeQ's variables beside the file of settings that says the same: `codeq.txt`.

use super::*;

const CASES: &str = include_str!("codeq.txt");

/// The lines of one case.
#[derive(Default)]
struct Case<'a> {
    title: &'a str,
    variables: Vec<(&'a str, &'a str)>,
    ours: String,
    settings: String,
    without_effect: Vec<&'a str>,
    refusal: Option<&'a str>,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        if kind == "#" {
            cases.push(Case { title: rest, ..Case::default() });
            continue;
        }
        let case: &mut Case<'_> = cases.last_mut().expect("a case begins with its title");
        match kind {
            "ours" => case.ours += &format!("{rest}\n"),
            "->" => case.settings += &format!("{rest}\n"),
            "idle" => case.without_effect.push(rest),
            "error" => case.refusal = Some(rest),
            _ => case.variables.push(line.split_once('=').expect("NAME=VALUE")),
        }
    }
    cases
}

#[test]
fn codeqs_variables_are_these_settings() {
    let cases = cases(CASES);
    assert!(cases.len() > 20, "only {} cases: has the file lost its form?", cases.len());
    for Case { title, variables, ours, settings, without_effect, refusal } in cases {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let of = |text: &str| toml::from_str::<Settings>(text).unwrap_or_else(|e| panic!("{title}: {e}"));
        let expected = match refusal {
            Some(words) => Err(ConfigError(words.to_owned())),
            None => Ok(Found { settings: of(&settings), without_effect: without_effect.clone() }),
        };
        assert_eq!(read(&of(&ours), find).map(sorted), expected.map(sorted), "{title}");
    }
}

fn sorted(mut found: Found) -> Found {
    found.without_effect.sort_unstable();
    found
}

#[test]
fn a_name_is_known_once_and_no_secret_is_shown() {
    let mut names: Vec<_> = OF_A_SERVER.into_iter().chain(WITHOUT_EFFECT).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    use std::os::unix::ffi::OsStringExt;
    let find = |name: &str| (name == "WEBHOOK_HMAC_SECRET").then(|| OsString::from_vec(b"hush\xff".to_vec()));
    let words = read(&Settings::default(), find).unwrap_err().to_string();
    assert_eq!(words, "WEBHOOK_HMAC_SECRET is no UTF-8");
}

/// What a node makes of the environment of codeQ's compose file, as far as it is not about tokens.
#[test]
fn the_environment_of_codeqs_compose_file_is_a_node() {
    let case = cases(CASES).remove(0);
    let find = |name: &str| {
        case.variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    let config = Settings::default().check(find).unwrap();
    assert_eq!((config.name.as_str(), config.data_dir.to_str()), ("node-a", Some("/var/lib/codeq/pebble")));
    assert_eq!((config.http.to_string(), config.peer.to_string()), ("[::]:8080".into(), "[::]:7000".into()));
    assert_eq!(config.advertise_peer.as_deref(), Some("node-a:7000"));
    let super::super::Start::Peers(peers) = config.start else { panic!("{:?}", config.start) };
    assert_eq!((peers.nodes.len(), peers.marked, peers.first), (3, true, true));
    assert_eq!((config.queue.lease_s, config.queue.attempts), (60, 5));
    assert_eq!(config.queue.follower, crate::queues::Follower::Forward, "naming URLs is not asking for 307");
}
