//! node
pub mod config;
pub mod doors;
pub mod join;
pub mod listen;
pub mod metrics;
pub mod peer;
pub mod shards;
pub mod storage;
pub mod telemetry;
