//! Fresh copies of a state file.

use super::{Fixture, applied, apply, rows};
use crate::storage::defragment::FILE;
use crate::storage::{Flushed, State};
use schedia_apps::tables::{Row, Table};
use std::time::Duration;
use tokio::time::timeout;

const TABLES: [Table; 2] = [Table("a"), Table("b")];
static VALUE: [u8; 20_000] = [7; 20_000];

/// `count` keys in each table, from `first` on.
fn change(state: &State, index: u64, first: u8, count: u8, value: Option<&[u8]>) {
    let keys: Vec<_> = (first..first + count).map(|n| [n]).collect();
    let rows: Vec<_> = keys.iter().flat_map(|key| TABLES.map(|table| (table, &key[..], value))).collect();
    apply(state, index, &rows);
}

fn all(state: &State) -> [Vec<Row>; 2] {
    TABLES.map(|table| rows(&state.view(), table))
}

#[tokio::test]
async fn a_copy_gives_back_the_room_of_deleted_rows_and_is_what_a_restart_finds() {
    let fixture = Fixture::new();
    change(&fixture.state, 1, 0, 200, Some(&VALUE));
    fixture.state.flush().await.unwrap();
    change(&fixture.state, 2, 0, 190, None);
    fixture.state.flush().await.unwrap();
    let (file_bytes, rows_bytes) = fixture.state.file_bytes().unwrap();
    assert_eq!(rows_bytes, 20 * (1 + 20_000 + 4), "ten keys in two tables, with their checksums");
    assert!(file_bytes > 10 * rows_bytes, "{file_bytes}");
    let before = all(&fixture.state);

    let done = fixture.state.defragment().await.unwrap();
    assert_eq!(done.before_bytes, file_bytes);
    assert_eq!((done.after_bytes, rows_bytes), fixture.state.file_bytes().unwrap());
    assert!(done.after_bytes < file_bytes / 3, "{done:?}");
    assert_eq!(all(&fixture.state), before);
    change(&fixture.state, 3, 100, 1, Some(b"later"));
    fixture.state.flush().await.unwrap();
    let after = all(&fixture.state);
    let fixture = fixture.reopen(Flushed::all());
    assert_eq!(fixture.state.applied(), applied(3));
    assert_eq!(all(&fixture.state), after);
}

#[tokio::test]
async fn checkpoints_made_during_a_copy_are_in_it() {
    let fixture = Fixture::new();
    change(&fixture.state, 1, 0, 200, Some(b"old"));
    fixture.state.flush().await.unwrap();
    let mut copied = Box::pin(fixture.state.defragment());
    let mut index = 1;
    let done = loop {
        index += 1;
        change(&fixture.state, index, (index % 150) as u8, 50, (index % 3 > 0).then_some(b"new"));
        fixture.state.flush().await.unwrap();
        if let Ok(done) = timeout(Duration::from_micros(50), &mut copied).await {
            break done;
        }
    };
    done.unwrap();
    drop(copied);
    assert!(index > 3, "only {index} checkpoints were made meanwhile");
    let expected = all(&fixture.state);
    assert_eq!(all(&fixture.reopen(Flushed::all()).state), expected);
}

#[tokio::test]
async fn a_snapshot_put_in_force_during_a_copy_stays() {
    let (fixture, sender) = (Fixture::new(), Fixture::new());
    change(&fixture.state, 1, 0, 200, Some(b"old"));
    change(&sender.state, 9, 0, 3, Some(b"received"));
    fixture.state.flush().await.unwrap();
    sender.state.flush().await.unwrap();
    let mut receiver = fixture.state.receive();
    for chunk in sender.state.snapshot().chunks(None) {
        receiver.push(&chunk.unwrap()).unwrap();
    }
    let received = receiver.finish().unwrap();
    let mut copied = Box::pin(fixture.state.defragment());
    assert!(timeout(Duration::from_millis(1), &mut copied).await.is_err(), "the copy is under way");
    drop(fixture.state.install(received).unwrap().swap());
    let error = copied.as_mut().await.unwrap_err();
    drop(copied);
    assert!(error.to_string().contains("a snapshot has taken the place"), "{error}");
    assert!(!fixture.dir.path().join(FILE).exists(), "the copy is gone");
    assert_eq!(all(&fixture.state), all(&sender.state));
    fixture.state.flush().await.unwrap();
    fixture.state.defragment().await.unwrap();
    assert_eq!(all(&fixture.reopen(Flushed::all()).state), all(&sender.state));
}

#[tokio::test]
async fn a_copy_that_a_kill_left_behind_is_deleted_at_the_next_start() {
    let fixture = Fixture::new();
    change(&fixture.state, 1, 0, 3, Some(b"old"));
    fixture.state.flush().await.unwrap();
    let left = fixture.dir.path().join(FILE);
    std::fs::write(&left, b"half a copy").unwrap();
    let fixture = fixture.reopen(Flushed::all());
    assert!(!left.exists());
    assert_eq!(all(&fixture.state)[0].len(), 3);
}

#[tokio::test]
async fn a_closed_state_is_not_copied() {
    let fixture = Fixture::new();
    fixture.state.close().await.unwrap();
    let error = fixture.state.defragment().await.unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
}
