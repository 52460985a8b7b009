//! A directory begins anew: it becomes another, blank disk, and what a removed member left in it is moved aside.
//!
//! ```text
//! <data>/aside/identity     who it was
//! <data>/aside/log/
//! <data>/aside/shards/
//! ```
//! 1. The running process writes a new identity that names the former one. From here on the directory is the new disk.
//! 2. The next open finds data that are not out of the way yet, moves them and writes that down, before it opens anything.
//!
//! Invariants:
//! * A crash leaves the old disk whole (before 1) or the new one (after it): 2 is done again until it is done.
//! * Nothing that was not moved aside before is deleted. There is one copy: the next reset deletes it.

use super::identity::{Assigned, Former, Identity};
use super::{LOG, SHARDS, sync_dir};
use schedia_apps::StoreId;
use std::fs;
use std::io;
use std::path::Path;

const ASIDE: &str = "aside";

/// Makes the directory a blank disk's, with its data still in place. Durable on return. Given again: the same disk.
pub(super) fn begin(dir: &Path, identity: &Identity) -> io::Result<StoreId> {
    let Some(Assigned { cluster_id, node_id, seed: _ }) = identity.assigned.clone() else {
        return Ok(identity.store_id.clone());
    };
    let former = Former { store_id: identity.store_id.clone(), cluster_id, node_id, moved: false };
    if let Some(next) = Identity::load(dir)?
        && next.former.as_ref() == Some(&former)
    {
        return Ok(next.store_id);
    }
    let next = Identity { former: Some(former), ..Identity::draw()? };
    next.save(dir)?;
    Ok(next.store_id)
}

/// Moves the data of the former disk out of the way, if that is not done yet.
pub(super) fn finish(dir: &Path, identity: Identity) -> io::Result<Identity> {
    let Some(former) = identity.former.clone().filter(|former| !former.moved) else { return Ok(identity) };
    let aside = dir.join(ASIDE);
    // Another's copy is that of the reset before. This one's is as far as a crash let it come.
    if !matches!(Identity::load(&aside), Ok(Some(copy)) if copy.store_id == former.store_id) {
        if aside.exists() {
            fs::remove_dir_all(&aside)?;
        }
        fs::create_dir(&aside)?;
        let Former { store_id, cluster_id, node_id, moved: _ } = former.clone();
        let assigned = Some(Assigned { cluster_id, node_id, seed: None });
        Identity { store_id, assigned, former: None }.save(&aside)?;
        sync_dir(dir)?;
    }
    for name in [LOG, SHARDS] {
        match fs::rename(dir.join(name), aside.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_dir(&aside)?;
    sync_dir(dir)?;
    let identity = Identity { former: Some(Former { moved: true, ..former }), ..identity };
    identity.save(dir)?;
    tracing::info!(store = %identity.store_id, aside = %aside.display(), "begins anew: the former data are moved aside");
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Options, Storage};
    use schedia_apps::{NodeId, ShardId};

    fn member(dir: &Path, node_id: u64) -> Identity {
        let storage = Storage::open(dir, Options::default()).unwrap();
        let cluster_id = "c1".parse().unwrap();
        storage.assign(Assigned { cluster_id, node_id: NodeId(node_id), seed: None }).unwrap();
        storage.log(ShardId(0)).unwrap();
        fs::create_dir_all(dir.join(SHARDS).join("0")).unwrap();
        storage.identity()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_reset_disk_is_another_one_and_blank_and_keeps_the_former_data_aside() {
        let dir = tempfile::tempdir().unwrap();
        let was = member(dir.path(), 7);
        let next = begin(dir.path(), &was).unwrap();
        assert_eq!(begin(dir.path(), &was).unwrap(), next, "given again: the same disk");
        let storage = Storage::open(dir.path(), Options::default()).unwrap();
        let Identity { store_id, assigned, former } = storage.identity();
        assert_eq!((&store_id, assigned), (&next, None));
        assert_ne!(store_id, was.store_id);
        assert_eq!(former.map(|former| (former.store_id, former.moved)), Some((was.store_id.clone(), true)));
        assert_eq!(names(&dir.path().join(ASIDE)), ["identity", LOG, SHARDS]);
        assert_eq!(names(&dir.path().join(ASIDE).join(SHARDS)), ["0"]);
        assert!(names(&dir.path().join(SHARDS)).is_empty());
        let copy = Identity::load(&dir.path().join(ASIDE)).unwrap().unwrap();
        assert_eq!((copy.store_id, copy.assigned), (was.store_id, was.assigned));
        assert_eq!(storage.reset().unwrap(), next, "a blank disk stays as it is");
    }

    #[test]
    fn the_next_reset_deletes_the_copy_of_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        begin(dir.path(), &member(dir.path(), 7)).unwrap();
        let second = member(dir.path(), 9);
        assert_eq!(second.former.as_ref().map(|former| former.node_id), Some(NodeId(7)));
        fs::write(dir.path().join(ASIDE).join("of the first"), "").unwrap();
        begin(dir.path(), &second).unwrap();
        drop(Storage::open(dir.path(), Options::default()).unwrap());
        assert_eq!(names(&dir.path().join(ASIDE)), ["identity", LOG, SHARDS]);
        let copy = Identity::load(&dir.path().join(ASIDE)).unwrap().unwrap();
        assert_eq!(copy.assigned.map(|assigned| assigned.node_id), Some(NodeId(9)));
    }

    #[test]
    fn a_crash_at_any_point_leaves_the_old_disk_or_the_new_one() {
        // Each of these is what a crash behind one step leaves; the open after it ends the same way.
        type Crash = fn(&Path, &Identity);
        let crashes: [Crash; 5] = [
            |_, _| {},
            |dir, _| fs::create_dir(dir.join(ASIDE)).unwrap(),
            |dir, was| {
                fs::create_dir(dir.join(ASIDE)).unwrap();
                was.save(&dir.join(ASIDE)).unwrap();
            },
            |dir, was| {
                fs::create_dir(dir.join(ASIDE)).unwrap();
                was.save(&dir.join(ASIDE)).unwrap();
                fs::rename(dir.join(LOG), dir.join(ASIDE).join(LOG)).unwrap();
            },
            |dir, was| {
                fs::create_dir(dir.join(ASIDE)).unwrap();
                was.save(&dir.join(ASIDE)).unwrap();
                fs::rename(dir.join(LOG), dir.join(ASIDE).join(LOG)).unwrap();
                fs::rename(dir.join(SHARDS), dir.join(ASIDE).join(SHARDS)).unwrap();
            },
        ];
        for (number, crash) in crashes.iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let was = member(dir.path(), 7);
            let unchanged = Storage::open(dir.path(), Options::default()).unwrap().identity();
            assert_eq!(unchanged, was, "before the first step it is who it was");
            let next = begin(dir.path(), &was).unwrap();
            crash(dir.path(), &was);
            let storage = Storage::open(dir.path(), Options::default()).unwrap();
            assert_eq!(storage.identity().store_id, next, "crash {number}");
            assert_eq!(names(&dir.path().join(ASIDE)), ["identity", LOG, SHARDS], "crash {number}");
            assert_eq!(names(&dir.path().join(ASIDE).join(SHARDS)), ["0"], "crash {number}");
        }
    }
}
