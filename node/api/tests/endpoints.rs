//! Which endpoint is asked next, and which request is never sent twice.
#![allow(clippy::unwrap_used)] // helpers of a test, too: its panic is the message

use reqwest::Method;
use schedia_api::{ClientError, Transport};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that gives every request the same answer (none: hangs up), and counts them.
async fn server(answer: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            if stream.read(&mut head).await.is_ok_and(|n| n > 0) {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    (url, count)
}

const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
const NOT_LEADER: &str = "HTTP/1.1 421 Misdirected Request\r\ncontent-length: 58\r\nconnection: close\r\n\r\n\
    {\"error\":{\"code\":\"not_leader\",\"message\":\"ask the leader\"}}";
const HANGS_UP: &str = "";
const NOT_OURS: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 5\r\nconnection: close\r\n\r\nsorry";

/// Nobody listens there.
const CLOSED: &str = "http://127.0.0.1:1";

async fn send(method: Method, endpoints: &[&str]) -> Result<String, ClientError> {
    let endpoints: Vec<String> = endpoints.iter().map(|url| url.to_string()).collect();
    let transport = Transport::new(&endpoints, Duration::from_secs(5)).unwrap();
    let answer = transport.send(method, "/x", None).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn an_endpoint_that_did_nothing_is_followed_by_the_next() {
    let (done, count) = server(DONE).await;
    let (follower, _) = server(NOT_LEADER).await;
    assert_eq!(send(Method::POST, &[CLOSED, &follower, &done]).await.unwrap(), "ok");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_sent_again() {
    let (lost, _) = server(HANGS_UP).await;
    let (done, count) = server(DONE).await;
    let error = send(Method::POST, &[&lost, &done]).await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error}");
    assert!(!error.is_certainly_not_applied());
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_read_whose_answer_was_lost_is_asked_elsewhere() {
    let (lost, _) = server(HANGS_UP).await;
    let (done, _) = server(DONE).await;
    assert_eq!(send(Method::GET, &[&lost, &done]).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_refusal_is_shown_rather_than_the_endpoints_that_were_down() {
    let (follower, _) = server(NOT_LEADER).await;
    let error = send(Method::POST, &[&follower, CLOSED]).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (Some("not_leader"), "ask the leader (not_leader)")
    );
    assert!(error.is_certainly_not_applied());
}

#[tokio::test]
async fn nobody_there_is_said_with_every_endpoint() {
    let error = send(Method::POST, &[CLOSED, "http://127.0.0.1:2"]).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)) && error.is_certainly_not_applied());
    let words = error.to_string();
    assert!(words.contains("127.0.0.1:1/: ") && words.contains("127.0.0.1:2/: "), "{words}");
}

#[tokio::test]
async fn a_request_follows_to_the_leader_that_is_named_but_not_in_circles() {
    let redirect = |to: &str| -> &'static str {
        let body = format!(r#"{{"error":"not leader","leader":"{to}"}}"#);
        let head =
            format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}/path?a=1\r\nconnection: close\r\n");
        Box::leak(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_boxed_str())
    };
    let (leader, asked) = server(DONE).await;
    let (follower, _) = server(redirect(&leader)).await;
    assert_eq!(send(Method::POST, &[&follower]).await.unwrap(), "ok");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let (circle, asked) = server(redirect(&follower)).await;
    let error = send(Method::POST, &[&circle, CLOSED]).await.unwrap_err();
    assert!(error.is_certainly_not_applied() && error.to_string() == "not leader (307)", "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let (other, asked) = server(redirect("https://127.0.0.1:1")).await;
    assert!(send(Method::POST, &[&other]).await.unwrap_err().to_string().starts_with("not leader"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn whoever_answers_otherwise_is_no_node() {
    let (proxy, _) = server(NOT_OURS).await;
    let (done, count) = server(DONE).await;
    let error = send(Method::POST, &[&proxy, &done]).await.unwrap_err();
    assert!(matches!(error, ClientError::NotUnderstood { status: 502, .. }), "{error}");
    assert_eq!(count.load(Ordering::SeqCst), 0, "it may have passed the request on");
}

#[test]
fn an_endpoint_is_a_url() {
    for wrong in ["", "n1:8080", "ftp://n1", "http://", "http://n1/?q"] {
        let error = Transport::new(&[wrong.to_owned()], Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, ClientError::InvalidEndpoint(_)), "{wrong}: {error}");
    }
    assert!(Transport::new(&[], Duration::from_secs(1)).is_err());
}
