//! node
pub mod peer;
pub mod shards;
pub mod storage;
