//! Operators of a test's own: pods in its namespace that watch this namespace only, each to be ended where the test wants it.
//!
//! The operator that all tests share would do their work: it is to be away meanwhile ([`super::alone_with_temp_namespace`],
//! [`super::stop_operator`]). Everything here goes with the namespace.

use super::{Namespace, OPERATOR, OPERATOR_NAMESPACE, PATIENCE};
use crate::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, LogParams, PostParams};
use serde_json::{Value, json};

const PORT_ADMIN: u16 = 8081;

/// Starts operators under one service account, which may do what the installed one may, in this namespace.
#[derive(Clone)]
pub struct Operators {
    /// Where they are, and what they watch.
    pub here: Namespace,
    account: String,
}

impl Operators {
    /// Makes the account.
    pub async fn of(here: &Namespace, account: &str) -> Operators {
        let subject = json!([{ "kind": "ServiceAccount", "name": account, "namespace": here.name }]);
        let to = |kind: &str, name: &str| {
            json!({
                "metadata": { "name": format!("{account}-{name}") }, "subjects": subject,
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name },
            })
        };
        let leases = format!("{account}-leases");
        let role = json!({
            "metadata": { "name": leases },
            "rules": [{
                "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update"],
            }],
        });
        create::<ServiceAccount>(here, json!({ "metadata": { "name": account } })).await;
        create::<Role>(here, role).await;
        create::<RoleBinding>(here, to("ClusterRole", OPERATOR)).await;
        create::<RoleBinding>(here, to("Role", &leases)).await;
        Operators { here: here.clone(), account: account.to_owned() }
    }

    /// Starts one, as the installed one is started, but once only. It does not wait until the pod runs.
    pub async fn start(&self, name: &str, lease: &str, arguments: &[&str]) -> Operator {
        let Operators { here, account } = self;
        let installed: Api<Deployment> = Api::namespaced(here.client.clone(), OPERATOR_NAMESPACE);
        let installed = installed.get(OPERATOR).await.unwrap_or_else(|e| panic!("{OPERATOR}: {e}"));
        let mut spec = serde_json::to_value(installed.spec.and_then(|spec| spec.template.spec))
            .expect("what was JSON is JSON");
        let scope = ["--watch-namespace", &here.name, "--namespace", &here.name, "--lease", lease];
        spec["serviceAccountName"] = json!(account);
        spec["serviceAccount"] = json!(account);
        spec["restartPolicy"] = json!("Never");
        spec["containers"][0]["args"] =
            json!(scope.iter().chain(&["--log-json"]).chain(arguments).collect::<Vec<_>>());
        create::<Pod>(here, json!({ "metadata": { "name": name }, "spec": spec })).await;
        Operator { here: here.clone(), name: name.to_owned() }
    }
}

/// One operator.
pub struct Operator {
    here: Namespace,
    /// Of its pod.
    pub name: String,
}

impl Operator {
    /// The exit status of one that ended where `--end-after` asks.
    pub const ENDED: i32 = 86;

    /// Its exit status, if it has ended.
    pub async fn exit(&self) -> Result<Option<i32>, String> {
        let pod = self.here.api::<Pod>().get(&self.name).await.map_err(|e| e.to_string())?;
        let containers = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let state = containers.into_iter().next().and_then(|container| container.state);
        Ok(state.and_then(|state| state.terminated).map(|terminated| terminated.exit_code))
    }

    /// The effect after which it ended, if it was started with `--end-after` and has said so.
    pub async fn ended_after(&self) -> Option<String> {
        let log = self.here.api::<Pod>().logs(&self.name, &LogParams::default()).await;
        let log = log.unwrap_or_else(|e| panic!("log of {}: {e}", self.name));
        let fields = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?["fields"].take());
        let said = log.lines().filter_map(fields).find(|fields| fields["status"] == Operator::ENDED)?;
        said["effect"].as_str().map(str::to_owned)
    }

    /// Its metrics, as it writes them out.
    pub async fn metrics(&self) -> Result<String, String> {
        super::Forward::new(self.here.api::<Pod>(), &self.name, PORT_ADMIN).await.metrics().await
    }

    /// Ends it without a chance to say goodbye, unless it has ended already. Its log is gone, too.
    pub async fn kill(self) {
        let pods = self.here.api::<Pod>();
        let _ = pods.delete(&self.name, &DeleteParams::default().grace_period(0)).await;
        eventually(&format!("{} is gone", self.name), PATIENCE, || async {
            match pods.get_opt(&self.name).await {
                Ok(None) => Ok(()),
                other => Err(format!("{:?}", other.map(|pod| pod.and_then(|pod| pod.status)))),
            }
        })
        .await;
    }
}

async fn create<K>(here: &Namespace, object: Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object).expect("this is one");
    let created = here.api::<K>().create(&PostParams::default(), &object).await;
    created.unwrap_or_else(|e| panic!("{} {:?}: {e}", K::kind(&()), object.meta().name));
}
