//! Whose a data directory is.

use crate::storage::{AssignError, Assigned, Identity, Mark, OpenError, Options, Storage};
use schedia_apps::{NodeId, ShardId};
use std::fs;
use std::path::Path;

#[test]
fn an_empty_directory_draws_its_store_id_once_and_is_a_members_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let storage = Storage::open(&data, Options::default()).unwrap();
    let blank = storage.identity();
    assert_eq!(blank.assigned, None);
    drop(storage);
    let storage = Storage::open(&data, Options::default()).unwrap();
    assert_eq!(storage.identity(), blank);
    let assigned = Assigned { cluster_id: "c1".parse().unwrap(), node_id: NodeId(7), seed: None };
    storage.assign(assigned.clone()).unwrap();
    storage.assign(assigned.clone()).unwrap();
    let other = Assigned { node_id: NodeId(8), ..assigned.clone() };
    assert!(matches!(storage.assign(other), Err(AssignError::Other(is)) if is == assigned));
    drop(storage);
    let identity = Storage::open(&data, Options::default()).unwrap().identity();
    assert_eq!(identity, Identity { store_id: blank.store_id, assigned: Some(assigned), former: None });
}

#[test]
fn a_directory_is_refused_until_its_last_file_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let _storage = Storage::open(dir.path(), Options::default()).unwrap();
    let error = Storage::open(dir.path(), Options::default()).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("the data directory is in use by another process: {}", dir.path().display())
    );
}

#[test]
fn data_without_an_identity_are_not_taken_for_an_empty_disk() {
    let dir = tempfile::tempdir().unwrap();
    drop(Storage::open(dir.path(), Options::default()).unwrap());
    fs::remove_file(dir.path().join("identity")).unwrap();
    assert!(matches!(Storage::open(dir.path(), Options::default()), Err(OpenError::IdentityMissing(_))));
}

#[test]
fn a_member_whose_log_was_taken_away_does_not_start_with_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    member(dir.path());
    let log = dir.path().join("log");
    for entry in fs::read_dir(&log).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let refused = |dir| match Storage::open(dir, Options::default()) {
        Err(OpenError::LogMissing(missing)) => missing == log,
        _ => false,
    };
    assert!(refused(dir.path()), "no segment is left");
    fs::remove_dir(&log).unwrap();
    assert!(refused(dir.path()), "nor the directory");
}

#[tokio::test]
async fn a_member_whose_state_was_taken_away_does_not_start_where_its_log_begins() {
    let dir = tempfile::tempdir().unwrap();
    member(dir.path());
    let storage = Storage::open(dir.path(), Options::default()).unwrap();
    let log = storage.log(ShardId(0)).unwrap();
    drop(storage.state(ShardId(0), log.flushed(), None).unwrap());
    log.purge(Mark { index: 9, id: "9".into() }).unwrap();
    fs::remove_file(dir.path().join("shards/0/state.redb")).unwrap();
    let error = storage.state(ShardId(0), log.flushed(), None).err().unwrap();
    assert!(matches!(error, OpenError::StateMissing(_)), "{error}");
}

fn member(dir: &Path) {
    let storage = Storage::open(dir, Options::default()).unwrap();
    let cluster_id = "c1".parse().unwrap();
    storage.assign(Assigned { cluster_id, node_id: NodeId(7), seed: None }).unwrap();
}

#[test]
fn an_identity_of_another_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let line = r#"{"format":2}"#;
    let text = format!("{line}\n{:08x}\n", crc32c::crc32c(line.as_bytes()));
    fs::write(dir.path().join("identity"), text).unwrap();
    let error = Storage::open(dir.path(), Options::default()).err().unwrap();
    assert!(
        error.to_string().ends_with("format 2 is not known to this release, which reads format 1"),
        "{error}"
    );
}
