//! How the load speaks to either side: one request at a time per client, every answer checked.
//!
//! hyper on both sides, so that what the generator costs is close: HTTP/1.1 for us (`http1`), HTTP/2 with hand-framed gRPC for
//! etcd (`grpc`). A client of ours has a connection of its own, since HTTP/1.1 carries one request at a time;
//! clients of etcd may share connections.

mod grpc;
mod http1;

use bytes::Bytes;
use std::net::SocketAddr;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The native routes for keys.
    Native,
    /// etcd's gRPC service `KV`.
    EtcdGrpc,
}

/// One client of one server.
pub enum Client {
    /// Speaks [`Protocol::Native`].
    Native(Box<http1::Client>),
    /// Speaks [`Protocol::EtcdGrpc`].
    EtcdGrpc(Box<grpc::Client>),
}

impl Client {
    /// `count` clients of `server` over `connections`, or over one each. The native ones always have one each.
    pub async fn connect(
        protocol: Protocol,
        server: SocketAddr,
        count: usize,
        connections: Option<usize>,
    ) -> Result<Vec<Client>, String> {
        let mut clients = Vec::with_capacity(count);
        match protocol {
            Protocol::Native => {
                for _ in 0..count {
                    clients.push(Client::Native(Box::new(http1::Client::connect(server).await?)));
                }
            }
            Protocol::EtcdGrpc => {
                let mut shared = Vec::new();
                for _ in 0..connections.unwrap_or(count).clamp(1, count.max(1)) {
                    shared.push(grpc::Client::connect(server).await?);
                }
                clients
                    .extend(shared.iter().cycle().take(count).cloned().map(Box::new).map(Client::EtcdGrpc));
            }
        }
        Ok(clients)
    }

    /// Writes a key of plain characters. `Ok` is an acknowledgement.
    pub async fn put(&mut self, key: &str, value: &Bytes) -> Result<(), String> {
        match self {
            Client::Native(client) => client.put(key, value).await,
            Client::EtcdGrpc(client) => client.put(key, value).await,
        }
    }

    /// Reads a key linearizably: the length of its value. A missing key is an error, since all were written before.
    pub async fn get(&mut self, key: &str) -> Result<usize, String> {
        match self {
            Client::Native(client) => client.get(key).await,
            Client::EtcdGrpc(client) => client.get(key).await,
        }
    }
}

fn error(server: SocketAddr) -> impl Fn(&dyn std::fmt::Display) -> String {
    move |e| format!("{server}: {e}")
}
