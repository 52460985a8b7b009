//! codeQ's routes for tasks, spoken to it and to us alike.

use super::connection::Connection;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tasks of one batch: the most that codeQ takes.
pub const BATCH: u64 = 100;
/// Until a claim that was sent waits on its server.
const WAITS_AFTER: Duration = Duration::from_millis(30);

/// One connection of its own, and another one for claims that wait while it creates.
pub struct Client {
    connection: Connection,
    waiting: Option<Connection>,
    token: Arc<str>,
}

impl Client {
    /// Creates at `server`; claims that wait, if there are to be any, wait at `other`.
    pub(super) async fn connect(
        server: SocketAddr,
        other: Option<SocketAddr>,
        token: &Arc<str>,
    ) -> Result<Client, String> {
        let waiting = match other {
            Some(other) => Some(Connection::open(other).await?),
            None => None,
        };
        Ok(Client { connection: Connection::open(server).await?, waiting, token: token.clone() })
    }

    /// Creates a task.
    pub async fn create(&mut self, command: &str) -> Result<(), String> {
        let task = json!({ "command": command, "payload": { "n": 42 } });
        ask(&mut self.connection, &self.token, "tasks", &task).await.map(drop)
    }

    /// Creates [`BATCH`] tasks at once.
    pub async fn create_batch(&mut self, command: &str) -> Result<(), String> {
        let task = json!({ "command": command, "payload": { "n": 42 } });
        let tasks = json!({ "tasks": vec![task; BATCH as usize] });
        let (_, created) = ask(&mut self.connection, &self.token, "tasks/batch", &tasks).await?;
        let results = created["results"].as_array().map(Vec::as_slice).unwrap_or_default();
        let done = results.iter().filter(|one| one["task"].is_object()).count();
        if done == BATCH as usize {
            Ok(())
        } else {
            Err(format!("{done} of {BATCH} were created: {created}"))
        }
    }

    /// Claims a task, which is there.
    pub async fn claim(&mut self, command: &str) -> Result<Value, String> {
        let claim = json!({ "commands": [command], "leaseSeconds": 600 });
        match ask(&mut self.connection, &self.token, "tasks/claim", &claim).await? {
            (StatusCode::OK, task) => Ok(task),
            (status, _) => Err(format!("{status}: no task of {command}")),
        }
    }

    /// Creates a task, claims one, and ends it.
    pub async fn cycle(&mut self, command: &str) -> Result<(), String> {
        self.create(command).await?;
        let task = self.claim(command).await?;
        let id = task["id"].as_str().ok_or_else(|| format!("a task without an id: {task}"))?;
        let mut result = json!({ "status": "COMPLETED", "result": { "ok": true } });
        if let Some(token) = task["leaseToken"].as_str() {
            result["leaseToken"] = token.into();
        }
        ask(&mut self.connection, &self.token, &format!("tasks/{id}/result"), &result).await.map(drop)
    }

    /// How long after a task was asked for somebody who waits has it.
    pub async fn wake(&mut self, command: &str) -> Result<Duration, String> {
        let Client { connection, waiting, token } = self;
        let waiting = waiting.as_mut().ok_or("no connection to wait on")?;
        let claim = json!({ "commands": [command], "leaseSeconds": 600, "waitSeconds": 10 });
        let claimed = async {
            let claimed = ask(waiting, token, "tasks/claim", &claim).await?;
            Ok::<_, String>((claimed.0, Instant::now()))
        };
        let created = async {
            tokio::time::sleep(WAITS_AFTER).await;
            let begun = Instant::now();
            let task = json!({ "command": command, "payload": 1 });
            ask(connection, token, "tasks", &task).await?;
            Ok::<_, String>(begun)
        };
        let ((status, at), begun) = tokio::try_join!(claimed, created)?;
        match status {
            StatusCode::OK => Ok(at.saturating_duration_since(begun)),
            status => Err(format!("{status}: nobody was woken")),
        }
    }
}

async fn ask(
    connection: &mut Connection,
    token: &str,
    path: &str,
    body: &Value,
) -> Result<(StatusCode, Value), String> {
    let request = Request::post(format!("/v1/codeq/{path}"))
        .header(HOST, "bench")
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::new(Bytes::from(body.to_string())));
    let hoped_for = [StatusCode::OK, StatusCode::ACCEPTED, StatusCode::NO_CONTENT];
    let (status, body) = connection.ask(request, &hoped_for).await?;
    Ok((
        status,
        if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).map_err(|e| e.to_string())?
        },
    ))
}
