//! A disk for tests that forgets, fails or is full: at power loss, each unsynced write is there, lost or torn.

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// What a reader sees.
    now: Vec<u8>,
    /// What was there at the last sync.
    synced: Vec<u8>,
    /// Since then.
    unsynced: Vec<Write>,
    acknowledged: Option<u64>,
    /// Every write and sync fails.
    broken: bool,
    /// Every write fails for want of room; syncs do not.
    full: bool,
    /// Every sync fails so.
    syncs_fail: Option<io::ErrorKind>,
    /// Set while images are taken.
    random: Option<TestRng>,
    images: Vec<Image>,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

/// What a power loss would have left at some moment.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) disk: Disk,
    /// The highest number acknowledged until then.
    pub(super) acknowledged: Option<u64>,
}

/// Disks write sectors of this size whole.
const SECTOR: usize = 512;

impl Disk {
    /// From now on, takes an image at every write and sync.
    pub(super) fn record_images(&self) {
        self.0.lock().unwrap().random = Some(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    }

    /// From now on, every write and sync fails.
    pub(super) fn break_down(&self) {
        self.0.lock().unwrap().broken = true;
    }

    /// Until there is room again, every write fails for want of it.
    pub(super) fn set_full(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    /// From now on, every sync fails.
    pub(super) fn fail_syncs(&self, kind: io::ErrorKind) {
        self.0.lock().unwrap().syncs_fail = Some(kind);
    }

    pub(super) fn images(&self) -> Vec<Image> {
        let mut inner = self.0.lock().unwrap();
        inner.random = None;
        std::mem::take(&mut inner.images)
    }

    /// To be called when `number` is acknowledged.
    pub(super) fn acknowledge(&self, number: u64) -> impl FnOnce() + Send + 'static {
        let disk = self.clone();
        move || {
            let mut inner = disk.0.lock().unwrap();
            inner.acknowledged = inner.acknowledged.max(Some(number));
        }
    }
}

impl Inner {
    fn check(&self) -> io::Result<()> {
        if self.broken { Err(io::Error::other("the disk is on fire")) } else { Ok(()) }
    }

    fn check_room(&self) -> io::Result<()> {
        self.check()?;
        if self.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn take_image(&mut self) {
        let Some(random) = &mut self.random else { return };
        let mut bytes = self.synced.clone();
        for write in &self.unsynced {
            match write {
                Write::Bytes(at, data) => put_torn(&mut bytes, *at, data, random),
                Write::Length(_) if random.next_u32().is_multiple_of(3) => {}
                Write::Length(length) => bytes.resize(*length as usize, 0),
            }
        }
        // A length that was not synced is there if anything behind it is.
        bytes.resize(bytes.len().max(self.synced.len()), 0);
        let inner = Inner { now: bytes.clone(), synced: bytes, ..Inner::default() };
        self.images.push(Image { disk: Disk(Arc::new(Mutex::new(inner))), acknowledged: self.acknowledged });
    }
}

/// What of an unsynced write a power loss leaves: nothing, the first sectors, any of them, or all.
pub(super) fn put_torn(bytes: &mut Vec<u8>, at: u64, data: &[u8], random: &mut TestRng) {
    let way = random.next_u32() % 4;
    let torn = random.next_u32() as usize % data.len().div_ceil(SECTOR);
    for (n, sector) in data.chunks(SECTOR).enumerate() {
        let is_kept = match way {
            0 => false,
            1 => n < torn,
            2 => random.next_u32().is_multiple_of(2),
            _ => true,
        };
        if is_kept {
            put(bytes, at + (n * SECTOR) as u64, sector);
        }
    }
}

pub(super) fn put(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let at = at as usize;
    bytes.resize(bytes.len().max(at + data.len()), 0);
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.0.lock().unwrap();
        let bytes = inner.now.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.check_room()?;
        inner.now.resize(len as usize, 0);
        inner.unsynced.push(Write::Length(len));
        inner.take_image();
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.check()?;
        inner.syncs_fail.map_or(Ok(()), |kind| Err(io::Error::from(kind)))?;
        inner.take_image();
        inner.synced = inner.now.clone();
        inner.unsynced.clear();
        inner.take_image();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.check_room()?;
        put(&mut inner.now, offset, data);
        inner.unsynced.push(Write::Bytes(offset, data.to_vec()));
        inner.take_image();
        Ok(())
    }
}
