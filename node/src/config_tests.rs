//! Settings: what wins, what is refused and in which words.

use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
}

fn flags(line: &str) -> Settings {
    let words = std::iter::once("schedia").chain(line.split_whitespace());
    Line::try_parse_from(words).expect("flags parse").settings
}

fn check(line: &str) -> Result<Config, ConfigError> {
    flags(&format!("--name n1 {line}")).check(|_| None)
}

fn refusal(line: &str) -> String {
    check(line).expect_err("refused").to_string()
}

fn with_file(text: &str, line: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("schedia.toml");
    std::fs::write(&path, text).unwrap();
    flags(&format!("--config {} {line}", path.display())).check(|_| None)
}

#[test]
fn defaults_listen_on_loopback_and_wait() {
    let config = check("").unwrap();
    assert_eq!(config.http, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.admin, "127.0.0.1:8081".parse().unwrap());
    assert_eq!(config.peer, "127.0.0.1:7000".parse().unwrap());
    assert_eq!(config.start, Start::Wait);
    assert_eq!(config.timings, Timings::default());
    assert_eq!((config.cache_bytes, config.overlay_bytes), (64 << 20, 128 << 20));
    assert_eq!(config.kv_history, Some(Duration::from_secs(3600)));
    assert!(config.worker_threads >= 1);
    assert!(!config.unsafe_no_fsync);
}

#[test]
fn a_cluster_begins_with_one_to_sixteen_shards() {
    assert_eq!(check("").unwrap().shards, None);
    assert_eq!(check("--shards 16").unwrap().shards, Some(16));
    assert_eq!(with_file("name = 'n1'\nshards = 4\n", "").unwrap().shards, Some(4));
    assert_eq!(refusal("--shards 0"), "--shards must be 1..=16, not 0");
    assert_eq!(refusal("--shards 17"), "--shards must be 1..=16, not 17");
}

#[test]
fn the_file_fills_in_what_the_flags_leave_open() {
    let file = "name = 'from-file'\ncache-mib = 7\nhttp = '[::]:80'\nbootstrap = true\nlog-format = 'json'\n";
    let config = with_file(file, "--cache-mib 9").unwrap();
    assert_eq!(config.name, "from-file");
    assert_eq!(config.cache_bytes, 9 << 20, "the flag wins over the file");
    assert_eq!(config.http, "[::]:80".parse().unwrap());
    assert_eq!((config.start, config.log_format), (Start::Bootstrap, LogFormat::Json));
}

#[test]
fn who_may_use_the_queue_is_in_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.toml");
    std::fs::write(&path, "producer = { type = 'static', config = 'secret' }\n").unwrap();
    let by_flag = check(&format!("--auth-config {}", path.display())).unwrap();
    let by_file = with_file(&format!("name = 'n1'\nauth-config = '{}'\n", path.display()), "").unwrap();
    assert_eq!(by_flag.auth, by_file.auth);
    assert_ne!(by_flag.auth, AuthConfig::default());
    assert_eq!(check("").unwrap().auth, AuthConfig::default());
    std::fs::write(&path, "producer = { type = 'static' }\n").unwrap();
    let words = refusal(&format!("--auth-config {}", path.display()));
    assert_eq!(words, format!("--auth-config {}: producer.config is missing", path.display()));
}

#[test]
fn a_flag_can_take_back_what_the_file_says() {
    let config = with_file("name = 'n1'\nbootstrap = true\n", "--bootstrap=false").unwrap();
    assert_eq!(config.start, Start::Wait);
}

#[test]
fn an_unknown_setting_in_the_file_is_named() {
    let error = with_file("cache-mib = 7\nelecton-min-ms = 5\n", "").unwrap_err().to_string();
    assert!(error.contains("electon-min-ms") && error.contains("line 2"), "{error}");
}

