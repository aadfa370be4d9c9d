//! Who guesses tokens is slowed, by address; who comes late finds a place.

use std::net::{IpAddr, Ipv4Addr};

use kluis_tests::Cluster;
use reqwest::{Certificate, Client, Response, header};

/// Bad tokens after which an address is slowed, in a minute.
const BAD_MAX: usize = 10;

/// A client at an address of its own.
fn client(cluster: &Cluster, from: Ipv4Addr) -> Client {
    let ca = Certificate::from_pem_bundle(&std::fs::read(cluster.ca_file()).unwrap()).unwrap();
    Client::builder().tls_certs_only(ca).no_proxy().local_address(IpAddr::from(from)).build().unwrap()
}

/// The status of a first request from an address that nobody saw before.
pub async fn late_comer(cluster: &Cluster) -> u16 {
    let answer = client(cluster, Ipv4Addr::new(127, 5, 0, 1)).get(format!("{}/livez", cluster.gateway(0))).send().await;
    answer.expect("a new address finds a place").status().as_u16()
}

/// Bad tokens from one address are answered 429 in the end; another address is asked for a better token only.
pub async fn guessing(cluster: &Cluster) {
    let (guesser, other) = (client(cluster, Ipv4Addr::new(127, 5, 0, 2)), client(cluster, Ipv4Addr::new(127, 5, 0, 3)));
    let address = format!("{}/v1/me", cluster.gateway(0));
    let guess = async |client: &Client| -> Response { client.get(&address).bearer_auth("guess").send().await.unwrap() };
    let mut refused = 0;
    let slowed = loop {
        let answer = guess(&guesser).await;
        if answer.status() != 401 {
            break answer;
        }
        refused += 1;
        // A new minute may begin in between, once.
        assert!(refused <= 2 * BAD_MAX, "{refused} bad tokens were looked at");
    };
    assert_eq!(slowed.status(), 429);
    assert!(slowed.headers().contains_key(header::RETRY_AFTER), "{:?}", slowed.headers());
    let problem: serde_json::Value = serde_json::from_slice(&slowed.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "too_many_requests");
    assert!(refused >= BAD_MAX, "slowed after {refused} bad tokens");
    println!("ok   bad token number {} of one address -> 429 with Retry-After", refused + 1);
    let others = guess(&other).await.status();
    println!("ok   a bad token of another address meanwhile -> {others}");
    assert_eq!(others, 401);
}
