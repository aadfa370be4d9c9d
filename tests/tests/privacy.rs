//! Promise: people find, see, take along and erase what is theirs, and nobody learns of what is another's.
//!
//! Owns: R7, R18, R19, R21, R35, R66 to R70, R73 to R75 and K29 through a running cluster, and that another's thing, a
//! missing one get one and the same answer. Not: search, export and rates as rules (beside their
//! code), sharing itself (`tests/tests/sharing.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use kluis_gateway::{api::access::ROUTES, keys::DocumentKey, keys::SecretKey, seal::ChunkSealer};
use kluis_tests::{
    Api, Cluster, ClusterOptions,
    card::{CardAuthority, Flaw},
    content, fresh_key,
    program::{run, said},
};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

static AUTHORITY: LazyLock<CardAuthority> = LazyLock::new(CardAuthority::default);

struct World {
    cluster: Cluster,
    alice: Api,
    bob: Api,
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
            setting("lists", AUTHORITY.lists(&[])),
            // Small files, for all of them are searched.
            ("KLUIS_STORAGE_SEGMENT_BYTES".to_owned(), "16 MiB".to_owned()),
        ];
        let cluster =
            Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, quota: None, env, ..ClusterOptions::default() });
        let (alice, bob) = (Api::new(&cluster, cluster.sign_in(0)), Api::new(&cluster, cluster.sign_in(1)));
        Self { cluster, alice, bob, _files: files }
    }

    /// Signs a person in with a card, or raises the session of `token`; the answer.
    async fn with_card(&self, serial: u64, person: usize, token: Option<&str>) -> Value {
        let gateway = self.cluster.gateway(0);
        let mut request = self.cluster.client().post(format!("{gateway}/v1/auth/eid/start")).header(header::ACCEPT, "application/json");
        if let Some(token) = token {
            request = request.query(&[("step_up", "true")]).bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let challenge: Value = answer.json().await.unwrap();
        let card = AUTHORITY.card(serial, &self.cluster.national_number(person), Flaw::None);
        let body = json!({ "state": challenge["state"], "token": card.token(&gateway, challenge["nonce"].as_str().unwrap()) });
        let request = self.cluster.client().post(format!("{gateway}/v1/auth/eid/callback")).header(header::COOKIE, cookie);
        let answer = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null)
    }
}

