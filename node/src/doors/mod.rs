//! The doors: wire protocols in front of the applications. Wire types in, `Command` and `Query` out; no decisions.
//!
//! Invariants:
//! * Every request is bounded in header, body, time and number: beyond a bound it gets 413, 429 or 408, never a queue.
//! * Nothing here waits for a shard without a deadline.
//!
//! Not here: what a command does (`schedia_apps`), how it is replicated (`crate::shards`), the operator's port (`crate::admin`).

pub mod access;
mod balsa;
pub(crate) mod bounds;
mod codeq;
pub mod error;
pub mod native;
pub mod openapi;
pub(crate) mod params;
mod plain;
mod raftd;
pub mod routes;
pub mod server;
