//! Any bytes as a snapshot that arrives: as they are, and as chunks that somebody has sealed.

use super::{
    CHUNK_HEAD_BYTES, HEADER, PAYLOAD_BYTES_MAX, Place, RESUMPTION, ROWS, Receiver, TRAILER, checksum,
};
use crate::fuzz::{Input, Target};
use crate::storage::failure::Failure;
use crate::storage::seal::seal;
use crate::storage::state::Checkpoint;
use crate::storage::volume::Volume;
use schedia_apps::ShardId;
use std::io;
use std::path::{Path, PathBuf};

/// One block, as long as one may claim to be, and what redb takes for a file.
const MEMORY: u64 = PAYLOAD_BYTES_MAX as u64 + (8 << 20);

pub(crate) const TARGETS: [Target; 1] =
    [Target { name: "snapshot", memory: MEMORY, run: snapshot, seeds: snapshot_seeds }];

/// How a header begins: format 2, shard 0.
const FORMAT_OF_SHARD: [u8; 8] = [2, 0, 0, 0, 0, 0, 0, 0];
/// Of the one snapshot that is sent.
const ID: [u8; 16] = [7; 16];

/// A row that was sent: table, key, value.
type Row = (String, Vec<u8>, Vec<u8>);

fn snapshot(input: &[u8]) {
    let mut sent = Sent::default();
    let mut input = Input(input);
    while let Some(what) = input.byte() {
        sent.chunk(what, &mut input);
    }
    let dir = Dir::make();
    match receive(&dir.0, &sent) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(rows) => assert_eq!(rows, sent.rows),
    }
}

/// The rows of what was received whole, without their checksums.
fn receive(dir: &Path, sent: &Sent) -> io::Result<Vec<Row>> {
    let volume = Volume::new(Failure::new(), true);
    let (dir, becomes) = (dir.to_owned(), dir.to_owned());
    let place = Place { dir, becomes, shard: ShardId(0), number: 1, cache_bytes: 0, volume };
    let mut receiver = Receiver::new(place.clone());
    let mut from = 0;
    for broken in &sent.broken {
        sent.stream[from..*broken].chunks(700).try_for_each(|piece| receiver.push(piece))?;
        receiver = receiver.broken_off().unwrap_or_else(|| Receiver::new(place.clone()));
        from = *broken;
    }
    sent.stream[from..].chunks(700).try_for_each(|piece| receiver.push(piece))?;
    let received = receiver.finish()?;
    let mut rows = Vec::new();
    for (table, found) in received.base().tables() {
        for row in found.range::<&[u8]>(..).map_err(io::Error::other)? {
            let (key, sealed) = row.map_err(io::Error::other)?;
            let value = sealed.value();
            rows.push((table.to_owned(), key.value().to_vec(), value[..value.len() - 4].to_vec()));
        }
    }
    Ok(rows)
}

/// What the input makes somebody send.
#[derive(Default)]
struct Sent {
    stream: Vec<u8>,
    /// Where it breaks off and the next stream begins.
    broken: Vec<usize>,
    rows: Vec<Row>,
    blocks: u64,
    digest: u32,
}

