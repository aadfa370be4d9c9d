//! Promise: an owner decides per document who reads it, when and how long; nobody else reads or learns anything.
//!
//! Owns: R22 to R33, R39, K1 to K4, K6, K7 and K28 through a running cluster. Not: the state machine's own tests of
//! the same (`raft/src/apply/sharing/tests.rs`), nor how people become contacts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use kluis_tests::{Api, Cluster, ClusterOptions, Doc, content, fresh_key};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

/// The owner, two contacts of the owner's, and the notary: places among the people of [`World`].
const OWNER: usize = 0;
const FRIEND: usize = 1;
const OTHER: usize = 2;
const NOTARY: usize = 3;
/// The same as numbers of the demo's people, whose third is the notary.
const DEMO_PEOPLE: [usize; 4] = [0, 1, 3, 2];
const NOBODY: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// A person at the cluster.
struct Person {
    api: Api,
    account: String,
    vault: String,
}

struct World {
    cluster: Cluster,
    people: Vec<Person>,
    /// By what ids the owner's contacts are known to the owner: the friend's and the other's.
    friend: String,
    other: String,
}

type Answer = (StatusCode, Value);

impl Person {
    async fn at(&self, gateway: usize, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.api.request(method, gateway, path).header(header::IF_MATCH, "*").header("idempotency-key", fresh_key());
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.at(0, method, path, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Option<Value>) -> Answer {
        self.call(Method::POST, path, body).await
    }

    /// Shares with a contact; the share's id.
    async fn share(&self, document: &str, wish: Value) -> String {
        let made = self.post(&format!("/v1/documents/{document}/shares"), Some(json!({ "shares": [wish] }))).await;
        assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
        text(&made.1["shares"][0]["id"]).to_owned()
    }

    /// Shares with a contact who accepts.
    async fn given(&self, document: &str, contact: &str, to: &Person) -> String {
        let share = self.share(document, json!({ "contact": contact, "when": "now" })).await;
        ok(&to.post(&format!("/v1/incoming/{share}/accept"), None).await);
        share
    }

    async fn bytes(&self, gateway: usize, path: &str) -> (u16, Vec<u8>) {
        let answer = self.api.request(Method::GET, gateway, path).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    async fn upload(&self, query: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let request = self.api.request(Method::POST, 0, "/v1/documents").query(query).header("idempotency-key", fresh_key());
        let answer = request.body(body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn events(&self, document: &str) -> Vec<String> {
        let page = self.get(&format!("/v1/documents/{document}/history?limit=200")).await;
        page.1["events"].as_array().unwrap().iter().map(|event| text(&event["event"]).to_owned()).collect()
    }

    async fn document(&self, name: &str, bytes: usize) -> Doc {
        self.api.put(name, content(1, bytes)).await.unwrap()
    }
}

#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.0.as_u16(), answer.1["code"].as_str()), (status, Some(code)), "{}", answer.1);
}

#[track_caller]
fn ok(answer: &Answer) {
    assert!(answer.0.is_success(), "{}: {}", answer.0, answer.1);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Two people become contacts as people do: by an invitation with a code. By what id they know each other.
async fn make_contacts(a: &Person, b: &Person) -> String {
    let (status, invitation) = a.post("/v1/invitations", Some(json!({ "kind": "family", "code": true }))).await;
    assert_eq!(status, StatusCode::CREATED, "{invitation}");
    let (status, contact) = b.post("/v1/invitations/accept", Some(json!({ "code": invitation["code"] }))).await;
    assert_eq!(status, StatusCode::CREATED, "{contact}");
    text(&contact["id"]).to_owned()
}

impl World {
    async fn new() -> Self {
        let cluster = Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, ..ClusterOptions::default() });
        let mut people = Vec::new();
        for number in DEMO_PEOPLE {
            let api = Api::new(&cluster, cluster.sign_in(number));
            let me = api.me().await.unwrap();
            people.push(Person { api, account: text(&me["id"]).to_owned(), vault: text(&me["vault_id"]).to_owned() });
        }
        let friend = make_contacts(&people[OWNER], &people[FRIEND]).await;
        let other = make_contacts(&people[OWNER], &people[OTHER]).await;
        Self { cluster, people, friend, other }
    }

    fn owner(&self) -> &Person {
        &self.people[OWNER]
    }

    fn friend(&self) -> &Person {
        &self.people[FRIEND]
    }

    fn other(&self) -> &Person {
        &self.people[OTHER]
    }

    fn now(&self) -> Value {
        json!({ "contact": self.friend, "when": "now" })
    }
}

/// One cluster for all, since each takes a while to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sharing_through_a_running_cluster() {
    let world = World::new().await;
    macro_rules! steps {
        ($($step:ident,)+) => { $( $step(&world).await; println!("ok {}", stringify!($step)); )+ };
    }
    steps!(
        r22_documents_are_managed_afterwards,
        r23_shareable_is_said_at_upload,
        r24_shares_are_said_at_upload,
        r25_each_document_has_its_own_readers,
        r26_a_share_for_now_is_seen_at_once,
        r28_sharing_is_taken_back_and_given_again,
        r29_one_of_three_is_stopped,
        r30_what_was_stopped_is_gone_everywhere_at_once,
        r31_nobody_else_reads,
        r32_a_copy_is_the_recipients_own,
        r33_a_share_is_no_document_of_the_recipient,
        r39_nobody_learns_who_else_reads,
        k01_a_copy_stays_after_the_share,
        k02_the_newest_version_or_the_pinned_one_is_shown,
        k03_a_share_is_not_shared_on_but_a_copy_is,
        k04_what_was_refused_is_never_served,
        k06_not_shareable_ends_all_shares,
        k07_a_share_for_after_death_leaves_no_trace,
        r27_a_death_opens_what_waits_for_it,
        k28_a_link_is_limited_in_time_number_and_by_password,
    );
}

async fn r22_documents_are_managed_afterwards(world: &World) {
    let doc = world.owner().document("draft.txt", 100).await;
    let path = format!("/v1/documents/{}", doc.id);
    let patch = json!({ "name": "final.txt", "category": "home", "shareable": false });
    let request = world.owner().api.request(Method::PATCH, 1, &path).header(header::CONTENT_TYPE, "application/merge-patch+json");
    let changed = request.header(header::IF_MATCH, &doc.etag).body(patch.to_string()).send().await.unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
    let changed: Value = changed.json().await.unwrap();
    assert_eq!((text(&changed["name"]), text(&changed["category"]), &changed["shareable"]), ("final.txt", "home", &Value::Bool(false)));
    let request = world.owner().api.request(Method::PATCH, 2, &path).header(header::CONTENT_TYPE, "application/merge-patch+json");
    let stale = request.header(header::IF_MATCH, &doc.etag).body(patch.to_string()).send().await.unwrap();
    assert_eq!(stale.status(), StatusCode::PRECONDITION_FAILED);
    ok(&world.owner().post(&format!("{path}/trash"), None).await);
    assert!(!world.owner().get("/v1/documents").await.1.to_string().contains(&doc.id));
    assert!(world.owner().get("/v1/documents?state=trashed").await.1.to_string().contains(&doc.id));
    ok(&world.owner().post(&format!("{path}/restore"), None).await);
    assert_eq!(world.owner().api.get(&doc.id).await.unwrap(), content(1, 100));
}

async fn r23_shareable_is_said_at_upload(world: &World) {
    let (status, doc) = world.owner().upload(&[("name", "private"), ("shareable", "false")], content(2, 10)).await;
    assert_eq!((status, &doc["shareable"]), (StatusCode::CREATED, &Value::Bool(false)), "{doc}");
    let path = format!("/v1/documents/{}/shares", text(&doc["id"]));
    refused(&world.owner().post(&path, Some(json!({ "shares": [world.now()] }))).await, 409, "not_shareable");
}

async fn r24_shares_are_said_at_upload(world: &World) {
    let with = |shares: Value| (shares.to_string(), content(3, 10));
    let (shares, body) = with(json!([world.now(), { "contact": NOBODY, "when": "now" }]));
    refused(&world.owner().upload(&[("name", "r24 neither"), ("shares", &shares)], body).await, 409, "not_a_contact");
    assert!(!world.owner().get("/v1/documents").await.1.to_string().contains("r24 neither"));
    let (shares, body) = with(json!([world.now(), { "contact": world.other, "when": "now" }]));
    let (status, doc) = world.owner().upload(&[("name", "r24 both"), ("shares", &shares)], body).await;
    assert_eq!(status, StatusCode::CREATED, "{doc}");
    for reader in [world.friend(), world.other()] {
        assert!(reader.get("/v1/incoming").await.1.to_string().contains("r24 both"));
    }
}

async fn r25_each_document_has_its_own_readers(world: &World) {
    let (first, second) = (world.owner().document("r25 first", 10).await, world.owner().document("r25 second", 10).await);
    world.owner().share(&first.id, world.now()).await;
    world.owner().share(&second.id, json!({ "contact": world.other, "when": "now" })).await;
    let (friend, other) = (world.friend().get("/v1/incoming").await.1.to_string(), world.other().get("/v1/incoming").await.1.to_string());
    assert!(friend.contains("r25 first") && !friend.contains("r25 second"));
    assert!(other.contains("r25 second") && !other.contains("r25 first"));
}

async fn r26_a_share_for_now_is_seen_at_once(world: &World) {
    let doc = world.owner().document("r26", 10).await;
    let share = world.owner().share(&doc.id, world.now()).await;
    for gateway in 0..world.cluster.gateway_count() {
        let seen = world.friend().at(gateway, Method::GET, &format!("/v1/incoming/{share}"), None).await;
        assert_eq!((seen.0, text(&seen.1["name"]), text(&seen.1["state"])), (StatusCode::OK, "r26", "offered"));
    }
}

async fn r28_sharing_is_taken_back_and_given_again(world: &World) {
    let doc = world.owner().document("r28", 10).await;
    let share = world.owner().given(&doc.id, &world.friend, world.friend()).await;
    let path = format!("/v1/documents/{}/shares/{share}", doc.id);
    assert_eq!(world.owner().call(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    let again = world.owner().given(&doc.id, &world.friend, world.friend()).await;
    assert_eq!(world.friend().bytes(0, &format!("/v1/incoming/{again}/content")).await.0, 200);
    let events = world.owner().events(&doc.id).await;
    assert_eq!(events.iter().filter(|event| *event == "share.offered").count(), 2, "{events:?}");
    assert!(events.contains(&"share.revoked".to_owned()), "{events:?}");
}

async fn r29_one_of_three_is_stopped(world: &World) {
    let doc = world.owner().document("r29", 10).await;
    let first = world.owner().given(&doc.id, &world.friend, world.friend()).await;
    let second = world.owner().given(&doc.id, &world.other, world.other()).await;
    let batch = format!("/v1/documents/{}/shares/batch-revoke", doc.id);
    let (status, told) = world.owner().post(&batch, Some(json!({ "shares": [first] }))).await;
    assert_eq!((status, told), (StatusCode::OK, json!({ "revoked": [first] })));
    refused(&world.friend().get(&format!("/v1/incoming/{first}")).await, 410, "share_revoked");
    assert_eq!(world.other().bytes(0, &format!("/v1/incoming/{second}/content")).await.0, 200);
    ok(&world.owner().post(&batch, Some(json!({ "all": true }))).await);
    refused(&world.other().get(&format!("/v1/incoming/{second}/content")).await, 410, "share_revoked");
}

async fn r30_what_was_stopped_is_gone_everywhere_at_once(world: &World) {
    let bytes = 32 << 20;
    let doc = world.owner().document("r30", bytes).await;
    let share = world.owner().given(&doc.id, &world.friend, world.friend()).await;
    let path = format!("/v1/incoming/{share}/content");
    let mut running = world.friend().api.request(Method::GET, 1, &path).send().await.unwrap();
    let mut got = running.chunk().await.unwrap().unwrap().len();
    let stop = format!("/v1/documents/{}/shares/{share}", doc.id);
    assert_eq!(world.owner().call(Method::DELETE, &stop, None).await.0, StatusCode::NO_CONTENT);
    for gateway in 0..world.cluster.gateway_count() {
        let range = world.friend().api.request(Method::GET, gateway, &path).header(header::RANGE, "bytes=0-9").send().await.unwrap();
        assert_eq!(range.status(), StatusCode::GONE);
        assert_eq!(text(&range.json::<Value>().await.unwrap()["code"]), "share_revoked");
    }
    // What was on its way in buffers still arrives; the rest does not.
    let broken = loop {
        match tokio::time::timeout(Duration::from_secs(120), running.chunk()).await.expect("the download ends") {
            Ok(Some(more)) => got += more.len(),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken && got < bytes, "a running download stops: {got} of {bytes} bytes came");
}

async fn r31_nobody_else_reads(world: &World) {
    let doc = world.owner().document("r31", 10).await;
    let share = world.owner().given(&doc.id, &world.friend, world.friend()).await;
    for stranger in [world.other(), &world.people[NOTARY]] {
        for path in [
            format!("/v1/documents/{}", doc.id),
            format!("/v1/documents/{}/content", doc.id),
            format!("/v1/documents/{}/shares", doc.id),
            format!("/v1/incoming/{share}"),
            format!("/v1/incoming/{share}/content"),
        ] {
            refused(&stranger.get(&path).await, 404, "not_found");
        }
    }
    refused(&world.friend().get(&format!("/v1/documents/{}/content", doc.id)).await, 404, "not_found");
}

async fn used(person: &Person) -> (u64, u64) {
    let me = person.api.me().await.unwrap();
    (me["quota"]["used_bytes"].as_u64().unwrap(), me["documents"].as_u64().unwrap())
}

async fn r32_a_copy_is_the_recipients_own(world: &World) {
    let doc = world.owner().document("r32", 100_000).await;
    let share = world.owner().given(&doc.id, &world.friend, world.friend()).await;
    let before = used(world.friend()).await;
    let (status, copy) = world.friend().post(&format!("/v1/incoming/{share}/copy"), None).await;
    assert_eq!((status, text(&copy["origin"])), (StatusCode::CREATED, "copy"), "{copy}");
    assert_eq!(copy["copied_from"]["contact"], json!(world.friend));
    assert_eq!(used(world.friend()).await, (before.0 + 100_000, before.1 + 1));
    assert_eq!(world.friend().api.get(text(&copy["id"])).await.unwrap(), content(1, 100_000));
    assert!(world.owner().events(&doc.id).await.contains(&"share.copied".to_owned()));
}

async fn r33_a_share_is_no_document_of_the_recipient(world: &World) {
    let before = used(world.friend()).await;
    let doc = world.owner().document("r33", 100_000).await;
    world.owner().given(&doc.id, &world.friend, world.friend()).await;
    assert_eq!(used(world.friend()).await, before);
    assert!(!world.friend().get("/v1/documents").await.1.to_string().contains("r33"));
}

async fn r39_nobody_learns_who_else_reads(world: &World) {
    let seen = async |also: bool| {
        let doc = world.owner().document("r39", 10).await;
        let share = world.owner().given(&doc.id, &world.friend, world.friend()).await;
        if also {
            world.owner().given(&doc.id, &world.other, world.other()).await;
        }
        world.friend().get(&format!("/v1/incoming/{share}")).await.1
    };
    let (alone, together) = (seen(false).await, seen(true).await);
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&alone), members(&together));
    for person in [&world.other().vault, &world.other().account] {
        assert!(!together.to_string().contains(person.as_str()));
    }
    assert_eq!(alone["etag"], together["etag"], "not even a count");
}

async fn k01_a_copy_stays_after_the_share(world: &World) {
    let doc = world.owner().document("k01", 100).await;
    let share = world.owner().given(&doc.id, &world.friend, world.friend()).await;
    let (_, copy) = world.friend().post(&format!("/v1/incoming/{share}/copy"), None).await;
    let path = format!("/v1/documents/{}/shares/{share}", doc.id);
    assert!(world.owner().get(&path).await.1["copied_at"].is_string());
    ok(&world.owner().call(Method::DELETE, &path, None).await);
    refused(&world.friend().get(&format!("/v1/incoming/{share}/content")).await, 410, "share_revoked");
    assert_eq!(world.friend().api.get(text(&copy["id"])).await.unwrap(), content(1, 100));
    assert!(world.owner().get(&path).await.1["copied_at"].is_string());
    let view_only = json!({ "contact": world.other, "when": "now", "allow_copy": false });
    let share = world.owner().share(&doc.id, view_only).await;
    ok(&world.other().post(&format!("/v1/incoming/{share}/accept"), None).await);
    refused(&world.other().post(&format!("/v1/incoming/{share}/copy"), None).await, 403, "copy_not_allowed");
}

async fn k02_the_newest_version_or_the_pinned_one_is_shown(world: &World) {
    let doc = world.owner().document("k02", 100).await;
    let newest = world.owner().given(&doc.id, &world.friend, world.friend()).await;
    let pinned = world.owner().share(&doc.id, json!({ "contact": world.other, "when": "now", "pinned": true })).await;
    ok(&world.other().post(&format!("/v1/incoming/{pinned}/accept"), None).await);
    let put = world.owner().api.request(Method::PUT, 0, &format!("/v1/documents/{}/content", doc.id)).header(header::IF_MATCH, "*");
    assert_eq!(put.body(content(9, 50)).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(world.friend().bytes(1, &format!("/v1/incoming/{newest}/content")).await, (200, content(9, 50)));
    assert_eq!(world.other().bytes(2, &format!("/v1/incoming/{pinned}/content")).await, (200, content(1, 100)));
    world.owner().api.delete(&doc.id).await.unwrap();
    refused(&world.friend().get(&format!("/v1/incoming/{newest}")).await, 410, "share_revoked");
}

async fn k03_a_share_is_not_shared_on_but_a_copy_is(world: &World) {
    let doc = world.owner().document("k03", 10).await;
    let share = world.owner().given(&doc.id, &world.friend, world.friend()).await;
    let back = json!({ "shares": [{ "contact": world.friend, "when": "now" }] });
    refused(&world.friend().post(&format!("/v1/documents/{}/shares", doc.id), Some(back.clone())).await, 404, "not_found");
    let (_, copy) = world.friend().post(&format!("/v1/incoming/{share}/copy"), None).await;
    ok(&world.friend().post(&format!("/v1/documents/{}/shares", text(&copy["id"])), Some(back)).await);
}

async fn k04_what_was_refused_is_never_served(world: &World) {
    let doc = world.owner().document("k04", 10).await;
    let share = world.owner().share(&doc.id, world.now()).await;
    let path = format!("/v1/incoming/{share}");
    refused(&world.friend().get(&format!("{path}/content")).await, 403, "accept_first");
    assert_eq!(world.friend().post(&format!("{path}/refuse"), None).await.0, StatusCode::NO_CONTENT);
    refused(&world.friend().get(&format!("{path}/content")).await, 410, "share_revoked");
    let (_, owners) = world.owner().get(&format!("/v1/documents/{}/shares/{share}", doc.id)).await;
    assert_eq!(text(&owners["state"]), "refused");
    assert!(world.owner().events(&doc.id).await.contains(&"share.refused".to_owned()));
}

async fn k06_not_shareable_ends_all_shares(world: &World) {
    let doc = world.owner().document("k06", 10).await;
    let share = world.owner().given(&doc.id, &world.friend, world.friend()).await;
    world.owner().share(&doc.id, json!({ "contact": world.other, "when": "after_death" })).await;
    ok(&world.owner().call(Method::PATCH, &format!("/v1/documents/{}", doc.id), Some(json!({ "shareable": false }))).await);
    refused(&world.friend().get(&format!("/v1/incoming/{share}")).await, 410, "share_revoked");
    let (_, list) = world.owner().get(&format!("/v1/documents/{}/shares", doc.id)).await;
    assert!(list["shares"].as_array().unwrap().iter().all(|share| share["state"] == "revoked"), "{list}");
}

/// All that a recipient can be told, with what differs from request to request taken out.
async fn told(person: &Person, share: &str) -> Vec<(u16, Value)> {
    let mut all = Vec::new();
    for (method, path) in [
        (Method::GET, "/v1/incoming".to_owned()),
        (Method::GET, "/v1/incoming?limit=1".to_owned()),
        (Method::GET, "/v1/documents".to_owned()),
        (Method::GET, "/v1/me/history".to_owned()),
        (Method::GET, format!("/v1/incoming/{share}")),
        (Method::GET, format!("/v1/incoming/{share}/content")),
        (Method::POST, format!("/v1/incoming/{share}/accept")),
        (Method::POST, format!("/v1/incoming/{share}/refuse")),
        (Method::POST, format!("/v1/incoming/{share}/request-access")),
        (Method::POST, format!("/v1/incoming/{share}/copy")),
    ] {
        let (status, mut body) = person.call(method, &path, None).await;
        if let Some(members) = body.as_object_mut() {
            for member in ["trace_id", "instance"] {
                members.remove(member);
            }
        }
        // Checkpoints advance by themselves.
        for event in body["events"].as_array_mut().into_iter().flatten() {
            event["proven"] = Value::Null;
        }
        all.push((status.as_u16(), body));
    }
    all
}

async fn k07_a_share_for_after_death_leaves_no_trace(world: &World) {
    let doc = world.owner().document("k07", 10).await;
    // The friend read two own copies in steps before; such reads are recorded together, a moment later.
    let reads = async || {
        let (_, page) = world.friend().get("/v1/me/history?limit=200").await;
        page["events"].as_array().unwrap().iter().filter(|event| event["event"] == "document.read").count()
    };
    world.cluster.wait_until("the friend's reads are in the history", 60, async || reads().await >= 2).await;
    let before = told(world.friend(), NOBODY).await;
    assert!(before.iter().any(|(status, _)| *status == 200) && before.iter().any(|(status, _)| *status == 404));
    let share = world.owner().share(&doc.id, json!({ "contact": world.friend, "when": "after_death" })).await;
    assert_eq!(told(world.friend(), &share).await, before);
}

async fn r27_a_death_opens_what_waits_for_it(world: &World) {
    // The other dies: the owner lives on for the steps that follow. The two are contacts both ways.
    let (dying, heir) = (world.other(), world.owner());
    let doc = dying.document("r27 will", 100).await;
    let share = dying.share(&doc.id, json!({ "contact": world.other, "when": "after_death" })).await;
    refused(&heir.get(&format!("/v1/incoming/{share}")).await, 404, "not_found");
    let report = json!({ "account": dying.account });
    refused(&heir.post("/v1/deaths", Some(report.clone())).await, 403, "role");
    let notary = &world.people[NOTARY];
    let (status, death) = notary.post("/v1/deaths", Some(report.clone())).await;
    assert_eq!(status, StatusCode::CREATED, "{death}");
    refused(&notary.post("/v1/deaths", Some(report)).await, 409, "already_confirmed");
    ok(&heir.post(&format!("/v1/incoming/{share}/accept"), None).await);
    assert_eq!(heir.bytes(1, &format!("/v1/incoming/{share}/content")).await, (200, content(1, 100)));
    ok(&notary.post(&format!("/v1/deaths/{}/reverse", text(&death["id"])), None).await);
    assert_ne!(heir.bytes(2, &format!("/v1/incoming/{share}/content")).await.0, 200, "hidden again");
}

async fn k28_a_link_is_limited_in_time_number_and_by_password(world: &World) {
    let doc = world.owner().document("k28", 100).await;
    let soon = text(&world.owner().get("/v1/me").await.1["session"]["expires_at"]).to_owned();
    let link = json!({ "document": doc.id, "until": soon, "max_opens": 1, "password": "correct horse" });
    let far = json!({ "document": doc.id, "until": "2999-01-01T00:00:00Z" });
    refused(&world.owner().post("/v1/links", Some(far)).await, 422, "bad_time");
    let (status, made) = world.owner().post("/v1/links", Some(link)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (client, gateway) = (world.cluster.client(), world.cluster.gateway(1));
    let at = format!("{gateway}/v1/l/{}", text(&made["token"]));
    let open = async |password: &str| {
        let request = client.post(format!("{at}/open")).header(header::CONTENT_TYPE, "application/json");
        let answer = request.body(json!({ "password": password }).to_string()).send().await.unwrap();
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    refused(&open("wrong horse").await, 403, "wrong_password");
    let opened = open("correct horse").await;
    ok(&opened);
    let got = client.get(format!("{at}/content")).header("vault-opened", text(&opened.1["opened"])).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), content(1, 100));
    refused(&open("correct horse").await, 410, "expired");
    let (_, listed) = world.owner().get(&format!("/v1/links?document={}", doc.id)).await;
    assert_eq!(listed["links"][0]["opens"].as_array().unwrap().len(), 1, "{listed}");
    assert!(!listed.to_string().contains(text(&made["token"])), "a token is shown once");
    ok(&world.owner().call(Method::DELETE, &format!("/v1/links/{}", text(&made["link"]["id"])), None).await);
    let after = client.get(format!("{at}/content")).header("vault-opened", text(&opened.1["opened"])).send().await.unwrap();
    assert_eq!(after.status(), StatusCode::GONE);
}