#[test]
fn a_wrong_type_in_the_file_is_named() {
    let error = with_file("cache-mib = 'much'\n", "").unwrap_err().to_string();
    assert!(error.contains("cache-mib") && error.contains("much"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = refusal("--config /nowhere/schedia.toml");
    assert!(error.starts_with("--config /nowhere/schedia.toml: No such file"), "{error}");
}

#[test]
fn an_unknown_variable_is_found_but_not_those_of_a_service() {
    let known = |name: &str| name == "SCHEDIA_NAME";
    let find = |names: &[&'static str]| unknown_environment(names.iter().copied(), known);
    assert_eq!(find(&["PATH", "SCHEDIA_NAME", "SCHEDIA_NMAE"]), Some("SCHEDIA_NMAE"));
    let links = [
        "SCHEDIA_SERVICE_HOST",
        "SCHEDIA_PEER_SERVICE_PORT",
        "SCHEDIA_SERVICE_PORT_HTTP",
        "SCHEDIA_PORT",
        "SCHEDIA_PORT_8080_TCP",
        "SCHEDIA_PORT_8080_TCP_ADDR",
    ];
    assert_eq!(find(&links), None);
}

#[test]
fn timings_that_would_elect_for_nothing_are_refused() {
    assert_eq!(
        refusal("--heartbeat-ms 200"),
        "--election-min-ms 300 must be at least twice --heartbeat-ms 200: one lost heartbeat is no lost leader"
    );
    assert_eq!(refusal("--election-min-ms 500"), "--election-max-ms 500 must be above --election-min-ms 500");
    assert_eq!(refusal("--heartbeat-ms 0"), "--heartbeat-ms must be 10..=60000, not 0");
    assert!(check("--heartbeat-ms 50 --election-min-ms 150 --election-max-ms 250").is_ok());
}

#[test]
fn sizes_out_of_range_are_refused() {
    assert_eq!(refusal("--cache-mib 0"), "--cache-mib must be 1..=1048576, not 0");
    assert_eq!(refusal("--worker-threads 0"), "--worker-threads must be 1..=1024, not 0");
    assert_eq!(refusal("--overlay-mib 1"), "--overlay-mib must be 8..=65536, not 1");
    assert_eq!(check("--kv-history-minutes 0").unwrap().kv_history, None);
    assert_eq!(
        refusal("--otlp-ratio 0.5"),
        "--otlp-ratio needs --otlp-endpoint: without it nothing is traced"
    );
    assert_eq!(refusal("--otlp-endpoint http://c:4318 --otlp-ratio 2"), "--otlp-ratio must be 0..=1, not 2");
    assert!(refusal("--otlp-endpoint https://c:4318").contains("takes http"));
    let Collector { url, ratio } = check("--otlp-endpoint http://c:4318").unwrap().traces.unwrap();
    assert_eq!((&url[..], ratio), ("http://c:4318/v1/traces", 0.01));
    let below = check("--otlp-endpoint http://bücher.example/otlp/").unwrap().traces.unwrap();
    assert_eq!(below.url, "http://xn--bcher-kva.example/otlp/v1/traces");
    assert_eq!(check("--slow-request-ms 0").unwrap().slow_request, None);
    assert_eq!(check("").unwrap().slow_request, Some(Duration::from_secs(1)));
}

#[test]
fn a_node_that_will_be_a_member_must_say_its_address() {
    let error = refusal("--bootstrap --peer 0.0.0.0:7000");
    assert!(error.contains("--advertise-peer"), "{error}");
    assert!(check("--peer [::]:7000").is_ok(), "an unassigned node is told its address");
    assert!(check("--bootstrap --peer [::]:7000 --advertise-peer n1.example:7000").is_ok());
    let wrong = refusal("--advertise-peer n1.example");
    assert_eq!(wrong, "--advertise-peer takes HOST:PORT with a port above 0, not \"n1.example\"");
}

#[test]
fn peers_must_list_this_node_and_no_name_twice() {
    let Start::Peers(peers) = check("--peers n1=a:1,n2=b:2,n3=c:3").unwrap().start else { panic!() };
    assert_eq!((peers.nodes.len(), peers.marked, peers.first), (3, false, true));
    let Start::Peers(peers) = check("--peers n0=a:1,n1=b:2 --bootstrap").unwrap().start else { panic!() };
    assert_eq!((peers.marked, peers.first), (true, false));
    assert_eq!(
        refusal("--peers n2=b:2"),
        "--peers must list this node too, and it does not name \"n1\": n2=b:2"
    );
    assert_eq!(refusal("--peers n1=a:1,n1=b:2"), "--peers names a node twice: n1");
    assert_eq!(refusal("--peers n1"), "--peers is a list of NAME=HOST:PORT, this is not one: \"n1\"");
}

#[test]
fn joining_and_forming_exclude_each_other() {
    let words = "--join excludes --bootstrap and --peers: a node joins a cluster or forms one";
    assert_eq!(refusal("--join http://h:8080 --bootstrap"), words);
    assert_eq!(refusal("--join http://h:8080 --peers n1=a:1"), words);
    assert_eq!(refusal("--join h:8080"), "--join takes a URL like http://host:8080, not \"h:8080\"");
}

#[test]
fn names_and_levels_are_plain() {
    let error = flags("--name n/1").check(|_| None).unwrap_err().to_string();
    assert_eq!(error, "a node's name is 1 to 253 letters, digits, '-', '.' or '_', not \"n/1\"");
    assert!(refusal("--log-level info,,=x").starts_with("--log-level"));
}

#[test]
fn the_doors_of_other_programs_are_closed_unless_opened() {
    assert_eq!(check("").unwrap().doors, Doors::default());
    assert_eq!(check("--door balsa").unwrap().doors, Doors { balsa: true, join: None });
    assert!(with_file("name = 'n1'\ndoor = 'balsa'\n", "").unwrap().doors.balsa);
    let error = with_file("name = 'n1'\ndoor = 'front'\n", "").unwrap_err().to_string();
    assert!(error.contains("front") && error.contains("balsa"), "{error}");
}

#[test]
fn what_holds_for_queues_is_said_or_codeqs() {
    let usual = check("").unwrap().queue;
    assert_eq!(usual, queues::Settings::default());
    let line = "--queue-lease-seconds 60 --queue-max-attempts 3 --queue-backoff equal-jitter --queue-backoff-base-seconds 1";
    let more = "--queue-backoff-max-seconds 30 --queue-key-minutes 10 --queue-retention-minutes 5";
    let said = check(&format!("{line} {more}")).unwrap().queue;
    assert_eq!((said.lease_s, said.attempts), (60, 3));
    assert_eq!((said.retry.base_s, said.retry.max_s), (1, 30));
    assert_eq!(said.retry.policy, schedia_apps::queue::Backoff::EqualJitter);
    assert_eq!((said.keys, said.retention), (Duration::from_secs(600), Duration::from_secs(300)));
    let in_file = with_file("name = 'n1'\nqueue-backoff = 'fixed'\n", "").unwrap().queue.retry.policy;
    assert_eq!(in_file, schedia_apps::queue::Backoff::Fixed);
    assert_eq!(refusal("--queue-lease-seconds 0"), "--queue-lease-seconds must be 1..=31536000, not 0");
    assert_eq!(refusal("--queue-max-attempts 0"), "--queue-max-attempts must be 1..=1000000, not 0");
}

#[test]
fn what_is_ours_wins_over_codeqs_names_and_is_checked_with_them() {
    let codeq = |name: &str| match name {
        "RAFT_SELF_ID" => Some("a".into()),
        "RAFT_PEERS" => Some("a=a:7000,b=b:7000".into()),
        "RAFT_BIND_ADDR" => Some(":7000".into()),
        "MAX_ATTEMPTS_DEFAULT" => Some("9".into()),
        "GIN_MODE" => Some("release".into()),
        _ => None,
    };
    let config = flags("--queue-max-attempts 2 --peer 127.0.0.1:7001").check(codeq).unwrap();
    assert_eq!((config.name.as_str(), config.queue.attempts), ("a", 2));
    assert_eq!(config.peer, "127.0.0.1:7001".parse().unwrap());
    assert_eq!(config.without_effect, ["GIN_MODE"]);
    let joins = flags("--join http://h:8080 --advertise-peer h2:7000").check(codeq).unwrap();
    assert_eq!(joins.start, Start::Join("http://h:8080".to_owned()));
}
