//! A revisioned key/value store.

mod command;
mod range;

pub use command::{
    Change, Command, Continuation, Delete, Detail, Event, KeyValue, List, Page, Put, Query, Refusal, Reply,
};
pub use range::{KeyRange, Revision};

/// The longest key.
pub const KEY_BYTES_MAX: usize = 4_096;
/// The longest value.
pub const VALUE_BYTES_MAX: usize = 1_572_864;
/// The most rows of one page of a list.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// A page of a list ends with the row that brings its keys and values to this many bytes.
pub const PAGE_BYTES: usize = 1 << 20;
