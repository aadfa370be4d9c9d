//! Notices, settings and webhooks through the API, over a state machine in memory.

use serde_json::json;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");

impl World {
    async fn send_json(&self, method: &str, uri: &str, etag: Option<&str>, body: Value) -> Reply {
        let headers: Vec<(&str, &str)> = [JSON].into_iter().chain(etag.map(|etag| ("if-match", etag))).collect();
        self.call(method, uri, &headers, body.to_string()).await
    }

    /// A document is stored and deleted: its erasure is told.
    async fn erase_one(&self, key: &str) {
        let made = self.upload("x", key, b"x").await.json();
        let uri = format!("/v1/documents/{}", made["id"].as_str().unwrap());
        assert_eq!(self.call("DELETE", &uri, &[("if-match", "*")], "").await.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn notices_are_listed_in_pages_and_read() {
    let world = World::new().await;
    for key in ["a", "b", "c"] {
        world.erase_one(key).await;
    }
    let first = world.call("GET", "/v1/notifications?limit=2", &[], "").await.json();
    assert_eq!((first["unread"].as_u64(), first["notifications"].as_array().unwrap().len()), (Some(3), 2));
    assert_eq!(first["notifications"][0]["type"], "erasure.done");
    assert_eq!(first["notifications"][0]["read_at"], Value::Null);
    let next = first["next"].as_str().unwrap();
    let second = world.call("GET", &format!("/v1/notifications?limit=2&cursor={next}"), &[], "").await.json();
    assert_eq!((second["notifications"].as_array().unwrap().len(), second.get("next")), (1, None));

    let newest = first["notifications"][0]["id"].as_str().unwrap();
    assert_eq!(world.call("POST", &format!("/v1/notifications/{newest}/read"), &[], "").await.status, StatusCode::NO_CONTENT);
    let older = first["notifications"][1]["id"].as_str().unwrap();
    assert_eq!(world.send_json("POST", "/v1/notifications/read-all", None, json!({ "until": older })).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.call("GET", "/v1/notifications", &[], "").await.json()["unread"], 0);
    let bob = Request::builder().method("POST").uri(format!("/v1/notifications/{newest}/read"));
    world.send(bob.header("authorization", format!("Bearer {}", world.other)), "").await.refused(404, "not_found");
}

#[tokio::test]
async fn settings_are_changed_by_who_saw_them() {
    let world = World::new().await;
    let seen = world.call("GET", "/v1/notification-settings", &[], "").await;
    let (etag, before) = (seen.header("etag").to_owned(), seen.json());
    assert_eq!(before["channels"]["erasure.done"], json!({ "mail": false, "webhook": true }));
    let wanted = json!({ "channels": { "erasure.done": { "mail": true, "webhook": false } } });
    world.send_json("PUT", "/v1/notification-settings", None, wanted.clone()).await.refused(428, "precondition_required");
    let unknown = json!({ "channels": { "erasure.undone": { "mail": true, "webhook": false } } });
    world.send_json("PUT", "/v1/notification-settings", Some(&etag), unknown).await.refused(400, "bad_json");
    let after = world.send_json("PUT", "/v1/notification-settings", Some(&etag), wanted.clone()).await;
    assert_eq!(after.json()["channels"]["erasure.done"], json!({ "mail": true, "webhook": false }));
    assert_ne!(after.header("etag"), etag);
    world.send_json("PUT", "/v1/notification-settings", Some(&etag), wanted).await.refused(412, "precondition_failed");
}

#[tokio::test]
async fn language_and_address() {
    let world = World::new().await;
    world.send_json("PATCH", "/v1/me", None, json!({ "email": "alice@example.org" })).await.refused(409, "mail_off");
    world.send_json("PATCH", "/v1/me", None, json!({ "email": "alice" })).await.refused(400, "bad_json");
    world.send_json("PATCH", "/v1/me", None, json!({ "lang": "it" })).await.refused(400, "bad_json");
    let contact = world.send_json("PATCH", "/v1/me", None, json!({ "lang": "de", "email": null })).await.json();
    assert_eq!(contact, json!({ "email": null, "email_pending": null, "lang": "de" }));
    assert_eq!(world.call("GET", "/v1/me", &[], "").await.json()["contact"]["lang"], "de");
    world.send_json("POST", "/v1/me/email/verify", None, json!({ "code": "12345678" })).await.refused(410, "code_expired");
    world.send_json("POST", "/v1/me/email/verify", None, json!({ "code": "1234" })).await.refused(400, "bad_json");
    world.erase_one("a").await;
    let told = world.call("GET", "/v1/notifications", &[], "").await.json();
    assert_eq!(told["notifications"][0]["title"], "Ein Dokument wurde endg\u{fc}ltig gel\u{f6}scht");
}

#[tokio::test]
async fn webhooks_are_made_shown_changed_tried_and_deleted() {
    let world = World::new().await;
    let made = world.send_json("POST", "/v1/webhooks", None, json!({ "url": "https://hooks.example.org/a" })).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let made = made.json();
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let uri = format!("/v1/webhooks/{}", made["webhook"]["id"].as_str().unwrap());
    let seen = world.call("GET", &uri, &[], "").await;
    assert_eq!(seen.json()["url"], "https://hooks.example.org/a");
    assert!(!seen.body.escape_ascii().to_string().contains("whsec_"), "the secret is shown once");

    let etag = seen.header("etag").to_owned();
    world.send_json("PATCH", &uri, None, json!({ "enabled": false })).await.refused(428, "precondition_required");
    world.send_json("PATCH", &uri, Some(&etag), json!({ "url": "https://10.0.0.1/" })).await.refused(422, "url_refused");
    let changed = world.send_json("PATCH", &uri, Some(&etag), json!({ "enabled": false })).await.json();
    assert_eq!(changed["enabled"], false);
    world.erase_one("a").await;
    assert_eq!(world.call("POST", &format!("{uri}/test"), &[], "").await.status, StatusCode::ACCEPTED);
    let waiting = world.call("GET", &format!("{uri}/deliveries"), &[], "").await.json();
    let kinds: Vec<&str> = waiting["deliveries"].as_array().unwrap().iter().map(|delivery| delivery["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["webhook.test"], "what is switched off is told nothing but a test");
    assert_eq!(waiting["deliveries"][0]["state"], "waiting");

    let bob = Request::builder().method("DELETE").uri(&uri).header("authorization", format!("Bearer {}", world.other));
    world.send(bob, "").await.refused(404, "not_found");
    assert_eq!(world.call("DELETE", &uri, &[], "").await.status, StatusCode::NO_CONTENT);
    world.call("GET", &uri, &[], "").await.refused(404, "not_found");
    for n in 0..5 {
        let url = format!("https://hooks.example.org/{n}");
        assert_eq!(world.send_json("POST", "/v1/webhooks", None, json!({ "url": url })).await.status, StatusCode::CREATED);
    }
    let sixth = world.send_json("POST", "/v1/webhooks", None, json!({ "url": "https://hooks.example.org/6" })).await;
    sixth.refused(409, "too_many_webhooks");
}

#[tokio::test]
async fn webhooks_to_addresses_inside_are_refused() {
    let world = World::new().await;
    for url in [
        "http://hooks.example.org/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:127.0.0.1]/",
        "https://2852039166/",
        "file:///etc/passwd",
        "https://user@hooks.example.org/",
    ] {
        world.send_json("POST", "/v1/webhooks", None, json!({ "url": url })).await.refused(422, "url_refused");
    }
    assert_eq!(world.call("GET", "/v1/webhooks", &[], "").await.json(), json!({ "webhooks": [] }));
}
