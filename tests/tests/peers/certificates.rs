//! Who is let in: certificates, names, protocols, hellos.
//!
//! The numbers are TLS alerts (RFC 8446, section 6): the caller's own stack reports what the node sent.

use std::collections::BTreeSet;

use kluis_chunkstore::{
    ids::{ClusterId, NodeId, SiteName, StorageId},
    net::{NetError, PeerAddress, identity::ALPN},
    wire::{FaultCode, Hello, PeerAnswer, PeerRequest},
};
use quinn::ConnectionError;
use rcgen::ExtendedKeyUsagePurpose;
use time::{Duration, OffsetDateTime};

use super::world::{Credentials, Reply, Served, World, alert, hello, site, within};

const BAD_CERTIFICATE: u64 = 42;
const UNSUPPORTED_CERTIFICATE: u64 = 43;
const CERTIFICATE_EXPIRED: u64 = 45;
const UNKNOWN_CA: u64 = 48;
const DECRYPT_ERROR: u64 = 51;
const CERTIFICATE_REQUIRED: u64 = 116;
const NO_APPLICATION_PROTOCOL: u64 = 120;

/// The node takes a right peer, and has taken nobody else.
async fn still_takes_only_n2(world: &World, served: &Served) {
    let right = served.peer(world, 2).await;
    assert!(matches!(right.ask(&PeerRequest::Observe, &[]).await, Reply::Answer(PeerAnswer::Body, _)));
    let connected: BTreeSet<NodeId> = served.hub.connected().into_keys().collect();
    assert_eq!(connected, BTreeSet::from([NodeId(2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_certificates_are_refused_by_their_alert() {
    let world = World::new("test");
    let served = world.serve(1).await;
    let now = OffsetDateTime::now_utc();
    let expired = world.signed(2, |params| {
        params.not_before = now - Duration::days(30);
        params.not_after = now - Duration::minutes(1);
    });
    let early = world.signed(2, |params| {
        params.not_before = now + Duration::days(1);
        params.not_after = now + Duration::days(30);
    });
    let server_only = world.signed(2, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    // Another cluster's authority under the same name: its subject fits, its signatures do not.
    let (foreign, namesake) = (World::new("elsewhere"), World::new("test"));
    let cases: [(&str, Option<Credentials>, &[u64]); 8] = [
        ("no certificate", None, &[CERTIFICATE_REQUIRED]),
        ("another authority's", Some(foreign.node(2)), &[UNKNOWN_CA]),
        ("another authority's of the same name", Some(namesake.node(2)), &[UNKNOWN_CA, DECRYPT_ERROR]),
        ("self-made", Some(world.self_made(2)), &[UNKNOWN_CA]),
        ("expired", Some(expired), &[CERTIFICATE_EXPIRED]),
        ("not yet valid", Some(early), &[CERTIFICATE_EXPIRED]),
        ("for servers only", Some(server_only), &[UNSUPPORTED_CERTIFICATE]),
        ("of an HTTPS listener", Some(world.listener(2)), &[UNSUPPORTED_CERTIFICATE]),
    ];
    let mut wrong = Vec::new();
    for (what, credentials, wanted) in cases {
        let error = served.refusal(world.config(credentials, &[ALPN]), &world.dns(1)).await;
        let sent_by_the_node = matches!(error, ConnectionError::ConnectionClosed(_));
        if !sent_by_the_node || !alert(&error).is_some_and(|alert| wanted.contains(&alert)) {
            wrong.push(format!("{what}: alert {wanted:?} expected, {error} came"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The same form with nothing wrong is taken: the cases differ by what they say they differ by.
    let caller = served.dial(world.config(Some(world.signed(2, |_| {})), &[ALPN]), &world.dns(1)).await.unwrap();
    caller.greet(2).await;
    still_takes_only_n2(&world, &served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_certificate_names_no_node() {
    let world = World::new("test");
    let served = world.serve(1).await;
    let error = served.refusal(world.config(Some(world.operator()), &[ALPN]), &world.dns(1)).await;
    assert!(matches!(error, ConnectionError::ApplicationClosed(_)), "{error}");
    still_takes_only_n2(&world, &served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_under_another_name_and_other_protocols_are_refused() {
    let world = World::new("test");
    let served = world.serve(1).await;
    for name in [world.dns(3), "n1.dc2.test".to_owned(), "n1.dc1.elsewhere".to_owned(), "localhost".to_owned()] {
        let error = served.refusal(world.config(Some(world.node(2)), &[ALPN]), &name).await;
        // Here it is the caller that refuses, before it says anything.
        assert!(matches!(error, ConnectionError::TransportError(_)), "{name}: {error}");
        assert_eq!(alert(&error), Some(BAD_CERTIFICATE), "{name}: {error}");
    }
    let protocols: [&[&[u8]]; 3] = [&[b"kluis-node/2"], &[b"h3"], &[]];
    for protocols in protocols {
        let error = served.refusal(world.config(Some(world.node(2)), protocols), &world.dns(1)).await;
        assert_eq!(alert(&error), Some(NO_APPLICATION_PROTOCOL), "{protocols:?}: {error}");
    }
    still_takes_only_n2(&world, &served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hellos_that_do_not_fit_are_refused_by_code() {
    let world = World::new("test");
    let served = world.serve(1).await;
    // Who shows which certificate, what is said, and the code that begins the refusal.
    let cases: [(&str, u64, Hello, &str); 5] = [
        ("n2's certificate, n3's hello", 2, hello(3), "identity_mismatch"),
        ("meant for another node", 2, Hello { to: NodeId(3), ..hello(2) }, "wrong_node"),
        ("another cluster", 2, Hello { cluster: ClusterId(0xbad), ..hello(2) }, "wrong_cluster"),
        ("another storage", 2, Hello { storage: StorageId(77), ..hello(2) }, "storage_id_mismatch"),
        ("no member", 9, hello(9), "unknown_node"),
    ];
    for (what, certificate, hello, code) in cases {
        let caller = served.stranger(&world, certificate).await;
        match caller.ask(&PeerRequest::Hello(hello), &[]).await {
            Reply::Fault(FaultCode::NotAdmitted, detail) => assert!(detail.starts_with(code), "{what}: {detail}"),
            other => panic!("{what}: {other:?}"),
        }
        within(caller.connection.closed()).await;
        let refused = served.hub.refused();
        let noted = refused.iter().find(|r| r.node == NodeId(certificate)).expect("people can see who was refused");
        assert!(noted.why.starts_with(code), "{what}: {}", noted.why);
        assert!(served.hub.connected().is_empty(), "{what} was let in");
    }
    still_takes_only_n2(&world, &served).await;
    assert!(!served.hub.refused().iter().any(|r| r.node == NodeId(2)), "an admitted node is no longer among the refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_before_a_hello() {
    let world = World::new("test");
    let served = world.serve(1).await;
    for request in [PeerRequest::Observe, PeerRequest::Raft { call: 2 }, PeerRequest::RaftStream { header_len: 0 }] {
        let caller = served.stranger(&world, 2).await;
        match caller.ask(&request, &[]).await {
            Reply::Fault(FaultCode::NotAdmitted, detail) => assert!(detail.contains("hello"), "{detail}"),
            other => panic!("{request:?}: {other:?}"),
        }
        within(caller.connection.closed()).await;
    }
    // A first stream that stays unfinished does not open the way for a second one.
    let caller = served.stranger(&world, 2).await;
    let (mut first, _unread) = caller.connection.open_bi().await.unwrap();
    first.write_all(&[1]).await.unwrap();
    let second = caller.ask(&PeerRequest::Observe, &[]).await;
    assert!(matches!(second, Reply::Closed(_)), "{second:?}");
    // A caller that says nothing at all is dropped.
    let silent = served.stranger(&world, 3).await;
    within(silent.connection.closed()).await;
    still_takes_only_n2(&world, &served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_connection_of_the_same_node_takes_the_place_of_the_older() {
    let world = World::new("test");
    let served = world.serve(1).await;
    let older = served.peer(&world, 2).await;
    let newer = served.peer(&world, 2).await;
    let error = within(older.connection.closed()).await;
    assert!(matches!(error, ConnectionError::ApplicationClosed(_)), "{error}");
    assert!(matches!(newer.ask(&PeerRequest::Observe, &[]).await, Reply::Answer(PeerAnswer::Body, _)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_connects_to_the_right_node_and_to_no_impostor() {
    let world = World::new("test");
    let (n1, n3) = (world.serve(1).await, world.serve(3).await);
    let impostor = World::new("test").serve(2).await;
    let at = |node: u64, site: SiteName, served: &Served| PeerAddress { node: NodeId(node), site, address: served.address };
    // n2's place is taken by another authority's n2, n4's by n3 itself.
    n1.hub.set_peers([at(2, site(), &impostor), at(3, site(), &n3), at(4, site(), &n3)]);
    within(async {
        while !n1.hub.is_connected(NodeId(3)) || !n3.hub.is_connected(NodeId(1)) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let patience = std::time::Duration::from_secs(60);
    let answer = n1.hub.call(NodeId(3), &PeerRequest::Observe, bytes::Bytes::new(), patience).await;
    assert!(matches!(answer, Ok((PeerAnswer::Body, _))), "{answer:?}");
    for node in [2, 4] {
        let answer = n1.hub.call(NodeId(node), &PeerRequest::Observe, bytes::Bytes::new(), patience).await;
        assert!(matches!(answer, Err(NetError::NotConnected(_))), "n{node}: {answer:?}");
    }
    assert!(impostor.hub.connected().is_empty());
    assert_eq!(n3.hub.connected().into_keys().collect::<Vec<_>>(), [NodeId(1)]);
}
