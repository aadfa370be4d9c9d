//! Promise: people and offices know each other by agreement and by proof, and part at once.
//!
//! Owns: R4, R8, R9, R11 to R13, R15, R16, R36, K5 and K22 as far as they concern contacts, offices and messages, through a
//! running cluster. Not: shares between contacts (the tests of sharing), codes of every refusal (beside the gateway).
//! Holds: every step asks another gateway than the one that took the change, so an answer is the cluster's.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use kluis_tests::{Cluster, ClusterOptions};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const OFFICE: &str = "kluis-office";

struct World {
    cluster: Cluster,
    anna: String,
    bram: String,
    nora: String,
    chloe: String,
    table: Vec<(&'static str, &'static str)>,
}

impl World {
    fn new() -> Self {
        let cluster = Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, ..ClusterOptions::default() });
        let [anna, bram, nora, chloe] = [0, 1, 2, 3].map(|person| cluster.sign_in(person));
        Self { cluster, anna, bram, nora, chloe, table: Vec::new() }
    }

    async fn at(&self, gateway: usize, token: &str, office: Option<&str>, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.cluster.client().request(method, format!("{}{path}", self.cluster.gateway(gateway))).bearer_auth(token);
        if let Some(office) = office {
            request = request.header(OFFICE, office);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    /// A change, by the first gateway.
    async fn change(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.at(0, token, None, method, path, body).await
    }

    /// A look, by the last gateway.
    async fn look(&self, token: &str, path: &str) -> (u16, Value) {
        self.at(2, token, None, Method::GET, path, None).await
    }

    async fn contacts(&self, token: &str) -> Vec<Value> {
        self.look(token, "/v1/contacts").await.1["contacts"].as_array().unwrap().clone()
    }

    async fn code(&self, token: &str, kind: &str) -> String {
        let (status, made) = self.change(token, Method::POST, "/v1/invitations", Some(json!({ "kind": kind, "code": true }))).await;
        assert_eq!(status, 201, "{made}");
        text(&made["code"]).to_owned()
    }

    async fn accept(&self, token: &str, code: &str) -> (u16, Value) {
        self.at(1, token, None, Method::POST, "/v1/invitations/accept", Some(json!({ "code": code }))).await
    }

    async fn office(&self, words: &str) -> Value {
        let (status, found) = self.look(&self.anna, &format!("/v1/offices?q={words}")).await;
        assert_eq!((status, found["offices"].as_array().unwrap().len()), (200, 1), "{found}");
        found["offices"][0].clone()
    }

    /// `kluis office import` of these lines.
    fn import(&self, lines: &[Value]) -> std::process::Output {
        let file = self.cluster.path().join("register.jsonl");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&file, text).unwrap();
        self.cluster.kluis(&["office", "import", "--dir", &self.cluster.path().display().to_string(), &file.display().to_string()])
    }

    fn done(&mut self, step: &'static str, what: &'static str) {
        self.table.push((step, what));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[track_caller]
fn refused(answer: &(u16, Value), status: u16, code: &str) {
    assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)), "{}", answer.1);
}

fn line(number: &str, name: &str) -> Value {
    json!({ "register_number": number, "name": name, "address": "Kerkstraat 1, 3000 Leuven" })
}

/// One cluster for all, since each takes a while to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_and_offices_through_a_running_cluster() {
    let mut world = World::new();
    r08_two_become_contacts_by_one_acceptance(&mut world).await;
    r04_an_identity_is_proved_and_not_edited(&mut world).await;
    r09_kinds_are_a_closed_list(&mut world).await;
    r12_every_office_of_the_register_has_a_vault_and_is_found(&mut world).await;
    r13_a_person_and_an_office_write_to_each_other(&mut world).await;
    r36_an_office_asks_for_documents(&mut world).await;
    r15_a_reference_office_is_named_and_changed(&mut world).await;
    r16_the_reference_office_sees_nothing(&mut world).await;
    r11_contacts_are_renamed_blocked_and_removed(&mut world).await;
    k05_a_contact_that_ends_ends_for_both(&mut world).await;
    k22_a_successor_takes_over_at_once(&mut world).await;
    for (step, what) in &world.table {
        println!("{step:<4} {what}");
    }
    assert_eq!(world.table.len(), 11);
}

