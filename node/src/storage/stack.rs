//! Overlays above a state file, read as one.

use super::base::Base;
use super::failure::Failure;
use super::overlay::{Layer, Merge, Overlay};
use bytes::Bytes;
use schedia_apps::Stop;
use schedia_apps::tables::{Bounds, Range, Rows, Table};
use std::io;
use std::path::Path;

/// The layers of a state at one moment, the uppermost first.
pub(super) struct Stack<'a> {
    pub(super) overlays: [Option<&'a Overlay>; 2],
    pub(super) base: &'a Base,
    pub(super) trouble: Trouble<'a>,
}

/// Where a failed read is reported: it stops the node.
#[derive(Clone, Copy)]
pub(super) struct Trouble<'a> {
    pub(super) failure: &'a Failure,
    pub(super) file: &'a Path,
}

impl Trouble<'_> {
    fn broken(self, error: io::Error) -> Stop {
        Stop::Broken(self.failure.set(self.file, error).to_string())
    }
}

impl<'a> Stack<'a> {
    pub(super) fn get(self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        let known = self.overlays.iter().flatten().find_map(|overlay| overlay.get(table, key));
        match known {
            Some(value) => Ok(value),
            None => self.base.get(table, key).map_err(|error| self.trouble.broken(error)),
        }
    }

    pub(super) fn scan(self, table: Table, range: &Range, reverse: bool) -> Rows<'a> {
        let Some(bounds) = range.bounds() else { return Box::new(std::iter::empty()) };
        match self.merge(table, bounds, reverse) {
            Ok(rows) => Box::new(rows),
            Err(stop) => Box::new(std::iter::once(Err(stop))),
        }
    }

    fn merge(self, table: Table, bounds: Bounds<'_>, reverse: bool) -> Result<Merge<'a>, Stop> {
        let Stack { overlays, base, trouble } = self;
        let on_disk = base.scan(table, bounds, reverse).map_err(|error| trouble.broken(error))?;
        let on_disk = on_disk.map(|rows| -> Layer<'a> {
            Box::new(rows.map(move |row| row.map_err(|error| trouble.broken(error))))
        });
        let in_memory =
            overlays.into_iter().flatten().filter_map(|overlay| overlay.scan(table, bounds, reverse));
        Merge::new(in_memory.chain(on_disk), reverse)
    }
}
