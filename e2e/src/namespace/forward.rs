//! A loopback port that leads to a port of a pod, whatever pod has the name at that moment.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Forwards until it is dropped. A connection that cannot be forwarded is closed.
pub struct Forward {
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    accepting: AbortHandle,
}

impl Forward {
    /// To `port` of the pod `name`.
    pub async fn new(pods: Api<Pod>, name: &str, port: u16) -> Forward {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("a listener has an address");
        let accepting = tokio::spawn(accept(listener, pods, name.to_owned(), port)).abort_handle();
        Forward { url: format!("http://{address}"), accepting }
    }

    /// The metrics that are served there.
    pub async fn metrics(&self) -> Result<String, String> {
        let answer = reqwest::get(format!("{}/metrics", self.url)).await.map_err(|e| e.to_string())?;
        answer.text().await.map_err(|e| e.to_string())
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, pods: Api<Pod>, name: String, port: u16) {
    // Dropped with this task, it ends every connection.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(connect(stream, pods.clone(), name.clone(), port));
    }
}

async fn connect(mut local: TcpStream, pods: Api<Pod>, name: String, port: u16) {
    let Ok(mut forwarder) = pods.portforward(&name, &[port]).await else { return };
    let Some(mut remote) = forwarder.take_stream(port) else { return };
    // Either side may hang up at any moment: that is the end, not an error.
    let _ = copy_bidirectional(&mut local, &mut remote).await;
}
