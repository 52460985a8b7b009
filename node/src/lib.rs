//! node
pub mod storage;