async fn call(api: &Api, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let mut request = api.request(method, 0, path);
    if let Some(body) = body {
        request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
}

async fn read(api: &Api, path: &str) -> Value {
    let (status, body) = call(api, Method::GET, path, None).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

/// Stores a document with attributes.
async fn put_with(api: &Api, query: &[(&str, &str)], body: Vec<u8>) -> (StatusCode, Value) {
    let request = api.request(Method::POST, 0, "/v1/documents").query(query).header("Idempotency-Key", fresh_key());
    let answer = request.header(header::CONTENT_TYPE, "text/plain").body(body).send().await.unwrap();
    let status = answer.status();
    (status, answer.json().await.unwrap())
}

fn names(page: &Value) -> Vec<String> {
    page["documents"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect()
}

/// One cluster for all, since each takes a while to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privacy_through_a_running_cluster() {
    let world = World::new();
    r07_nothing_costs_money_and_nothing_loads_from_elsewhere(&world).await;
    r18_every_type_of_document_is_taken(&world).await;
    r21_everything_is_found_among_many(&world).await;
    r35_there_is_advice_on_eight_kinds_of_documents(&world).await;
    r66_a_document_is_cut_into_pieces(&world).await;
    r67_each_piece_is_sealed_by_itself(&world).await;
    r68_no_two_pieces_of_a_chunk_share_a_disk(&world).await;
    r69_a_document_lies_at_three_sites(&world).await;
    another_s_thing_and_a_missing_one_are_one_answer(&world).await;
    r73_everything_can_be_taken_along_and_checked_without_the_service(&world).await;
    r74_what_happens_with_data_is_told_in_four_languages(&world).await;
    r19_a_full_vault_takes_not_a_byte_more(&world).await;
    k29_a_closed_vault_is_erased_with_a_receipt(&world).await;
    r70_everything_goes_on_without_a_site(&world).await;
}

async fn r07_nothing_costs_money_and_nothing_loads_from_elsewhere(world: &World) {
    let contract = read(&world.alice, "/v1/openapi.json").await;
    for path in contract["paths"].as_object().unwrap().keys() {
        assert!(!["pay", "invoice", "price", "subscription/"].iter().any(|word| path.contains(word)), "{path}");
    }
    let page = world.cluster.client().get(format!("{}/", world.cluster.gateway(0))).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{policy}");
}

async fn r18_every_type_of_document_is_taken(world: &World) {
    for doc_type in ["deed", "contract", "diploma", "will", "tax", "bank_statement", "payslip"] {
        let name = format!("sample {doc_type}.txt");
        let (status, body) = put_with(&world.alice, &[("name", &name), ("doc_type", doc_type)], b"content".to_vec()).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        assert_eq!(body["doc_type"], doc_type, "{body}");
    }
}

async fn r21_everything_is_found_among_many(world: &World) {
    for number in 0..300 {
        let category = if number % 10 == 0 { "home" } else { "finance" };
        let labels = if number % 100 == 0 { "Oud Huis" } else { "" };
        let name = format!("Facture électricité {number}.txt");
        let mut query = vec![("name", name.as_str()), ("category", category)];
        if !labels.is_empty() {
            query.push(("labels", labels));
        }
        let (status, body) = put_with(&world.alice, &query, b"x".to_vec()).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
    }
    // Each gateway keeps an index of its own.
    for gateway in 0..world.cluster.gateway_count() {
        let api = world.alice.at(gateway);
        assert_eq!(names(&read(&api, "/v1/search?q=ELECTRICITE+299").await), ["Facture électricité 299.txt"]);
        let page = read(&api, "/v1/search?q=fact&category=home&limit=20").await;
        assert_eq!((page["total"].as_u64(), names(&page).len()), (Some(30), 20));
        let next = page["next"].as_str().unwrap();
        let rest = names(&read(&api, &format!("/v1/search?q=fact&category=home&limit=20&cursor={next}")).await);
        assert_eq!((rest.len(), rest.last().map(String::as_str)), (10, Some("Facture électricité 0.txt")));
        assert_eq!(read(&api, "/v1/search?label=oud+huis").await["total"], 3);
        assert_eq!(read(&api, "/v1/search?q=oud&doc_type=deed").await["total"], 0);
        assert_eq!(read(&api, "/v1/search?q=facture&to=2000-01-01").await["total"], 0);
        assert_eq!(read(&api, "/v1/search?q=sample").await["total"], 7);
    }
    // What is new is found by the next search at any gateway, and what is gone by none.
    let doc = world.alice.at(1).put("Zonnepanelen.txt", "x").await.unwrap();
    assert_eq!(names(&read(&world.alice.at(2), "/v1/search?q=zonne").await), ["Zonnepanelen.txt"]);
    world.alice.at(0).delete(&doc.id).await.unwrap();
    assert_eq!(read(&world.alice.at(2), "/v1/search?q=zonne").await["total"], 0);
    // Another person finds nothing of it.
    assert_eq!(read(&world.bob, "/v1/search?q=facture").await, json!({ "documents": [], "shared": [], "total": 0 }));
}

async fn r35_there_is_advice_on_eight_kinds_of_documents(world: &World) {
    let templates = read(&world.alice, "/v1/templates").await["templates"].as_array().unwrap().clone();
    assert_eq!(templates.len(), 8);
    for template in templates {
        assert!(template["occasion"].is_string() && template["recipient_kind"].is_string(), "{template}");
        for lang in ["nl", "fr", "de", "en"] {
            assert!(!template["title"][lang].as_str().unwrap().is_empty(), "{template}");
        }
    }
}

/// A document of five chunks, with where it lies.
async fn placed(world: &World) -> Value {
    let doc = world.alice.put("large.bin", content(5, 5_000_000)).await.unwrap();
    read(&world.alice, &format!("/v1/documents/{}/placement", doc.id)).await
}

async fn r66_a_document_is_cut_into_pieces(world: &World) {
    let placement = placed(world).await;
    assert_eq!((placement["chunks"].as_u64(), placement["places"].as_array().unwrap().len()), (Some(5), 5));
    assert!(!placement.to_string().contains("large.bin"), "nothing of the content: {placement}");
    let small = world.alice.put("small.bin", "x").await.unwrap();
    assert_eq!(read(&world.alice, &format!("/v1/documents/{}/placement", small.id)).await["chunks"], 1);
}

async fn r67_each_piece_is_sealed_by_itself(world: &World) {
    // Through the service: equal pieces look different on the disks, and like nothing that was stored.
    let piece = content(67, 1 << 20);
    world.alice.put("twice.bin", [piece.clone(), piece.clone()].concat()).await.unwrap();
    let needle = &piece[1_000..1_064];
    for node in world.cluster.node_ids() {
        for file in world.cluster.node(node).disks.iter().flat_map(|disk| files(disk)) {
            let bytes = fs::read(&file).unwrap();
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{}", file.display());
        }
    }
    // And by the seal itself: a piece opens in its own place only.
    let blob = kluis_chunkstore::ids::BlobId(9);
    let sealer = ChunkSealer::new(&DocumentKey::from_secret(SecretKey::from_bytes([7; 32])), blob).unwrap();
    let (first, second) = (sealer.seal(0, 2, &piece).unwrap(), sealer.seal(1, 2, &piece).unwrap());
    assert_ne!(first, second);
    assert!(sealer.open(0, 2, second.clone()).is_err() && sealer.open(1, 2, first).is_err());
    assert_eq!(sealer.open(1, 2, second).unwrap(), piece);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

async fn r68_no_two_pieces_of_a_chunk_share_a_disk(world: &World) {
    for chunk in placed(world).await["places"].as_array().unwrap() {
        let disks: Vec<&str> = chunk["shards"].as_array().unwrap().iter().map(|shard| shard["disk"].as_str().unwrap()).collect();
        assert_eq!((disks.len(), disks.iter().collect::<BTreeSet<_>>().len()), (9, 9), "{chunk}");
    }
}

async fn r69_a_document_lies_at_three_sites(world: &World) {
    for chunk in placed(world).await["places"].as_array().unwrap() {
        let mut sites = BTreeMap::new();
        for shard in chunk["shards"].as_array().unwrap() {
            *sites.entry(shard["site"].as_str().unwrap()).or_insert(0) += 1;
        }
        // Three of nine pieces each, and any four give the chunk back: a lost site is not missed.
        assert_eq!(sites, BTreeMap::from([("dc1", 3), ("dc2", 3), ("dc3", 3)]), "{chunk}");
    }
}

/// Every route with an id, on a thing of another's and on one that is not there.
async fn another_s_thing_and_a_missing_one_are_one_answer(world: &World) {
    let theirs = world.alice.put("theirs.txt", "secret").await.unwrap();
    let begin = world.alice.request(Method::POST, 0, "/v1/uploads").header("Tus-Resumable", "1.0.0").header("Upload-Length", "10");
    let begun = begin.header("Upload-Metadata", "filename YQ==").header("Idempotency-Key", fresh_key()).send().await.unwrap();
    let upload = begun.headers()["location"].to_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let session = read(&world.alice, "/v1/sessions").await["sessions"][0]["id"].as_str().unwrap().to_owned();
    let mut routes = 0;
    for (method, path, _) in ROUTES.iter().filter(|(_, path, _)| path.starts_with("/v1/") && path.contains("{id}")) {
        let mut answers = Vec::new();
        let (own, missing) = match *path {
            path if path.starts_with("/v1/uploads") => (upload.as_str(), "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
            // Ids of sessions have a form of their own.
            path if path.starts_with("/v1/sessions") => (session.as_str(), "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
            _ => (theirs.id.as_str(), "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        };
        for id in [own, missing] {
            let request = world.bob.request(method.parse().unwrap(), 0, &path.replace("{id}", id));
            // As a careful client would ask: nothing may be refused for another reason first.
            let request =
                request.header(header::IF_MATCH, "\"r1\"").header("Idempotency-Key", fresh_key()).header("Tus-Resumable", "1.0.0");
            let answer = request.send().await.unwrap();
            let (status, mut headers) = (answer.status(), answer.headers().clone());
            for own in ["request-id", "date", "content-length"] {
                headers.remove(own);
            }
            let mut body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null);
            for own in ["trace_id", "instance"] {
                body[own] = Value::Null;
            }
            let headers: BTreeMap<String, String> =
                headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
            answers.push((status, headers, body));
        }
        assert!(answers[0].0.is_client_error(), "{method} {path}: {answers:?}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{method} {path}: {answers:#?}");
        routes += 1;
    }
    assert!(routes >= 15, "only {routes} routes were asked");
    assert_eq!(world.alice.get(&theirs.id).await.unwrap(), b"secret");
}

async fn r73_everything_can_be_taken_along_and_checked_without_the_service(world: &World) {
    let many = world.alice.list().await.unwrap();
    let answer = world.alice.request(Method::POST, 1, "/v1/me/export").send().await.unwrap();
    assert_eq!((answer.status(), answer.headers()["content-type"].to_str().unwrap()), (StatusCode::OK, "application/zip"));
    let mut bytes = answer.bytes().await.unwrap().to_vec();
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("export.zip"), folder.path().join("broken.zip"));
    fs::write(&whole, &bytes).unwrap();
    let verify = |file: &Path| run(&["verify", "export", &file.display().to_string(), "--output", "json"], &[], Duration::from_secs(120));
    let judged = verify(&whole);
    assert!(judged.status.success(), "{}", said(&judged));
    let report: Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!((report["documents"].as_u64(), report["left_out"].as_u64()), (Some(many.len() as u64), Some(0)));
    assert_eq!(report["bytes"].as_u64(), Some(many.iter().map(|doc| doc.size).sum()));
    // Other people's programs read it too.
    let script = "import sys,zipfile;z=zipfile.ZipFile(sys.argv[1]);assert z.testzip() is None;print(len(z.namelist()))";
    let other = std::process::Command::new("python3").args(["-c", script]).arg(&whole).output().expect("python3 cannot be run");
    assert_eq!(String::from_utf8_lossy(&other.stdout).trim(), (many.len() + 1).to_string(), "{}", String::from_utf8_lossy(&other.stderr));
    let at = bytes.windows(6).position(|window| window == b"secret").unwrap();
    bytes[at] ^= 1;
    fs::write(&broken, &bytes).unwrap();
    assert!(!verify(&broken).status.success(), "a byte is another");
    // It is in the history.
    world
        .cluster
        .wait_until("the export is in the history", 60, async || {
            read(&world.alice, "/v1/me/history?limit=200").await.to_string().contains("vault.exported")
        })
        .await;
}

async fn r74_what_happens_with_data_is_told_in_four_languages(world: &World) {
    let mut versions = BTreeSet::new();
    for lang in ["nl", "fr", "de", "en"] {
        // Without signing in.
        let url = format!("{}/v1/legal/privacy?lang={lang}", world.cluster.gateway(0));
        let text: Value = world.cluster.client().get(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(text["lang"], lang);
        assert!(text["text"].as_str().unwrap().len() > 1_000, "{text}");
        versions.insert(text["version"].as_str().unwrap().to_owned());
    }
    assert_eq!(versions.len(), 1);
}

async fn r19_a_full_vault_takes_not_a_byte_more(world: &World) {
    let carol = Api::new(&world.cluster, world.cluster.sign_in(2)).once();
    let limit = carol.me().await.unwrap()["quota"]["limit_bytes"].as_u64().unwrap();
    assert_eq!(limit, 1_000_000_000, "what is published");
    // What would not fit is refused by its announced length, before a byte of it comes.
    let used = carol.put("one.txt", "x").await.unwrap().size;
    let wanted = (limit - used + 1).to_string();
    let request = carol.request(Method::POST, 0, "/v1/uploads").header("Tus-Resumable", "1.0.0").header("Upload-Length", &wanted);
    let request = request.header("Upload-Metadata", "filename bGFyZ2U=").header("Idempotency-Key", fresh_key());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 507);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["code"], "quota_exceeded", "{body}");
    assert!(body["detail"].as_str().unwrap().contains(&limit.to_string()), "{body}");
    let me = carol.me().await.unwrap();
    assert_eq!((me["quota"]["used_bytes"].as_u64(), me["quota"]["reserved_bytes"].as_u64()), (Some(used), Some(0)), "nothing is held");
}

async fn k29_a_closed_vault_is_erased_with_a_receipt(world: &World) {
    let token = world.cluster.sign_in(3);
    let dora = Api::new(&world.cluster, token.as_str()).once();
    let doc = dora.put("diary.txt", content(3, 2_500_000)).await.unwrap();
    let before = dora.me().await.unwrap();
    let wish = json!({ "confirm": "ERASE EVERYTHING" });
    for (body, code) in [(json!({ "confirm": "yes" }), "bad_json"), (wish.clone(), "step_up_required")] {
        let (_, answer) = call(&dora, Method::POST, "/v1/me/erasure", Some(body)).await;
        assert_eq!(answer["code"], code, "{answer}");
    }
    world.with_card(31, 3, Some(&token)).await;
    let (status, receipt) = call(&dora, Method::POST, "/v1/me/erasure", Some(wish)).await;
    assert_eq!(status, StatusCode::OK, "{receipt}");
    assert_eq!((receipt["documents"].as_u64(), receipt["bytes"].as_u64()), (Some(1), Some(2_500_000)));
    assert_eq!(receipt["remains"].as_array().unwrap().len(), 3);
    assert!(receipt["log_index"].is_u64() && receipt["opening"].as_str().unwrap().contains("vault.closed"), "{receipt}");
    for gateway in 0..world.cluster.gateway_count() {
        let refused = dora.at(gateway).get(&doc.id).await.unwrap_err();
        assert_eq!(refused.status, Some(401), "{refused}");
    }
    // The same person may come back, to an empty vault of another account.
    let again = Api::new(&world.cluster, world.cluster.sign_in(3));
    let after = again.me().await.unwrap();
    assert_ne!((&after["id"], &after["vault_id"]), (&before["id"], &before["vault_id"]));
    assert!(again.list().await.unwrap().is_empty());
    assert_eq!(again.once().get(&doc.id).await.unwrap_err().status, Some(404));
}

async fn r70_everything_goes_on_without_a_site(world: &World) {
    let body = content(70, 3_000_000);
    let doc = world.alice.put("before.bin", body.clone()).await.unwrap();
    world.cluster.kill_all(&world.cluster.nodes_of_site("dc3"));
    assert!(world.alice.get(&doc.id).await.unwrap() == body);
    let later = world.alice.put("during.bin", body.clone()).await.unwrap();
    assert!(world.alice.get(&later.id).await.unwrap() == body);
    world
        .cluster
        .wait_until("search answers again", 90, async || {
            let answer = world.alice.at(0).request(Method::GET, 0, "/v1/search?q=during").send().await;
            match answer {
                Ok(answer) if answer.status() == StatusCode::OK => names(&answer.json().await.unwrap()) == ["during.bin"],
                _ => false,
            }
        })
        .await;
    world.alice.delete(&doc.id).await.unwrap();
}

/// R75: every control has evidence in this repository, and the map is complete.
#[test]
fn r75_every_control_points_at_evidence_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let map: toml::Table = fs::read_to_string(root.join("deploy/controls.toml")).unwrap().parse().unwrap();
    let controls = map["control"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for control in controls {
        let id = control["id"].as_str().unwrap();
        assert!(ids.insert(id), "{id} stands twice");
        assert!(
            id.starts_with("A.") && !control["title"].as_str().unwrap().is_empty() && !control["how"].as_str().unwrap().is_empty(),
            "{id}"
        );
        let evidence = control["evidence"].as_array().unwrap();
        assert!(!evidence.is_empty(), "{id} has no evidence");
        for file in evidence.iter().map(|file| file.as_str().unwrap()) {
            assert!(root.join(file).is_file(), "{id}: {file} is not there");
        }
    }
    assert!(ids.len() >= 20, "only {} controls", ids.len());
    let record = map["processing"].as_array().unwrap();
    for entry in record {
        for member in ["purpose", "data", "people", "recipients", "kept", "basis"] {
            assert!(!entry[member].as_str().unwrap().is_empty(), "{entry}: {member}");
        }
    }
    assert!(record.len() >= 4);
}
