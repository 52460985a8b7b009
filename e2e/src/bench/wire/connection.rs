//! One HTTP/1.1 connection, one request at a time.

use super::error;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Connection as Driver, SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::pin::Pin;
use tokio::net::TcpStream;

/// Driven by the task that waits for its answer: no other task is woken.
pub(super) struct Connection {
    server: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver<TokioIo<TcpStream>, Full<Bytes>>>>,
}

impl Connection {
    pub(super) async fn open(server: SocketAddr) -> Result<Connection, String> {
        let stream = TcpStream::connect(server).await.map_err(|e| error(server)(&e))?;
        stream.set_nodelay(true).map_err(|e| error(server)(&e))?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(|e| error(server)(&e))?;
        Ok(Connection { server, sender, driver: Box::pin(driver) })
    }

    /// The whole answer, if its status is one of these.
    pub(super) async fn ask(
        &mut self,
        request: http::Result<Request<Full<Bytes>>>,
        hoped_for: &[StatusCode],
    ) -> Result<(StatusCode, Bytes), String> {
        let error = error(self.server);
        let request = request.map_err(|e| error(&e))?;
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
            closed = &mut self.driver => {
                return Err(error(&closed.err().map_or("the connection was closed".to_owned(), |e| e.to_string())));
            }
        };
        match hoped_for.contains(&status) {
            true => Ok((status, body)),
            false => Err(error(&format!("{status}: {}", String::from_utf8_lossy(&body).trim_end()))),
        }
    }
}
