//! Who a node is stands on its disk: a blank one is nobody, a foreign one belongs elsewhere.

use super::{PATIENCE, seed};
use schedia_api::Role;
use schedia_e2e::load::Load;
use schedia_e2e::process::Cluster;
use schedia_e2e::wait::eventually;

const WRITERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_was_wiped_stays_blank_and_is_no_member() {
    let mut cluster = Cluster::joined(3).await;
    let leader = cluster.leader().await;
    let lost = (leader + 1) % 3;
    let before = cluster.nodes[lost].status().await.unwrap();
    cluster.nodes[lost].kill();
    cluster.nodes[lost].wipe();
    cluster.nodes[lost].start(&[]);
    // The leader goes on sending to the old id at this address while the load runs: none of it may arrive.
    let others: Vec<_> =
        (0..3).filter(|place| *place != lost).map(|place| cluster.nodes[place].http_url()).collect();
    let load = Load::start(&others, WRITERS, seed());
    load.progress(500, PATIENCE).await;
    let after = eventually("the wiped node answers", PATIENCE, || cluster.nodes[lost].status()).await;
    assert_eq!(after.role, Role::Unassigned);
    assert_eq!((after.cluster_id, after.node_id), (None, None));
    assert_ne!(after.store_id, before.store_id, "an empty disk is another disk");
    assert!(!after.ready && after.ready_reason.is_some(), "{:?}", after.ready_reason);
    let readyz = reqwest::get(format!("{}/readyz", cluster.nodes[lost].admin_url())).await.unwrap();
    assert_eq!(readyz.status(), 503);
    load.stop().await.verify(&others).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_at_a_members_address_changes_nothing() {
    let mut home = Cluster::joined(3).await;
    let mut foreign = Cluster::joined(1).await;
    let wire = schedia_e2e::load::Wire::new();
    let put = |endpoint: String| {
        let wire = wire.clone();
        async move { wire.put(&endpoint, "whose", endpoint.clone().into()).await }
    };
    put(foreign.nodes[0].http_url()).await;
    let leader = home.leader().await;
    let taken = (leader + 1) % 3;
    home.nodes[taken].kill();
    home.nodes[taken].wipe();
    foreign.nodes[0].kill();
    std::fs::rename(foreign.nodes[0].data_dir(), home.nodes[taken].data_dir()).unwrap();
    home.nodes[taken].start(&[]);
    let status = eventually("the foreign node leads its own cluster", PATIENCE, || async {
        let status = home.nodes[taken].status().await?;
        if status.ready { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    let others: Vec<_> =
        (0..3).filter(|place| *place != taken).map(|place| home.nodes[place].http_url()).collect();
    let load = Load::start(&others, WRITERS, seed());
    load.progress(300, PATIENCE).await;
    let home_status = home.nodes[leader].status().await.unwrap();
    assert_ne!(status.cluster_id, home_status.cluster_id);
    assert_eq!(home_status.record.unwrap().voters.len(), 3, "the member is missing, not replaced");
    let seen = wire.get(&others[0], "whose", false).await;
    assert_eq!(seen, schedia_e2e::load::Answer::Missing, "a key of the other cluster is not ours");
    load.stop().await.verify(&others).await;
    let still = home.nodes[taken].status().await.unwrap();
    assert_eq!(
        (still.cluster_id, still.epoch, still.node_id),
        (status.cluster_id, status.epoch, status.node_id)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_is_who_it_was_whatever_it_is_started_with() {
    let mut cluster = Cluster::joined(1).await;
    let before = cluster.nodes[0].status().await.unwrap();
    for arguments in [&[][..], &["--bootstrap"], &["--join", "http://127.0.0.1:9"]] {
        cluster.nodes[0].kill();
        cluster.nodes[0].start(arguments);
        cluster.settled(1).await;
        let after = cluster.nodes[0].status().await.unwrap();
        assert_eq!(
            (after.cluster_id, after.node_id, after.store_id),
            (before.cluster_id.clone(), before.node_id, before.store_id.clone())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_never_used_twice() {
    let cluster = Cluster::joined(3).await;
    let mut ids = Vec::new();
    for node in &cluster.nodes[..3] {
        ids.push(node.status().await.unwrap().node_id.unwrap());
    }
    let leader = cluster.leader().await;
    for _ in 0..2 {
        ids.push(cluster.nodes[leader].client().new_node_id().await.unwrap().node_id);
    }
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_disk_is_refused() {
    let cluster = Cluster::joined(1).await;
    let node = &cluster.nodes[0];
    let mut second = std::process::Command::new(schedia_e2e::process::binary::schedia());
    second.args([
        "serve",
        "--name",
        "second",
        "--http",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--peer",
        "127.0.0.1:0",
    ]);
    let output = tokio::task::spawn_blocking({
        let dir = node.data_dir().to_owned();
        move || second.arg("--data-dir").arg(dir).output().unwrap()
    });
    let output = tokio::time::timeout(PATIENCE, output).await.expect("it does not start").unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && words.contains("another process"), "{words}");
    assert!(node.status().await.unwrap().ready);
}