async fn r08_two_become_contacts_by_one_acceptance(world: &mut World) {
    let code = world.code(&world.anna, "family").await;
    refused(&world.accept(&world.anna, &code).await, 409, "self_invite");
    assert!(world.contacts(&world.anna).await.is_empty() && world.contacts(&world.bram).await.is_empty());
    let (status, contact) = world.accept(&world.bram, &code).await;
    assert_eq!((status, text(&contact["name"])), (201, "Anna Proefpersoon"));
    let (mine, yours) = (world.contacts(&world.anna).await, world.contacts(&world.bram).await);
    assert_eq!((text(&mine[0]["name"]), text(&yours[0]["name"])), ("Bram Voorbeeld", "Anna Proefpersoon"));
    assert_eq!((&mine[0]["id"], &yours[0]["id"]), (&contact["id"], &contact["id"]));
    refused(&world.accept(&world.chloe, &code).await, 410, "expired");
    world.done("R8", "both list each other after one acceptance");
}

async fn r04_an_identity_is_proved_and_not_edited(world: &mut World) {
    let contact = world.contacts(&world.anna).await.remove(0);
    let path = format!("/v1/contacts/{}", text(&contact["id"]));
    let (_, shown) = world.look(&world.anna, &path).await;
    assert_eq!((text(&shown["identity"]["name"]), text(&shown["identity"]["source"])), ("Bram Voorbeeld", "itsme"));
    assert!(shown["identity"]["verified_at"].is_string());
    let edit = Some(json!({ "name": "x", "identity": { "name": "Somebody Else" } }));
    refused(&world.change(&world.anna, Method::PATCH, &path, edit).await, 400, "bad_json");
    assert_eq!(world.look(&world.anna, &path).await.1["identity"], shown["identity"]);
    world.done("R4", "legal name with source and time; nobody edits it");
}

async fn r09_kinds_are_a_closed_list(world: &mut World) {
    for kind in ["parent", "child", "family", "business_agent", "trusted_person"] {
        let (status, made) = world.change(&world.chloe, Method::POST, "/v1/invitations", Some(json!({ "kind": kind, "code": true }))).await;
        assert_eq!(status, 201, "{kind}");
        let path = format!("/v1/invitations/{}", text(&made["id"]));
        assert_eq!(world.change(&world.chloe, Method::DELETE, &path, None).await.0, 204);
    }
    let invite = |kind: &str| Some(json!({ "kind": kind, "code": true }));
    refused(&world.change(&world.chloe, Method::POST, "/v1/invitations", invite("enemy")).await, 400, "bad_json");
    refused(&world.change(&world.chloe, Method::POST, "/v1/invitations", invite("notary_office")).await, 422, "unprocessable");
    world.done("R9", "five kinds are invited; offices come from the directory");
}

async fn r12_every_office_of_the_register_has_a_vault_and_is_found(world: &mut World) {
    let lines: Vec<Value> = (0..25).map(|n| line(&format!("BE-{n}"), &format!("Kantoor Nummer{n}"))).collect();
    for wanted in ["25 offices are new, 0 were known", "0 offices are new, 25 were known"] {
        let output = world.import(&lines);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), wanted);
    }
    let bad = world.import(&[line("BE-90", "Kantoor Negentig"), json!({ "name": "no number" })]);
    assert!(!bad.status.success() && String::from_utf8_lossy(&bad.stderr).contains("line 2"));
    let (_, none) = world.look(&world.anna, "/v1/offices?q=negentig").await;
    assert!(none["offices"].as_array().unwrap().is_empty(), "a register is taken in whole");
    assert_eq!(text(&world.office("nummer17").await["register_number"]), "BE-17");
    world.done("R12", "the register is imported, twice the same; offices are found");
}

