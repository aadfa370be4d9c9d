//! Offices over HTTP: the directory, roles, references, messages, request lists, successors.

use serde_json::json;

use super::*;
use crate::api::offices::{self, NotaryLine, OfficeLine};

const CAROL: &str = "71120496208";

fn line(number: &str, name: &str, notary: Option<(&str, bool)>, successor_of: &[&str]) -> OfficeLine {
    let notary = notary.map(|(number, suspended)| NotaryLine { name: "Nora Akte".into(), national_number: Some(number.into()), suspended });
    OfficeLine {
        register_number: number.into(),
        name: name.into(),
        address: "Kerkstraat 1, Leuven".into(),
        notaries: notary.into_iter().collect(),
        successor_of: successor_of.iter().map(ToString::to_string).collect(),
        closed: false,
    }
}

/// Bob is the notary of the first office, Carol of the second; Alice is a citizen.
struct Offices {
    world: World,
    carol: String,
    first: String,
    second: String,
}

impl Offices {
    async fn new() -> Self {
        let world = World::new().await;
        assert!(offices::import(&world.gateway, &line("BE-1", "Kantoor Één", Some((BOB, false)), &[])).await.unwrap());
        assert!(offices::import(&world.gateway, &line("BE-2", "Kantoor Twee", Some((CAROL, false)), &[])).await.unwrap());
        assert!(!offices::import(&world.gateway, &line("BE-2", "Kantoor Twee", Some((CAROL, false)), &[])).await.unwrap());
        let carol = signed_in(&world.gateway, CAROL, 3).await;
        let this = Self { world, carol, first: String::new(), second: String::new() };
        let (first, second) = (this.find("één").await, this.find("twee leuven").await);
        Self { first, second, ..this }
    }

    async fn find(&self, words: &str) -> String {
        let uri = format!("/v1/offices?q={}", percent_encoding::utf8_percent_encode(words, percent_encoding::NON_ALPHANUMERIC));
        let found = self.world.of(&self.world.token, "GET", &uri, None).await.json();
        assert_eq!(found["offices"].as_array().unwrap().len(), 1, "{words}: {found}");
        found["offices"][0]["id"].as_str().unwrap().to_owned()
    }

    /// A request of somebody for an office.
    async fn act(&self, token: &str, office: &str, method: &str, uri: &str, body: Option<Value>) -> Reply {
        self.world.with_headers(token, method, uri, &[("kluis-office", office)], body).await
    }

