//! How the load speaks to either side: one request at a time per client, every answer checked.
//!
//! hyper on all sides, so that what the generator costs is close: HTTP/1.1 for us (`http1`) and for tasks (`codeq`), HTTP/2 with hand-framed gRPC for
//! etcd (`grpc`). A client of ours has a connection of its own, since HTTP/1.1 carries one request at a time;
//! clients of etcd may share connections.

pub mod codeq;
mod connection;
mod grpc;
mod http1;

use super::phase::Work;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a server speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The native routes for keys.
    Native,
    /// etcd's gRPC service `KV`.
    EtcdGrpc,
    /// codeQ's routes for tasks, with this token; claims that wait do so at another server, if one is named.
    Codeq(Arc<str>, Option<SocketAddr>),
}

/// One client of one server.
pub enum Client {
    /// Speaks [`Protocol::Native`].
    Native(Box<http1::Client>),
    /// Speaks [`Protocol::EtcdGrpc`].
    EtcdGrpc(Box<grpc::Client>),
    /// Speaks [`Protocol::Codeq`].
    Codeq(Box<codeq::Client>),
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
            Protocol::Codeq(token, other) => {
                for _ in 0..count {
                    let client = codeq::Client::connect(server, other, &token).await?;
                    clients.push(Client::Codeq(Box::new(client)));
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
            Client::Codeq(_) => Err(NO_KEYS.to_owned()),
        }
    }

    /// Reads a key linearizably: the length of its value. A missing key is an error, since all were written before.
    pub async fn get(&mut self, key: &str) -> Result<usize, String> {
        match self {
            Client::Native(client) => client.get(key).await,
            Client::EtcdGrpc(client) => client.get(key).await,
            Client::Codeq(_) => Err(NO_KEYS.to_owned()),
        }
    }

    /// Does something with tasks of a queue: of how many, and how long it took to have its effect.
    pub async fn queue(&mut self, work: Work, command: &str) -> Result<(u64, Option<Duration>), String> {
        let Client::Codeq(client) = self else { return Err("this client has no tasks".to_owned()) };
        match work {
            Work::Cycles => client.cycle(command).await.map(|()| (1, None)),
            Work::Creates => client.create(command).await.map(|()| (1, None)),
            Work::Batches => client.create_batch(command).await.map(|()| (codeq::BATCH, None)),
            Work::Claims => client.claim(command).await.map(|_| (1, None)),
            Work::Wakes => client.wake(command).await.map(|took| (1, Some(took))),
            Work::Puts | Work::Reads | Work::Mixed => Err("this work has no tasks".to_owned()),
        }
    }
}

const NO_KEYS: &str = "this client has no keys";

fn error(server: SocketAddr) -> impl Fn(&dyn std::fmt::Display) -> String {
    move |e| format!("{server}: {e}")
}
