//! Watches: the very bytes of a stream, and what its client makes of them.

use super::common::{PATIENCE, TestNode};
use schedia_api::{KvChange, Transport, Watched};

/// An open stream, read up to what is waited for.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(node: &TestNode, query: &str, last: Option<&str>) -> Stream {
        let mut request = reqwest::Client::new().get(format!("{}/v1/kv:watch?{query}", node.http_url()));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Stream { response, text: String::new() }
    }

    /// Reads until the text ends so; all there was.
    async fn until(&mut self, end: &str) -> String {
        while !self.text.ends_with(end) {
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("no {end:?} in {:?}", self.text)).unwrap();
            let chunk = chunk.unwrap_or_else(|| panic!("ended: {:?}", self.text));
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        std::mem::take(&mut self.text)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_revision_by_revision_and_goes_on_behind_an_id() {
    let node = TestNode::single().await;
    node.put("/v1/kv/a", "1").await;
    let mut stream = Stream::open(&node, "prefix=a", None).await;
    assert_eq!(stream.response.headers()["x-schedia-revision"], "2");
    assert_eq!(stream.until("\n\n").await, ": changes from revision 3\nretry: 1000\nid: 2\n\n");
    node.put("/v1/kv/b", "not in the range").await;
    node.put("/v1/kv/a", "2").await;
    let put = "id: 4\ndata: {\"revision\":4,\"changes\":[{\"type\":\"put\",\"key\":\"YQ==\",\"value\":\"Mg==\",\"create_revision\":2,\"mod_revision\":4,\"version\":2}]}\n\n";
    assert_eq!(stream.until("]}\n\n").await, put);
    let both = b"{\"success\":[{\"put\":{\"key\":\"YWI=\",\"value\":\"\"}},{\"delete\":{\"key\":\"YQ==\"}}]}";
    assert_eq!(node.http("POST", "/v1/kv:txn", both).await.status, 200);
    let both = stream.until("]}\n\n").await;
    assert!(both.starts_with("id: 5\ndata: ") && both.matches("\"type\"").count() == 2, "{both}");
    // Nothing happens: the stream shows that it lives, and how far it is.
    node.put("/v1/kv/b", "again").await;
    assert_eq!(stream.until("\n\n").await, ": progress\nid: 6\n\n");

    let mut again = Stream::open(&node, "prefix=a&from-revision=2", Some("2")).await;
    assert_eq!(
        again.until("]}\n\n").await,
        format!(": changes from revision 3\nretry: 1000\nid: 2\n\n{put}{both}")
    );
    let mut one = Stream::open(&node, "key=a&from-revision=4&prev", None).await;
    let text = one.until("\n\nid: 5\ndata: {\"revision\":5,\"changes\":[{\"type\":\"delete\",\"key\":\"YQ==\",\"prev\":{\"key\":\"YQ==\",\"value\":\"Mg==\",\"create_revision\":2,\"mod_revision\":4,\"version\":2}}]}\n\n").await;
    assert!(text.contains("\"prev\":{\"key\":\"YQ==\",\"value\":\"MQ==\""), "{text}");
    // A node that ends says so, at once.
    let ending = tokio::spawn(node.end());
    let end = stream.until("}}\n\n").await;
    assert!(end.starts_with("event: end\ndata: {\"error\":{\"code\":\"shutting_down\""), "{end}");
    ending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_what_is_compacted_is_refused() {
    let node = TestNode::single().await;
    for n in 0..5 {
        node.put("/v1/kv/a", n.to_string()).await;
    }
    assert_eq!(node.http("POST", "/v1/kv:compact", b"{\"revision\": 4}").await.status, 200);
    let gone = node.get("/v1/kv:watch?from-revision=3").await;
    assert_eq!(gone.error(), "410 compacted: revision has been compacted; the oldest readable one: 4");
    assert_eq!(gone.json()["error"]["current"], 4);
    let mut stream = Stream::open(&node, "from-revision=4", None).await;
    let text = stream.until("\"version\":5}]}\n\n").await;
    assert_eq!(text.matches("data: ").count(), 3, "{text}");
    for (query, expected) in [
        ("from-revision=x", "400 bad_request: parameter from-revision must be a number from 0: \"x\""),
        ("key=a&end=b", "400 bad_request: key excludes prefix, start and end"),
        ("from=3", "400 bad_request: unknown parameter: from"),
    ] {
        assert_eq!(node.get(&format!("/v1/kv:watch?{query}")).await.error(), expected);
    }
    drop(stream);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_over_a_restart_of_the_node() {
    let node = TestNode::single().await;
    let transport = Transport::new(&[node.http_url()], PATIENCE).unwrap();
    let mut watch = transport.watch("/v1/kv:watch?key=a");
    assert_eq!(watch.next().await.unwrap(), Watched::Progress(1));
    let mut next = async || loop {
        match tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").unwrap() {
            Watched::Progress(_) => {}
            Watched::Changes(changes) => return changes,
        }
    };
    node.put("/v1/kv/a", "1").await;
    assert_eq!(next().await.revision, 2);
    node.http("DELETE", "/v1/kv/a", b"").await;
    let at = node.at.http;
    let node = node.restart_at(at).await;
    node.until("it is ready again", |status| status.ready).await;
    node.put("/v1/kv/a", "2").await;
    let (deleted, put) = (next().await, next().await);
    assert_eq!((deleted.revision, put.revision), (3, 4));
    assert!(matches!(&deleted.changes[..], [KvChange::Delete { key, prev: None }] if key == "YQ=="));
    node.end().await;
}
