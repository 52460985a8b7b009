//! codeQ's routes, spoken by hand.

use super::history::{Act, Held, JobOutcome, New, Seen, Told};
use crate::process::TOKEN;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// As those of keys: most people give up before the server does.
const TIMEOUT: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// One request: a batch of creates or of finishes, or one of anything else.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// At least one.
    pub acts: Vec<Act>,
    /// Creates under an idempotency key.
    pub keyed: bool,
    /// How long a claim waits.
    pub wait_s: u64,
    /// What creates are to call.
    pub webhook: String,
}

impl Asked {
    pub(super) fn one(act: Act) -> Asked {
        Asked::batch(vec![act])
    }

    pub(super) fn batch(acts: Vec<Act>) -> Asked {
        Asked { acts, keyed: false, wait_s: 0, webhook: String::new() }
    }
}

/// The clients of a round.
pub(super) struct Wire(reqwest::Client);

impl Wire {
    pub(super) fn new() -> Wire {
        let http =
            reqwest::Client::builder().no_proxy().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build();
        Wire(http.expect("a client without TLS needs nothing that could fail"))
    }

    fn request(&self, method: Method, url: &str, path: &str) -> RequestBuilder {
        self.0.request(method, format!("{url}/v1/codeq{path}")).bearer_auth(TOKEN)
    }

    /// Sends a request to the node at `url`: an outcome for each act.
    pub(super) async fn send(&self, url: &str, queues: &[String], asked: &Asked) -> Vec<JobOutcome> {
        let of_task = |task: &str, verb: &str, body: Value| {
            self.request(Method::POST, url, &format!("/tasks/{task}/{verb}")).json(&body)
        };
        let request = match asked.acts.as_slice() {
            [Act::Create(new)] => self.request(Method::POST, url, "/tasks").json(&create(new, queues, asked)),
            [Act::Finish { task, .. }] => of_task(task, "result", finish(&asked.acts[0])),
            [Act::Claim { queues: from, lease_s, count }] => {
                let commands: Vec<&String> = from.iter().map(|queue| &queues[*queue]).collect();
                let mut body = json!({ "commands": commands, "leaseSeconds": lease_s });
                let path = if *count > 1 { "/tasks/claim/batch" } else { "/tasks/claim" };
                body[if *count > 1 { "count" } else { "waitSeconds" }] =
                    if *count > 1 { (*count).into() } else { asked.wait_s.into() };
                self.request(Method::POST, url, path).json(&body)
            }
            [Act::Heartbeat { task, token, extend_s }] => {
                of_task(task, "heartbeat", json!({ "extendSeconds": extend_s, "leaseToken": token }))
            }
            [Act::Abandon { task, token }] => of_task(task, "abandon", json!({ "leaseToken": token })),
            [Act::Nack { task, token, delay_s }] => of_task(
                task,
                "nack",
                json!({ "delaySeconds": delay_s, "reason": "torture", "leaseToken": token }),
            ),
            [Act::Look { task }] => return vec![self.look(url, task).await],
            acts if acts.iter().all(|act| matches!(act, Act::Create(_))) => {
                let tasks = acts.iter().filter_map(|act| match act {
                    Act::Create(new) => Some(create(new, queues, asked)),
                    _ => None,
                });
                self.request(Method::POST, url, "/tasks/batch")
                    .json(&json!({ "tasks": tasks.collect::<Vec<_>>() }))
            }
            acts => {
                let results: Vec<Value> = acts.iter().map(finish).collect();
                self.request(Method::POST, url, "/tasks/batch/results").json(&json!({ "results": results }))
            }
        };
        match answered(request).await {
            Ok(answer) => answer.outcomes(&asked.acts),
            Err(outcome) => asked.acts.iter().map(|_| outcome.clone()).collect(),
        }
    }

    async fn look(&self, url: &str, task: &str) -> JobOutcome {
        let seen = async {
            let task_path = format!("/tasks/{task}");
            let found = answered(self.request(Method::GET, url, &task_path)).await?;
            if found.status != StatusCode::OK {
                return Err(found.refusal());
            }
            let result = answered(self.request(Method::GET, url, &format!("{task_path}/result"))).await?;
            let result = match result.status {
                StatusCode::OK => {
                    Some(number(&result.body["result"]["result"]).ok_or_else(|| result.wrong())?)
                }
                StatusCode::NOT_FOUND => None,
                _ => return Err(result.refusal()),
            };
            Ok(found.seen(result).unwrap_or_else(|| found.wrong()))
        };
        seen.await.unwrap_or_else(|outcome| outcome)
    }

    /// How many tasks of a queue have not ended, as a node says.
    pub(super) async fn left(&self, url: &str, queue: &str) -> Result<u64, String> {
        let answer = answered(self.request(Method::GET, url, &format!("/admin/queues/{queue}"))).await;
        let answer = answer.map_err(|outcome| format!("{outcome:?}"))?;
        let counts = ["ready", "delayed", "inProgress"].map(|count| answer.body[count].as_u64());
        counts.into_iter().sum::<Option<u64>>().ok_or_else(|| format!("{:?}", answer.wrong()))
    }
}

