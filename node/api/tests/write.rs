//! A write is sent until its outcome is known, always under the same key, and no longer than a request may take.
#![allow(clippy::unwrap_used)] // helpers of a test, too: its panic is the message

use reqwest::Method;
use schedia_api::{Answer, ClientError, Transport};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers with these, one after the other and the last for ever (none: hangs up), and the keys it was sent.
async fn server(answers: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let keys: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = keys.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let Ok(length @ 1..) = stream.read(&mut head).await else { continue };
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let key =
                head.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap().to_owned();
            let nth = seen.lock().unwrap().len();
            seen.lock().unwrap().push(key);
            let _ = stream.write_all(answers[nth.min(answers.len() - 1)].as_bytes()).await;
        }
    });
    (url, keys)
}

const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
const HANGS_UP: &str = "";
const UNKNOWN: &str = "HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 54\r\nconnection: close\r\n\r\n\
    {\"error\":{\"code\":\"outcome_unknown\",\"message\":\"lost\"}} ";
const NO_LEADER: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 48\r\nconnection: close\r\n\r\n\
    {\"error\":{\"code\":\"no_leader\",\"message\":\"none\"}} ";
const DIFFERS: &str = "HTTP/1.1 412 Precondition Failed\r\ncontent-length: 62\r\nconnection: close\r\n\r\n\
    {\"error\":{\"code\":\"mod_revision_differs\",\"message\":\"differs\"}} ";

/// Nobody listens there.
const CLOSED: &str = "http://127.0.0.1:1";

async fn write(endpoints: &[&str], timeout: Duration) -> Result<Answer, ClientError> {
    let endpoints: Vec<String> = endpoints.iter().map(|url| url.to_string()).collect();
    Transport::new(&endpoints, timeout).unwrap().write(Method::PUT, "/v1/kv?key=a", None).await
}

const PATIENT: Duration = Duration::from_secs(10);

fn all_the_same(keys: &Mutex<Vec<String>>, count: usize) {
    let keys = keys.lock().unwrap();
    assert!(keys.len() == count && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(keys[0].len(), 36);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    let (url, keys) = server(&[HANGS_UP, UNKNOWN, NO_LEADER, DONE]).await;
    assert_eq!(&write(&[&url], PATIENT).await.unwrap().body[..], b"ok");
    all_the_same(&keys, 4);
}

#[tokio::test]
async fn another_endpoint_may_have_the_answer() {
    let (lost, _) = server(&[HANGS_UP]).await;
    let (done, keys) = server(&[DONE]).await;
    assert_eq!(&write(&[CLOSED, &lost, &done], PATIENT).await.unwrap().body[..], b"ok");
    all_the_same(&keys, 1);
}

#[tokio::test]
async fn a_refusal_by_the_state_ends_the_doubt() {
    let (url, _) = server(&[HANGS_UP, DIFFERS]).await;
    let error = write(&[&url], PATIENT).await.unwrap_err();
    assert_eq!(error.code(), Some("mod_revision_differs"));
}

#[tokio::test]
async fn what_was_once_in_doubt_stays_so_though_a_later_copy_was_certainly_not_applied() {
    let (url, keys) = server(&[HANGS_UP, NO_LEADER]).await;
    let begun = Instant::now();
    let error = write(&[&url], Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3), "given up when its time was over");
    assert!(keys.lock().unwrap().len() > 1, "it was sent again");
}

#[tokio::test]
async fn what_was_certainly_not_applied_is_tried_at_each_endpoint_once() {
    let (url, keys) = server(&[NO_LEADER]).await;
    let error = write(&[&url, CLOSED], PATIENT).await.unwrap_err();
    assert_eq!(error.code(), Some("no_leader"));
    all_the_same(&keys, 1);
    let error = write(&[CLOSED], PATIENT).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error}");
}
