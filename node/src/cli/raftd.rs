//! `schedia raftd`: a node under raftd's flags. It is `schedia serve` in other words, faster elections, and `/join`.
//!
//! Its directory holds two files beside the node's own: `name`, seven hexadecimal digits drawn at the first start, and
//! `peer-port`, chosen once: the other members know this node by it.
//!
//! Not here: the routes (`crate::doors`), becoming a member (`crate::join`).

mod flags;

use super::{CliError, serve};
use crate::config::Manner;
use crate::storage::{self, Assigned};
use flags::{Flags, NoFlags};
use reqwest::{Method, Url};
use schedia_api::{Overview, Transport};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the peer port is looked for: so far above the client port, and then in steps. Below the ports that the system
/// gives to outgoing connections, one of which would hold it while this node is away.
const PEER_PORT_ABOVE: u16 = 3_000;
const PEER_PORT_STEP: u16 = 10;
const PEER_PORT_MAX: u16 = 32_000;

/// A member is asked which cluster it belongs to: so often, and with a pause between. It may be starting as well.
const ASKS: usize = 60;
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
const ASK_PAUSE: Duration = Duration::from_secs(1);

pub(super) fn run(words: Vec<OsString>, known: &[String]) -> Result<(), CliError> {
    let flags = flags::parse(words).or_else(|none| match none {
        NoFlags::Help => say("", 0),
        NoFlags::Wrong(words) => say(&format!("{words}\n"), 2),
    })?;
    let Some(path) = flags.path.clone() else {
        eprint!("{}", flags::USAGE);
        eprintln!("Data path argument required");
        return Err(CliError::Said(1));
    };
    fs::create_dir_all(&path)
        .map_err(|error| CliError::Failed(format!("Unable to create path: {}: {error}", path.display())))?;
    let resident = storage::who_lives_in(&path).map_err(io_at(&path))?;
    if resident.is_none() && path.join("log").is_file() {
        return Err(CliError::Failed(format!(
            "{} holds the log of another program, most likely goraft's raftd, which is not read here: start on an \
             empty directory and copy the values over HTTP",
            path.display()
        )));
    }
    let port_file = path.join("peer-port");
    let recorded = read_line(&port_file)?;
    let at = Place::of(&flags, recorded.as_deref())?;
    let settings = serve::settings(at.settings(&flags, &name(&path)?, &path))?;
    let mut config = serve::checked(settings, known, |_| None)?;
    config.doors.join = Some(Manner::Raftd);
    let assigned = resident.and_then(|resident| resident.assigned);
    serve::start(config, async |addresses| {
        if recorded.is_none() {
            write_line(&port_file, &addresses.peer.port().to_string())?;
        }
        match (assigned, &flags.join) {
            (Some(assigned), Some(join)) => same_cluster(&path, &assigned, join).await,
            _ => Ok(()),
        }
    })
}

/// Says something wrong and how it is right, as Go's flags do.
fn say<T>(words: &str, status: u8) -> Result<T, CliError> {
    eprint!("{words}{}", flags::USAGE);
    Err(CliError::Said(status))
}

/// Where the node is.
struct Place {
    /// As it stands in URLs.
    host: String,
    peer: SocketAddr,
}

impl Place {
    fn of(flags: &Flags, recorded: Option<&str>) -> Result<Place, CliError> {
        let host = match flags.host.parse::<Ipv6Addr>() {
            Ok(ip) => format!("[{ip}]"),
            Err(_) => flags.host.clone(),
        };
        let url = Url::parse(&format!("http://{host}:{}", flags.port));
        if !url.is_ok_and(|url| url.has_host() && url.path() == "/" && url.query().is_none()) {
            return Err(CliError::Usage(format!("-h takes the name or address of a host, not {host:?}")));
        }
        let port = |join: &String| join.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if let Some(join) = flags.join.as_ref().filter(|join| !port(join)) {
            return Err(CliError::Usage(format!("-join takes HOST:PORT of a member, not {join:?}")));
        }
        // Under a name that only this machine understands no other one is served.
        let ip = match flags.host.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            text => text.parse().ok().filter(IpAddr::is_loopback).unwrap_or(Ipv6Addr::UNSPECIFIED.into()),
        };
        let port = match recorded {
            Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                CliError::Failed(format!("the file peer-port in the data path holds no port: {text:?}"))
            })?,
            None => free_port(ip, flags.port)?,
        };
        Ok(Place { host, peer: SocketAddr::new(ip, port) })
    }

    /// What `schedia serve` would be given.
    fn settings(&self, flags: &Flags, name: &str, path: &Path) -> Vec<OsString> {
        let Place { host, peer } = self;
        let mut words: Vec<OsString> = vec!["--data-dir".into(), path.into()];
        let mut set = |option: &str, value: String| words.extend([option.into(), value.into()]);
        set("--name", name.to_owned());
        set("--http", format!("[::]:{}", flags.port));
        set("--admin", "127.0.0.1:0".to_owned());
        set("--peer", peer.to_string());
        set("--advertise-http", format!("http://{host}:{}", flags.port));
        set("--advertise-peer", format!("{host}:{}", peer.port()));
        set("--heartbeat-ms", "50".to_owned());
        set("--election-min-ms", "150".to_owned());
        set("--election-max-ms", "300".to_owned());
        set("--log-level", log_level(flags));
        match &flags.join {
            Some(join) => set("--join", format!("http://{join}")),
            None => words.push("--bootstrap".into()),
        }
        words
    }
}

