//! Shares, links and attributes over HTTP, one promise a test.

use serde_json::json;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");

impl World {
    /// A request of Bob's.
    async fn bob(&self, method: &str, uri: &str, body: &str) -> Reply {
        let request = Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {}", self.other));
        self.send(request.header("content-type", "application/json"), body.to_owned()).await
    }

    /// Makes Alice and Bob contacts, as people become it; by what id they know each other.
    async fn befriend(&self) -> String {
        let made = self.call("POST", "/v1/invitations", &[JSON], r#"{"kind":"family","code":true}"#).await.json();
        let accept = json!({ "code": made["code"] }).to_string();
        let contact = self.bob("POST", "/v1/invitations/accept", &accept).await;
        assert_eq!(contact.status, StatusCode::CREATED, "{:?}", contact.body);
        contact.json()["id"].as_str().unwrap().to_owned()
    }

    /// Shares a document with Bob; the share's id.
    async fn give(&self, path: &str, contact: &str, when: &str) -> String {
        let body = json!({ "shares": [{ "contact": contact, "when": when }] }).to_string();
        let made = self.call("POST", &format!("{path}/shares"), &[JSON], body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
        made.json()["shares"][0]["id"].as_str().unwrap().to_owned()
    }

    async fn events(&self, path: &str) -> Vec<String> {
        self.gateway.recorder.flush().await;
        let page = self.call("GET", &format!("{path}/history"), &[], "").await.json();
        page["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_share_is_offered_accepted_read_copied_and_revoked() {
    let world = World::new().await;
    let contact = world.befriend().await;
    let content = pattern(2_500_000);
    let made = world.upload("deed.pdf", "k", &content).await;
    let path = made.header("location").to_owned();
    let share = world.give(&path, &contact, "now").await;
    let incoming = format!("/v1/incoming/{share}");

    let seen = world.bob("GET", "/v1/incoming", "").await.json();
    assert_eq!((seen["shares"][0]["name"].as_str(), seen["shares"][0]["state"].as_str()), (Some("deed.pdf"), Some("offered")));
    world.bob("GET", &format!("{incoming}/content"), "").await.refused(403, "accept_first");
    let accepted = world.bob("POST", &format!("{incoming}/accept"), "").await;
    assert_eq!((accepted.status, accepted.json()["state"].as_str()), (StatusCode::OK, Some("accepted")), "{:?}", accepted.body);
    let got = world.bob("GET", &format!("{incoming}/content"), "").await;
    assert_eq!((got.status, got.body.as_ref()), (StatusCode::OK, content.as_slice()));
    world.call("GET", &incoming, &[], "").await.refused(404, "not_found");
    world.bob("GET", &path, "").await.refused(404, "not_found");
    world.bob("POST", &format!("{path}/shares"), r#"{"shares":[]}"#).await.refused(404, "not_found");

    // A new version under a new name: keys are renewed by themselves.
    let renamed = world.call("PATCH", &path, &[JSON, ("if-match", "*")], r#"{"name":"new deed"}"#).await;
    assert_eq!(renamed.status, StatusCode::OK, "{:?}", renamed.body);
    let next = world.call("PUT", &format!("{path}/content"), &[("if-match", renamed.header("etag"))], "two").await;
    assert_eq!(next.status, StatusCode::OK, "{:?}", next.body);
    assert_eq!(world.bob("GET", &incoming, "").await.json()["name"], "new deed");
    assert_eq!(world.bob("GET", &format!("{incoming}/content"), "").await.body.as_ref(), b"two");

    let copied = world.bob("POST", &format!("{incoming}/copy"), "").await;
    assert_eq!(copied.status, StatusCode::CREATED, "{:?}", copied.body);
    let copy = copied.header("location").to_owned();
    assert_eq!((copied.json()["origin"].as_str(), copied.json()["copied_from"]["version"].as_u64()), (Some("copy"), Some(2)));
    let stopped = world.call("DELETE", &format!("{path}/shares/{share}"), &[], "").await;
    assert_eq!(stopped.status, StatusCode::NO_CONTENT);
    for path in [incoming.clone(), format!("{incoming}/content")] {
        world.bob("GET", &path, "").await.refused(410, "share_revoked");
    }
    world.bob("POST", &format!("{incoming}/copy"), "").await.refused(410, "share_revoked");
    assert_eq!(world.bob("GET", &format!("{copy}/content"), "").await.body.as_ref(), b"two", "a copy is the recipient's own");
    let shares = world.call("GET", &format!("{path}/shares"), &[], "").await.json();
    assert_eq!((shares["shares"][0]["state"].as_str(), shares["shares"][0]["copies"].as_u64()), (Some("revoked"), Some(1)));
    let events = world.events(&path).await;
    for event in ["share.offered", "share.accepted", "document.read_by_recipient", "document.changed", "share.copied", "share.revoked"] {
        assert!(events.iter().any(|found| found == event), "{event}: {events:?}");
    }
}

#[tokio::test]
async fn shares_set_at_upload_begin_with_the_document_or_neither_does() {
    let world = World::new().await;
    let contact = world.befriend().await;
    let upload = async |key: &'static str, shares: String| {
        let encoded = percent_encoding::utf8_percent_encode(&shares, percent_encoding::NON_ALPHANUMERIC).to_string();
        world.upload(&format!("x&category=home&labels=a,b&shares={encoded}"), key, b"abc").await
    };
    let stranger = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let both = json!([{ "contact": contact, "when": "now" }, { "contact": stranger, "when": "now" }]).to_string();
    upload("k1", both).await.refused(409, "not_a_contact");
    upload("k2", "[{}]".to_owned()).await.refused(400, "bad_parameter");
    upload("k3", json!([{ "contact": contact, "when": "later" }]).to_string()).await.refused(400, "bad_parameter");
    assert_eq!(world.count().await, 0);
    let made = upload("k4", json!([{ "contact": contact, "when": "now" }]).to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    assert_eq!((made.json()["category"].as_str(), &made.json()["labels"]), (Some("home"), &json!(["a", "b"])));
    assert_eq!(world.bob("GET", "/v1/incoming", "").await.json()["shares"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn attributes_filter_the_list_and_the_trash_is_apart() {
    let world = World::new().await;
    let made = world.upload("a&category=home&labels=red,old", "k1", b"1").await;
    world.upload("b&doc_type=will", "k2", b"2").await;
    let path = made.header("location").to_owned();
    let names = async |query: &str| -> Vec<String> {
        let page = world.call("GET", &format!("/v1/documents{query}"), &[], "").await.json();
        page["documents"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("?category=home").await, ["a"]);
    assert_eq!(names("?label=old").await, ["a"]);
    assert_eq!(names("?doc_type=will").await, ["b"]);
    assert!(names("?label=none").await.is_empty());
    world.call("GET", "/v1/documents?category=Home", &[], "").await.refused(400, "bad_parameter");
    world.call("PATCH", &path, &[JSON], "{}").await.refused(428, "precondition_required");
    world.call("PATCH", &path, &[JSON, ("if-match", "\"r9\"")], "{}").await.refused(412, "precondition_failed");
    world.call("PATCH", &path, &[JSON, ("if-match", "*")], r#"{"colour":1}"#).await.refused(400, "bad_json");
    let patch = r#"{"category":"work","labels":null,"expires_on":"2030-01-31"}"#;
    let changed = world.call("PATCH", &path, &[JSON, ("if-match", "*")], patch).await.json();
    assert_eq!((changed["category"].as_str(), changed["expires_on"].as_str()), (Some("work"), Some("2030-01-31")));
    assert_eq!(changed["labels"], json!([]));

    let trashed = world.call("POST", &format!("{path}/trash"), &[("if-match", "*")], "").await;
    assert_eq!((trashed.status, trashed.json()["state"].as_str()), (StatusCode::OK, Some("trashed")));
    assert_eq!((names("").await, names("?state=trashed").await), (vec!["b".to_owned()], vec!["a".to_owned()]));
    world.call("GET", &format!("{path}/content"), &[], "").await.refused(409, "trashed");
    let back = world.call("POST", &format!("{path}/restore"), &[("if-match", trashed.header("etag"))], "").await;
    assert_eq!(back.status, StatusCode::OK);
    world.call("PUT", &format!("{path}/content"), &[("if-match", "*")], "2nd").await;
    let old = world.call("POST", &format!("{path}/versions/1/restore"), &[("if-match", "*")], "").await;
    assert_eq!((old.status, old.json()["version"].as_u64()), (StatusCode::OK, Some(3)));
    assert_eq!(world.call("GET", &format!("{path}/content"), &[], "").await.body.as_ref(), b"1");
    assert_eq!(world.call("GET", "/v1/categories", &[], "").await.json()["categories"][0]["label"]["nl"], "Persoonlijk");
}

#[tokio::test]
async fn switching_shareable_off_ends_shares_and_forbids_new_ones() {
    let world = World::new().await;
    let contact = world.befriend().await;
    let path = world.upload("a", "k", b"1").await.header("location").to_owned();
    let share = world.give(&path, &contact, "now").await;
    let off = world.call("PATCH", &path, &[JSON, ("if-match", "*")], r#"{"shareable":false}"#).await;
    assert_eq!(off.status, StatusCode::OK);
    world.bob("GET", &format!("/v1/incoming/{share}"), "").await.refused(410, "share_revoked");
    let body = json!({ "shares": [{ "contact": contact, "when": "now" }] }).to_string();
    world.call("POST", &format!("{path}/shares"), &[JSON], body).await.refused(409, "not_shareable");
}

#[tokio::test]
async fn what_waits_for_a_death_is_nothing_to_its_recipient() {
    let world = World::new().await;
    let contact = world.befriend().await;
    let path = world.upload("a", "k", b"1").await.header("location").to_owned();
    let answers = async |share: &str| {
        let mut seen = Vec::new();
        for (method, uri) in [
            ("GET", "/v1/incoming".to_owned()),
            ("GET", format!("/v1/incoming/{share}")),
            ("GET", format!("/v1/incoming/{share}/content")),
            ("POST", format!("/v1/incoming/{share}/accept")),
            ("POST", format!("/v1/incoming/{share}/request-access")),
            ("POST", format!("/v1/incoming/{share}/copy")),
            ("GET", "/v1/me/history".to_owned()),
        ] {
            let reply = world.bob(method, &uri, "").await;
            let mut body = reply.json();
            for member in ["trace_id", "instance"] {
                if let Some(object) = body.as_object_mut() {
                    object.remove(member);
                }
            }
            seen.push((reply.status, body));
        }
        seen
    };
    let before = answers("01ARZ3NDEKTSV4RRFFQ69G5FAV").await;
    let share = world.give(&path, &contact, "after_death").await;
    assert_eq!(answers(&share).await, before);
    world.call("POST", "/v1/deaths", &[JSON], "{}").await.refused(403, "role");
}

#[tokio::test]
async fn a_link_opens_with_its_password_as_often_as_allowed() {
    let world = World::new().await;
    let path = world.upload("plan.txt", "k", b"the content").await.header("location").to_owned();
    let id = path.rsplit('/').next().unwrap().to_owned();
    let link = json!({ "document": id, "until": "2027-01-20T00:00:00Z", "max_opens": 1, "password": "correct horse" });
    let late = json!({ "document": id, "until": "2030-01-01T00:00:00Z" }).to_string();
    world.call("POST", "/v1/links", &[JSON], late).await.refused(422, "bad_time");
    let made = world.call("POST", "/v1/links", &[JSON], link.to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let (link, at) = (made.json()["link"]["id"].as_str().unwrap().to_owned(), format!("/v1/l/{}", made.json()["token"].as_str().unwrap()));
    let anyone = async |method: &str, uri: String, headers: &[(&str, &str)], body: &'static str| {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        world.send(request, body).await
    };
    assert_eq!(anyone("GET", at.clone(), &[], "").await.json()["needs_password"], true);
    anyone("GET", format!("{at}/content"), &[], "").await.refused(403, "open_first");
    anyone("POST", format!("{at}/open"), &[], "").await.refused(403, "wrong_password");
    anyone("POST", format!("{at}/open"), &[JSON], r#"{"password":"wrong horse"}"#).await.refused(403, "wrong_password");
    let opened = anyone("POST", format!("{at}/open"), &[JSON], r#"{"password":"correct horse"}"#).await;
    assert_eq!((opened.status, opened.json()["name"].as_str()), (StatusCode::OK, Some("plan.txt")), "{:?}", opened.body);
    let opened = opened.json()["opened"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let got = anyone("GET", format!("{at}/content"), &[("vault-opened", opened.as_str())], "").await;
        assert_eq!((got.status, got.body.as_ref()), (StatusCode::OK, &b"the content"[..]));
    }
    let mut forged = opened.clone();
    forged.replace_range(20..21, if &forged[20..21] == "A" { "B" } else { "A" });
    anyone("GET", format!("{at}/content?opened={forged}"), &[], "").await.refused(403, "open_first");
    anyone("POST", format!("{at}/open"), &[JSON], r#"{"password":"correct horse"}"#).await.refused(410, "expired");
    let listed = world.call("GET", &format!("/v1/links?document={id}"), &[], "").await.json();
    assert_eq!(listed["links"][0]["opens"].as_array().unwrap().len(), 1);
    assert_eq!(world.call("DELETE", &format!("/v1/links/{link}"), &[], "").await.status, StatusCode::NO_CONTENT);
    anyone("GET", format!("{at}/content"), &[("vault-opened", opened.as_str())], "").await.refused(410, "expired");
    anyone("GET", "/v1/l/kll_none".to_owned(), &[], "").await.refused(404, "not_found");
    let events = world.events(&path).await;
    for event in ["link.created", "link.opened", "document.read_by_link", "link.revoked"] {
        assert!(events.iter().any(|found| found == event), "{event}: {events:?}");
    }
}
