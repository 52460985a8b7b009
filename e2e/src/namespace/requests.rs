//! How much somebody asks of the API server, by its own count: it queues them apart, and counts what it lets through. That takes no audit
//! log, so it works on any Kubernetes.

use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

/// A count that goes on as long as its FlowSchema is there.
pub struct Requests {
    client: Client,
    name: String,
}

impl Requests {
    /// Begins to count. `metadata`: of the FlowSchema; `account`: namespace and name of the service account; `rule`: which of its
    /// requests, as in `spec.rules`.
    pub async fn count(
        client: &Client,
        metadata: Value,
        (namespace, account): (&str, &str),
        mut rule: Value,
    ) -> Result<Requests, String> {
        let of = json!({ "name": account, "namespace": namespace });
        rule["subjects"] = json!([{ "kind": "ServiceAccount", "serviceAccount": of }]);
        let schema = json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": metadata,
            "spec": {
                // Where service accounts are by default, but counted apart.
                "priorityLevelConfiguration": { "name": "workload-low" }, "matchingPrecedence": 8000,
                "distinguisherMethod": { "type": "ByUser" },
                "rules": [rule],
            },
        });
        let schema: FlowSchema = serde_json::from_value(schema).map_err(|e| e.to_string())?;
        let made = Api::all(client.clone()).create(&PostParams::default(), &schema).await;
        let name = made.map_err(|e| e.to_string())?.metadata.name.unwrap_or_default();
        Ok(Requests { client: client.clone(), name })
    }

    /// What it has let through so far. `None`: nothing was ever counted.
    pub async fn so_far(&self) -> Result<Option<u64>, String> {
        let request = http::Request::get("/metrics").body(Vec::new()).map_err(|e| e.to_string())?;
        let text = self.client.request_text(request).await.map_err(|e| e.to_string())?;
        let ours = format!("flow_schema=\"{}\"", self.name);
        let lines =
            text.lines().filter(|line| line.starts_with("apiserver_flowcontrol_dispatched_requests_total{"));
        let counts = lines
            .filter(|line| line.contains(&ours))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(counts.reduce(|sum, count| sum + count))
    }
}
