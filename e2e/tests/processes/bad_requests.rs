//! Requests that no correct client sends, against a real process: each is refused in words, none harms the node.

use super::PATIENCE;
use reqwest::{Client, Method};
use schedia_api::ErrorBody;
use schedia_e2e::process::{Cluster, Node};
use schedia_e2e::wait::eventually;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Bad {
    what: &'static str,
    method: Method,
    path: String,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
}

fn bad(what: &'static str, method: Method, path: impl Into<String>, status: u16, code: &'static str) -> Bad {
    Bad { what, method, path: path.into(), body: Vec::new(), status, code }
}

fn kv() -> Vec<Bad> {
    let long_key = "k".repeat(4097);
    let mut list = vec![
        bad("an empty key", Method::PUT, "/v1/kv?key=", 400, "bad_request"),
        bad("no key at all", Method::PUT, "/v1/kv", 400, "bad_request"),
        bad("a key that is too long", Method::PUT, format!("/v1/kv?key={long_key}"), 413, "too_large"),
        bad("a broken escape", Method::PUT, "/v1/kv?key=%zz", 400, "bad_request"),
        bad("a parameter nobody knows", Method::PUT, "/v1/kv?key=a&colour=red", 400, "bad_request"),
        bad("a parameter given twice", Method::PUT, "/v1/kv?key=a&key=b", 400, "bad_request"),
        bad(
            "a revision that is no number",
            Method::PUT,
            "/v1/kv?key=a&if-mod-revision=x",
            400,
            "bad_request",
        ),
        bad("a negative revision", Method::GET, "/v1/kv?key=a&revision=-1", 400, "bad_request"),
        bad(
            "a revision of the future",
            Method::GET,
            "/v1/kv?key=a&revision=99999999",
            400,
            "future_revision",
        ),
        bad("a consistency nobody knows", Method::GET, "/v1/kv?key=a&consistency=some", 400, "bad_request"),
        bad("a limit that is no number", Method::GET, "/v1/kv?prefix=a&limit=all", 400, "bad_request"),
        bad("a continuation we never gave", Method::GET, "/v1/kv?prefix=a&continue=zzz", 400, "bad_request"),
        bad("a key that is not there", Method::GET, "/v1/kv?key=nowhere", 404, "key_not_found"),
        bad("deleting what is not there", Method::DELETE, "/v1/kv?key=nowhere", 404, "key_not_found"),
        bad(
            "a condition that fails",
            Method::PUT,
            "/v1/kv?key=nowhere&if-mod-revision=7",
            412,
            "mod_revision_differs",
        ),
        bad("a method nobody knows", Method::PATCH, "/v1/kv?key=a", 405, "method_not_allowed"),
        bad("a route nobody knows", Method::GET, "/v2/everything", 404, "no_such_route"),
    ];
    let too_large = vec![0; (3 << 19) + 1];
    list.push(Bad {
        body: too_large,
        ..bad("a value that is too large", Method::PUT, "/v1/kv?key=a", 413, "too_large")
    });
    list
}

