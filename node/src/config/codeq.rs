//! codeQ's environment in our words: what a node is told under codeQ's names, as [`Settings`].
//!
//! Read in one place, and last: what flags, environment and file say under our own names holds. codeQ passes over a value that it
//! cannot use; here it is refused, and the words name the variable. 0 and nothing at all are codeQ's ways to leave a number open.
//!
//! Invariants:
//! * Nothing is read but through the function that is handed in.
//! * A name that any program may have (`PORT`, `LOG_LEVEL`) is read only beside one that codeQ's servers have.
//! * No error shows `WEBHOOK_HMAC_SECRET`.
//!
//! Not here: `PRODUCER_AUTH_…`, `WORKER_AUTH_…` and `ALLOW_PRODUCER_AS_WORKER`, which are ours as well (`crate::auth`).

use super::queue::Backoff;
use super::variables::Variables;
use super::{ConfigError, LogFormat, Settings, checked_name, client_url, peer_list, refuse, shards, within};
use serde::Deserialize;
use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// One of these is set wherever codeQ's server keeps its own data.
const OF_A_SERVER: [&str; 11] = [
    "PERSISTENCE_PROVIDER",
    "PERSISTENCE_CONFIG",
    "RAFT_ENABLED",
    "RAFT_SELF_ID",
    "RAFT_BIND_ADDR",
    "RAFT_PEERS",
    "RAFT_PEER_HTTP_ADDRS",
    "RAFT_BOOTSTRAP",
    "RAFT_MUX_ENABLED",
    "RAFT_HEARTBEAT_MS",
    "RAFT_ELECTION_MS",
];

/// What codeQ's server and its compose files know and a node has no use for.
const WITHOUT_EFFECT: [&str; 38] = [
    "RAFT_LEADER_LEASE_MS",
    "RAFT_COMMIT_MS",
    "RAFT_APPLY_TIMEOUT_SECONDS",
    "RAFT_TOPIC_CATALOG_PROTOCOL",
    "CLUSTER_SELF_ID",
    "CLUSTER_GRPC_ADDR",
    "CLUSTER_NODES",
    "PRODUCER_STREAM_ADDR",
    "WORKER_STREAM_ADDR",
    "REDIS_ADDR",
    "REDIS_PASSWORD",
    "KVROCKS_PASSWORD",
    "REQUEUE_INSPECT_LIMIT",
    "LOCAL_ARTIFACTS_DIR",
    "SUBSCRIPTION_MIN_INTERVAL_SECONDS",
    "SUBSCRIPTION_CLEANUP_INTERVAL_SECONDS",
    "RESULT_WEBHOOK_MAX_ATTEMPTS",
    "RESULT_WEBHOOK_BASE_BACKOFF_SECONDS",
    "RESULT_WEBHOOK_MAX_BACKOFF_SECONDS",
    "IDENTITY_SERVICE_URL",
    "IDENTITY_SERVICE_API_KEY",
    "IDENTITY_JWKS_URL",
    "IDENTITY_ISSUER",
    "IDENTITY_AUDIENCE",
    "WORKER_JWKS_URL",
    "WORKER_ISSUER",
    "WORKER_AUDIENCE",
    "ALLOWED_CLOCK_SKEW_SECONDS",
    "TRACING_ENABLED",
    "TRACING_SERVICE_NAME",
    "TRACING_OTLP_ENDPOINT",
    "TRACING_OTLP_INSECURE",
    "TRACING_SAMPLE_RATIO",
    "CODEQ_CONFIG_PATH",
    "CODEQ_PPROF",
    "CODEQ_PPROF_ADDR",
    "GIN_MODE",
    "ENV",
];

/// What was found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// The settings that codeQ's variables are.
    pub(super) settings: Settings,
    /// The variables that are set and change nothing here.
    pub(super) without_effect: Vec<&'static str>,
}

