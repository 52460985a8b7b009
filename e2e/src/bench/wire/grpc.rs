//! etcd's gRPC service `KV`, as far as the load needs it: `Put`, and `Range` of one key.
//!
//! A gRPC call that is one message each way is a POST over HTTP/2 whose body is a five-byte frame and a protobuf message; how it
//! ended stands in the trailers. hyper and prost do that with less work per call than a whole gRPC stack.
//!
//! The messages and their field numbers are those of etcd's `api/etcdserverpb/rpc.proto` and `api/mvccpb/kv.proto`
//! (Copyright The etcd Authors, Apache License 2.0); fields that nobody reads here are left out, as protobuf allows.

use super::error;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, Method, Request, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Compressed or not, and the length of the message.
const FRAME_BYTES: usize = 5;

/// One client. Clones share the connection.
#[derive(Clone)]
pub struct Client {
    server: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    put: Uri,
    range: Uri,
}

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {}

/// Linearizable: `serializable` is left out, which is false.
#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

impl Client {
    pub(super) async fn connect(server: SocketAddr) -> Result<Client, String> {
        let stream = TcpStream::connect(server).await.map_err(|e| error(server)(&e))?;
        stream.set_nodelay(true).map_err(|e| error(server)(&e))?;
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| error(server)(&e))?;
        // It ends when the last client is dropped; why it ended before that, the calls say.
        tokio::spawn(connection);
        let uri = |path| {
            let uri = Uri::builder().scheme("http").authority(server.to_string()).path_and_query(path);
            uri.build().map_err(|e| error(server)(&e))
        };
        Ok(Client {
            server,
            sender,
            put: uri("/etcdserverpb.KV/Put")?,
            range: uri("/etcdserverpb.KV/Range")?,
        })
    }

    pub(super) async fn put(&mut self, key: &str, value: &Bytes) -> Result<(), String> {
        let request = PutRequest { key: Bytes::copy_from_slice(key.as_bytes()), value: value.clone() };
        self.call::<PutResponse>(self.put.clone(), &request).await.map(drop)
    }

    pub(super) async fn get(&mut self, key: &str) -> Result<usize, String> {
        let request = RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()) };
        let answer: RangeResponse = self.call(self.range.clone(), &request).await?;
        match answer.kvs.as_slice() {
            [found] => Ok(found.value.len()),
            other => Err(format!("{}: {} keys where one was asked for: {key}", self.server, other.len())),
        }
    }

    async fn call<A: Message + Default>(&mut self, uri: Uri, message: &impl Message) -> Result<A, String> {
        let error = error(self.server);
        let mut frame = BytesMut::with_capacity(FRAME_BYTES + message.encoded_len());
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.encoded_len()).map_err(|e| error(&e))?);
        message.encode(&mut frame).map_err(|e| error(&e))?;
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(uri)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(Full::new(frame.freeze()))
            .map_err(|e| error(&e))?;
        self.sender.ready().await.map_err(|e| error(&e))?;
        let response = self.sender.send_request(request).await.map_err(|e| error(&e))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| error(&e))?;
        // A call that fails at once has its status in the headers.
        let trailers = body.trailers().unwrap_or(&head.headers);
        if !ended_well(trailers) {
            return Err(error(&format!("{} {}", head.status, words(trailers))));
        }
        let bytes = body.to_bytes();
        let message = bytes.get(FRAME_BYTES..).ok_or_else(|| error(&"an answer without a message"))?;
        // Sliced, not copied: values stay in the buffer they came in.
        A::decode(bytes.slice_ref(message)).map_err(|e| error(&e))
    }
}

fn ended_well(trailers: &HeaderMap) -> bool {
    trailers.get("grpc-status").is_some_and(|status| status == "0")
}

fn words(trailers: &HeaderMap) -> String {
    let word = |name| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("missing");
    format!("grpc-status {}: {}", word("grpc-status"), word("grpc-message"))
}