fn admin() -> Vec<Bad> {
    let json = |what, path: &str, body: &str, status, code| Bad {
        body: body.as_bytes().to_vec(),
        ..bad(what, Method::POST, format!("/admin/v1/{path}"), status, code)
    };
    let initialize = r#"{"cluster_id":"other","name":"n9","address":"127.0.0.1:1","shards":1}"#;
    vec![
        json("no JSON", "initialize", "{", 400, "bad_request"),
        json("JSON of another kind", "membership", "[1]", 400, "bad_request"),
        json("no shards at all", "initialize", &initialize.replace(":1}", ":0}"), 400, "bad_request"),
        json("a second initialize", "initialize", initialize, 409, "already_assigned"),
        json("another identity", "assign", r#"{"cluster_id":"other","node_id":9}"#, 409, "already_assigned"),
        json("a stale membership", "membership", r#"{"voters":[1,2],"expected":0}"#, 409, "stale"),
        json("a leader that is no member", "transfer-leader", r#"{"to":99}"#, 409, "not_caught_up"),
        bad("a method nobody knows", Method::DELETE, "/admin/v1/status", 405, "method_not_allowed"),
        bad("a route nobody knows", Method::GET, "/admin/v1/everything", 404, "no_such_route"),
        bad(
            "a wait that is no time",
            Method::GET,
            "/admin/v1/status?after=x.1&wait=long",
            400,
            "bad_request",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_of_every_kind_are_refused_in_words_and_harm_nobody() {
    let cluster = Cluster::joined(1).await;
    let node = &cluster.nodes[0];
    let http = Client::builder().no_proxy().build().unwrap();
    let mut wrong = Vec::new();
    for (url, list) in [(node.http_url(), kv()), (node.admin_url(), admin())] {
        for request in list {
            wrong.extend(refused(&http, &url, request).await);
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    unharmed(node).await;
}

async fn refused(http: &Client, url: &str, bad: Bad) -> Option<String> {
    let Bad { what, method, path, body, status, code } = bad;
    let shown: String = path.chars().take(60).collect();
    let request =
        http.request(method.clone(), format!("{url}{path}")).header("content-type", "application/json");
    let response = match request.body(body).send().await {
        Ok(response) => response,
        Err(e) => return Some(format!("{what}: {method} {shown}: no answer: {e}")),
    };
    let seen = response.status().as_u16();
    let text = response.text().await.unwrap_or_default();
    let error = match serde_json::from_str::<ErrorBody>(&text) {
        Ok(body) => body.error,
        Err(_) => return Some(format!("{what}: {method} {shown}: {seen} with no error in it: {text:?}")),
    };
    let right = seen == status && error.code == code && error.message.len() > 5;
    (!right).then(|| format!("{what}: {method} {shown}: wanted {status} {code}, got {seen} {error:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_dropped_on_every_port() {
    let cluster = Cluster::joined(1).await;
    let node = &cluster.nodes[0];
    let garbage: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(64 << 10).collect();
    let huge_header =
        format!("GET /v1/status HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)).into_bytes();
    let huge_promise =
        b"PUT /v1/kv?key=a HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n".to_vec();
    let two_lengths =
        b"PUT /v1/kv?key=a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec();
    let long_frame = u32::MAX.to_be_bytes().repeat(16);
    for address in [node.http, node.admin, node.peer] {
        for bytes in [&garbage, &huge_header, &huge_promise, &two_lengths, &long_frame, &Vec::new()] {
            send(address, bytes).await;
        }
    }
    unharmed(node).await;
}

/// Sends bytes, and hears the end of the connection or an answer.
async fn send(address: std::net::SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap_or_else(|e| panic!("{address}: {e}"));
    // The node may hang up while we still write.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = [0; 256];
    let heard = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await;
    assert!(heard.is_ok(), "{address} keeps a connection open that says nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_silent_connections_leave_room_for_those_who_speak() {
    let cluster = Cluster::joined(1).await;
    let node = &cluster.nodes[0];
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(node.http).await.unwrap();
        stream
            .write_all(b"PUT /v1/kv?key=a HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf")
            .await
            .unwrap();
        silent.push(stream);
    }
    unharmed(node).await;
}

/// Still the same process, ready, taking writes, and without a panic in its log.
async fn unharmed(node: &Node) {
    eventually("the node serves as before", Duration::from_secs(20), || async {
        let status = node.status().await?;
        let wire = schedia_e2e::load::Wire::new();
        let answer = wire.put(&node.http_url(), "still", "here".into()).await;
        match (status.ready, &answer) {
            (true, schedia_e2e::load::Answer::Done { .. }) => Ok(()),
            _ => Err(format!("{answer:?}, {status:?}")),
        }
    })
    .await;
    let log = node.log();
    assert!(!log.contains("panicked"), "{}", node.log_tail());
}