/// Reads codeQ's variables. `ours` is what is set under our own names: nodes that it names or a cluster that it begins, and timings,
/// are not mixed with codeQ's.
pub(super) fn read(
    ours: &Settings,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Found, ConfigError> {
    let variables = Variables::new(&variable);
    let mut found = Found::default();
    of_queues(&variables, &mut found.settings)?;
    if !OF_A_SERVER.into_iter().any(|name| variables.is_set(name)) {
        return Ok(found);
    }
    found.without_effect.extend(WITHOUT_EFFECT.into_iter().filter(|name| variables.is_set(name)));
    of_any_server(&variables, &mut found.settings)?;
    persistence(&variables, &mut found)?;
    let of_raft = OF_A_SERVER.into_iter().filter(|name| name.starts_with("RAFT_") && variables.is_set(name));
    let mut of_raft = of_raft.peekable();
    match variables.flag("RAFT_ENABLED")? {
        Some(false) => {
            found.without_effect.extend(of_raft.filter(|name| *name != "RAFT_ENABLED"));
            alone(ours, &variables, &mut found.settings);
        }
        None if of_raft.peek().is_none() => alone(ours, &variables, &mut found.settings),
        _ => raft(ours, &variables, &mut found)?,
    }
    Ok(found)
}

/// codeQ with its own store and without raft is one server: a cluster of one.
fn alone(ours: &Settings, variables: &Variables<'_>, settings: &mut Settings) {
    if variables.is_set("PERSISTENCE_PROVIDER") && !is_told_how_to_begin(ours) {
        settings.bootstrap = Some(true);
    }
}

fn is_told_how_to_begin(ours: &Settings) -> bool {
    ours.bootstrap.is_some() || ours.join.is_some() || ours.peers.is_some()
}

fn of_queues(variables: &Variables<'_>, settings: &mut Settings) -> Result<(), ConfigError> {
    settings.queue_lease_seconds = variables.number("DEFAULT_LEASE_SECONDS", 31_536_000)?;
    settings.queue_max_attempts = variables.number("MAX_ATTEMPTS_DEFAULT", 1_000_000)?;
    settings.queue_backoff_base_seconds = variables.number("BACKOFF_BASE_SECONDS", 31_536_000)?;
    settings.queue_backoff_max_seconds = variables.number("BACKOFF_MAX_SECONDS", 31_536_000)?;
    settings.queue_backoff = variables.one_of(
        "BACKOFF_POLICY",
        &[
            ("fixed", Backoff::Fixed),
            ("linear", Backoff::Linear),
            ("exponential", Backoff::Exponential),
            ("exp_equal_jitter", Backoff::EqualJitter),
            ("exp_full_jitter", Backoff::FullJitter),
        ],
    )?;
    settings.queue_webhook_secret = variables.text("WEBHOOK_HMAC_SECRET")?;
    Ok(())
}

fn of_any_server(variables: &Variables<'_>, settings: &mut Settings) -> Result<(), ConfigError> {
    if variables.flag("CLUSTER_ENABLED")? == Some(true) {
        return refuse(
            "CLUSTER_ENABLED: there is no ring of servers without copies here; give RAFT_PEERS instead",
        );
    }
    let port = variables.number("PORT", u64::from(u16::MAX))?;
    settings.http = port.map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port as u16)));
    let levels = ["debug", "info", "warn", "error"].map(|level| (level, level));
    settings.log_level = variables.one_of("LOG_LEVEL", &levels)?.map(str::to_owned);
    settings.log_format =
        variables.one_of("LOG_FORMAT", &[("text", LogFormat::Text), ("json", LogFormat::Json)])?;
    Ok(())
}

/// `PERSISTENCE_CONFIG`, as codeQ has it for its own store.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pebble {
    #[serde(default)]
    path: String,
    fsync_on_commit: Option<bool>,
    #[serde(default)]
    num_shards: u64,
}

fn persistence(variables: &Variables<'_>, found: &mut Found) -> Result<(), ConfigError> {
    variables.one_of("PERSISTENCE_PROVIDER", &[("pebble", ())])?;
    let name = "PERSISTENCE_CONFIG";
    let Some(text) = variables.text(name)? else { return Ok(()) };
    let Pebble { path, fsync_on_commit, num_shards } =
        serde_json::from_str(&text).map_err(|error| ConfigError(format!("{name}: {error}")))?;
    found.settings.data_dir = Some(path).filter(|path| !path.is_empty()).map(PathBuf::from);
    found.settings.shards = Some(num_shards).filter(|shards| *shards > 0);
    shards("PERSISTENCE_CONFIG numShards", found.settings.shards)?;
    if fsync_on_commit == Some(false) {
        found.without_effect.push("PERSISTENCE_CONFIG fsyncOnCommit=false");
    }
    Ok(())
}

