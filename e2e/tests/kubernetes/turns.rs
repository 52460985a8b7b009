//! Two operators of one Lease: one acts.
//!
//! They are the test's own, in its namespace; the one that all tests share is away meanwhile.

use crate::demo::{claims_of, ids};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, ResourceExt};
use schedia_e2e::load::Load;
use schedia_e2e::namespace::{
    Namespace, Operators, PATIENCE, Requests, alone_with_temp_namespace, stop_operator,
};
use schedia_e2e::wait::eventually;
use serde_json::json;

const LEASE: &str = "turns";

/// The first one dies in the middle of a change and does not give the Lease back.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_without_the_lease_writes_nothing_until_it_takes_over_from_one_that_died() {
    alone_with_temp_namespace("turns", |here| async move {
        stop_operator(&here.client).await;
        let second_asks = count_writes(&here, "second").await;
        // What was never counted does not stand in the metrics.
        let writes = || async { second_asks.so_far().await.unwrap().unwrap_or(0) };
        let (first, second) = (Operators::of(&here, "first").await, Operators::of(&here, "second").await);
        let first = first.start("first", LEASE, &["--end-after", "ChangeVoters"]).await;
        holds(&here, "first").await;
        let second = second.start("second", LEASE, &[]).await;
        eventually("the second one waits", PATIENCE, || async {
            let metrics = second.metrics().await?;
            if metrics.contains("schedia_operator_holds_lease 0") { Ok(()) } else { Err(metrics) }
        })
        .await;
        here.apply_raft("demo", json!({ "replicas": 1 })).await;
        here.ready_with("demo", 1).await;
        let (_forward, url) = here.forwards("demo", 1).await;
        let load = Load::start(&url, 1, fastrand::u64(..1 << 32));
        load.progress(50, PATIENCE).await;
        here.edit("demo", json!({ "replicas": 3 })).await;
        eventually("the first one ends when there are three voters", PATIENCE, || async {
            first.exit().await?.ok_or_else(|| "it lives".to_owned())
        })
        .await;
        assert_eq!(first.ended_after().await.as_deref(), Some("ChangeVoters"));
        here.edit("demo", json!({ "replicas": 1 })).await;
        // Nobody acts for the rest of the Lease.
        assert!(holder(&here).await.is_some_and(|holder| holder.starts_with("first_")));
        assert_eq!(writes().await, 0, "while it did not hold the Lease");
        holds(&here, "second").await;
        here.ready_with("demo", 1).await;
        assert!(writes().await > 0, "they are counted");
        load.progress(50, PATIENCE).await;
        load.stop().await.verify(&url).await;
        assert_eq!((ids(&here, 1).await.len(), here.claims().await), (1, claims_of(1)));
    })
    .await;
}

async fn holder(here: &Namespace) -> Option<String> {
    let lease = here.api::<Lease>().get_opt(LEASE).await.unwrap();
    lease.and_then(|lease| lease.spec).and_then(|spec| spec.holder_identity)
}

async fn holds(here: &Namespace, operator: &str) {
    eventually(&format!("{operator} holds the Lease"), PATIENCE, || async {
        let holder = holder(here).await.unwrap_or_default();
        if holder.starts_with(&format!("{operator}_")) { Ok(()) } else { Err(holder) }
    })
    .await;
}

/// Has the API server count what an account changes, but for its tries at the Lease. It goes with the namespace.
async fn count_writes(here: &Namespace, account: &str) -> Requests {
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(here.client.clone());
    let owner = namespaces.get(&here.name).await.unwrap();
    let metadata = json!({
        "name": here.name,
        "ownerReferences": [{ "apiVersion": "v1", "kind": "Namespace", "name": here.name, "uid": owner.uid() }],
    });
    let rule = json!({
        "resourceRules": [{
            "verbs": ["create", "update", "patch", "delete", "deletecollection"],
            "apiGroups": ["", "apps", "policy", "events.k8s.io", "schedia.dev"],
            "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
        }],
    });
    Requests::count(&here.client, metadata, (&here.name, account), rule).await.unwrap()
}