/// `-v` tells more of the node, `-debug` and `-trace` of raft; the latter wins, as there.
fn log_level(flags: &Flags) -> String {
    let node = if flags.verbose { "info,schedia_node=debug" } else { "info" };
    let raft = match (flags.debug, flags.trace) {
        (_, true) => ",schedia_node::raft=trace,openraft=trace",
        (true, false) => ",schedia_node::raft=debug,openraft=debug",
        (false, false) => "",
    };
    format!("{node}{raft}")
}

/// A port that nobody listens on now.
fn free_port(ip: IpAddr, above: u16) -> Result<u16, CliError> {
    let first = above.saturating_add(PEER_PORT_ABOVE);
    let first = if first < PEER_PORT_MAX { first } else { 1 + PEER_PORT_MAX - PEER_PORT_ABOVE };
    let mut ports = (first..PEER_PORT_MAX).step_by(PEER_PORT_STEP.into());
    ports.find(|port| TcpListener::bind((ip, *port)).is_ok()).ok_or_else(|| {
        CliError::Failed(format!(
            "no free port for the other members from {first} to {PEER_PORT_MAX} on {ip}"
        ))
    })
}

/// The node's name, drawn at the first start.
fn name(path: &Path) -> Result<String, CliError> {
    let file = path.join("name");
    if let Some(name) = read_line(&file)? {
        return Ok(name);
    }
    let name: String = uuid::Uuid::new_v4().simple().to_string().chars().take(7).collect();
    write_line(&file, &name)?;
    Ok(name)
}

/// A disk that knows its cluster asks nobody to be let in; that it should be another cluster's is a mistake to be told. Asked while
/// the node runs, since its own cluster may be waiting for its vote.
async fn same_cluster(path: &Path, mine: &Assigned, join: &str) -> Result<(), CliError> {
    let member = Transport::new(&[format!("http://{join}")], ASK_TIMEOUT)?;
    for _ in 0..ASKS {
        match member.send(Method::GET, "/v1/status", None).await.and_then(|answer| answer.json::<Overview>())
        {
            Ok(there) if there.cluster_id == mine.cluster_id => return Ok(()),
            Ok(there) => {
                return Err(CliError::Failed(format!(
                    "cannot join with an existing log: {} holds node {} of cluster {}, and {join} belongs to cluster {}; \
                     start without -join to go on in the former, or on an empty directory to join the latter",
                    path.display(),
                    mine.node_id,
                    mine.cluster_id,
                    there.cluster_id
                )));
            }
            Err(error) => {
                tracing::debug!(%error, "which cluster -join means is asked again");
                tokio::time::sleep(ASK_PAUSE).await;
            }
        }
    }
    tracing::warn!(
        "-join is not needed any more, and could not be checked: {join} does not say which cluster it is of"
    );
    Ok(())
}

fn read_line(file: &Path) -> Result<Option<String>, CliError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_at(file)(error)),
    }
}

/// Durable on return, whole or not at all.
fn write_line(path: &Path, line: &str) -> Result<(), CliError> {
    let new = PathBuf::from(format!("{}.new", path.display()));
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    });
    written.map_err(io_at(path))
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    let what = path.display().to_string();
    |source| CliError::Io { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Flags {
        flags::parse(line.split_whitespace().map(OsString::from).collect()).unwrap()
    }

    fn settings(line: &str) -> String {
        let flags = flags(line);
        let place = Place::of(&flags, Some("7001")).unwrap();
        let words = place.settings(&flags, "abc1234", Path::new("data"));
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_flags_are_settings_of_serve_in_other_words() {
        assert_eq!(
            settings("data"),
            "--data-dir data --name abc1234 --http [::]:4001 --admin 127.0.0.1:0 --peer 127.0.0.1:7001 \
             --advertise-http http://localhost:4001 --advertise-peer localhost:7001 --heartbeat-ms 50 \
             --election-min-ms 150 --election-max-ms 300 --log-level info --bootstrap"
        );
        let joins = settings("-h db.example -p 80 -join localhost:4001 -v -debug -trace data");
        assert!(joins.contains("--peer [::]:7001 --advertise-http http://db.example:80"), "{joins}");
        assert!(
            joins.ends_with(
                "--log-level info,schedia_node=debug,schedia_node::raft=trace,openraft=trace --join http://localhost:4001"
            ),
            "{joins}"
        );
        assert!(settings("-h ::1 data").contains("--peer [::1]:7001 --advertise-http http://[::1]:4001"));
        assert!(serve::settings(vec!["--peer".into(), "nowhere".into()]).is_err());
    }

    #[test]
    fn a_host_is_a_host() {
        for wrong in ["-h= data", "-h a/b data"] {
            let error = Place::of(&flags(wrong), Some("1")).err().unwrap().to_string();
            assert!(error.starts_with("-h takes the name or address of a host"), "{wrong}: {error}");
        }
        assert!(Place::of(&flags("data"), Some("many")).is_err());
    }

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let loopback = IpAddr::V4(Ipv4Addr::new(127, 254, 7, 9));
        let first = free_port(loopback, 4001).unwrap();
        let _taken = TcpListener::bind((loopback, first)).unwrap();
        assert_eq!(free_port(loopback, 4001).unwrap(), first + PEER_PORT_STEP);
        assert!(free_port(loopback, 65_535).unwrap() < PEER_PORT_MAX);
    }

    #[test]
    fn a_name_is_seven_digits_drawn_once() {
        let dir = tempfile::tempdir().unwrap();
        let drawn = name(dir.path()).unwrap();
        assert!(drawn.len() == 7 && drawn.chars().all(|c| c.is_ascii_hexdigit()), "{drawn}");
        assert_eq!(name(dir.path()).unwrap(), drawn);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half written is left");
    }
}