fn create(new: &New, queues: &[String], asked: &Asked) -> Value {
    let New { number, queue, priority, delay_s, attempts, webhook } = new;
    let mut body = json!({
        "command": queues[*queue],
        "payload": { "n": number },
        "priority": priority,
        "delaySeconds": delay_s,
        "maxAttempts": attempts,
    });
    if asked.keyed {
        body["idempotencyKey"] = number.to_string().into();
    }
    if *webhook {
        body["webhook"] = asked.webhook.clone().into();
    }
    body
}

fn finish(act: &Act) -> Value {
    let Act::Finish { task, token, result, completed } = act else { return Value::Null };
    let mut body = json!({ "taskId": task, "leaseToken": token, "result": { "n": result } });
    body["status"] = if *completed { "COMPLETED".into() } else { "FAILED".into() };
    if !completed {
        body["error"] = "torture".into();
    }
    body
}

/// The number in a payload or a result, which are JSON, the first as text.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => serde_json::from_str::<Value>(text).ok()?["n"].as_u64(),
        value => value["n"].as_u64(),
    }
}

/// A whole answer.
struct Answer {
    status: StatusCode,
    body: Value,
}

async fn answered(request: RequestBuilder) -> Result<Answer, JobOutcome> {
    let response = request.send().await.map_err(|e| match e.is_connect() {
        true => JobOutcome::NotApplied(format!("not connected: {e}")),
        false => JobOutcome::Unknown(format!("no answer: {e}")),
    })?;
    let status = response.status();
    let body = response.bytes().await.map_err(|e| JobOutcome::Unknown(format!("half an answer: {e}")))?;
    let body = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&body).map_err(|e| JobOutcome::Wrong(format!("{status}: {e}")))?,
    };
    Ok(Answer { status, body })
}

impl Answer {
    fn wrong(&self) -> JobOutcome {
        JobOutcome::Wrong(format!("{} {}", self.status, self.body))
    }

    /// What an answer other than the one hoped for means.
    fn refusal(&self) -> JobOutcome {
        let words = format!("{} {}", self.status, self.body);
        match self.status.as_u16() {
            403 | 404 | 409 => JobOutcome::Refused(words),
            // Too much at once, no leader, no room: nobody decided.
            429 | 503 | 507 => JobOutcome::NotApplied(words),
            504 => JobOutcome::Unknown(words),
            _ => JobOutcome::Wrong(words),
        }
    }

    fn outcomes(&self, acts: &[Act]) -> Vec<JobOutcome> {
        let all = |outcome: JobOutcome| acts.iter().map(|_| outcome.clone()).collect();
        let claims = matches!(acts, [Act::Claim { .. }]);
        match (self.status.as_u16(), acts) {
            (200 | 202 | 204, [act]) => vec![self.told(act, &self.body).unwrap_or_else(|| self.wrong())],
            (200, acts) if !claims => match self.body["results"].as_array() {
                Some(items) if items.len() == acts.len() => {
                    items.iter().zip(acts).map(|(item, act)| self.item(act, item)).collect()
                }
                _ => all(self.wrong()),
            },
            _ => all(self.refusal()),
        }
    }

    /// One of a batch. What went wrong there is words only: they do not say whether it was decided.
    fn item(&self, act: &Act, item: &Value) -> JobOutcome {
        let part = if matches!(act, Act::Create(_)) { &item["task"] } else { &item["result"] };
        match item["error"].as_str() {
            Some(words) => JobOutcome::Unknown(words.to_owned()),
            None => self.told(act, part).unwrap_or_else(|| self.wrong()),
        }
    }

    fn told(&self, act: &Act, body: &Value) -> Option<JobOutcome> {
        let told = match act {
            Act::Create(_) => Told::Created { task: body["id"].as_str()?.to_owned() },
            Act::Claim { .. } if self.status == StatusCode::NO_CONTENT => Told::Claimed(Vec::new()),
            Act::Claim { count: 1, .. } => Told::Claimed(vec![held(body)?]),
            Act::Claim { .. } => {
                Told::Claimed(body["tasks"].as_array()?.iter().map(held).collect::<Option<_>>()?)
            }
            Act::Heartbeat { .. } => Told::Extended,
            Act::Abandon { .. } => Told::Abandoned,
            Act::Nack { .. } => Told::Nacked { dead: body["status"].as_str()? == "dlq" },
            Act::Finish { task, result, .. } => (body["taskId"].as_str() == Some(task)
                && number(&body["result"]) == Some(*result))
            .then_some(Told::Finished)?,
            Act::Look { .. } => return None,
        };
        Some(JobOutcome::Done(told))
    }

    fn seen(&self, result: Option<u64>) -> Option<JobOutcome> {
        let text = |name: &str| Some(self.body[name].as_str()?.to_owned());
        Some(JobOutcome::Done(Told::Seen(Seen {
            status: text("status")?,
            location: text("lastKnownLocation")?,
            number: number(&self.body["payload"])?,
            attempt: attempt(&self.body),
            result,
        })))
    }
}

/// Left out of a task that was not tried.
fn attempt(task: &Value) -> u32 {
    task["attempts"].as_u64().unwrap_or(0) as u32
}

fn held(task: &Value) -> Option<Held> {
    Some(Held {
        task: task["id"].as_str()?.to_owned(),
        number: number(&task["payload"])?,
        priority: task["priority"].as_u64().unwrap_or(0) as u32,
        attempt: attempt(task),
        token: task["leaseToken"].as_str()?.to_owned(),
    })
}
