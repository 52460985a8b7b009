//! Traces reach a collector, follow a write to the leader, and never hold a node up.

use super::PATIENCE;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use schedia_e2e::process::Cluster;
use schedia_e2e::wait::eventually;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// A trace that a caller has begun and follows.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// A collector: answers `POST /v1/traces` with 200 and keeps what came.
async fn collector() -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Received::default();
    let keep = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let keep = keep.clone();
            let service = service_fn(move |request: Request<Incoming>| take(keep.clone(), request));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    (url, received)
}

async fn take(keep: Received, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    keep.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
    Ok(Response::new(Empty::new()))
}

/// Three nodes that send their traces there, of their own accord none.
async fn cluster(collector: &str) -> Cluster {
    let mut cluster = Cluster::joined(3).await;
    for node in &mut cluster.nodes {
        node.kill();
        node.start(&["--otlp-endpoint", collector, "--otlp-ratio", "0"]);
    }
    cluster.settled(3).await;
    cluster
}

async fn put(url: &str, traced: bool) {
    let put = reqwest::Client::new().put(format!("{url}/v1/kv/secret")).body("v");
    let put = if traced { put.header("traceparent", format!("00-{TRACE}-{CALLER}-01")) } else { put };
    assert_eq!(put.send().await.unwrap().status(), 200);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The spans received, by the node that made them.
fn spans(received: &Received) -> Vec<(String, Span)> {
    let received = received.lock().unwrap();
    let resources = received.iter().flat_map(|request| &request.resource_spans);
    let named = resources.flat_map(|of_node| {
        let attributes = &of_node.resource.as_ref().unwrap().attributes;
        let node = attributes.iter().find(|attribute| attribute.key == "service.instance.id").unwrap();
        let node = format!("{:?}", node.value);
        of_node
            .scope_spans
            .iter()
            .flat_map(|scope| &scope.spans)
            .map(move |span| (node.clone(), span.clone()))
    });
    named.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_write_is_one_trace_over_two_nodes() {
    let (url, received) = collector().await;
    let cluster = cluster(&url).await;
    let leader = cluster.leader().await;
    let follower = &cluster.nodes[(leader + 1) % 3];
    put(&follower.http_url(), false).await;
    put(&follower.http_url(), true).await;
    let all = eventually("four spans", PATIENCE, || async {
        let spans = spans(&received);
        if spans.len() >= 4 { Ok(spans) } else { Err(format!("{} spans", spans.len())) }
    })
    .await;
    let mut parent = CALLER.to_owned();
    for (name, at) in [("request", follower), ("propose", follower), ("forward", follower)]
        .into_iter()
        .chain([("forwarded", &cluster.nodes[leader])])
    {
        let (node, span) = all.iter().find(|(_, span)| span.name == name).unwrap_or_else(|| panic!("{name}"));
        assert!(node.contains(&format!("\"{}\"", at.name)), "{name} was made by {node}");
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), parent), "{name}");
        parent = hex(&span.span_id);
    }
    let request = &all.iter().find(|(_, span)| span.name == "request").unwrap().1;
    let attribute = |key| {
        let found = request.attributes.iter().find(|attribute| attribute.key == key);
        format!("{:?}", found.unwrap_or_else(|| panic!("{key}")).value)
    };
    assert!(attribute("route").contains("/v1/kv/{*key}"), "the template, and no key");
    assert!(attribute("status").contains("200"));
    assert!(!format!("{all:?}").contains("secret"));
    assert_eq!(all.len(), 4, "who traces nothing is not traced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_no_write_and_no_end_up() {
    // It accepts, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut cluster = cluster(&format!("http://{}", listener.local_addr().unwrap())).await;
    let leader = cluster.leader().await;
    let begun = Instant::now();
    for _ in 0..100 {
        put(&cluster.nodes[leader].http_url(), true).await;
    }
    listener.accept().await.unwrap();
    println!("a hundred writes in {:?}", begun.elapsed());
    let ended = Instant::now();
    assert!(cluster.nodes[leader].terminate(PATIENCE).await.success());
    assert!(ended.elapsed() < Duration::from_secs(10), "it waited for its spans: {:?}", ended.elapsed());
}
