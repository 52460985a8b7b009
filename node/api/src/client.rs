//! A client for the admin API: one method per verb.
//!
//! With several endpoints a verb for the leader finds it: who does not lead refuses (`not_leader`) and the next is tried.

use crate::{
    AddLearner, Assign, Changed, ClientError, Defragmented, Done, Initialize, Join, Joined, NewNodeId,
    RemoveLearner, Reset, ResetDone, SetVoters, Status, TransferLeader, Transport,
};
use bytes::Bytes;
use reqwest::Method;
use schedia_apps::cluster::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Talks to the admin port (8081) of one node, or of several of the same cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// To these endpoints, in this order; each request is given up after `timeout`.
    pub fn new(endpoints: &[String], timeout: Duration) -> Result<Client, ClientError> {
        Ok(Client { transport: Transport::new(endpoints, timeout)? })
    }

    /// The same connections and timeout, other endpoints.
    pub fn to(&self, endpoints: &[String]) -> Result<Client, ClientError> {
        Ok(Client { transport: self.transport.to(endpoints)? })
    }

    /// What the node says of itself, now.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(&self.transport, "/admin/v1/status").await
    }

    /// What the node says of itself, as soon as its revision differs from `after`, else after `wait`.
    pub async fn status_after(&self, after: &str, wait: Duration) -> Result<Status, ClientError> {
        let patient = self.transport.with_timeout(self.transport.timeout() + wait);
        // A revision is a uuid, a dot and a number: nothing to escape.
        let path = format!("/admin/v1/status?after={after}&wait={}ms", wait.as_millis());
        self.get(&patient, &path).await
    }

    /// The cluster record by a linearizable read: an answer proves that a majority was reached.
    pub async fn record(&self) -> Result<Record, ClientError> {
        self.get(&self.transport, "/admin/v1/record").await
    }

    /// Makes a blank node a cluster of one.
    pub async fn initialize(&self, verb: &Initialize) -> Result<Joined, ClientError> {
        self.post("/admin/v1/initialize", verb).await
    }

    /// A fresh node id, from the leader. Each call takes another one.
    pub async fn new_node_id(&self) -> Result<NewNodeId, ClientError> {
        self.post("/admin/v1/node-ids", &Done {}).await
    }

    /// Tells an Unassigned node who it is.
    pub async fn assign(&self, verb: &Assign) -> Result<Joined, ClientError> {
        self.post("/admin/v1/assign", verb).await
    }

    /// Adds a member without a vote.
    pub async fn add_learner(&self, verb: &AddLearner) -> Result<Changed, ClientError> {
        self.post("/admin/v1/learners", verb).await
    }

    /// Drops a member that does not vote. Not `settled`: the same call resumes it.
    pub async fn remove_learner(&self, verb: &RemoveLearner) -> Result<Changed, ClientError> {
        self.post("/admin/v1/learners/remove", verb).await
    }

    /// Changes the voters in one joint change. Not `settled`: the same call resumes it.
    pub async fn set_voters(&self, verb: &SetVoters) -> Result<Changed, ClientError> {
        self.post("/admin/v1/membership", verb).await
    }

    /// Makes a removed node blank again: its data are moved aside. It begins anew a moment after the answer.
    pub async fn reset(&self, verb: &Reset) -> Result<ResetDone, ClientError> {
        self.post("/admin/v1/reset", verb).await
    }

    /// Hands leadership to a caught-up voter.
    pub async fn transfer_leader(&self, verb: &TransferLeader) -> Result<(), ClientError> {
        self.post("/admin/v1/transfer-leader", verb).await.map(|Done {}| ())
    }

    /// Makes the node checkpoint every shard and purge its log.
    pub async fn snapshot(&self) -> Result<(), ClientError> {
        self.post("/admin/v1/snapshot", &Done {}).await.map(|Done {}| ())
    }

    /// Makes the node put a fresh copy in the place of each state file. Takes minutes for large ones: so should this client's timeout.
    pub async fn defragment(&self) -> Result<Defragmented, ClientError> {
        self.post("/admin/v1/defragment", &Done {}).await
    }

    /// Asks to become a member. The one verb of the client port (8080): this client's endpoints are such ports.
    pub async fn join(&self, verb: &Join) -> Result<Joined, ClientError> {
        self.post("/v1/cluster/join", verb).await
    }

    async fn get<T: DeserializeOwned>(&self, transport: &Transport, path: &str) -> Result<T, ClientError> {
        transport.send(Method::GET, path, None).await?.json()
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, verb: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(verb).expect("the verbs are plain structs: numbers, texts and sets");
        let body = Some(("application/json", Bytes::from(body)));
        self.transport.send(Method::POST, path, body).await?.json()
    }
}
