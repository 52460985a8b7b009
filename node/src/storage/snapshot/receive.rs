//! A stream, checked while it arrives and put together to a new state file (`build`).

use super::build::{Building, Place, malformed, take_u32};
use super::position::Position;
use super::{CHUNK_HEAD_BYTES, HEADER, PAYLOAD_BYTES_MAX, RESUMPTION, ROWS, TRAILER, checksum};
use crate::storage::base::{Base, invalid};
use crate::storage::draft::Draft;
use crate::storage::state::Checkpoint;
use std::io;

/// Files of snapshots being received begin with this.
pub(in crate::storage) const PREFIX: &str = "incoming-";

/// Builds a new state file while the stream arrives. Dropped early, it deletes what it wrote. Blocking.
pub struct Receiver {
    stage: Stage,
    /// What has arrived of a chunk that is not whole yet.
    partial: Vec<u8>,
    place: Place,
}

enum Stage {
    /// Nothing of the stream has arrived; perhaps a part of a former one, which broke off.
    Begin(Option<Box<Building>>),
    Rows(Box<Building>),
    End(Box<Building>),
    Failed,
}

/// A snapshot that is whole and on disk, but not in force. Dropped without
/// [`State::install`](crate::storage::State::install), its file is deleted.
pub struct Received {
    base: Base,
    file: Draft,
}

impl Receiver {
    /// Writes nothing before the stream has begun.
    pub(in crate::storage) fn new(place: Place) -> Receiver {
        Receiver { stage: Stage::Begin(None), partial: Vec::new(), place }
    }

    /// What it has of a stream that broke off.
    pub fn position(&self) -> Option<Position> {
        match &self.stage {
            Stage::Begin(Some(building)) => building.position(),
            _ => None,
        }
    }

    /// The stream broke off: ready for another one, which may go on behind what is here. None if nothing is here, or all.
    pub fn broken_off(self) -> Option<Receiver> {
        let Receiver { stage, partial: _, place } = self;
        match stage {
            Stage::Begin(Some(building)) | Stage::Rows(building) if building.position().is_some() => {
                Some(Receiver { stage: Stage::Begin(Some(building)), partial: Vec::new(), place })
            }
            _ => None,
        }
    }

    /// Takes the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let wanted = match whole(&self.partial)? {
                Some(length) => length,
                None => CHUNK_HEAD_BYTES,
            };
            let (now, later) = bytes.split_at(bytes.len().min(wanted - self.partial.len()));
            self.partial.extend_from_slice(now);
            bytes = later;
            if whole(&self.partial)? == Some(self.partial.len()) {
                let chunk = std::mem::take(&mut self.partial);
                self.chunk(&chunk)?;
                self.partial = chunk;
                self.partial.clear();
            }
        }
        Ok(())
    }

    /// Verifies the whole, syncs the file. An error names what is missing or wrong.
    pub fn finish(self) -> io::Result<Received> {
        match self.stage {
            Stage::End(building) if self.partial.is_empty() => building.finish(),
            _ => Err(invalid("the snapshot ends before its trailer".into())),
        }
    }

    fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        let (head, payload) = chunk.split_at(CHUNK_HEAD_BYTES);
        let kind = head[CHUNK_HEAD_BYTES - 1];
        if head[4..8] != checksum(kind, payload).to_le_bytes() {
            return Err(invalid(format!("bad checksum in the snapshot, behind row {}", self.rows())));
        }
        self.stage = match (std::mem::replace(&mut self.stage, Stage::Failed), kind) {
            (Stage::Begin(former), HEADER) => {
                // Its file has the new one's name.
                drop(former);
                Stage::Rows(Box::new(Building::begin(&self.place, payload)?))
            }
            (Stage::Begin(Some(building)), RESUMPTION) => {
                building.resume(payload)?;
                Stage::Rows(building)
            }
            (Stage::Rows(mut building), ROWS) => {
                building.block(payload)?;
                Stage::Rows(building)
            }
            (Stage::Rows(building), TRAILER) => {
                building.trailer(payload)?;
                Stage::End(building)
            }
            (_, kind) => {
                return Err(invalid(format!("a chunk of kind {kind} has no place here in the snapshot")));
            }
        };
        Ok(())
    }

    fn rows(&self) -> u64 {
        match &self.stage {
            Stage::Begin(Some(building)) | Stage::Rows(building) | Stage::End(building) => building.rows(),
            Stage::Begin(None) | Stage::Failed => 0,
        }
    }
}

impl Received {
    pub(super) fn new(base: Base, file: Draft) -> Received {
        Received { base, file }
    }

    /// What it covers.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.base.checkpoint
    }

    pub(in crate::storage) fn base(&self) -> &Base {
        &self.base
    }

    pub(in crate::storage) fn into_parts(self) -> (Base, Draft) {
        (self.base, self.file)
    }
}

/// The length of the chunk that begins here, once its head has arrived.
fn whole(partial: &[u8]) -> io::Result<Option<usize>> {
    if partial.len() < CHUNK_HEAD_BYTES {
        return Ok(None);
    }
    let (length, _) = take_u32(partial).ok_or_else(malformed)?;
    if length > PAYLOAD_BYTES_MAX {
        return Err(invalid(format!("a chunk of {length} bytes in the snapshot is too large")));
    }
    Ok(Some(CHUNK_HEAD_BYTES + length))
}
