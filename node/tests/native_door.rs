//! The native door of a real node: what it answers, and what it refuses in which words.
#![allow(clippy::unwrap_used)] // helpers of a test, too: its panic is the message

mod common;
#[path = "native_door/once.rs"]
mod once;
#[path = "native_door/ranges.rs"]
mod ranges;
#[path = "native_door/watch.rs"]
mod watch;

use common::{TestNode, exchange, send};
use schedia_node::config::Start;

const VALUE_BYTES_MAX: usize = 1_572_864;

#[tokio::test(flavor = "multi_thread")]
async fn a_value_comes_back_with_its_numbers() {
    let node = TestNode::single().await;
    let put = node.put("/v1/kv/a", "one").await;
    assert_eq!((put.status, put.body.len()), (200, 0));
    assert_eq!(put.number("x-schedia-revision"), 2, "a fresh store is at 1");
    assert_eq!(put.number("x-schedia-version"), 1);
    let put = node.put("/v1/kv/a", b"\x00\xff").await;
    assert_eq!(put.number("x-schedia-mod-revision"), 3);

    let got = node.get("/v1/kv/a").await;
    assert_eq!((got.status, &got.body[..]), (200, &b"\x00\xff"[..]));
    assert_eq!(got.header("content-type"), Some("application/octet-stream"));
    let numbers = ["revision", "mod-revision", "create-revision", "version"];
    let numbers = numbers.map(|name| got.number(&format!("x-schedia-{name}")));
    assert_eq!(numbers, [3, 3, 2, 2]);

    let before = node.get("/v1/kv/a?revision=2").await;
    assert_eq!((&before.body[..], before.number("x-schedia-version")), (&b"one"[..], 1));
    assert_eq!(node.get("/v1/kv/a?consistency=stale").await.body, b"\x00\xff");

    let deleted = node.http("DELETE", "/v1/kv/a", b"").await;
    assert_eq!((deleted.status, deleted.number("x-schedia-revision")), (200, 4));
    let gone = node.get("/v1/kv/a").await;
    assert_eq!(gone.error(), "404 key_not_found: key not found");
    assert_eq!(gone.number("x-schedia-revision"), 4);
    assert_eq!(node.http("DELETE", "/v1/kv/a", b"").await.status, 404);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_is_reached_by_path_or_parameter() {
    let node = TestNode::single().await;
    // A raw path is taken as it is; libraries that fold dots use the parameter.
    for (path, parameter) in [
        ("a/b", "a%2Fb"),
        ("%2e", "."),
        ("..", "%2e%2E"),
        ("x%00%ff", "x%00%FF"),
        ("/", "%2F"),
        ("+%20", "+%20"),
    ] {
        assert_eq!(node.put(&format!("/v1/kv?key={parameter}"), path).await.status, 200, "{parameter}");
        let got = node.get(&format!("/v1/kv/{path}")).await;
        assert_eq!((got.status, &got.body[..]), (200, path.as_bytes()), "{path}");
        let deleted = node.http("DELETE", &format!("/v1/kv?key={parameter}"), b"").await;
        assert_eq!(deleted.status, 200, "{parameter}");
    }
    let longest = "k".repeat(4096);
    assert_eq!(node.put(&format!("/v1/kv/{longest}"), "v").await.status, 200);
    let longest_encoded = "%ff".repeat(4096);
    assert_eq!(node.put(&format!("/v1/kv/{longest_encoded}"), "v").await.status, 200);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_with_a_precondition_happens_only_if_it_holds() {
    let node = TestNode::single().await;
    assert_eq!(node.put("/v1/kv/a?if-mod-revision=0", "1").await.status, 200);
    let again = node.put("/v1/kv/a?if-mod-revision=0", "2").await;
    assert!(again.error().starts_with("412 mod_revision_differs: "), "{}", again.error());
    assert_eq!(
        (again.number("x-schedia-mod-revision"), again.json()["error"]["current"].as_u64()),
        (2, Some(2))
    );
    assert_eq!(node.put("/v1/kv/a?if-mod-revision=2", "3").await.status, 200);
    assert_eq!(node.http("DELETE", "/v1/kv/a?if-mod-revision=2", b"").await.status, 412);
    assert_eq!(node.http("DELETE", "/v1/kv/a?if-mod-revision=3", b"").await.status, 200);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_named() {
    let node = TestNode::single().await;
    let too_long = format!("/v1/kv/{}", "k".repeat(4097));
    for (method, target, expected) in [
        ("GET", "/v1/kv/%zz", "400 bad_request: the key is not percent-encoded (% is %25): %zz"),
        ("GET", "/v1/kv/a%2", "400 bad_request: the key is not percent-encoded (% is %25): a%2"),
        ("PUT", "/v1/kv/", "400 bad_request: a key has 1 to 4096 bytes, not 0"),
        ("GET", "/v1/kv/", "400 bad_request: a key has 1 to 4096 bytes, not 0"),
        ("GET", "/v1/kv?key=", "400 bad_request: a key has 1 to 4096 bytes, not 0"),
        ("PUT", "/v1/kv", "400 bad_request: parameter key is missing"),
        (
            "DELETE",
            "/v1/kv",
            "400 bad_request: parameter key is missing; a range is named by prefix, start or end (an empty prefix: all keys)",
        ),
        ("PUT", "/v1/kv/a?key=b", "400 bad_request: unknown parameter: key"),
        ("PUT", "/v1/kv/a?if_mod_revision=1", "400 bad_request: unknown parameter: if_mod_revision"),
        (
            "PUT",
            "/v1/kv/a?if-mod-revision=",
            "400 bad_request: parameter if-mod-revision must be a number from 0: \"\"",
        ),
        (
            "PUT",
            "/v1/kv/a?if-mod-revision=-1",
            "400 bad_request: parameter if-mod-revision must be a number from 0: \"-1\"",
        ),
        (
            "GET",
            "/v1/kv/a?revision=99999999999999999999",
            "400 bad_request: parameter revision must be a number from 0: \"99999999999999999999\"",
        ),
        ("GET", "/v1/kv/a?revision=1&revision=1", "400 bad_request: parameter given twice: revision"),
        (
            "GET",
            "/v1/kv/a?consistency=eventual",
            "400 bad_request: parameter consistency must be linearizable or stale: \"eventual\"",
        ),
        ("GET", "/v1/kv/a?revision=77", "400 future_revision: revision is in the future; the newest one: 1"),
        ("GET", "/v1/kv?limit=many", "400 bad_request: parameter limit must be a number from 0: \"many\""),
        (
            "GET",
            "/v1/kv?continue=zzz",
            "400 bad_request: parameter continue is not what an earlier page gave",
        ),
        (
            "GET",
            "/v1/kv?keys-only&count-only",
            "400 bad_request: keys-only and count-only exclude each other",
        ),
        ("GET", &too_long, "413 too_large: a key has 1 to 4096 bytes, not 4097"),
        ("PUT", &too_long, "413 too_large: a key has 1 to 4096 bytes, not 4097"),
        ("GET", "/v1/status?verbose", "400 bad_request: unknown parameter: verbose"),
        ("GET", "/v2/kv", "404 no_such_route: no such route: /v2/kv"),
        ("GET", "/", "404 no_such_route: no such route: /"),
        ("POST", "/v1/kv/a", "405 method_not_allowed: /v1/kv/a does not take POST"),
        ("PUT", "/v1/status", "405 method_not_allowed: /v1/status does not take PUT"),
        ("GET", "/v1/kv:compact", "405 method_not_allowed: /v1/kv:compact does not take GET"),
    ] {
        let answer = node.http(method, target, b"").await;
        assert_eq!(answer.error(), expected, "{method} {target}");
    }
    for (body, expected) in [
        (
            &b"{\"revision\": \"1\"}"[..],
            "400 bad_request: the JSON body is not as expected: invalid type: string \"1\", expected u64 at line 1 column 16",
        ),
        (
            b"{\"revision\": 1, \"x\": 2}",
            "400 bad_request: the JSON body is not as expected: unknown field `x`, expected `revision` at line 1 column 19",
        ),
        (
            b"",
            "400 bad_request: the JSON body is not as expected: missing field `revision` at line 1 column 2",
        ),
        (b"{\"revision\": 9}", "400 future_revision: revision is in the future; the newest one: 1"),
    ] {
        let answer = node.http("POST", "/v1/kv:compact", body).await;
        assert_eq!(answer.error(), expected);
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_too_large_is_refused_however_it_is_sent() {
    let node = TestNode::single().await;
    let expected = format!("413 too_large: a value has at most {VALUE_BYTES_MAX} bytes");
    let value = vec![7; VALUE_BYTES_MAX];
    assert_eq!(node.put("/v1/kv/a", &value).await.status, 200);
    assert_eq!(node.get("/v1/kv/a").await.body, value);

    let larger = vec![7; VALUE_BYTES_MAX + 1];
    assert_eq!(node.put("/v1/kv/a", &larger).await.error(), expected);
    // In pieces, its length not told beforehand.
    let head = "PUT /v1/kv/a HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let piece = [format!("{:x}\r\n", larger.len()).as_bytes(), &larger, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(send(node.at.http, &[head.as_bytes(), &piece].concat()).await.error(), expected);
    // Announced, and not sent before it is asked for.
    let headers = [("content-length", "1099511627776"), ("expect", "100-continue")];
    assert_eq!(exchange(node.at.http, "PUT", "/v1/kv/a", &headers, b"").await.error(), expected);
    assert_eq!(node.get("/v1/kv/a").await.number("x-schedia-version"), 1);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_are_of_one_revision() {
    let node = TestNode::single().await;
    for n in 0..5 {
        node.put(&format!("/v1/kv/a%2F{n}"), format!("v{n}")).await;
    }
    node.put("/v1/kv/b", "other").await;
    let first = node.get("/v1/kv?prefix=a%2F&limit=2").await.json();
    assert_eq!(keys(&first), ["a/0", "a/1"]);
    assert_eq!(first["at_revision"], 7);
    // What changes now belongs to a later revision.
    node.put("/v1/kv/a%2F2", "changed").await;
    node.put("/v1/kv/a%2F22", "new").await;
    node.http("DELETE", "/v1/kv/a%2F3", b"").await;
    let mut found = Vec::new();
    let mut next = first["continue"].as_str().map(str::to_owned);
    while let Some(token) = next {
        let page = node.get(&format!("/v1/kv?prefix=a%2F&limit=2&continue={token}")).await.json();
        assert_eq!(page["at_revision"], 7);
        found.extend(page["rows"].as_array().unwrap().iter().map(|row| text(&row["value"])));
        next = page["continue"].as_str().map(str::to_owned);
    }
    assert_eq!(found, ["v2", "v3", "v4"]);

    let now = node.get("/v1/kv?prefix=a%2F&start=a%2F2&end=a%2F4&keys-only").await.json();
    assert_eq!(keys(&now), ["a/2", "a/22"]);
    assert_eq!(now["rows"][0]["value"], "");
    let count = node.get("/v1/kv?count-only").await.json();
    assert_eq!((count["count"].as_u64(), count["rows"].as_array().map(Vec::len)), (Some(6), Some(0)));
    let wrong =
        node.get(&format!("/v1/kv?revision=3&continue={}", first["continue"].as_str().unwrap())).await;
    assert_eq!(
        wrong.error(),
        "400 bad_request: parameter revision is not that of the list being continued: 7"
    );
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_history_is_gone_and_says_what_is_left() {
    let node = TestNode::single().await;
    for n in 0..4 {
        node.put("/v1/kv/a", n.to_string()).await;
    }
    let compacted = node.http("POST", "/v1/kv:compact", b"{\"revision\": 4}").await;
    assert_eq!(compacted.status, 200);
    assert_eq!(node.get("/v1/kv/a?revision=4").await.body, b"2");
    let gone = node.get("/v1/kv/a?revision=3").await;
    assert_eq!(gone.error(), "410 compacted: revision has been compacted; the oldest readable one: 4");
    assert_eq!(gone.json()["error"]["current"], 4);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_a_connection() {
    let node = TestNode::single().await;
    let request = "PUT /v1/kv/a HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\n\r\nx";
    let last = "GET /v1/kv/a HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    let answer = send(node.at.http, [&request.repeat(20), last].concat().as_bytes()).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 200);
    assert!(text.contains("x-schedia-version: 20"), "{text}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_the_cluster() {
    let node = TestNode::single().await;
    node.put("/v1/kv/a", "1").await;
    let status = node.get("/v1/status").await.json();
    assert_eq!((status["revision"].as_u64(), status["can_lose"].as_u64()), (Some(2), Some(0)));
    assert_eq!(status["leader"], 1);
    assert_eq!(status["members"][0]["name"], "n1");
    assert_eq!(status["members"][0]["http_url"], node.http_url());
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_node_says_that_it_waits() {
    let node = TestNode::start("n1", Start::Wait).await;
    node.until("it answers", |_| true).await;
    for (method, target) in [("GET", "/v1/kv/a"), ("PUT", "/v1/kv/a"), ("GET", "/v1/kv")] {
        let answer = node.http(method, target, b"").await;
        assert_eq!(
            answer.error(),
            "503 unavailable: not applied, try again: this node is no member of a cluster yet"
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!(node.get("/v1/status").await.error().starts_with("503 unassigned: "));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_survive_a_restart() {
    let node = TestNode::single().await;
    node.put("/v1/kv/a", "kept").await;
    let node = node.restart().await;
    node.until("it is ready again", |status| status.ready).await;
    let got = node.get("/v1/kv/a").await;
    assert_eq!((&got.body[..], got.number("x-schedia-revision")), (&b"kept"[..], 2));
    node.end().await;
}

fn text(base64: &serde_json::Value) -> String {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64.as_str().unwrap()).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn keys(page: &serde_json::Value) -> Vec<String> {
    page["rows"].as_array().unwrap().iter().map(|row| text(&row["key"])).collect()
}
