//! What a node sets about its storage: sizes, all in bytes.

use crate::metrics::StorageMetrics;

/// Less makes every commit write its pages several times.
const CACHE_BYTES_MIN: usize = 1 << 20;

/// Sizes of storage. The defaults are those of the settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// Page cache of all state files together.
    pub cache_bytes: usize,
    /// Shards that share the cache.
    pub shards: usize,
    /// Hard mark of one shard's overlay: above it, apply waits for the flusher. Half of it is the soft mark.
    pub overlay_bytes: usize,
    /// One shard's newest entries kept in memory. Older ones are read back from disk.
    pub entries_bytes: usize,
    /// Changes waiting for the log's writer, all shards together. Above it, appends wait.
    pub queue_bytes: usize,
    /// Nothing is synced: for benchmarks only. A power loss loses what was acknowledged, and may tear files.
    pub unsafe_no_fsync: bool,
    /// Where the log's writer and the flushers count.
    pub metrics: Option<StorageMetrics>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 64 << 20,
            shards: 1,
            overlay_bytes: 128 << 20,
            entries_bytes: 16 << 20,
            queue_bytes: 64 << 20,
            unsafe_no_fsync: false,
            metrics: None,
        }
    }
}

impl Options {
    /// Size of the active overlay at which it is flushed before its time is over.
    pub(super) fn flush_bytes(&self) -> usize {
        self.overlay_bytes / 4
    }

    /// One state file's part of the cache. A page costs a quarter more than its bytes, as measured.
    pub(super) fn state_cache_bytes(&self) -> usize {
        (self.cache_bytes / self.shards.max(1) / 5 * 4).max(CACHE_BYTES_MIN)
    }
}
