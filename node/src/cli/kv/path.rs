//! A path with its query, being written.

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub(super) struct Path(pub(super) String);

impl Path {
    pub(super) fn ranges() -> Path {
        Path("/v1/kv?".to_owned())
    }

    pub(super) fn watch() -> Path {
        Path("/v1/kv:watch?".to_owned())
    }

    pub(super) fn key(key: &OsStr) -> Path {
        Path::ranges().bytes("key", Some(key))
    }

    pub(super) fn bytes(self, name: &str, value: Option<&OsStr>) -> Path {
        match value {
            Some(value) => {
                let value = percent_encode(value.as_bytes(), NON_ALPHANUMERIC);
                Path(format!("{}{name}={value}&", self.0))
            }
            None => self,
        }
    }

    pub(super) fn number(self, name: &str, value: Option<u64>) -> Path {
        match value {
            Some(value) => Path(format!("{}{name}={value}&", self.0)),
            None => self,
        }
    }

    pub(super) fn flag(self, name: &str, value: bool) -> Path {
        if value { Path(format!("{}{name}=true&", self.0)) } else { self }
    }

    pub(super) fn stale(self, stale: bool) -> Path {
        if stale { Path(format!("{}consistency=stale&", self.0)) } else { self }
    }
}
