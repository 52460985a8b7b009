//! A codeQ that somebody else has started, found by its addresses.

use reqwest::Url;
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// Its members, in the order they were named.
pub struct Codeq {
    members: Vec<(Url, SocketAddr)>,
    /// Of members on this machine: only of those is known what they use.
    pids: Vec<u32>,
    token: Arc<str>,
}

impl Codeq {
    /// Members at these URLs, which know this token.
    pub async fn find(urls: &[String], token: &str) -> Result<Codeq, String> {
        let mut members = Vec::new();
        for text in urls {
            let url = Url::parse(text).map_err(|e| format!("{text}: {e}"))?;
            let address = url.socket_addrs(|| Some(80)).map_err(|e| format!("{text}: {e}"))?;
            members.push((url, *address.first().ok_or_else(|| format!("{text} has no address"))?));
        }
        let mut pids: Vec<u32> =
            members.iter().filter_map(|(_, address)| listens_at(address.port())).collect();
        pids.sort_unstable();
        pids.dedup();
        let codeq = Codeq { members, pids, token: token.into() };
        codeq.leader().await?;
        Ok(codeq)
    }

    /// The place of the member that leads its first group.
    pub async fn leader(&self) -> Result<usize, String> {
        let http = reqwest::Client::new();
        for (place, (url, _)) in self.members.iter().enumerate() {
            let status = url.join("/v1/codeq/raft/status").map_err(|e| e.to_string())?;
            let answer = http.get(status).bearer_auth(&*self.token).send().await;
            let told: Value = match answer {
                Ok(answer) => answer.json().await.map_err(|e| format!("{url}: {e}"))?,
                Err(e) => return Err(format!("{url}: {e}")),
            };
            if told["groups"][0]["isLeader"] == true {
                return Ok(place);
            }
        }
        Err("no member of codeQ says that it leads".to_owned())
    }

    /// Where its members are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|(_, address)| *address).collect()
    }

    /// Their processes, as far as they are on this machine.
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }
}

/// The process on this machine that listens at a port, if there is one that we may look at.
fn listens_at(port: u16) -> Option<u32> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| listening_inode(line, port).map(str::to_owned))
    })?;
    let socket = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|to| to.as_os_str().as_bytes() == socket.as_bytes())
    })
}

/// The inode of a line of `/proc/net/tcp`, if that is a socket that listens at this port.
fn listening_inode(line: &str, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, at) = fields.get(1)?.rsplit_once(':')?;
    let listens = u16::from_str_radix(at, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
    fields.get(9).copied().filter(|_| listens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_process_behind_a_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listens_at(listener.local_addr().unwrap().port()), Some(std::process::id()));
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1";
        assert_eq!((listening_inode(line, 8_080), listening_inode(line, 8_081)), (Some("4711"), None));
    }
}
