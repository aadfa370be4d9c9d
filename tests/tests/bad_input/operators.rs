//! Operators' calls by who is no operator: nobody's, a person's, and somebody's with a certificate of his own making.
//!
//! Owns: the refusal. Not: what operators may do, and peers' certificates (`peers.rs`).
//! Holds: health and metrics are for everybody; nothing else is.

use kluis_tests::Cluster;
use reqwest::{Certificate, Client, Identity, Method};

use super::world::World;

/// Calls that only operators make.
const CALLS: [(Method, &str); 5] = [
    (Method::GET, "/ops/status"),
    (Method::POST, "/ops/tokens"),
    (Method::GET, "/ops/topology/plan"),
    (Method::POST, "/ops/topology"),
    (Method::POST, "/ops/vaults/01ARZ3NDEKTSV4RRFFQ69G5FAV/limits"),
];

/// Every call at one node's interface.
pub async fn strangers(world: &World, cluster: &Cluster) {
    let admin = cluster.node(1).admin;
    let made = rcgen::generate_simple_self_signed(["operator".to_owned()]).unwrap();
    let pem = made.cert.pem() + &made.signing_key.serialize_pem();
    let ca = Certificate::from_pem_bundle(&std::fs::read(cluster.ca_file()).unwrap()).unwrap();
    let self_made = Identity::from_pem(pem.as_bytes()).unwrap();
    let imposter = Client::builder().tls_certs_only(ca).no_proxy().identity(self_made).build().unwrap();
    for (method, path) in CALLS {
        let address = format!("{admin}{path}");
        for (who, token) in [("nobody", ""), ("a person", world.token.as_str())] {
            let mut request = world.client.request(method.clone(), &address).header("content-type", "application/json").body("{}");
            if !token.is_empty() {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let body: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
            let got = format!("{status} {}", body["code"].as_str().unwrap_or("without a code"));
            world.check(format!("{who}: {method} {path}"), &["403 operator_required"], got);
        }
        let answer = imposter.request(method.clone(), &address).body("{}").send().await;
        let got = answer.map_or_else(|_| "refused in TLS".to_owned(), |answer| answer.status().as_u16().to_string());
        world.check(format!("a certificate of another authority: {method} {path}"), &["refused in TLS"], got);
    }
    let health = world.client.get(format!("{admin}/livez")).send().await.unwrap();
    world.check("health is for everybody", &["200"], health.status().as_u16().to_string());
}
