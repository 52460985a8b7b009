//! The HTTP server under every door and the admin port: accepts, bounds, and ends connections.
//!
//! Invariants:
//! * No more than `CONNECTIONS_MAX` connections are served at once: the next ones wait in the kernel's backlog.
//! * No request that is a webhook of a queue gets further than here.
//! * A connection that sends no whole request header for `HEADER_TIMEOUT` is closed, idle ones too.
//!
//! Not here: what a request may cost once its header is read (`super::bounds`).

use super::access::Access;
use super::error::DoorError;
use crate::queues::WEBHOOK;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// A few thousand clients per node are served with room to spare; each costs some 20 KiB.
const CONNECTIONS_MAX: usize = 16_384;

/// Longer than the pools of common clients keep an idle connection busy with probes, short enough to shed dead ones.
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);

/// The longest request header: a key of 4 KiB, percent-encoded, is 12 KiB. Beyond it: 431.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// At shutdown, requests under way get this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until `stop` is cancelled, then lets requests under way finish.
pub async fn serve(listener: TcpListener, router: Router, access: Arc<Access>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    while let Some((stream, slot)) = stop.run_until_cancelled(accept(&listener, &slots)).await {
        tokio::spawn(connection(stream, router.clone(), access.clone(), graceful.watcher(), slot));
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests under way did not finish in {DRAIN_TIMEOUT:?}");
    }
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let slot = slots.clone().acquire_owned().await.expect("this semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                // Out of file descriptors, mostly: accepting again at once would only spin.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Whoever may create tasks has us call a URL, and that may be one of ours.
fn no_webhook() -> Response {
    let message = "a webhook is not called on a node";
    DoorError::new(StatusCode::FORBIDDEN, "webhook", message).into_response()
}

async fn connection(
    stream: TcpStream,
    router: Router,
    access: Arc<Access>,
    watcher: Watcher,
    _slot: OwnedSemaphorePermit,
) {
    // An answer is one write: waiting for more of it to fill a packet would only delay it.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        let begun = access.begin(&request);
        let webhook = request.headers().contains_key(WEBHOOK);
        // Not polled, it is not begun.
        let answer = router.call(request);
        let answer = async move { if webhook { Ok(no_webhook()) } else { answer.await } };
        access.clone().handle(begun, answer)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        // The client went away, or sent no HTTP: its business.
        tracing::debug!(%error, "connection ended");
    }
}