    /// Alice takes the first office among her contacts; the contact's id.
    async fn befriend(&self) -> String {
        let made = self.world.of(&self.world.token, "POST", "/v1/contacts", Some(json!({ "office_id": self.first }))).await;
        assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
        made.json()["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_directory_is_searched_and_offices_are_contacts_from_it() {
    let offices = Offices::new().await;
    let world = &offices.world;
    let all = world.of(&world.token, "GET", "/v1/offices", None).await.json();
    assert_eq!((all["offices"].as_array().unwrap().len(), all["more"].as_bool()), (2, Some(false)));
    assert!(world.of(&world.token, "GET", "/v1/offices?q=nobody", None).await.json()["offices"].as_array().unwrap().is_empty());
    let id = offices.befriend().await;
    let contact = world.contacts(&world.token).await.remove(0);
    assert_eq!((contact["kind"].as_str(), contact["identity"]["source"].as_str()), (Some("notary_office"), Some("office_register")));
    let theirs = offices.act(&world.other, &offices.first, "GET", "/v1/contacts", None).await.json();
    assert_eq!((theirs["contacts"][0]["id"].as_str(), theirs["contacts"][0]["name"].as_str()), (Some(id.as_str()), Some("Alice Peeters")));
    offices.act(&world.token, &offices.first, "GET", "/v1/contacts", None).await.refused(403, "role");
    offices.act(&offices.carol, &offices.first, "GET", "/v1/contacts", None).await.refused(403, "role");
    offices.act(&world.other, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "GET", "/v1/contacts", None).await.refused(403, "role");
    offices.act(&world.other, "x", "GET", "/v1/contacts", None).await.refused(400, "bad_header");
    world.of(&world.other, "GET", "/v1/office/staff", None).await.refused(400, "bad_header");
    let own = world.of(&world.other, "GET", "/v1/me/offices", None).await.json();
    assert_eq!(
        (own["offices"][0]["role"].as_str(), own["offices"][0]["office"]["id"].as_str()),
        (Some("notary"), Some(offices.first.as_str()))
    );
}

#[tokio::test]
async fn staff_act_within_their_roles() {
    let offices = Offices::new().await;
    let (world, staff) = (&offices.world, "/v1/office/staff");
    let contact = offices.befriend().await;
    let add = |role: &str| Some(json!({ "national_number": CAROL, "name": "Carol", "role": role }));
    let made = offices.act(&world.other, &offices.first, "POST", staff, add("reader")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    assert!(!String::from_utf8_lossy(&made.body).contains(CAROL));
    offices.act(&world.other, &offices.first, "POST", staff, add("clerk")).await.refused(409, "already_staff");
    offices.act(&world.other, &offices.first, "POST", staff, add("king")).await.refused(400, "bad_json");
    let path = format!("{staff}/{}", made.json()["id"].as_str().unwrap());

    let message = || Some(json!({ "contact": contact, "text": "Good day" }));
    assert_eq!(offices.act(&offices.carol, &offices.first, "GET", staff, None).await.status, StatusCode::OK);
    offices.act(&offices.carol, &offices.first, "POST", "/v1/messages/threads", message()).await.refused(403, "role");
    offices.act(&offices.carol, &offices.first, "POST", staff, add("notary")).await.refused(403, "role");
    offices.act(&offices.carol, &offices.first, "PATCH", &path, Some(json!({ "role": "notary" }))).await.refused(403, "role");
    let clerk = offices.act(&world.other, &offices.first, "PATCH", &path, Some(json!({ "role": "clerk" }))).await.json();
    assert_eq!(clerk["role"], "clerk");
    assert_eq!(offices.act(&offices.carol, &offices.first, "POST", "/v1/messages/threads", message()).await.status, StatusCode::CREATED);
    assert_eq!(offices.act(&world.other, &offices.first, "DELETE", &path, None).await.status, StatusCode::NO_CONTENT);
    offices.act(&offices.carol, &offices.first, "GET", staff, None).await.refused(403, "role");
    let list = offices.act(&world.other, &offices.first, "GET", staff, None).await.json();
    let last = format!("{staff}/{}", list["staff"][0]["id"].as_str().unwrap());
    offices.act(&world.other, &offices.first, "DELETE", &last, None).await.refused(409, "last_notary");
}

#[tokio::test]
async fn a_thread_is_read_by_both_and_by_nobody_else() {
    let offices = Offices::new().await;
    let (world, threads) = (&offices.world, "/v1/messages/threads");
    let contact = offices.befriend().await;
    let text = "Ik heb een vraag.\nWanneer kan ik komen?";
    let made = world.of(&world.token, "POST", threads, Some(json!({ "contact": contact, "text": text }))).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let path = format!("{threads}/{}", made.json()["id"].as_str().unwrap());
    let seen = offices.act(&world.other, &offices.first, "GET", &path, None).await.json();
    assert_eq!(
        (seen["messages"][0]["text"].as_str(), seen["messages"][0]["own"].as_bool(), seen["thread"]["unread"].as_u64()),
        (Some(text), Some(false), Some(1))
    );
    let body = Some(json!({ "contact": contact, "text": "Morgen." }));
    let answer = offices.act(&world.other, &offices.first, "POST", threads, body).await;
    assert_eq!((answer.json()["id"].as_str(), answer.json()["messages"].as_u64()), (made.json()["id"].as_str(), Some(2)));
    let mine = world.of(&world.token, "GET", &format!("{path}?limit=1"), None).await.json();
    assert_eq!((mine["messages"][0]["text"].as_str(), mine["thread"]["unread"].as_u64()), (Some("Morgen."), Some(1)));
    let next = world.of(&world.token, "GET", &format!("{path}?cursor={}", mine["next"].as_str().unwrap()), None).await.json();
    assert_eq!(next["messages"][0]["text"], text);
    let read = world.of(&world.token, "POST", &format!("{path}/read"), Some(json!({ "number": 2 }))).await.json();
    assert_eq!(read["unread"], 0);
    world.of(&offices.carol, "GET", &path, None).await.refused(404, "not_found");
    offices.act(&offices.carol, &offices.second, "GET", &path, None).await.refused(404, "not_found");
    world.of(&world.token, "POST", threads, Some(json!({ "contact": contact, "text": "" }))).await.refused(400, "bad_json");
}

#[tokio::test]
async fn an_office_asks_for_documents() {
    let offices = Offices::new().await;
    let (world, requests) = (&offices.world, "/v1/office/requests");
    let contact = offices.befriend().await;
    let ask = json!({ "contact": contact, "title": "Sale of the house", "items": ["Identity card", "Soil certificate"] });
    let made = offices.act(&world.other, &offices.first, "POST", requests, Some(ask)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let mine = world.of(&world.token, "GET", "/v1/requests", None).await.json()["requests"][0].clone();
    assert_eq!((mine["title"].as_str(), mine["items"][1]["text"].as_str()), (Some("Sale of the house"), Some("Soil certificate")));
    assert_eq!((&mine["id"], mine["arrived"].as_u64()), (&made.json()["id"], Some(0)));
    let id = mine["id"].as_str().unwrap();
    let document = world.upload("id.txt", "k", b"x").await.json()["id"].clone();
    let arrival = Some(json!({ "item": 0, "document": document }));
    world.of(&world.token, "POST", &format!("/v1/requests/{id}/arrivals"), arrival).await.refused(409, "not_shared");
    let closed = offices.act(&world.other, &offices.first, "POST", &format!("{requests}/{id}/close"), None).await.json();
    assert!(closed["closed_at"].is_string());
    let none = json!({ "contact": contact, "title": "x", "items": [] });
    offices.act(&world.other, &offices.first, "POST", requests, Some(none)).await.refused(400, "bad_json");
}

#[tokio::test]
async fn a_reference_follows_the_successor_and_suspension_is_at_once() {
    let offices = Offices::new().await;
    let (world, reference) = (&offices.world, "/v1/me/reference-office");
    world.of(&world.token, "GET", reference, None).await.refused(404, "not_found");
    let name = |office: &str| Some(json!({ "office_id": office }));
    assert_eq!(world.of(&world.token, "PUT", reference, name(&offices.first)).await.json()["office"]["name"], "Kantoor Één");
    let theirs = offices.act(&world.other, &offices.first, "GET", "/v1/contacts", None).await.json();
    assert!(theirs["contacts"].as_array().unwrap().is_empty(), "the office that was named sees nothing");

    offices::import(&world.gateway, &line("BE-2", "Kantoor Twee", None, &["BE-1"])).await.unwrap();
    assert_eq!(world.of(&world.token, "GET", reference, None).await.json()["office"]["id"], offices.second.as_str());
    let first = world.of(&world.token, "GET", &format!("/v1/offices/{}", offices.first), None).await.json();
    assert_eq!((first["state"].as_str(), first["successor"].as_str()), (Some("merged"), Some(offices.second.as_str())));
    offices.act(&world.other, &offices.first, "GET", "/v1/contacts", None).await.refused(403, "role");
    assert_eq!(offices.act(&offices.carol, &offices.first, "GET", "/v1/contacts", None).await.status, StatusCode::OK);
    world.of(&world.token, "PUT", reference, name(&offices.first)).await.refused(422, "office_inactive");
    assert_eq!(world.of(&world.token, "DELETE", reference, None).await.status, StatusCode::NO_CONTENT);

    offices::import(&world.gateway, &line("BE-2", "Kantoor Twee", Some((CAROL, true)), &[])).await.unwrap();
    offices.act(&offices.carol, &offices.second, "GET", "/v1/contacts", None).await.refused(403, "role");
}