async fn r13_a_person_and_an_office_write_to_each_other(world: &mut World) {
    let office = text(&world.office("akte").await["id"]).to_owned();
    let (status, contact) = world.change(&world.anna, Method::POST, "/v1/contacts", Some(json!({ "office_id": office }))).await;
    assert_eq!((status, text(&contact["kind"])), (201, "notary_office"), "{contact}");
    let write = |words: &str| Some(json!({ "contact": contact["id"], "text": words }));
    let (status, thread) = world.change(&world.anna, Method::POST, "/v1/messages/threads", write("a question")).await;
    assert_eq!(status, 201, "{thread}");
    let answered = world.at(1, &world.nora, Some(&office), Method::POST, "/v1/messages/threads", write("an answer")).await;
    assert_eq!((answered.0, &answered.1["id"]), (201, &thread["id"]), "{}", answered.1);
    let path = format!("/v1/messages/threads/{}", text(&thread["id"]));
    let theirs = world.at(2, &world.nora, Some(&office), Method::GET, &path, None).await.1;
    for (side, own) in [(world.look(&world.anna, &path).await.1, [false, true]), (theirs, [true, false])] {
        let messages: Vec<(&str, bool)> =
            side["messages"].as_array().unwrap().iter().map(|m| (text(&m["text"]), m["own"].as_bool().unwrap())).collect();
        assert_eq!(messages, [("an answer", own[0]), ("a question", own[1])]);
    }
    refused(&world.look(&world.bram, &path).await, 404, "not_found");
    refused(&world.at(2, &world.bram, Some(&office), Method::GET, &path, None).await, 403, "role");
    world.done("R13", "person and office read both messages, and nobody else any");
}

async fn r36_an_office_asks_for_documents(world: &mut World) {
    let office = text(&world.office("akte").await["id"]).to_owned();
    let contacts = world.at(2, &world.nora, Some(&office), Method::GET, "/v1/contacts", None).await.1;
    let ask =
        json!({ "contact": contacts["contacts"][0]["id"], "title": "before the deed", "items": ["soil certificate", "energy label"] });
    let (status, made) = world.at(0, &world.nora, Some(&office), Method::POST, "/v1/office/requests", Some(ask)).await;
    assert_eq!((status, made["arrived"].as_u64()), (201, Some(0)), "{made}");
    let mine = world.look(&world.anna, "/v1/requests").await.1["requests"][0].clone();
    assert_eq!((text(&mine["title"]), text(&mine["items"][0]["text"])), ("before the deed", "soil certificate"));
    let theirs = world.at(2, &world.nora, Some(&office), Method::GET, "/v1/office/requests", None).await.1;
    assert_eq!((&theirs["requests"][0]["id"], theirs["requests"][0]["items"].as_array().unwrap().len()), (&mine["id"], 2));
    world.done("R36", "an office's list stands at both sides, with what arrived");
}

async fn r15_a_reference_office_is_named_and_changed(world: &mut World) {
    let path = "/v1/me/reference-office";
    refused(&world.look(&world.chloe, path).await, 404, "not_found");
    for words in ["nummer3", "akte"] {
        let office = world.office(words).await;
        let named = world.change(&world.chloe, Method::PUT, path, Some(json!({ "office_id": office["id"] }))).await;
        assert_eq!((named.0, &named.1["office"]["id"]), (200, &office["id"]), "{}", named.1);
        assert_eq!(world.look(&world.chloe, path).await.1["office"]["id"], office["id"]);
    }
    assert_eq!(world.change(&world.chloe, Method::DELETE, path, None).await.0, 204);
    refused(&world.look(&world.chloe, path).await, 404, "not_found");
    world.done("R15", "none, named, changed, taken back");
}

