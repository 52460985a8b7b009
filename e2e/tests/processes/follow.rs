//! A README followed as a person does it: its shell lines are run by a shell, its curl lines are sent.
//!
//! READMEs name ports. So that two tests, or a test and the machine's own services, do not meet on them, a test runs in
//! a network of its own where this user may make one, else on the machine's.

use super::PATIENCE;
use reqwest::{Method, StatusCode};
use schedia_api::{Overview, Role};
use schedia_e2e::process::binary;
use schedia_e2e::verify::exec::tail;
use schedia_e2e::wait::eventually;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// Set for the test that runs in a network of its own.
const OWN_NETWORK: &str = "E2E_OWN_NETWORK";

/// Runs the named test of this binary again in a network of its own. False: it runs in one, or cannot have one.
pub(super) fn elsewhere(test: &str) -> bool {
    if std::env::var_os(OWN_NETWORK).is_some() {
        return false;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "--", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
        command
    };
    let can = unshare().arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("{test}: no network of its own, so the ports of the README are those of this machine");
        return false;
    }
    let mut again = unshare();
    again.arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    let output = again.env(OWN_NETWORK, "1").env(binary::VARIABLE, binary::schedia()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    true
}

/// A person with a home directory, some terminals and curl.
pub(super) struct Person {
    home: TempDir,
    terminals: BTreeMap<String, Child>,
    http: reqwest::Client,
}

