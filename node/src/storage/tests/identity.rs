//! Whose a data directory is.

use crate::storage::{AssignError, Assigned, Identity, OpenError, Options, Storage};
use schedia_apps::NodeId;
use std::fs;

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
