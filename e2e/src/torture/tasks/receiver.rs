//! Who is called when tasks have ended. It refuses some first calls, so that there are second ones.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// One of so many first calls is refused.
const REFUSED: usize = 8;

/// A receiver of webhooks on this machine; ends when it is dropped.
pub struct Receiver {
    url: String,
    calls: Calls,
    _serving: JoinSet<()>,
}

/// The calls of each task, with the status that each told.
type Calls = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

impl Receiver {
    /// Listens.
    pub async fn begin() -> std::io::Result<Receiver> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/ended", listener.local_addr()?);
        let calls = Calls::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, calls.clone()));
        Ok(Receiver { url, calls, _serving: serving })
    }

    /// Where it is called.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which of these tasks it was not told of, or only to refuse.
    pub(super) fn untold(&self, tasks: &BTreeSet<String>) -> Vec<String> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        tasks
            .iter()
            .filter(|task| calls.get(*task).is_none_or(|statuses| statuses.is_empty()))
            .cloned()
            .collect()
    }

    /// What it was told, task by task, and forgets it.
    pub fn take(&self) -> BTreeMap<String, Vec<String>> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve(listener: TcpListener, calls: Calls) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let calls = calls.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, calls.clone()));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A caller that is killed breaks its connection: that is what it is for.
            let _ = connection.await;
        });
    }
}

async fn answer(request: Request<Incoming>, calls: Calls) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = match request.into_body().collect().await {
        Ok(body) => note(&body.to_bytes(), &calls),
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Ok(response)
}

fn note(body: &[u8], calls: &Calls) -> StatusCode {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let (Some(task), Some(status)) = (body["taskId"].as_str(), body["status"].as_str()) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    let known = calls.len();
    let first = !calls.contains_key(task);
    let statuses = calls.entry(task.to_owned()).or_default();
    if first && known.is_multiple_of(REFUSED) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    statuses.push(status.to_owned());
    StatusCode::OK
}
