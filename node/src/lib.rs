//! node
pub mod admin;
pub mod cli;
mod compaction;
pub mod config;
pub mod doors;
pub mod health;
pub mod join;
pub mod listen;
pub mod metrics;
pub mod node;
pub mod peer;
pub mod shards;
pub mod storage;
pub mod telemetry;
