//! The settings as flags, environment and file give them: names and help, nothing checked.

use super::queue::Backoff;
use super::{Door, LogFormat};
use crate::queues::Follower;
use clap::Args;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The settings as given, each perhaps not at all.
#[derive(Args, Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The node's name, unique in its cluster [default: the host's name]
    #[arg(long, env = "SCHEDIA_NAME", value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Where the node keeps its data; one directory, one node [default: ./schedia-data]
    #[arg(long, env = "SCHEDIA_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Where clients are served; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "SCHEDIA_HTTP", value_name = "ADDR:PORT")]
    pub(super) http: Option<SocketAddr>,
    /// Where the operator, probes and metrics are served [default: 127.0.0.1:8081]
    #[arg(long, env = "SCHEDIA_ADMIN", value_name = "ADDR:PORT")]
    pub(super) admin: Option<SocketAddr>,
    /// Where the other members are served [default: 127.0.0.1:7000]
    #[arg(long, env = "SCHEDIA_PEER", value_name = "ADDR:PORT")]
    pub(super) peer: Option<SocketAddr>,
    /// The URL at which clients reach this node [default: that of --http]
    #[arg(long, env = "SCHEDIA_ADVERTISE_HTTP", value_name = "URL")]
    pub(super) advertise_http: Option<String>,
    /// Where the other members reach this node; the host is resolved again at every connect [default: that of --peer]
    #[arg(long, env = "SCHEDIA_ADVERTISE_PEER", value_name = "HOST:PORT")]
    pub(super) advertise_peer: Option<String>,
    /// Start a cluster of one on an empty disk; with --peers: this node is the seed
    #[arg(long, env = "SCHEDIA_BOOTSTRAP", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) bootstrap: Option<bool>,
    /// Join the cluster of this member (its client URL) on an empty disk
    #[arg(long, env = "SCHEDIA_JOIN", value_name = "URL")]
    pub(super) join: Option<String>,
    /// Form a cluster of these members once, on empty disks; this node is one of them
    #[arg(long, env = "SCHEDIA_PEERS", value_name = "NAME=HOST:PORT,...")]
    pub(super) peers: Option<String>,
    /// With how many raft groups a cluster begins, 1 to 16; it keeps them for ever [default: 1]
    #[arg(long, env = "SCHEDIA_SHARDS", value_name = "N")]
    pub(super) shards: Option<u64>,
    /// What a node that does not lead does with a request of codeQ's door: has the leader do it, or names the leader as codeQ does
    /// [default: forward]
    #[arg(long, env = "SCHEDIA_QUEUE_FOLLOWER", value_name = "forward|redirect")]
    pub(super) queue_follower: Option<Follower>,
    /// How long a task is leased to a worker that does not say [default: 300]
    #[arg(long, env = "SCHEDIA_QUEUE_LEASE_SECONDS", value_name = "N")]
    pub(super) queue_lease_seconds: Option<u64>,
    /// How many claims of a task may fail, unless it or its topic says otherwise [default: 5]
    #[arg(long, env = "SCHEDIA_QUEUE_MAX_ATTEMPTS", value_name = "N")]
    pub(super) queue_max_attempts: Option<u64>,
    /// How the delay grows after which a task is tried again [default: full-jitter]
    #[arg(
        long,
        env = "SCHEDIA_QUEUE_BACKOFF",
        value_name = "fixed|linear|exponential|equal-jitter|full-jitter"
    )]
    pub(super) queue_backoff: Option<Backoff>,
    /// The delay that it grows from [default: 5]
    #[arg(long, env = "SCHEDIA_QUEUE_BACKOFF_BASE_SECONDS", value_name = "N")]
    pub(super) queue_backoff_base_seconds: Option<u64>,
    /// The longest delay, that which a worker asks for included [default: 900]
    #[arg(long, env = "SCHEDIA_QUEUE_BACKOFF_MAX_SECONDS", value_name = "N")]
    pub(super) queue_backoff_max_seconds: Option<u64>,
    /// How long a task is kept once it has ended, unless its topic says otherwise [default: 1440]
    #[arg(long, env = "SCHEDIA_QUEUE_RETENTION_MINUTES", value_name = "N")]
    pub(super) queue_retention_minutes: Option<u64>,
    /// How long the idempotency key of a task is known [default: 1440]
    #[arg(long, env = "SCHEDIA_QUEUE_KEY_MINUTES", value_name = "N")]
    pub(super) queue_key_minutes: Option<u64>,
    /// Refuse what a worker says of its task without the token of its lease
    #[arg(long, env = "SCHEDIA_QUEUE_LEASE_TOKENS", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) queue_lease_tokens: Option<bool>,
    /// Sign what webhooks and subscriptions are told with this secret (HMAC-SHA256) [default: nothing is signed]
    #[arg(long, env = "SCHEDIA_QUEUE_WEBHOOK_SECRET", value_name = "TEXT", hide_env_values = true)]
    pub(super) queue_webhook_secret: Option<String>,
    /// Call webhooks on this machine and its link, too: whoever may create tasks then reaches what listens there
    #[arg(long, env = "SCHEDIA_QUEUE_WEBHOOKS_LOCAL", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) queue_webhooks_local: Option<bool>,
    /// Serve the door of another program, too
    #[arg(long, env = "SCHEDIA_DOOR", value_name = "balsa")]
    pub(super) door: Option<Door>,
    /// Who may use the queue: a TOML or JSON file [default: whom codeQ's variables let in, else nobody]
    #[arg(long, env = "SCHEDIA_AUTH_CONFIG", value_name = "FILE")]
    pub(super) auth_config: Option<PathBuf>,
    /// The leader's heartbeat [default: 100]
    #[arg(long, env = "SCHEDIA_HEARTBEAT_MS", value_name = "N")]
    pub(super) heartbeat_ms: Option<u64>,
    /// The shortest silence of a leader after which a member stands for election [default: 300]
    #[arg(long, env = "SCHEDIA_ELECTION_MIN_MS", value_name = "N")]
    pub(super) election_min_ms: Option<u64>,
    /// The longest [default: 500]
    #[arg(long, env = "SCHEDIA_ELECTION_MAX_MS", value_name = "N")]
    pub(super) election_max_ms: Option<u64>,
    /// The leader answers linearizable reads without asking a majority, as long as a majority has promised to vote for nobody else.
    /// Only for machines whose monotonic clocks run alike within a fifth: a virtual machine that is suspended or moved while it runs
    /// may answer with old values
    #[arg(long, env = "SCHEDIA_LEASE_READS", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) lease_reads: Option<bool>,
    /// Memory for pages of the state files, over all shards [default: 64]
    #[arg(long, env = "SCHEDIA_CACHE_MIB", value_name = "N")]
    pub(super) cache_mib: Option<u64>,
    /// Memory for applied writes that are not yet in the state file, per shard [default: 128]
    #[arg(long, env = "SCHEDIA_OVERLAY_MIB", value_name = "N")]
    pub(super) overlay_mib: Option<u64>,
    /// Threads that serve requests and peers; those that write to the disk come on top [default: half of the cores]
    #[arg(long, env = "SCHEDIA_WORKER_THREADS", value_name = "N")]
    pub(super) worker_threads: Option<u64>,
    /// How long old revisions stay readable; 0: until somebody compacts them [default: 60]
    #[arg(long, env = "SCHEDIA_KV_HISTORY_MINUTES", value_name = "N")]
    pub(super) kv_history_minutes: Option<u64>,
    /// Sync nothing to disk: for benchmarks only, a power loss loses acknowledged writes
    #[arg(long, env = "SCHEDIA_UNSAFE_NO_FSYNC", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) unsafe_no_fsync: Option<bool>,
    /// Log each request that takes longer; 0: none [default: 1000]
    #[arg(long, env = "SCHEDIA_SLOW_REQUEST_MS", value_name = "N")]
    pub(super) slow_request_ms: Option<u64>,
    /// Send traces to the collector at this URL by OTLP over HTTP; none are made without it
    #[arg(long, env = "SCHEDIA_OTLP_ENDPOINT", value_name = "URL")]
    pub(super) otlp_endpoint: Option<String>,
    /// The part of requests that is traced, 0 to 1, of those whose caller has not decided [default: 0.01]
    #[arg(long, env = "SCHEDIA_OTLP_RATIO", value_name = "N")]
    pub(super) otlp_ratio: Option<f64>,
    /// The form of log lines on standard error [default: text]
    #[arg(long, env = "SCHEDIA_LOG_FORMAT", value_name = "text|json")]
    pub(super) log_format: Option<LogFormat>,
    /// What to log: error, warn, info, debug, trace, or directives like info,schedia_node::raft=debug [default: info]
    #[arg(long, env = "SCHEDIA_LOG_LEVEL", value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// A TOML file with these settings, named as the flags are
    #[arg(long, env = "SCHEDIA_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub(super) config: Option<PathBuf>,
}