async fn r16_the_reference_office_sees_nothing(world: &mut World) {
    let office = world.office("akte").await;
    let id = text(&office["id"]).to_owned();
    let before = world.at(2, &world.nora, Some(&id), Method::GET, "/v1/contacts", None).await.1;
    let named = world.change(&world.chloe, Method::PUT, "/v1/me/reference-office", Some(json!({ "office_id": id }))).await;
    assert_eq!(named.0, 200);
    for path in ["/v1/contacts", "/v1/messages/threads", "/v1/office/requests"] {
        let seen = world.at(2, &world.nora, Some(&id), Method::GET, path, None).await;
        assert_eq!(seen.0, StatusCode::OK.as_u16());
        assert!(!seen.1.to_string().contains("Chloé"), "{path}: {}", seen.1);
    }
    let after = world.at(2, &world.nora, Some(&id), Method::GET, "/v1/contacts", None).await.1;
    assert_eq!(before["contacts"], after["contacts"]);
    world.done("R16", "naming an office shows it nothing");
}

async fn r11_contacts_are_renamed_blocked_and_removed(world: &mut World) {
    let contact = world.contacts(&world.bram).await.remove(0);
    let path = format!("/v1/contacts/{}", text(&contact["id"]));
    let client = world.cluster.client();
    let rename =
        client.patch(format!("{}{path}", world.cluster.gateway(0))).bearer_auth(&world.bram).header("if-match", text(&contact["etag"]));
    let renamed = rename.header("content-type", "application/json").body(json!({ "name": "Mum" }).to_string()).send().await.unwrap();
    assert_eq!(renamed.status(), StatusCode::OK);
    assert_eq!(text(&world.contacts(&world.bram).await[0]["name"]), "Mum");
    assert_eq!(world.change(&world.bram, Method::POST, &format!("{path}/block"), None).await.0, 204);
    assert!(world.contacts(&world.bram).await.is_empty());
    let code = world.code(&world.anna, "family").await;
    let blocked = world.accept(&world.bram, &code).await;
    refused(&blocked, 410, "expired");
    assert_eq!(world.change(&world.bram, Method::POST, &format!("{path}/unblock"), None).await.0, 204);
    assert_eq!(world.accept(&world.bram, &code).await.0, 201);
    world.done("R11", "renamed for oneself, blocked, unblocked, invited again");
}

async fn k05_a_contact_that_ends_ends_for_both(world: &mut World) {
    let contact = world.contacts(&world.bram).await.remove(0);
    let path = format!("/v1/contacts/{}", text(&contact["id"]));
    assert_eq!(world.change(&world.bram, Method::DELETE, &path, None).await.0, 204);
    for token in [&world.anna, &world.bram] {
        refused(&world.look(token, &path).await, 404, "not_found");
    }
    refused(&world.change(&world.bram, Method::DELETE, &path, None).await, 404, "not_found");
    world.done("K5", "removed by one, gone for both");
}

async fn k22_a_successor_takes_over_at_once(world: &mut World) {
    let (old, new) = (world.office("akte").await, world.office("nummer9").await);
    let (old_id, new_id) = (text(&old["id"]).to_owned(), text(&new["id"]).to_owned());
    let bram = world.cluster.national_number(1);
    let mut takes = line("BE-9", "Kantoor Nummer9");
    takes["notaries"] = json!([{ "name": "Bram Voorbeeld", "national_number": bram }]);
    takes["successor_of"] = json!([old["register_number"]]);
    let output = world.import(std::slice::from_ref(&takes));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.look(&world.chloe, "/v1/me/reference-office").await.1["office"]["id"], new_id.as_str());
    refused(&world.at(2, &world.nora, Some(&old_id), Method::GET, "/v1/contacts", None).await, 403, "role");
    let (status, taken) = world.at(2, &world.bram, Some(&old_id), Method::GET, "/v1/contacts", None).await;
    assert_eq!((status, text(&taken["contacts"][0]["name"])), (200, "Anna Proefpersoon"), "the vault is the successor's");

    takes["notaries"][0]["suspended"] = true.into();
    assert!(world.import(&[takes]).status.success());
    for office in [&old_id, &new_id] {
        refused(&world.at(1, &world.bram, Some(office), Method::GET, "/v1/contacts", None).await, 403, "role");
    }
    world.done("K22", "vault and references move; the old staff and the suspended are refused at once");
}
