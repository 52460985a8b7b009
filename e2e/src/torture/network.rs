//! The network between the members, in this process: each node advertises a proxy, which knows who calls and what to do with it.
//!
//! Who calls is found by the kernel's tables (whose socket is it?), so nothing here depends on what members say to each other.
//!
//! Invariants:
//! * What is cut lets nothing through in that direction, not even what was under way; behind the cut TCP delivers it, late.
//! * Connections of strangers, which are nodes that do not run any more, are let through.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is read at once.
const PIECE_BYTES: usize = 64 << 10;
/// A process is known to the proxy a moment after it has begun.
const WHO_ATTEMPTS: usize = 50;
const WHO_PAUSE: Duration = Duration::from_millis(10);

/// From one place to another.
pub type Way = (usize, usize);

/// What becomes of bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing arrives, and nobody is told.
    Silent,
    /// Connections are reset, and new ones closed.
    Refused,
    /// Each piece waits that long.
    Slow(Duration),
}

#[derive(Clone, Debug, Default)]
struct Rules {
    troubles: BTreeMap<Way, Trouble>,
    /// Raised to break every connection.
    resets: u64,
}

/// The proxies of all nodes.
pub struct Network {
    rules: watch::Sender<Rules>,
    pids: Arc<Mutex<Vec<Option<u32>>>>,
    proxies: JoinSet<()>,
}

impl Network {
    /// Without nodes.
    pub fn new() -> Network {
        Network { rules: watch::Sender::new(Rules::default()), pids: Arc::default(), proxies: JoinSet::new() }
    }

    /// A proxy before the next node, which listens at `target`; what that node advertises.
    pub async fn add(&mut self, target: SocketAddr) -> std::io::Result<SocketAddr> {
        let place = {
            let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
            pids.push(None);
            pids.len() - 1
        };
        let SocketAddr::V4(address) = target else { return Err(std::io::ErrorKind::Unsupported.into()) };
        let [a, b, c, d] = address.ip().octets();
        let listener = TcpListener::bind((Ipv4Addr::new(a, b, c, 100 + d), 0)).await?;
        let advertised = listener.local_addr()?;
        let proxy = Proxy { place, target, rules: self.rules.clone(), pids: self.pids.clone() };
        self.proxies.spawn(proxy.run(listener));
        Ok(advertised)
    }

    /// Whose sockets are those of the node at `place`, from now on.
    pub fn runs_as(&self, place: usize, pid: u32) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)[place] = Some(pid);
    }

    /// From now on these ways are in trouble.
    pub fn trouble(&self, ways: &[Way], trouble: Trouble) {
        self.rules.send_modify(|rules| rules.troubles.extend(ways.iter().map(|way| (*way, trouble))));
    }

    /// These ways are free again.
    pub fn free(&self, ways: &[Way]) {
        self.freer(ways.to_vec())();
    }

    /// Frees these ways when it is called.
    pub fn freer(&self, ways: Vec<Way>) -> impl FnOnce() + Send + use<> {
        let rules = self.rules.clone();
        move || rules.send_modify(|rules| rules.troubles.retain(|way, _| !ways.contains(way)))
    }

    /// Breaks every connection each time it is called; new ones are let through.
    pub fn resetter(&self) -> impl Fn() + Send + use<> {
        let rules = self.rules.clone();
        move || rules.send_modify(|rules| rules.resets += 1)
    }
}

impl Default for Network {
    fn default() -> Self {
        Network::new()
    }
}

#[derive(Clone)]
struct Proxy {
    place: usize,
    target: SocketAddr,
    rules: watch::Sender<Rules>,
    pids: Arc<Mutex<Vec<Option<u32>>>>,
}

