//! A leader of the metadata that stands still and goes on later tells nothing that is no longer so: it was
//! replaced meanwhile, and asks before it answers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use kluis_tests::{Api, Cluster, ClusterOptions, content};
use reqwest::Client;

/// Requests of each kind that wait at the frozen node.
const WAITING: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_frozen_gives_no_stale_answer_and_steps_down() {
    // Every node is a voter and a gateway here: the old leader is asked at its own door.
    let cluster = Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, ..ClusterOptions::default() });
    let (token, ended) = (cluster.sign_in(0), cluster.sign_in(0));
    let api = Api::new(&cluster, token.as_str());
    let doc = api.put("before", content(1, 200_000)).await.unwrap();
    let old = leader(&cluster).await.expect("a cluster that serves has a leader");
    let door = door(&cluster, old);
    let elsewhere = api.at((door + 1) % cluster.gateway_count());
    println!("n{old} leads and is frozen");
    cluster.freeze(old);
    cluster.wait_until("another node leads", 120, async || leader(&cluster).await.is_some_and(|id| id != old)).await;

    // The others go on: what the old leader knows is no longer so.
    let new = elsewhere.put("meanwhile", content(2, 200_000)).await.expect("two sites go on");
    elsewhere.delete(&doc.id).await.unwrap();
    let client = cluster.client();
    let session = format!("{}/v1/sessions/current", cluster.gateway((door + 1) % cluster.gateway_count()));
    let answer = client.delete(session).bearer_auth(&ended).send().await.unwrap();
    assert_eq!(answer.status(), 204);

    // These are on their way when the frozen node goes on: they are among the first that it sees.
    let gateway = cluster.gateway(door);
    let gone = format!("{gateway}/v1/documents/{}", doc.id);
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        waiting.push(tokio::spawn(ask(cluster.client(), format!("{gone}/content"), token.clone())));
        waiting.push(tokio::spawn(ask(cluster.client(), gone.clone(), token.clone())));
        waiting.push(tokio::spawn(ask(cluster.client(), format!("{gateway}/v1/me"), ended.clone())));
    }
    println!("n{old} goes on");
    cluster.thaw(old);
    let mut told = Vec::new();
    for asked in waiting {
        told.extend(asked.await.unwrap());
    }
    println!("its first answers: {told:?}");
    assert!(!told.is_empty(), "the old leader answered nothing: this shows nothing");
    assert!(told.iter().all(|status| matches!(status, 401 | 404 | 503)), "a stale answer: {told:?}");

    cluster.wait_ready(old).await;
    cluster
        .wait_until("the old leader's gateway shows what is so", 60, async || {
            api.at(door).once().get(&new.id).await.is_ok_and(|body| body == content(2, 200_000))
        })
        .await;
    assert_eq!(api.at(door).read(&doc.id).await.unwrap_err().status, Some(404));
    assert_eq!(ask(client, format!("{gateway}/v1/me"), ended).await, Some(401));
}

/// The node that leads, as the nodes that answer see it.
async fn leader(cluster: &Cluster) -> Option<u64> {
    cluster.status().await["metadata"]["leader"].as_u64()
}

/// Which of the gateways is a node's.
fn door(cluster: &Cluster, node: u64) -> usize {
    let mut gateways = cluster.node_ids().into_iter().filter(|id| cluster.node(*id).roles.iter().any(|role| role == "gateway"));
    gateways.position(|id| id == node).expect("every node is a gateway")
}

/// The status of one answer; `None` when there was none.
async fn ask(client: Client, address: String, token: String) -> Option<u16> {
    let request = client.get(address).bearer_auth(token).timeout(Duration::from_secs(60));
    request.send().await.ok().map(|answer| answer.status().as_u16())
}
