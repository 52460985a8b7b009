//! raftd's flags, parsed as Go's package flag does: one dash or two, `-p 4001` or `-p=4001`, none after the first word
//! that is no flag. Pure.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What raftd prints when it is used wrongly.
pub(super) const USAGE: &str = "\
Usage: schedia raftd [arguments] <data-path>
  -debug
    \tRaft debugging
  -h string
    \thostname (default \"localhost\")
  -join string
    \thost:port of leader to join
  -p int
    \tport (default 4001)
  -trace
    \tRaft trace debugging
  -v\tverbose logging
";

/// The arguments of raftd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    /// The host under which clients and members reach this node.
    pub(super) host: String,
    /// The port for clients.
    pub(super) port: u16,
    /// host:port of a member.
    pub(super) join: Option<String>,
    pub(super) verbose: bool,
    pub(super) debug: bool,
    pub(super) trace: bool,
    /// Where the data are; `None`: not given.
    pub(super) path: Option<PathBuf>,
}

/// Why there are no flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoFlags {
    /// They were asked for: `-help`.
    Help,
    /// They are wrong, in Go's words.
    Wrong(String),
}

/// Parses the arguments behind `schedia raftd`.
pub(super) fn parse(words: Vec<OsString>) -> Result<Flags, NoFlags> {
    let mut flags = Flags {
        host: "localhost".to_owned(),
        port: 4001,
        join: None,
        verbose: false,
        debug: false,
        trace: false,
        path: None,
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(flag) = flag(&word)? else {
            let path = if word == "--" { words.next() } else { Some(word) };
            flags.path = path.map(PathBuf::from);
            break;
        };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let mut text = || match value {
            Some(value) => Ok(value.to_owned()),
            None => match words.next().map(OsString::into_string) {
                Some(Ok(value)) => Ok(value),
                Some(Err(word)) => wrong(format!("invalid value {word:?} for flag -{name}: not UTF-8")),
                None => wrong(format!("flag needs an argument: -{name}")),
            },
        };
        match name {
            "h" => flags.host = text()?,
            "p" => flags.port = port(&text()?)?,
            "join" => flags.join = Some(text()?).filter(|join| !join.is_empty()),
            "v" => flags.verbose = truth(name, value)?,
            "debug" => flags.debug = truth(name, value)?,
            "trace" => flags.trace = truth(name, value)?,
            "help" => return Err(NoFlags::Help),
            _ => return wrong(format!("flag provided but not defined: -{name}")),
        }
    }
    match words.next() {
        Some(word) => {
            wrong(format!("unexpected behind the data path (flags come before it): {}", word.display()))
        }
        None => Ok(flags),
    }
}

/// What follows the dashes of a flag; `None`: it is no flag.
fn flag(word: &OsStr) -> Result<Option<&str>, NoFlags> {
    let Some(text) = word.to_str() else { return Ok(None) };
    let Some(flag) = text.strip_prefix('-').filter(|rest| !rest.is_empty() && *rest != "-") else {
        return Ok(None);
    };
    let flag = flag.strip_prefix('-').unwrap_or(flag);
    if flag.starts_with(['-', '=']) {
        return wrong(format!("bad flag syntax: {text}"));
    }
    Ok(Some(flag))
}

fn port(text: &str) -> Result<u16, NoFlags> {
    match text.parse() {
        Ok(0) | Err(_) => wrong(format!("invalid value {text:?} for flag -p: a port from 1 to 65535")),
        Ok(port) => Ok(port),
    }
}

fn truth(name: &str, value: Option<&str>) -> Result<bool, NoFlags> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => wrong(format!("invalid boolean value {other:?} for -{name}: parse error")),
    }
}

fn wrong<T>(words: String) -> Result<T, NoFlags> {
    Err(NoFlags::Wrong(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Flags, NoFlags> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn words(line: &str) -> String {
        match of(line) {
            Err(NoFlags::Wrong(words)) => words,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_lines_of_the_readme_mean_what_they_meant() {
        let first = of("-p 4001 /home/me/node.1").unwrap();
        assert_eq!((first.host.as_str(), first.port, first.join.as_deref()), ("localhost", 4001, None));
        assert_eq!(first.path.unwrap(), PathBuf::from("/home/me/node.1"));
        let second = of("-p 4002 -join localhost:4001 /home/me/node.2").unwrap();
        assert_eq!((second.port, second.join.as_deref()), (4002, Some("localhost:4001")));
        let loud = of("-v -debug -trace node").unwrap();
        assert!(loud.verbose && loud.debug && loud.trace);
    }

    #[test]
    fn flags_are_written_as_in_go() {
        let all = of("--p=4009 -h=::1 --join h:1 -v=false -debug=1 -- -odd").unwrap();
        assert_eq!((all.port, all.host.as_str(), all.join.as_deref()), (4009, "::1", Some("h:1")));
        assert!(!all.verbose && all.debug && !all.trace);
        assert_eq!(all.path.unwrap(), PathBuf::from("-odd"));
        assert_eq!(of("-p 4001").unwrap().path, None);
        assert_eq!(of("--help").unwrap_err(), NoFlags::Help);
        assert_eq!(of("-").unwrap().path.unwrap(), PathBuf::from("-"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(words("-x node"), "flag provided but not defined: -x");
        assert_eq!(words("-p"), "flag needs an argument: -p");
        assert_eq!(words("-p 65536 node"), "invalid value \"65536\" for flag -p: a port from 1 to 65535");
        assert_eq!(words("-p 0 node"), "invalid value \"0\" for flag -p: a port from 1 to 65535");
        assert_eq!(words("-v=maybe node"), "invalid boolean value \"maybe\" for -v: parse error");
        assert_eq!(words("---p 1 node"), "bad flag syntax: ---p");
        assert_eq!(words("node -p 4001"), "unexpected behind the data path (flags come before it): -p");
    }
}
