//! A folder in memory that forgets on power loss what was not synced: of each write any sectors are lost, and names go back.
//! It can be full, or break down.

use super::folder::{Folder, Segment};
use crate::storage::crash::{put, put_torn};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The folder. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(in crate::storage::log) struct Forgetful(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    /// The names at the last sync of the folder, and after each change since.
    histories: Vec<BTreeMap<String, usize>>,
    /// The highest number acknowledged until now.
    acknowledged: Option<u64>,
    /// Every write fails for want of room; syncs do not.
    full: bool,
    /// Every write and sync fails.
    broken: bool,
    random: Option<TestRng>,
    images: Vec<Image>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
}

/// What a power loss would have left.
#[derive(Debug)]
pub(in crate::storage::log) struct Image {
    pub(in crate::storage::log) folder: Forgetful,
    pub(in crate::storage::log) acknowledged: Option<u64>,
}

impl Forgetful {
    /// From now on, takes an image at every change and sync.
    pub(in crate::storage::log) fn record_images(&self) {
        self.0.lock().unwrap().random = Some(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    }

    pub(in crate::storage::log) fn images(&self) -> Vec<Image> {
        let mut inner = self.0.lock().unwrap();
        inner.random = None;
        std::mem::take(&mut inner.images)
    }

    /// To be called when `number` is acknowledged.
    pub(in crate::storage::log) fn acknowledge(&self, number: u64) -> impl FnOnce() + Send + 'static {
        let folder = self.clone();
        move || {
            let mut inner = folder.0.lock().unwrap();
            inner.acknowledged = inner.acknowledged.max(Some(number));
        }
    }

    /// Until there is room again, every write fails for want of it.
    pub(in crate::storage::log) fn set_full(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    /// From now on, every write and sync fails.
    pub(in crate::storage::log) fn break_down(&self) {
        self.0.lock().unwrap().broken = true;
    }

    /// Changes bytes of a file for good.
    pub(in crate::storage::log) fn damage(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut inner = self.0.lock().unwrap();
        let file = inner.names[name];
        damage(&mut inner.files[file].now);
    }

    fn change_names(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, usize>) -> Option<()>,
    ) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        change(&mut inner.names).ok_or(io::ErrorKind::NotFound)?;
        let names = inner.names.clone();
        inner.histories.push(names);
        inner.take_image();
        Ok(())
    }
}

impl Inner {
    fn check(&self) -> io::Result<()> {
        if self.broken { Err(io::Error::other("the disk is on fire")) } else { Ok(()) }
    }

    fn take_image(&mut self) {
        let Some(random) = &mut self.random else { return };
        let mut files = Vec::new();
        for file in &self.files {
            let mut bytes = file.synced.clone();
            for (at, data) in &file.unsynced {
                put_torn(&mut bytes, *at, data, random);
            }
            files.push(Contents { now: bytes.clone(), synced: bytes, unsynced: Vec::new() });
        }
        let names = match self.histories.len() {
            0 => BTreeMap::new(),
            n => self.histories[random.next_u32() as usize % n].clone(),
        };
        let inner = Inner { files, histories: vec![names.clone()], names, ..Inner::default() };
        let folder = Forgetful(Arc::new(Mutex::new(inner)));
        self.images.push(Image { folder, acknowledged: self.acknowledged });
    }
}

impl Folder for Forgetful {
    fn path(&self) -> &Path {
        Path::new("log")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        let file = self.0.lock().unwrap().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Open(self.clone(), file)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        let mut inner = self.0.lock().unwrap();
        inner.files.push(Contents::default());
        let file = inner.files.len() - 1;
        drop(inner);
        self.change_names(|names| {
            names.insert(name.to_owned(), file);
            Some(())
        })?;
        Ok(Box::new(Open(self.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change_names(|names| {
            let file = names.remove(from)?;
            names.insert(to.to_owned(), file);
            Some(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change_names(|names| names.remove(name).map(drop))
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.take_image();
        inner.histories = vec![inner.names.clone()];
        inner.take_image();
        Ok(())
    }
}

#[derive(Debug)]
struct Open(Forgetful, usize);

impl Segment for Open {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().unwrap().files[self.1].now.len() as u64)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.0.0.lock().unwrap();
        let bytes = inner.files[self.1].now.get(at as usize..at as usize + out.len());
        out.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.0.0.lock().unwrap();
        inner.check()?;
        if inner.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = &mut inner.files[self.1];
        put(&mut file.now, at, bytes);
        file.unsynced.push((at, bytes.to_vec()));
        inner.take_image();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.0.0.lock().unwrap();
        inner.check()?;
        inner.take_image();
        let file = &mut inner.files[self.1];
        file.synced = file.now.clone();
        file.unsynced.clear();
        inner.take_image();
        Ok(())
    }
}