impl Sent {
    fn chunk(&mut self, what: u8, input: &mut Input<'_>) {
        match what % 8 {
            0 => {
                let checkpoint = postcard::to_stdvec(&Checkpoint::default()).expect("plain data");
                self.seal(HEADER, &[&FORMAT_OF_SHARD[..], &ID, &checkpoint].concat());
            }
            1 => {
                let payload = input.bytes().unwrap_or_default();
                self.seal(HEADER, &[&FORMAT_OF_SHARD[..], payload].concat());
            }
            2 | 3 => {
                let table = format!("{}", input.byte().unwrap_or(0) % 4);
                let mut block = vec![table.len() as u8];
                block.extend_from_slice(table.as_bytes());
                for _ in 0..=what / 64 {
                    let (Some(key), Some(value)) = (input.bytes(), input.bytes()) else { break };
                    let mut sealed = value.to_vec();
                    seal(key, &mut sealed);
                    block.extend_from_slice(&(key.len() as u32).to_le_bytes());
                    block.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
                    block.extend_from_slice(key);
                    block.extend_from_slice(&sealed);
                    self.rows.push((table.clone(), key.to_vec(), value.to_vec()));
                }
                self.block(&block, block.len() as u32);
            }
            4 => {
                let (block, length) = (input.bytes().unwrap_or_default(), input.number().unwrap_or(0) as u32);
                self.block(block, length);
            }
            5 => {
                let payload =
                    [&(self.rows.len() as u64).to_le_bytes()[..], &self.digest.to_le_bytes()].concat();
                self.seal(TRAILER, &payload);
            }
            6 => {
                let kind = input.byte().unwrap_or(0);
                let payload = input.bytes().unwrap_or_default();
                match kind {
                    // It breaks off, and goes on as it should, or with anything.
                    0x40 => {
                        self.broken.push(self.stream.len());
                        self.seal(RESUMPTION, &self.resumption());
                    }
                    0x41 => {
                        self.broken.push(self.stream.len());
                        self.seal(RESUMPTION, payload);
                    }
                    0x42 => self.broken.push(self.stream.len()),
                    kind => self.seal(kind, payload),
                }
            }
            _ => self.stream.extend_from_slice(input.bytes().unwrap_or_default()),
        }
    }

    fn resumption(&self) -> Vec<u8> {
        let rows = self.rows.len() as u64;
        [&ID[..], &self.blocks.to_le_bytes(), &rows.to_le_bytes(), &self.digest.to_le_bytes()].concat()
    }

    fn block(&mut self, block: &[u8], length: u32) {
        self.blocks += 1;
        self.digest = crc32c::crc32c_append(self.digest, block);
        let compressed = zstd::bulk::compress(block, 1).expect("bytes are compressed");
        self.seal(ROWS, &[&length.to_le_bytes(), &compressed[..]].concat());
    }

    fn seal(&mut self, kind: u8, payload: &[u8]) {
        if kind == HEADER {
            (self.rows, self.blocks, self.digest) = Default::default();
        }
        let head: [u8; CHUNK_HEAD_BYTES - 1] =
            (u64::from(checksum(kind, payload)) << 32 | payload.len() as u64).to_le_bytes();
        self.stream.extend_from_slice(&head);
        self.stream.push(kind);
        self.stream.extend_from_slice(payload);
    }
}

fn snapshot_seeds() -> Vec<Vec<u8>> {
    let rows = [0x42, 1, 1, 7, 2, 8, 9, 1, 8, 0];
    let whole = [&[0][..], &rows, &[3, 2, 1, 1, 1, 1, 5]].concat();
    let out_of_order = [&[0][..], &rows, &rows, &[5]].concat();
    let torn = [&whole[..whole.len() - 1], &[7, 3, 1, 2, 3]].concat();
    let long = vec![0, 4, 3, 1, 2, 3, 0xf0];
    let broken = [&[0][..], &rows, &[6, 0x40, 0, 6, 0x40, 0, 3, 2, 1, 1, 1, 1, 5]].concat();
    let begun_again = [&[0][..], &rows, &[6, 0x42, 0], &whole].concat();
    let elsewhere = [&[0][..], &rows, &[6, 0x41, 1, 7, 5]].concat();
    vec![
        broken,
        begun_again,
        elsewhere,
        whole,
        out_of_order,
        torn,
        long,
        vec![0, 5],
        vec![1, 2, 0, 0, 6, 9, 1, 0],
    ]
}

/// A directory that goes with the run.
struct Dir(PathBuf);

impl Dir {
    fn make() -> Dir {
        let thread = std::thread::current().id();
        let dir = std::env::temp_dir().join(format!("schedia-fuzz-{}-{thread:?}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for temporary files");
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
