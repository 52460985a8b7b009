//! Listeners: bound once at start, with words that say what to do when that fails.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;

/// Connections the kernel keeps until we accept them: a burst of clients after an election.
const BACKLOG: i32 = 1_024;

/// A listener that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("--{option} {address}: {hint}{source}")]
pub struct ListenError {
    option: &'static str,
    address: SocketAddr,
    hint: &'static str,
    source: io::Error,
}

/// Binds the listener of `--{option}`. `[::]` takes IPv4 too, and becomes 0.0.0.0 where IPv6 is switched off.
pub fn listen(option: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bound = match bind(address) {
        Err(e) if no_ipv6(&e) && address.is_ipv6() && address.ip().is_unspecified() => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    };
    bound.map_err(|source| ListenError { option, address, hint: hint(&source), source })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted node takes its port back although old connections still linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn no_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL))
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there, choose another port (0 takes a free one): "
        }
        io::ErrorKind::PermissionDenied => "this user may not listen there, choose a port above 1023: ",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: ",
        _ => "cannot listen there: ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named_with_what_to_do() {
        let first = listen("http", "127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = first.local_addr().unwrap();
        let error = listen("http", taken).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--http {taken}: another process listens there")), "{error}");
    }

    #[tokio::test]
    async fn all_addresses_take_ipv4_too() {
        let listener = listen("http", "[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_ne!(port, 0);
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("reachable over IPv4");
    }
}
