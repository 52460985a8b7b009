//! `schedia balsa`: a node under balsa's four variables. It is `schedia serve` on loopback, waiting to be used or invited.
//!
//! Not here: the routes (`crate::doors`), how an invited node comes (`crate::join`).

use super::{CliError, serve};
use crate::config::{Manner, Start};
use std::ffi::OsString;

pub(super) fn run(known: &[String]) -> Result<(), CliError> {
    let settings = settings(|name| std::env::var_os(name)).map_err(CliError::Usage)?;
    let mut config = serve::checked(serve::settings(settings)?, known, |_| None)?;
    config.doors.join = Some(Manner::Balsa);
    if config.start == Start::Wait {
        config.start = Start::Invited;
    }
    serve::start(config, async |_| Ok(()))
}

/// What `schedia serve` would be given.
fn settings(variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<OsString>, String> {
    let names = ["HTTP_SERVER_PORT", "RAFT_SERVER_PORT", "RAFT_NODE_ID", "RAFT_VOLUME_DIR"];
    let value = |name: &str| variable(name).filter(|value| !value.is_empty());
    let missing: Vec<_> = names.into_iter().filter(|name| value(name).is_none()).collect();
    let [Some(http), Some(raft), Some(node), Some(volume)] = names.map(value) else {
        return Err(format!(
            "balsa is set by the environment variables {}; not set: {}",
            names.join(", "),
            missing.join(", ")
        ));
    };
    let [http, raft] = [port(names[0], &http)?, port(names[1], &raft)?];
    let words = [
        ["--name".into(), node],
        ["--data-dir".into(), volume],
        ["--http".into(), format!("127.0.0.1:{http}").into()],
        ["--peer".into(), format!("127.0.0.1:{raft}").into()],
        ["--admin".into(), "127.0.0.1:0".into()],
        ["--door".into(), "balsa".into()],
    ];
    Ok(words.into_iter().flatten().collect())
}

fn port(name: &str, value: &OsString) -> Result<u16, String> {
    let parsed = value.to_str().and_then(|text| text.parse().ok()).filter(|port| *port > 0);
    parsed.ok_or_else(|| format!("{name} must be a port from 1 to 65535: {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<String, String> {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        let words = settings(find)?;
        Ok(words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
    }

    const README: [(&str, &str); 4] = [
        ("HTTP_SERVER_PORT", "8000"),
        ("RAFT_SERVER_PORT", "9000"),
        ("RAFT_NODE_ID", "n1"),
        ("RAFT_VOLUME_DIR", "/tmp/node1"),
    ];

    #[test]
    fn the_variables_are_settings_of_serve_in_other_words() {
        assert_eq!(
            of(&README).unwrap(),
            "--name n1 --data-dir /tmp/node1 --http 127.0.0.1:8000 --peer 127.0.0.1:9000 --admin 127.0.0.1:0 --door balsa"
        );
    }

    #[test]
    fn a_variable_that_is_missing_or_no_port_is_named() {
        let missing = of(&README[1..3]).unwrap_err();
        assert!(missing.ends_with("not set: HTTP_SERVER_PORT, RAFT_VOLUME_DIR"), "{missing}");
        for wrong in ["many", "0", "65536", "-1", "8000 "] {
            let mut variables = README;
            variables[0].1 = wrong;
            let error = of(&variables).unwrap_err();
            assert_eq!(error, format!("HTTP_SERVER_PORT must be a port from 1 to 65535: {wrong:?}"));
        }
    }
}
