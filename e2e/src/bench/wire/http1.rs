//! The native routes for keys, over one HTTP/1.1 connection.

use super::error;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::net::TcpStream;

/// One connection, driven by the task that waits for its answer: no other task is woken.
pub struct Client {
    server: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    connection: Pin<Box<Connection<TokioIo<TcpStream>, Full<Bytes>>>>,
}

impl Client {
    pub(super) async fn connect(server: SocketAddr) -> Result<Client, String> {
        let stream = TcpStream::connect(server).await.map_err(|e| error(server)(&e))?;
        stream.set_nodelay(true).map_err(|e| error(server)(&e))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| error(server)(&e))?;
        Ok(Client { server, sender, connection: Box::pin(connection) })
    }

    pub(super) async fn put(&mut self, key: &str, value: &Bytes) -> Result<(), String> {
        self.ask(Method::PUT, key, value.clone()).await.map(drop)
    }

    pub(super) async fn get(&mut self, key: &str) -> Result<usize, String> {
        self.ask(Method::GET, key, Bytes::new()).await.map(|value| value.len())
    }

    async fn ask(&mut self, method: Method, key: &str, body: Bytes) -> Result<Bytes, String> {
        let error = error(self.server);
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/kv/{key}"))
            .header(HOST, "bench")
            .body(Full::new(body))
            .map_err(|e| error(&e))?;
        let sender = &mut self.sender;
        let answer = async {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        let (status, body) = tokio::select! {
            biased;
            answer = answer => answer.map_err(|e| error(&e))?,
            closed = &mut self.connection => {
                return Err(error(&closed.err().map_or("the connection was closed".to_owned(), |e| e.to_string())));
            }
        };
        match status {
            StatusCode::OK => Ok(body),
            other => Err(error(&format!("{other}: {}", String::from_utf8_lossy(&body).trim_end()))),
        }
    }
}
