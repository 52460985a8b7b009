//! A removed node becomes blank and a member again, under another id; nobody else can be reset.

use super::nodes::code;
use super::removal::{Three, readyz};
use schedia_api::{Reset, Role, Status};
use schedia_apps::NodeId;

fn verb(status: &Status) -> Reset {
    let (cluster_id, node_id) = (status.cluster_id.clone().unwrap(), status.node_id.unwrap());
    Reset { cluster_id, node_id, store_id: status.store_id.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_reset_and_joins_under_a_new_id() {
    let three = Three::new().await;
    let [one, two, last] = three.ids;
    let node = &three.nodes[2];
    three.keep(&[one, two]).await;
    three.remove(last).await;
    let before = node.status_when("it is removed", |status| status.role == Role::Retired).await;
    let done = node.admin().reset(&verb(&before)).await.unwrap();
    assert_ne!(done.store_id, before.store_id);
    let blank = node.status_when("it is blank", |status| status.role == Role::Unassigned).await;
    assert_eq!((&blank.store_id, blank.node_id, blank.cluster_id), (&done.store_id, None, None));
    assert!(readyz(node).await.1.contains("unassigned"));
    assert_eq!(node.admin().reset(&verb(&before)).await.unwrap(), done, "already so");
    assert!(node.config.data_dir.join("aside").join("log").exists(), "nothing is deleted at once");

    let added = three.operator.voters(&[node]).await;
    assert!(added[0] > last, "an id is never used again");
    node.role_becomes(Role::Voter).await;
    assert_eq!(node.admin().reset(&verb(&before)).await.unwrap(), done, "of the life before, still");
    let member = node.admin().status().await.unwrap();
    assert_eq!((member.role, member.node_id), (Role::Voter, Some(added[0])), "and changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_node_that_the_leader_says_was_removed_is_reset() {
    let mut three = Three::new().await;
    let [one, two, last] = three.ids;
    let voter = three.nodes[2].admin().status().await.unwrap();
    let refused = |result: Result<_, schedia_api::ClientError>| {
        let words = format!("{:?}", result.as_ref().map_err(ToString::to_string));
        let (status, code, _) = code(result);
        assert_eq!(status, 409, "{words}");
        (code, words)
    };
    let (code, words) = refused(three.nodes[2].admin().reset(&verb(&voter)).await);
    assert!(code == "not_confirmed" && words.contains("is a member of its cluster"), "{code} {words}");
    three.keep(&[one, two]).await;
    assert_eq!(refused(three.nodes[2].admin().reset(&verb(&voter)).await).0, "not_confirmed", "a learner");

    three.remove(last).await;
    three.nodes[2].role_becomes(Role::Retired).await;
    for wrong in [
        Reset { store_id: "another".parse().unwrap(), ..verb(&voter) },
        Reset { node_id: NodeId(77), ..verb(&voter) },
        Reset { cluster_id: "another".parse().unwrap(), ..verb(&voter) },
    ] {
        let (code, words) = refused(three.nodes[2].admin().reset(&wrong).await);
        assert!(code == "other_member" && words.contains(voter.store_id.as_str()), "{code} {words}");
    }
    // One of two voters is no majority: it cannot confirm what it knows.
    three.nodes[1].end().await;
    let (code, words) = refused(three.nodes[2].admin().reset(&verb(&voter)).await);
    assert!(code == "not_confirmed" && words.contains("no leader could be asked"), "{code} {words}");
    let still = three.nodes[2].admin().status().await.unwrap();
    assert_eq!((still.role, &still.store_id), (Role::Retired, &voter.store_id), "nothing was touched");
    three.nodes[1].start();
    three.nodes[0].record_when("the majority is back", |record| record.settled).await;
    three.nodes[2].admin().reset(&verb(&voter)).await.unwrap();
    three.nodes[2].role_becomes(Role::Unassigned).await;
}
