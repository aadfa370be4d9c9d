//! Invitations and contacts over HTTP: agreement of two, identity, blocks that nobody can tell.

use serde_json::json;

use super::*;

impl World {
    /// A request of a person, with a JSON body where there is one.
    pub(super) async fn of(&self, token: &str, method: &str, uri: &str, body: Option<Value>) -> Reply {
        self.with_headers(token, method, uri, &[], body).await
    }

    pub(super) async fn with_headers(&self, token: &str, method: &str, uri: &str, headers: &[(&str, &str)], body: Option<Value>) -> Reply {
        let mut request = Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {token}"));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request, body.map(|body| body.to_string()).unwrap_or_default()).await
    }

    /// A fresh code of a person.
    pub(super) async fn code(&self, token: &str, kind: &str) -> String {
        let made = self.of(token, "POST", "/v1/invitations", Some(json!({ "kind": kind, "code": true }))).await;
        assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
        made.json()["code"].as_str().unwrap().to_owned()
    }

    async fn accept(&self, token: &str, code: &str) -> Reply {
        self.of(token, "POST", "/v1/invitations/accept", Some(json!({ "code": code }))).await
    }

    pub(super) async fn contacts(&self, token: &str) -> Vec<Value> {
        self.of(token, "GET", "/v1/contacts", None).await.json()["contacts"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn two_agree_and_both_have_the_contact() {
    let world = World::new().await;
    let code = world.code(&world.token, "parent").await;
    world.accept(&world.token, &code).await.refused(409, "self_invite");
    let seen = world.of(&world.other, "POST", "/v1/invitations/look", Some(json!({ "code": code.to_lowercase() }))).await.json();
    assert_eq!((seen["from"].as_str(), seen["kind"].as_str()), (Some("Alice Peeters"), Some("child")));
    assert!(world.contacts(&world.other).await.is_empty(), "a look is no answer");
    let made = world.accept(&world.other, &code).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let contact = made.json();
    assert_eq!((contact["name"].as_str(), contact["kind"].as_str()), (Some("Alice Peeters"), Some("child")));
    let (mine, yours) = (world.contacts(&world.token).await, world.contacts(&world.other).await);
    assert_eq!((mine.len(), yours.len()), (1, 1));
    assert_eq!((&mine[0]["id"], &mine[0]["kind"]), (&contact["id"], &json!("parent")));
    assert_eq!(mine[0]["identity"]["source"], "itsme");
    assert!(mine[0]["identity"]["verified_at"].is_string());
    world.accept(&world.other, &code).await.refused(410, "expired");
    let list = world.of(&world.token, "GET", "/v1/invitations", None).await;
    assert_eq!(list.json()["invitations"][0]["state"], "accepted");
    assert!(!String::from_utf8_lossy(&list.body).contains(&code), "a code is shown once");
}

#[tokio::test]
async fn an_own_name_stands_beside_the_identity() {
    let world = World::new().await;
    let code = world.code(&world.token, "family").await;
    let made = world.accept(&world.other, &code).await;
    let path = made.header("location").to_owned();
    let rename = |name: Value| json!({ "name": name });
    world.of(&world.other, "PATCH", &path, Some(rename(json!("Mum")))).await.refused(428, "precondition_required");
    let tag = [("if-match", made.header("etag"))];
    let named = world.with_headers(&world.other, "PATCH", &path, &tag, Some(rename(json!("Mum")))).await.json();
    assert_eq!((named["name"].as_str(), named["identity"]["name"].as_str()), (Some("Mum"), Some("Alice Peeters")));
    world.with_headers(&world.other, "PATCH", &path, &tag, Some(rename(json!("x")))).await.refused(412, "precondition_failed");
    let identity = json!({ "name": "x", "identity": { "name": "x" } });
    world.with_headers(&world.other, "PATCH", &path, &[("if-match", "*")], Some(identity)).await.refused(400, "bad_json");
    assert_ne!(world.contacts(&world.token).await[0]["name"], "Mum", "an own name is one's own");
}

#[tokio::test]
async fn an_invitation_lapses_is_withdrawn_or_declined() {
    let world = World::new().await;
    let code = world.code(&world.token, "family").await;
    world.clock.0.fetch_add(14 * 24 * 3600 * 1000 + 1, Ordering::Relaxed);
    let (token, other) = (signed_in(&world.gateway, ALICE, 11).await, signed_in(&world.gateway, BOB, 12).await);
    world.accept(&other, &code).await.refused(410, "expired");
    world.accept(&other, "00000-00000-00000-00000").await.refused(404, "not_found");
    world.accept(&other, "short").await.refused(400, "bad_json");

    let to = json!({ "kind": "family", "email": "Bob@Example.org" });
    let made = world.of(&token, "POST", "/v1/invitations", Some(to.clone())).await.json();
    world
        .of(&token, "POST", "/v1/invitations", Some(json!({ "kind": "child", "email": "bob@example.ORG" })))
        .await
        .refused(409, "already_invited");
    let path = format!("/v1/invitations/{}", made["id"].as_str().unwrap());
    world.of(&other, "DELETE", &path, None).await.refused(404, "not_found");
    assert_eq!(world.of(&token, "DELETE", &path, None).await.status, StatusCode::NO_CONTENT);
    let body = Some(json!({ "code": made["code"] }));
    world.of(&other, "POST", &format!("{path}/accept"), body).await.refused(410, "expired");

    let made = world.of(&token, "POST", "/v1/invitations", Some(to)).await.json();
    let body = Some(json!({ "code": made["code"] }));
    world.of(&other, "POST", &format!("{path}/decline"), body.clone()).await.refused(404, "not_found");
    let path = format!("/v1/invitations/{}", made["id"].as_str().unwrap());
    assert_eq!(world.of(&other, "POST", &format!("{path}/decline"), body).await.status, StatusCode::NO_CONTENT);
    let list = world.of(&token, "GET", "/v1/invitations", None).await.json();
    // Ids of one millisecond are in no order.
    let mut states: Vec<&str> = list["invitations"].as_array().unwrap().iter().map(|i| i["state"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["declined", "expired", "withdrawn"]);
    let declined = list["invitations"].as_array().unwrap().iter().find(|i| i["state"] == "declined").unwrap();
    assert_eq!(declined["email"], "bob@example.org");
    for bad in
        [json!({ "kind": "family" }), json!({ "kind": "family", "code": true, "email": "a@b.c" }), json!({ "kind": "enemy", "code": true })]
    {
        world.of(&token, "POST", "/v1/invitations", Some(bad)).await.refused(400, "bad_json");
    }
    let office = json!({ "kind": "notary_office", "code": true });
    world.of(&token, "POST", "/v1/invitations", Some(office)).await.refused(422, "unprocessable");
}

#[tokio::test]
async fn a_block_reads_as_an_invitation_that_is_over() {
    let world = World::new().await;
    let code = world.code(&world.token, "family").await;
    let made = world.accept(&world.other, &code).await;
    let path = made.header("location").to_owned();
    assert_eq!(world.of(&world.token, "POST", &format!("{path}/block"), None).await.status, StatusCode::NO_CONTENT);
    assert!(world.contacts(&world.token).await.is_empty() && world.contacts(&world.other).await.is_empty());
    world.of(&world.other, "GET", &path, None).await.refused(404, "not_found");
    let list = world.of(&world.token, "GET", "/v1/contacts", None).await.json();
    assert_eq!((list["blocked"][0]["state"].as_str(), list["blocked"].as_array().unwrap().len()), (Some("blocked"), 1));
    assert!(world.of(&world.other, "GET", "/v1/contacts", None).await.json()["blocked"].as_array().unwrap().is_empty());

    // Both make invitations as before; neither can be answered, and the answer is that of one that was withdrawn.
    let (of_blocker, of_blocked) = (world.code(&world.token, "family").await, world.code(&world.other, "family").await);
    let blocked = world.accept(&world.other, &of_blocker).await;
    blocked.refused(410, "expired");
    world.accept(&world.token, &of_blocked).await.refused(410, "expired");
    let withdrawn = world.of(&world.token, "GET", "/v1/invitations", None).await.json()["invitations"][1]["id"].clone();
    world.of(&world.token, "DELETE", &format!("/v1/invitations/{}", withdrawn.as_str().unwrap()), None).await;
    let after = world.accept(&world.other, &of_blocker).await.json();
    assert_eq!((&blocked.json()["detail"], &blocked.json()["code"]), (&after["detail"], &after["code"]));

    assert_eq!(world.of(&world.token, "POST", &format!("{path}/unblock"), None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.accept(&world.token, &of_blocked).await.status, StatusCode::CREATED);
    let made = world.contacts(&world.token).await;
    let path = format!("/v1/contacts/{}", made[0]["id"].as_str().unwrap());
    assert_eq!(world.of(&world.other, "DELETE", &path, None).await.status, StatusCode::NO_CONTENT);
    assert!(world.contacts(&world.token).await.is_empty(), "removed for both");
}