impl Proxy {
    async fn run(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => drop(connections.spawn(self.clone().serve(stream, from))),
                    Err(_) => tokio::time::sleep(WHO_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn serve(self, caller: TcpStream, from: SocketAddr) {
        let who = self.who(from, caller.local_addr().ok()).await;
        let [there, back] = [who.map(|who| (who, self.place)), who.map(|who| (self.place, who))];
        let mut rules = self.rules.subscribe();
        let resets = rules.borrow().resets;
        let serving = async {
            // A handshake needs both ways.
            passage(&mut self.rules.subscribe(), there).await?;
            passage(&mut self.rules.subscribe(), back).await?;
            let target = TcpStream::connect(self.target).await.ok()?;
            let (_, _) = (caller.set_nodelay(true), target.set_nodelay(true));
            let ((read_caller, write_caller), (read_target, write_target)) =
                (caller.into_split(), target.into_split());
            tokio::join!(
                pump(read_caller, write_target, there, self.rules.subscribe()),
                pump(read_target, write_caller, back, self.rules.subscribe()),
            );
            Some(())
        };
        let hung_up = |rules: &Rules| {
            let refused = |way: Option<Way>| {
                way.and_then(|way| rules.troubles.get(&way))
                    .is_some_and(|trouble| *trouble == Trouble::Refused)
            };
            rules.resets != resets || refused(there) || refused(back)
        };
        tokio::select! {
            _ = serving => {}
            _ = rules.wait_for(hung_up) => {}
        }
    }

    /// The place of the process whose socket it is.
    async fn who(&self, from: SocketAddr, to: Option<SocketAddr>) -> Option<usize> {
        for _ in 0..WHO_ATTEMPTS {
            let pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(inode) = inode(from, to?)
                && let Some(place) = pids.iter().position(|pid| pid.is_some_and(|pid| holds(pid, inode)))
            {
                return Some(place);
            }
            tokio::time::sleep(WHO_PAUSE).await;
        }
        None
    }
}

/// Waits while the way is silent; then how long a piece takes. None: the proxy is gone.
async fn passage(rules: &mut watch::Receiver<Rules>, way: Option<Way>) -> Option<Duration> {
    let trouble = |rules: &Rules| way.and_then(|way| rules.troubles.get(&way).copied());
    let free = rules.wait_for(|rules| !matches!(trouble(rules), Some(Trouble::Silent))).await.ok()?;
    match trouble(&free) {
        Some(Trouble::Slow(pause)) => Some(pause),
        _ => Some(Duration::ZERO),
    }
}

/// Carries bytes one way until either end closes.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Option<Way>,
    mut rules: watch::Receiver<Rules>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = match from.read(&mut piece).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        let Some(pause) = passage(&mut rules, way).await else { break };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
    // An end is no more than bytes: it does not pass what is cut either.
    passage(&mut rules, way).await;
    let _ = to.shutdown().await;
}

/// The socket with these ends, by the kernel's table of them.
fn inode(from: SocketAddr, to: SocketAddr) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let (from, to) = (hex(from)?, hex(to)?);
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(1) == Some(&&*from) && fields.get(2) == Some(&&*to))?;
    line.get(9)?.parse().ok().filter(|inode| *inode != 0)
}

/// An address as the table writes it: the four bytes as one number of this machine, then the port.
fn hex(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}

fn holds(pid: u32, inode: u64) -> bool {
    let socket = format!("socket:[{inode}]");
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == &*socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SHORT: Duration = Duration::from_millis(200);
    const LONG: Duration = Duration::from_secs(10);

    /// Two nodes of this process: both are found to be the first one, so that every way is (0, 1).
    async fn pair() -> (Network, TcpStream, TcpStream) {
        let mut network = Network::new();
        network.add("127.0.0.1:9".parse().unwrap()).await.unwrap();
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let advertised = network.add(target.local_addr().unwrap()).await.unwrap();
        network.runs_as(0, std::process::id());
        let caller = TcpStream::connect(advertised).await.unwrap();
        let (called, _) = timeout(LONG, target.accept()).await.unwrap().unwrap();
        (network, caller, called)
    }

    #[tokio::test]
    async fn a_way_that_is_cut_is_silent_and_the_other_way_is_not() {
        let (network, mut caller, mut called) = pair().await;
        let mut byte = [0];
        network.trouble(&[(0, 1)], Trouble::Silent);
        caller.write_all(b"a").await.unwrap();
        called.write_all(b"b").await.unwrap();
        timeout(LONG, caller.read_exact(&mut byte)).await.unwrap().unwrap();
        assert!(timeout(SHORT, called.read_exact(&mut byte)).await.is_err(), "it passed a cut");
        network.free(&[(0, 1)]);
        timeout(LONG, called.read_exact(&mut byte)).await.unwrap().unwrap();
        assert_eq!(byte, *b"a");
    }

    #[tokio::test]
    async fn a_refused_way_breaks_its_connections() {
        let (network, mut caller, _called) = pair().await;
        network.trouble(&[(1, 0)], Trouble::Refused);
        let read = timeout(LONG, caller.read(&mut [0])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }

    #[tokio::test]
    async fn a_slow_way_takes_its_time() {
        let (network, mut caller, mut called) = pair().await;
        network.trouble(&[(0, 1)], Trouble::Slow(SHORT));
        let begun = std::time::Instant::now();
        caller.write_all(b"a").await.unwrap();
        timeout(LONG, called.read_exact(&mut [0])).await.unwrap().unwrap();
        assert!(begun.elapsed() >= SHORT);
    }
}