impl Settings {
    /// The settings given here, else those of `other`.
    pub(super) fn or(self, other: Settings) -> Settings {
        Settings {
            name: self.name.or(other.name),
            data_dir: self.data_dir.or(other.data_dir),
            http: self.http.or(other.http),
            admin: self.admin.or(other.admin),
            peer: self.peer.or(other.peer),
            advertise_http: self.advertise_http.or(other.advertise_http),
            advertise_peer: self.advertise_peer.or(other.advertise_peer),
            bootstrap: self.bootstrap.or(other.bootstrap),
            join: self.join.or(other.join),
            peers: self.peers.or(other.peers),
            shards: self.shards.or(other.shards),
            queue_follower: self.queue_follower.or(other.queue_follower),
            queue_lease_seconds: self.queue_lease_seconds.or(other.queue_lease_seconds),
            queue_max_attempts: self.queue_max_attempts.or(other.queue_max_attempts),
            queue_backoff: self.queue_backoff.or(other.queue_backoff),
            queue_backoff_base_seconds: self.queue_backoff_base_seconds.or(other.queue_backoff_base_seconds),
            queue_backoff_max_seconds: self.queue_backoff_max_seconds.or(other.queue_backoff_max_seconds),
            queue_retention_minutes: self.queue_retention_minutes.or(other.queue_retention_minutes),
            queue_key_minutes: self.queue_key_minutes.or(other.queue_key_minutes),
            queue_lease_tokens: self.queue_lease_tokens.or(other.queue_lease_tokens),
            queue_webhook_secret: self.queue_webhook_secret.or(other.queue_webhook_secret),
            queue_webhooks_local: self.queue_webhooks_local.or(other.queue_webhooks_local),
            door: self.door.or(other.door),
            auth_config: self.auth_config.or(other.auth_config),
            heartbeat_ms: self.heartbeat_ms.or(other.heartbeat_ms),
            election_min_ms: self.election_min_ms.or(other.election_min_ms),
            election_max_ms: self.election_max_ms.or(other.election_max_ms),
            lease_reads: self.lease_reads.or(other.lease_reads),
            cache_mib: self.cache_mib.or(other.cache_mib),
            overlay_mib: self.overlay_mib.or(other.overlay_mib),
            worker_threads: self.worker_threads.or(other.worker_threads),
            kv_history_minutes: self.kv_history_minutes.or(other.kv_history_minutes),
            unsafe_no_fsync: self.unsafe_no_fsync.or(other.unsafe_no_fsync),
            slow_request_ms: self.slow_request_ms.or(other.slow_request_ms),
            otlp_endpoint: self.otlp_endpoint.or(other.otlp_endpoint),
            otlp_ratio: self.otlp_ratio.or(other.otlp_ratio),
            log_format: self.log_format.or(other.log_format),
            log_level: self.log_level.or(other.log_level),
            config: self.config,
        }
    }
}
