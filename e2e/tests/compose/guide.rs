//! codeQ's guide "Run With Docker Compose", followed word for word: its lines are in `guide.txt` and `down.txt`, with what they answer.
//!
//! By `deploy/compose.yaml`, and by a file that has the names of codeQ's own and none of ours (`codeq.yaml`). Where the guide has the
//! reader watch the log, the test waits until there is a cluster (`formed`); and while the node on port 8081 is the one that was
//! stopped, its lines go to 8082.
//!
//! Not here: sections 1, 7, 9 and 11, which have no commands.

use super::fixture::{Fixture, turn};
use super::transcript::Transcript;
use schedia_e2e::paths;
use std::fs;
use tempfile::TempDir;

const GUIDE: &str = include_str!("guide.txt");
const DOWN: &str = include_str!("down.txt");
const SEED: &str = include_str!("seed.txt");
const SHARDS: &str = include_str!("shards.txt");
const REDIRECT: &str = include_str!("redirect.txt");
const CODEQ: &str = include_str!("codeq.yaml");

/// A directory in which the guide finds the file where it looks for it.
fn repository(compose: &str, more: &str) -> TempDir {
    // Where the machine of the engine sees it, too.
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = root.path().join("deploy/docker-compose/raft-cluster");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("compose.yaml"), compose).unwrap();
    if !more.is_empty() {
        fs::write(dir.join("compose.override.yaml"), more).unwrap();
    }
    root
}

#[tokio::test(flavor = "multi_thread")]
async fn codeqs_guide_can_be_followed_word_for_word() {
    let fixture = Fixture::up(turn().await).await;
    let ours = fs::read_to_string(paths::workspace().join("deploy/compose.yaml")).unwrap();
    let root = repository(&ours, "");
    let mut transcript = Transcript::begin(&fixture, root.path()).await;
    transcript.follow(GUIDE).await;
    transcript.follow(DOWN).await;
    fixture.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codeqs_names_are_enough_and_a_seed_without_its_disk_comes_back() {
    let fixture = Fixture::up(turn().await).await;
    let root = repository(CODEQ, "");
    let mut transcript = Transcript::begin(&fixture, root.path()).await;
    transcript.follow(GUIDE).await;
    transcript.follow(SEED).await;
    transcript.follow(DOWN).await;
    fixture.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_told_to_redirect_names_the_leader() {
    let fixture = Fixture::up(turn().await).await;
    let redirect = "    environment: {SCHEDIA_QUEUE_FOLLOWER: redirect}\n";
    let root = repository(
        CODEQ,
        &format!("services:\n  node-a:\n{redirect}  node-b:\n{redirect}  node-c:\n{redirect}"),
    );
    let mut transcript = Transcript::begin(&fixture, root.path()).await;
    transcript.follow(REDIRECT).await;
    transcript.follow(DOWN).await;
    fixture.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn num_shards_of_four_is_four_groups_with_leaders() {
    let fixture = Fixture::up(turn().await).await;
    let one = r#"{"path":"/var/lib/codeq/pebble"}"#;
    assert!(CODEQ.contains(one));
    let root = repository(&CODEQ.replace(one, r#"{"path":"/var/lib/codeq/pebble","numShards":4}"#), "");
    let mut transcript = Transcript::begin(&fixture, root.path()).await;
    transcript.follow(SHARDS).await;
    transcript.follow(DOWN).await;
    fixture.down().await;
}