/// What curl showed.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) status: StatusCode,
    pub(super) leader: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Shown {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Person {
    pub(super) fn new() -> Person {
        let home = tempfile::Builder::new().prefix("schedia-e2e-").tempdir().unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Person { home, terminals: BTreeMap::new(), http }
    }

    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Lines for a shell whose last word is a program that goes on: it takes the shell's place.
    fn shell(&self, lines: &str) -> Command {
        let mut command = Command::new("sh");
        let path = std::env::var("PATH").unwrap_or_default();
        let programs = binary::schedia().parent().unwrap();
        command.arg("-c").arg(lines).env("HOME", self.home()).current_dir(self.home());
        command.env("PATH", format!("{}:{path}", programs.display())).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SCHEDIA_")) {
            command.env_remove(name);
        }
        command
    }

    /// Starts a program in a terminal of that name.
    pub(super) fn start(&mut self, terminal: &str, lines: &str) {
        assert!(!self.terminals.contains_key(terminal), "something runs in {terminal}");
        let log = File::options().create(true).append(true).open(self.log_file(terminal)).unwrap();
        let mut shell = self.shell(lines);
        let child = shell.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.terminals.insert(terminal.to_owned(), child);
    }

    /// Runs a program that ends by itself; its exit status and what it said.
    pub(super) async fn run(&self, lines: &str) -> (i32, String) {
        let mut shell = tokio::process::Command::from(self.shell(lines));
        let output = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends").unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }

    /// kill -9
    pub(super) fn kill(&mut self, terminal: &str) {
        let mut child = self.terminals.remove(terminal).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ctrl-C
    pub(super) async fn interrupt(&mut self, terminal: &str) -> ExitStatus {
        let mut child = self.terminals.remove(terminal).unwrap();
        let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        eventually("it ends", PATIENCE, || {
            let ended = child.try_wait().unwrap();
            async move { ended.ok_or_else(|| "it runs".to_owned()) }
        })
        .await
    }

    fn log_file(&self, terminal: &str) -> PathBuf {
        self.home().join(format!("{terminal}.log"))
    }

    /// The admin port of the program in a terminal.
    fn admin(&self, terminal: &str) -> String {
        format!("http://{}", self.port(terminal, "admin="))
    }

    /// Its client port.
    fn http(&self, terminal: &str) -> String {
        format!("http://{}", self.port(terminal, "http="))
    }

    /// From the last line in which it names its ports.
    fn port(&self, terminal: &str, which: &str) -> String {
        let log = std::fs::read_to_string(self.log_file(terminal)).unwrap();
        let line = log.lines().rev().find(|line| line.contains("listening")).expect("it names its ports");
        line.split(which).nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap().to_owned()
    }

    /// Sends a line of curl: `-X`, `-d`, a URL. Waits for the server to listen, as a person looks before typing on.
    pub(super) async fn curl(&self, line: &str) -> Shown {
        let (method, url, data) = parse(line);
        eventually(line, PATIENCE, || async {
            let request = self.http.request(method.clone(), &url);
            let request = match &data {
                // As curl declares it: the door must not mind.
                Some(data) => {
                    request.header("content-type", "application/x-www-form-urlencoded").body(data.clone())
                }
                None => request,
            };
            let answer = match request.send().await {
                Err(error) if error.is_connect() => return Err(error.to_string()),
                answer => answer.unwrap_or_else(|error| panic!("{line}: {error}")),
            };
            let leader = answer.headers().get("x-raft-leader").map(|url| url.to_str().unwrap().to_owned());
            let status = answer.status();
            Ok(Shown { status, leader, body: answer.bytes().await.unwrap().to_vec() })
        })
        .await
    }

    /// Sends the line until the answer is as wanted.
    pub(super) async fn curl_until(&self, line: &str, wanted: impl Fn(&Shown) -> bool) -> Shown {
        eventually(line, PATIENCE, || async {
            let shown = self.curl(line).await;
            if wanted(&shown) { Ok(shown) } else { Err(format!("{shown:?} {}", shown.text())) }
        })
        .await
    }

    /// Sends a line meant for the leader to the node in `terminal`, which is made to lead if it does not: on a busy machine
    /// another one may have been elected meanwhile.
    pub(super) async fn curl_leader(&self, terminal: &str, line: &str) -> Shown {
        eventually(line, PATIENCE, || async {
            let shown = self.curl(line).await;
            if shown.status == 200 {
                return Ok(shown);
            }
            let overview = self.curl(&format!("curl {}/v1/status", self.http(terminal))).await.text();
            let name = serde_json::from_str::<Overview>(&overview).map_err(|_| overview)?.name;
            let admins: Vec<_> = self.terminals.keys().map(|terminal| self.admin(terminal)).collect();
            let hand = format!("member transfer-leader {name} --admin-endpoints {}", admins.join(","));
            Err(self.run(&format!("exec schedia {hand}")).await.1)
        })
        .await
    }

    /// Waits until that node is a voter, of as many.
    pub(super) async fn voters(&self, port: u16, count: usize) -> Overview {
        eventually(&format!("{count} voters, says {port}"), PATIENCE, || async {
            let shown = self.curl(&format!("curl http://localhost:{port}/v1/status")).await;
            let overview: Overview = serde_json::from_slice(&shown.body)
                .map_err(|_| format!("{} {}", shown.status, shown.text()))?;
            let voters = overview.members.iter().filter(|member| member.voter).count();
            if voters == count && overview.role == Role::Voter {
                Ok(overview)
            } else {
                Err(format!("{overview:?}"))
            }
        })
        .await
    }

    /// Makes the nodes in these terminals checkpoint their states and purge their logs.
    pub(super) async fn snapshot(&self, terminals: &[&str]) {
        for terminal in terminals {
            let line = format!("exec schedia snapshot --admin-endpoints {}", self.admin(terminal));
            assert_eq!(self.run(&line).await.0, 0, "{terminal}");
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let names: Vec<String> = self.terminals.keys().cloned().collect();
        for name in names {
            self.kill(&name);
        }
        if std::thread::panicking() {
            for entry in std::fs::read_dir(self.home()).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|ending| ending == "log") {
                    eprintln!("---- end of {}\n{}", entry.path().display(), tail(&entry.path(), 30));
                }
            }
        }
    }
}

/// The method, the URL and the data of a line of curl.
fn parse(line: &str) -> (Method, String, Option<String>) {
    let mut words = line.strip_prefix("curl ").expect("a line of curl").split_whitespace();
    let plain = |word: &str| word.trim_matches(['\'', '"']).to_owned();
    let (mut method, mut url, mut data) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "-X" => method = words.next().map(str::to_owned),
            "-d" => data = words.next().map(plain),
            word if word.starts_with("-X") => method = Some(word[2..].to_owned()),
            word => url = Some(plain(word)),
        }
    }
    let url = url.expect("a URL");
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    (method.map_or(Method::GET, |method| method.parse().unwrap()), url, data)
}