fn raft(ours: &Settings, variables: &Variables<'_>, found: &mut Found) -> Result<(), ConfigError> {
    let settings = &mut found.settings;
    if variables.flag("RAFT_MUX_ENABLED")? == Some(false) {
        found.without_effect.push("RAFT_MUX_ENABLED=false");
    }
    if let Some(name) = variables.text("RAFT_SELF_ID")? {
        let checked = checked_name(name).map_err(|error| ConfigError(format!("RAFT_SELF_ID: {error}")))?;
        settings.name = Some(checked);
    }
    let me = ours.name.clone().or_else(|| settings.name.clone());
    settings.peer =
        variables.text("RAFT_BIND_ADDR")?.map(|text| listener("RAFT_BIND_ADDR", &text)).transpose()?;
    let at = variables.pairs("RAFT_PEER_HTTP_ADDRS")?.unwrap_or_default();
    at.iter().try_for_each(|(_, url)| client_url("RAFT_PEER_HTTP_ADDRS", url))?;
    settings.advertise_http = at.into_iter().find(|(name, _)| Some(name) == me.as_ref()).map(|(_, url)| url);
    let began = variables.flag("RAFT_BOOTSTRAP")?;
    if !is_told_how_to_begin(ours) {
        settings.bootstrap = began;
        peers(me.as_deref(), variables, settings)?;
        if let (Some(true), None, Some(peer), None) =
            (began, &settings.peers, settings.peer, &ours.advertise_peer)
            && peer.ip().is_unspecified()
        {
            return refuse(format_args!(
                "RAFT_BIND_ADDR {peer} listens on every address, so RAFT_PEERS must say which one the others use"
            ));
        }
    }
    timings(ours, variables, found)
}

/// The static list. This node's own entry is where the others reach it.
fn peers(me: Option<&str>, variables: &Variables<'_>, settings: &mut Settings) -> Result<(), ConfigError> {
    let name = "RAFT_PEERS";
    let Some(pairs) = variables.pairs(name)? else { return Ok(()) };
    let Some(me) = me else {
        return refuse("RAFT_PEERS needs RAFT_SELF_ID: which of them is this node?");
    };
    let list: Vec<String> = pairs.into_iter().map(|(name, address)| format!("{name}={address}")).collect();
    let list = list.join(",");
    settings.advertise_peer = peer_list(name, me, &list)?.remove(me);
    settings.peers = Some(list);
    Ok(())
}

/// codeQ's two are those of its library: a follower stands for election after one to two `RAFT_HEARTBEAT_MS` of silence, in which its
/// leader is heard five to ten times, and a candidate stands again after `RAFT_ELECTION_MS` or more. Here one range is both.
fn timings(ours: &Settings, variables: &Variables<'_>, found: &mut Found) -> Result<(), ConfigError> {
    let names = ["RAFT_HEARTBEAT_MS", "RAFT_ELECTION_MS"];
    let [silence, election] = [variables.number(names[0], 300_000)?, variables.number(names[1], 600_000)?];
    let Some(min) = silence.or(election) else { return Ok(()) };
    if ours.heartbeat_ms.or(ours.election_min_ms).or(ours.election_max_ms).is_some() {
        found.without_effect.extend(names.into_iter().filter(|name| variables.is_set(name)));
        return Ok(());
    }
    within(if silence.is_some() { names[0] } else { names[1] }, min, 50..=300_000)?;
    let election = election.unwrap_or(min);
    if election < min {
        return refuse(format_args!("{} {election} must not be below {} {min}", names[1], names[0]));
    }
    found.settings.heartbeat_ms = Some(min / 5);
    found.settings.election_min_ms = Some(min);
    found.settings.election_max_ms = Some(election.max(2 * min));
    Ok(())
}

/// `[ADDRESS]:PORT`; without an address on all of them, as Go has it.
fn listener(option: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    let on_all = |port: &str| Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port.parse::<u16>().ok()?)));
    let address = text.strip_prefix(':').map_or_else(|| text.parse().ok(), on_all);
    match address.filter(|address| address.port() > 0) {
        Some(address) => Ok(address),
        None => refuse(format_args!(
            "{option} takes [ADDRESS]:PORT like :7000, where names are not looked up, not {text:?}"
        )),
    }
}

#[cfg(test)]
#[path = "codeq_tests.rs"]
mod tests;
