//! The native routes for keys, over one HTTP/1.1 connection.

use super::connection::Connection;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header::HOST};
use http_body_util::Full;
use std::net::SocketAddr;

/// One connection of its own.
pub struct Client(Connection);

impl Client {
    pub(super) async fn connect(server: SocketAddr) -> Result<Client, String> {
        Connection::open(server).await.map(Client)
    }

    pub(super) async fn put(&mut self, key: &str, value: &Bytes) -> Result<(), String> {
        self.ask(Method::PUT, key, value.clone()).await.map(drop)
    }

    pub(super) async fn get(&mut self, key: &str) -> Result<usize, String> {
        self.ask(Method::GET, key, Bytes::new()).await.map(|value| value.len())
    }

    async fn ask(&mut self, method: Method, key: &str, body: Bytes) -> Result<Bytes, String> {
        let request = Request::builder().method(method).uri(format!("/v1/kv/{key}")).header(HOST, "bench");
        let (_, body) = self.0.ask(request.body(Full::new(body)), &[StatusCode::OK]).await?;
        Ok(body)
    }
}
