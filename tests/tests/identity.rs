//! Promise: people come in by strong identity only, are one person by whatever way, and programs act within their scope.
//!
//! Owns: R1 to R6 as far as they concern identity, step-up, devices and services, through a running cluster. Not:
//! forged tokens of identity providers (`node/tests/sign_in_flow.rs`), the specimen card (beside its code).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, sync::LazyLock};

use kluis_tests::{
    Api, Cluster, ClusterOptions,
    card::{Card, CardAuthority, Flaw},
    content,
};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

const PROVIDER: &str = "itsme";
/// Serial number of the card that is revoked.
const REVOKED: u64 = 66;

static AUTHORITY: LazyLock<CardAuthority> = LazyLock::new(CardAuthority::default);

struct World {
    cluster: Cluster,
    _files: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let setting = |name: &str, text: String| {
            let path = files.path().join(name);
            fs::write(&path, text).unwrap();
            (format!("KLUIS_GATEWAY_CARD_{}_FILE", name.to_uppercase()), path.display().to_string())
        };
        let env = vec![
            setting("anchors", AUTHORITY.anchors()),
            setting("authorities", AUTHORITY.authorities()),
            setting("lists", AUTHORITY.lists(&[REVOKED])),
        ];
        let cluster = Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, env, ..ClusterOptions::default() });
        Self { cluster, _files: files }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.cluster.gateway(0))
    }

    /// A challenge, with the cookie that belongs to it.
    async fn challenge(&self, step_up: Option<&str>) -> (Value, String) {
        let mut request = self.cluster.client().post(self.url("/v1/auth/eid/start")).header(header::ACCEPT, "application/json");
        if let Some(token) = step_up {
            request = request.query(&[("step_up", "true")]).bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        (answer.json().await.unwrap(), cookie)
    }

    /// Brings a token back; the status and the body.
    async fn bring(&self, challenge: &Value, cookie: &str, token: &Value) -> (StatusCode, Value) {
        let body = json!({ "state": challenge["state"], "token": token }).to_string();
        let request = self.cluster.client().post(self.url("/v1/auth/eid/callback"));
        let request = request.header(header::CONTENT_TYPE, "application/json").header(header::COOKIE, cookie);
        let answer = request.body(body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// The whole sign-in with a card.
    async fn with_card(&self, card: &Card, step_up: Option<&str>) -> (StatusCode, Value) {
        let (challenge, cookie) = self.challenge(step_up).await;
        let token = card.token(&self.cluster.gateway(0), challenge["nonce"].as_str().unwrap());
        self.bring(&challenge, &cookie, &token).await
    }

    async fn call(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.cluster.client().request(method, self.url(path)).bearer_auth(token);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }
}

#[track_caller]
fn refused(answer: &(StatusCode, Value), status: u16, code: &str) {
    assert_eq!((answer.0.as_u16(), answer.1["code"].as_str()), (status, Some(code)), "{}", answer.1);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// One cluster for all, since each takes a while to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identity_through_a_running_cluster() {
    let world = World::new();
    r01_an_account_opens_with_a_card_and_never_with_a_bad_one(&world).await;
    r02_the_same_person_by_itsme_has_the_same_account(&world).await;
    r03_there_is_no_other_way_in(&world).await;
    r05_space_and_profile_exist_at_once(&world).await;
    r06_one_vault_a_person_and_step_up_for_the_own_person_only(&world).await;
    devices_are_listed_and_signed_out_from_afar(&world).await;
    services_act_within_their_scope(&world).await;
    the_number_is_in_no_log(&world);
}

async fn r01_an_account_opens_with_a_card_and_never_with_a_bad_one(world: &World) {
    let number = world.cluster.national_number(0);
    let good = AUTHORITY.card(1, &number, Flaw::None);
    for (card, why) in [
        (AUTHORITY.card(REVOKED, &number, Flaw::None), "revoked"),
        (AUTHORITY.card(3, &number, Flaw::Expired), "expired"),
        (AUTHORITY.card(4, &number, Flaw::ForSigning), "purpose"),
        (AUTHORITY.card(5, &number, Flaw::NoPurpose), "purpose"),
        (AUTHORITY.card(6, &number, Flaw::OtherPolicy), "policy"),
        (CardAuthority::default().card(7, &number, Flaw::None), "issuer"),
    ] {
        let answer = world.with_card(&card, None).await;
        refused(&answer, 401, "certificate_refused");
        assert!(text(&answer.1["detail"]).ends_with(why), "{why}: {}", answer.1);
    }
    let origin = world.cluster.gateway(0);
    for wrong in [format!("{origin}/"), world.cluster.gateway(1), "https://evil.example".to_owned()] {
        let (challenge, cookie) = world.challenge(None).await;
        let token = good.token(&wrong, text(&challenge["nonce"]));
        refused(&world.bring(&challenge, &cookie, &token).await, 401, "token_invalid");
    }
    let (challenge, cookie) = world.challenge(None).await;
    let (other, other_cookie) = world.challenge(None).await;
    let token = good.token(&origin, text(&challenge["nonce"]));
    refused(&world.bring(&other, &other_cookie, &token).await, 401, "token_invalid");
    refused(&world.bring(&challenge, &other_cookie, &token).await, 401, "login_mismatch");
    let mut changed = token.clone();
    changed["algorithm"] = "ES256".into();
    refused(&world.bring(&challenge, &cookie, &changed).await, 401, "token_invalid");
    let begun = world.bring(&challenge, &cookie, &token).await;
    assert_eq!(begun.0, StatusCode::OK, "{}", begun.1);
    refused(&world.bring(&challenge, &cookie, &token).await, 401, "login_replayed");
    let bad_number = AUTHORITY.card(8, "71120496209", Flaw::None);
    refused(&world.with_card(&bad_number, None).await, 401, "token_invalid");
}

async fn r02_the_same_person_by_itsme_has_the_same_account(world: &World) {
    let number = world.cluster.national_number(0);
    let (status, card) = world.with_card(&AUTHORITY.card(1, &number, Flaw::None), None).await;
    assert_eq!(status, StatusCode::OK, "{card}");
    let by_itsme = world.cluster.sign_in(0);
    let (_, me) = world.call(&by_itsme, Method::GET, "/v1/me", None).await;
    assert_eq!(card["account"], me["id"]);
    assert_eq!((text(&me["session"]["way"]), me["session"]["acr"].is_string()), (PROVIDER, true));
    let (_, me) = world.call(text(&card["token"]), Method::GET, "/v1/me", None).await;
    assert_eq!(text(&me["session"]["way"]), "eid");
}

async fn r03_there_is_no_other_way_in(world: &World) {
    let (status, ways) = world.call("", Method::GET, "/v1/auth", None).await;
    assert_eq!(status, StatusCode::OK);
    let names: Vec<&str> = ways["ways"].as_array().unwrap().iter().map(|way| text(&way["name"])).collect();
    assert_eq!(names, [PROVIDER, "eid"]);
    let unknown = world.call("", Method::GET, "/v1/auth/password/start", None).await;
    refused(&unknown, 404, "not_found");
    let dir = world.cluster.path().display().to_string();
    let weak = world.cluster.kluis(&["demo", "sign-in", "--dir", &dir, &world.cluster.national_number(4)]);
    assert!(!weak.status.success() && String::from_utf8_lossy(&weak.stderr).contains("weak_identity"));
}

async fn r05_space_and_profile_exist_at_once(world: &World) {
    let token = world.cluster.sign_in(3);
    let (status, me) = world.call(&token, Method::GET, "/v1/me", None).await;
    assert_eq!((status, &me["documents"]), (StatusCode::OK, &Value::from(0)));
    assert_eq!(world.call(&token, Method::GET, "/v1/documents", None).await.0, StatusCode::OK);
}

async fn r06_one_vault_a_person_and_step_up_for_the_own_person_only(world: &World) {
    let (token, again) = (world.cluster.sign_in(0), world.cluster.sign_in(0));
    let (_, first) = world.call(&token, Method::GET, "/v1/me", None).await;
    let (_, second) = world.call(&again, Method::GET, "/v1/me", None).await;
    assert_eq!((&first["id"], &first["vault_id"]), (&second["id"], &second["vault_id"]));

    let new = json!({ "name": "scanner", "scopes": ["documents:read"], "days": 30 });
    refused(&world.call(&token, Method::POST, "/v1/services", Some(new.clone())).await, 403, "step_up_required");
    let stranger = AUTHORITY.card(20, &world.cluster.national_number(1), Flaw::None);
    refused(&world.with_card(&stranger, Some(&token)).await, 401, "login_mismatch");
    refused(&world.call(&token, Method::POST, "/v1/services", Some(new.clone())).await, 403, "step_up_required");
    let own = AUTHORITY.card(1, &world.cluster.national_number(0), Flaw::None);
    let raised = world.with_card(&own, Some(&token)).await;
    assert!(raised.0 == StatusCode::OK && raised.1["stepped_up_until"].is_string(), "{}", raised.1);
    assert_eq!(world.call(&token, Method::POST, "/v1/services", Some(new.clone())).await.0, StatusCode::CREATED);
    refused(&world.call(&again, Method::POST, "/v1/services", Some(new)).await, 403, "step_up_required");
}

async fn devices_are_listed_and_signed_out_from_afar(world: &World) {
    let (token, other) = (world.cluster.sign_in(2), world.cluster.sign_in(2));
    let (_, list) = world.call(&token, Method::GET, "/v1/sessions", None).await;
    let sessions = list["sessions"].as_array().unwrap();
    assert!(sessions.len() >= 2 && sessions.iter().all(|s| s["device"].is_string() && s["last_seen_at"].is_string()), "{list}");
    assert_eq!(world.call(&token, Method::DELETE, "/v1/sessions", None).await.0, StatusCode::NO_CONTENT);
    refused(&world.call(&other, Method::GET, "/v1/me", None).await, 401, "unauthenticated");
    let (_, list) = world.call(&token, Method::GET, "/v1/sessions", None).await;
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
}

async fn services_act_within_their_scope(world: &World) {
    let token = world.cluster.sign_in(0);
    let own = AUTHORITY.card(1, &world.cluster.national_number(0), Flaw::None);
    assert_eq!(world.with_card(&own, Some(&token)).await.0, StatusCode::OK);
    let new = json!({ "name": "reader", "scopes": ["documents:read"], "days": 1 });
    let (status, made) = world.call(&token, Method::POST, "/v1/services", Some(new)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (id, secret) = (text(&made["service"]["id"]).to_owned(), text(&made["secret"]).to_owned());

    let document = Api::new(&world.cluster, token.as_str()).put("for the service", content(5, 100)).await.unwrap();
    let service = Api::new(&world.cluster, secret.as_str()).once();
    assert_eq!(service.get(&document.id).await.unwrap(), content(5, 100));
    assert_eq!(service.delete(&document.id).await.unwrap_err().code, "scope_exceeded");
    assert_eq!(service.put("x", content(6, 1)).await.unwrap_err().code, "scope_exceeded");
    for (method, path) in [
        (Method::GET, "/v1/me"),
        (Method::GET, "/v1/sessions"),
        (Method::DELETE, "/v1/sessions"),
        (Method::GET, "/v1/services"),
        (Method::POST, "/v1/auth/itsme/start"),
        (Method::POST, "/v1/auth/eid/start?step_up=true"),
    ] {
        refused(&world.call(&secret, method, path, None).await, 403, "scope_exceeded");
    }

    let rotate = |overlap: u64| (format!("/v1/services/{id}/rotate"), Some(json!({ "overlap_seconds": overlap })));
    let (path, body) = rotate(3600);
    let (status, rotated) = world.call(&token, Method::POST, &path, body).await;
    assert_eq!((status, &rotated["service"]["secrets"]), (StatusCode::OK, &Value::from(2)), "{rotated}");
    let second = text(&rotated["secret"]).to_owned();
    for secret in [&secret, &second] {
        assert_eq!(world.call(secret, Method::GET, "/v1/documents", None).await.0, StatusCode::OK);
    }
    let (path, body) = rotate(0);
    let (_, rotated) = world.call(&token, Method::POST, &path, body).await;
    let third = text(&rotated["secret"]).to_owned();
    for gone in [&secret, &second] {
        refused(&world.call(gone, Method::GET, "/v1/documents", None).await, 401, "unauthenticated");
    }
    assert_eq!(world.call(&third, Method::GET, "/v1/documents", None).await.0, StatusCode::OK);
    let (_, list) = world.call(&token, Method::GET, "/v1/services", None).await;
    assert!(!list.to_string().contains(&third), "a secret is shown once");
    let stranger = world.cluster.sign_in(1);
    refused(&world.call(&stranger, Method::DELETE, &format!("/v1/services/{id}"), None).await, 404, "not_found");
    assert_eq!(world.call(&token, Method::DELETE, &format!("/v1/services/{id}"), None).await.0, StatusCode::NO_CONTENT);
    refused(&world.call(&third, Method::GET, "/v1/documents", None).await, 401, "unauthenticated");
}

fn the_number_is_in_no_log(world: &World) {
    for node in world.cluster.node_ids() {
        let log = world.cluster.log(node);
        assert!(log.contains("answered"), "n{node} logged no request");
        for person in 0..5 {
            assert!(!log.contains(&world.cluster.national_number(person)), "the number of person {person} is in the log of n{node}");
        }
    }
}
