//! The API over a state machine and disks in memory: the happy paths, and every refusal with its code.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use axum::{Router, body::Body, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kluis_chunkstore::{
    code::Code as Shards,
    env::{Clock, Entropy},
};
use kluis_raft::{client::Metadata, client::memory::MemoryMetadata, command::Command};
use serde_json::Value;
use tower::ServiceExt;

use super::{Check, Gateway, GatewayConfig, Guards, Health, ports_memory::MemoryBytes};
use crate::{
    auth::oidc::SignIn,
    keys::{KeyRing, LookupKey, MasterKey, SecretKey, file::FileMasterKey, tests::TestEntropy},
    limits::Limits,
    recorder::Recorder,
    telemetry::Telemetry,
    upload::sha256_field_value,
};

mod notices;
mod people;
mod people_contacts;
mod people_offices;
mod sharing;
mod torn;

use people::signed_in;

/// A clock that a test moves.
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct TestHealth;

#[async_trait]
impl Health for TestHealth {
    async fn checks(&self) -> Vec<Check> {
        vec![
            Check { name: "quorum_read", ok: true, detail: String::new() },
            Check { name: "disk_writable", ok: false, detail: "disk 7 is read-only".into() },
        ]
    }

    fn live(&self) -> bool {
        true
    }
}

struct World {
    gateway: Arc<Gateway>,
    metadata: Arc<MemoryMetadata>,
    bytes: Arc<MemoryBytes>,
    clock: Arc<TestClock>,
    router: Router,
    token: String,
    other: String,
    _keys: tempfile::TempDir,
}

const ALICE: &str = "90010100123";
const BOB: &str = "85061500217";

impl World {
    async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let entropy: Arc<dyn Entropy> = Arc::new(TestEntropy);
        let path = keys.path().join("master.key");
        FileMasterKey::create(&path, &*entropy).unwrap();
        let master: Arc<dyn MasterKey> = Arc::new(FileMasterKey::open(&path, Arc::clone(&entropy)).unwrap());
        let clock = Arc::new(TestClock(AtomicU64::new(1_800_000_000_000)));
        let metadata = MemoryMetadata::initialised(Arc::clone(&clock) as Arc<dyn Clock>, Arc::clone(&entropy)).unwrap();
        let bytes = Arc::new(MemoryBytes::default());
        let gateway = Arc::new(Gateway {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: Arc::clone(&entropy),
            metadata: Arc::clone(&metadata) as Arc<dyn Metadata>,
            bytes: Arc::clone(&bytes) as Arc<dyn crate::ports::DocumentBytes>,
            keys: Arc::new(KeyRing::new(vec![master], Arc::clone(&entropy)).unwrap()),
            lookup: Arc::new(LookupKey::from_secret(SecretKey::generate(&*entropy))),
            sign_in: SignIn::default(),
            config: GatewayConfig { public_url: "https://vault.example".into(), limits },
            telemetry: Arc::new(Telemetry::new("0.0.0", "test").unwrap()),
            health: Arc::new(TestHealth),
            guards: Guards::default(),
            recorder: Recorder::start(metadata.clone()),
            scan: None,
            notify: Arc::new(crate::notify::Notifier::new(None, true).unwrap()),
            search: Default::default(),
        });
        let token = signed_in(&gateway, ALICE, 1).await;
        let other = signed_in(&gateway, BOB, 2).await;
        let router = crate::router::router(Arc::clone(&gateway)).unwrap();
        Self { gateway, metadata, bytes, clock, router, token, other, _keys: keys }
    }

    /// Sends a request with a Host header; `auth` adds Alice's token.
    async fn send(&self, request: http::request::Builder, body: impl Into<Body>) -> Reply {
        let mut request = request.body(body.into()).unwrap();
        request.headers_mut().entry("host").or_insert(http::HeaderValue::from_static("vault.example"));
        Reply::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    fn request(&self, method: &str, uri: &str) -> http::request::Builder {
        Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {}", self.token))
    }

    async fn call(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let mut request = self.request(method, uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request, body).await
    }

    /// Uploads with a Content-Length, as a client does that knows the length.
    async fn upload(&self, name: &str, key: &str, content: &[u8]) -> Reply {
        let len = content.len().to_string();
        let headers = [("idempotency-key", key), ("content-length", len.as_str()), ("content-type", "text/plain")];
        self.call("POST", &format!("/v1/documents?name={name}"), &headers, content.to_vec()).await
    }

    async fn count(&self) -> usize {
        self.call("GET", "/v1/documents", &[], "").await.json()["documents"].as_array().unwrap().len()
    }

    async fn quota(&self) -> (u64, u64) {
        let me = self.call("GET", "/v1/me", &[], "").await.json();
        (me["quota"]["used_bytes"].as_u64().unwrap(), me["quota"]["reserved_bytes"].as_u64().unwrap())
    }

    /// Lets spawned clean-up run until no quota is reserved.
    async fn settled(&self) {
        for _ in 0..1000 {
            if self.quota().await.1 == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("a reservation was left");
    }
}

struct Reply {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Reply {
    async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}: {:?}", self.status, self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} is missing: {:?}", self.headers)).to_str().unwrap()
    }

    #[track_caller]
    fn refused(&self, status: u16, code: &str) {
        let json = self.json();
        assert_eq!((self.status.as_u16(), json["code"].as_str()), (status, Some(code)), "{json}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(json["status"], status);
        assert_eq!(json["trace_id"].as_str(), Some(self.header("request-id")));
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect()
}

fn digest(content: &[u8]) -> [u8; 32] {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content).as_ref().try_into().unwrap()
}

#[tokio::test]
async fn a_document_goes_in_comes_out_and_goes() {
    let world = World::new().await;
    for (key, len, code) in
        [("k0", 0, None), ("k1", 5, Some(Shards::SMALL)), ("k2", 16 * 1024, Some(Shards::SMALL)), ("k3", 2_500_000, Some(Shards::STANDARD))]
    {
        let content = pattern(len);
        let made = world.upload("a%20b.txt", key, &content).await;
        assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
        let json = made.json();
        assert_eq!((json["version"].as_u64(), json["size"].as_u64(), json["name"].as_str()), (Some(1), Some(len as u64), Some("a b.txt")));
        assert_eq!(json["sha256"], hex::encode(digest(&content)));
        assert_eq!(json["media_type"], "text/plain");
        let path = made.header("location").to_owned();
        let got = world.call("GET", &format!("{path}/content"), &[], "").await;
        assert_eq!((got.status, got.body.as_ref()), (StatusCode::OK, content.as_slice()));
        assert_eq!(got.header("repr-digest"), sha256_field_value(&digest(&content)));
        assert_eq!(got.header("content-length"), len.to_string());
        assert!(got.header("content-disposition").starts_with("attachment;"));
        assert!(got.header("content-security-policy").contains("sandbox"));
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        if let Some(code) = code {
            assert!(world.bytes.all().iter().any(|(_, c, _)| *c == code), "{len} bytes as {code}");
        }
        let head = world.call("HEAD", &format!("{path}/content"), &[], "").await;
        assert_eq!((head.header("content-length"), head.body.len()), (len.to_string().as_str(), 0));
        let gone = world.call("DELETE", &path, &[("if-match", made.header("etag"))], "").await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
        world.call("GET", &path, &[], "").await.refused(404, "not_found");
        world.call("GET", &format!("{path}/content"), &[], "").await.refused(404, "not_found");
    }
    world.settled().await;
}

#[tokio::test]
async fn disks_see_neither_content_nor_name() {
    let world = World::new().await;
    let content = b"the marker of the content ".repeat(4096);
    assert_eq!(world.upload("marker-name", "k", &content).await.status, StatusCode::CREATED);
    let all = world.bytes.all();
    assert!(!all.is_empty());
    for (_, _, sealed) in all {
        for marker in [&b"the marker of"[..], b"marker-name"] {
            assert!(!sealed.windows(marker.len()).any(|w| w == marker));
        }
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_as_good() {
    let world = World::new().await;
    for (key, len, code) in [("a", 0, None), ("b", 100, Some(Shards::SMALL)), ("c", 3_000_001, Some(Shards::STANDARD))] {
        let content = pattern(len);
        let frames: Vec<Result<Bytes, std::io::Error>> = content.chunks(40_000).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let body = Body::from_stream(futures_util::stream::iter(frames));
        let made = world.call("POST", "/v1/documents?name=x", &[("idempotency-key", key)], body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
        let got = world.call("GET", &format!("{}/content", made.header("location")), &[], "").await;
        assert_eq!(got.body.as_ref(), content.as_slice());
        if let Some(code) = code {
            assert!(world.bytes.all().iter().any(|(_, c, _)| *c == code));
        }
    }
    world.settled().await;
}

#[tokio::test]
async fn versions_follow_one_another_under_if_match() {
    let world = World::new().await;
    let first = world.upload("v", "k", b"one").await;
    let content = format!("{}/content", first.header("location"));
    world.call("PUT", &content, &[], "two").await.refused(428, "precondition_required");
    world.call("PUT", &content, &[("if-match", "\"r9\"")], "two").await.refused(412, "precondition_failed");
    world.call("PUT", &content, &[("if-match", "r1")], "two").await.refused(400, "bad_header");
    let second = world.call("PUT", &content, &[("if-match", first.header("etag"))], "two").await;
    assert_eq!((second.status, second.json()["version"].as_u64()), (StatusCode::OK, Some(2)), "{:?}", second.body);
    assert_ne!(second.header("etag"), first.header("etag"));
    assert_eq!(second.json()["media_type"], "text/plain");
    world.call("DELETE", first.header("location"), &[("if-match", first.header("etag"))], "").await.refused(412, "precondition_failed");
    world.call("DELETE", first.header("location"), &[], "").await.refused(428, "precondition_required");
    assert_eq!(world.call("GET", &content, &[], "").await.body.as_ref(), b"two");
    assert_eq!(world.call("GET", &format!("{content}?version=1"), &[], "").await.body.as_ref(), b"one");
    world.call("GET", &format!("{content}?version=3"), &[], "").await.refused(404, "not_found");
    world.call("GET", &format!("{content}?version=0"), &[], "").await.refused(400, "bad_parameter");
    let unchanged = world.call("GET", &content, &[("if-none-match", second.header("etag"))], "").await;
    assert_eq!((unchanged.status, unchanged.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let listed = world.call("GET", &format!("{}/versions?limit=1", first.header("location")), &[], "").await.json();
    assert_eq!(listed["versions"][0]["version"], 2);
    let next = format!("{}/versions?cursor={}", first.header("location"), listed["next"].as_str().unwrap());
    assert_eq!(world.call("GET", &next, &[], "").await.json()["versions"][0]["version"], 1);
}

#[tokio::test]
async fn ranges() {
    let world = World::new().await;
    let content = pattern(2_500_000);
    let made = world.upload("r", "k", &content).await;
    let path = format!("{}/content", made.header("location"));
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1048570-1048580", 1_048_570, 1_048_581),
        ("bytes=-7", 2_499_993, 2_500_000),
        ("bytes=2000000-", 2_000_000, 2_500_000),
    ] {
        let got = world.call("GET", &path, &[("range", range)], "").await;
        assert_eq!((got.status, got.body.as_ref()), (StatusCode::PARTIAL_CONTENT, &content[start..end]), "{range}");
        assert_eq!(got.header("content-range"), format!("bytes {start}-{}/2500000", end - 1));
    }
    let two = world.call("GET", &path, &[("range", "bytes=0-3,1048574-1048578")], "").await;
    assert_eq!(two.status, StatusCode::PARTIAL_CONTENT);
    let boundary = two.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    assert_eq!(two.header("content-length"), two.body.len().to_string());
    let parts: Vec<&[u8]> = split(&two.body, format!("\r\n--{boundary}").as_bytes());
    assert_eq!(parts.len(), 4);
    assert!(parts[1].ends_with(&content[0..4]) && parts[2].ends_with(&content[1_048_574..1_048_579]));
    for bad in ["bytes=5-2", "bytes=", "bytes=2500000-", "bytes=18446744073709551616-", "bytes=a-b"] {
        let refused = world.call("GET", &path, &[("range", bad)], "").await;
        refused.refused(416, "range_not_satisfiable");
        assert_eq!(refused.header("content-range"), "bytes */2500000");
    }
    let many = format!("bytes={}", vec!["0-1"; 1000].join(","));
    world.call("GET", &path, &[("range", many.as_str())], "").await.refused(400, "too_many_ranges");
    let stale = world.call("GET", &path, &[("range", "bytes=0-1"), ("if-range", "\"r9\"")], "").await;
    assert_eq!((stale.status, stale.body.len()), (StatusCode::OK, content.len()));
}

fn split<'a>(text: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(by.len()).position(|w| w == by) {
        parts.push(&rest[..at]);
        rest = &rest[at + by.len()..];
    }
    parts.push(rest);
    parts
}

#[tokio::test]
async fn tokens_that_are_none_get_one_answer() {
    let world = World::new().await;
    let mut forged = world.token.clone();
    forged.replace_range(10..11, if &forged[10..11] == "A" { "B" } else { "A" });
    let unknown = crate::auth::token::BearerToken::generate(&TestEntropy).to_text().to_string();
    let mut answers = Vec::new();
    for header in
        [None, Some("Bearer x".to_owned()), Some(format!("Bearer {forged}")), Some(format!("Bearer {unknown}")), Some("Basic YTpi".into())]
    {
        let mut request = Request::builder().uri("/v1/me");
        if let Some(header) = &header {
            request = request.header("authorization", header);
        }
        let reply = world.send(request, "").await;
        reply.refused(401, "unauthenticated");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
        answers.push(reply.json()["detail"].as_str().unwrap().to_owned());
    }
    world.clock.0.fetch_add(13 * 3600 * 1000, Ordering::Relaxed);
    let expired = world.call("GET", "/v1/me", &[], "").await;
    expired.refused(401, "unauthenticated");
    answers.push(expired.json()["detail"].as_str().unwrap().to_owned());
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn a_flood_of_bad_tokens_is_slowed() {
    let world = World::new().await;
    let bad = || Request::builder().uri("/v1/me").header("authorization", "Bearer x").extension(super::caller::Peer([192, 0, 2, 1].into()));
    for _ in 0..10 {
        world.send(bad(), "").await.refused(401, "unauthenticated");
    }
    let slowed = world.send(bad(), "").await;
    slowed.refused(429, "too_many_requests");
    slowed.header("retry-after");
}

#[tokio::test]
async fn what_is_anothers_does_not_exist() {
    let world = World::new().await;
    let made = world.upload("mine", "k", b"mine").await;
    let path = made.header("location").to_owned();
    let as_bob = |method: &str, uri: &str| {
        Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {}", world.other)).header("if-match", "*")
    };
    let foreign = world.send(as_bob("GET", &path), "").await;
    foreign.refused(404, "not_found");
    let missing = world.send(as_bob("GET", "/v1/documents/01ARZ3NDEKTSV4RRFFQ69G5FAV"), "").await;
    assert_eq!(foreign.json()["detail"], missing.json()["detail"]);
    world.send(as_bob("GET", &format!("{path}/content")), "").await.refused(404, "not_found");
    world.send(as_bob("PUT", &format!("{path}/content")), "x").await.refused(404, "not_found");
    world.send(as_bob("DELETE", &path), "").await.refused(404, "not_found");
    assert_eq!(world.call("GET", &path, &[], "").await.status, StatusCode::OK);
    for bad in ["x", "../x", "01ARZ3NDEKTSV4RRFFQ69G5FA", "%00", "%ff"] {
        let reply = world.call("GET", &format!("/v1/documents/{bad}"), &[], "").await;
        assert!(matches!(reply.status.as_u16(), 400 | 404), "{bad}: {}", reply.status);
        assert!(reply.json()["code"].is_string());
    }
}

#[tokio::test]
async fn sessions_end_everywhere_at_once() {
    let world = World::new().await;
    let second = signed_in(&world.gateway, ALICE, 3).await;
    let list = world.call("GET", "/v1/sessions", &[], "").await.json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let id = sessions.iter().find(|s| s["current"] == false).unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(world.call("DELETE", &format!("/v1/sessions/{id}"), &[], "").await.status, StatusCode::NO_CONTENT);
    let as_second = Request::builder().uri("/v1/me").header("authorization", format!("Bearer {second}"));
    world.send(as_second, "").await.refused(401, "unauthenticated");
    world.call("DELETE", "/v1/sessions/nonsense", &[], "").await.refused(404, "not_found");
    let ended = world.call("DELETE", "/v1/sessions/current", &[], "").await;
    assert!(ended.status == StatusCode::NO_CONTENT && ended.header("set-cookie").contains("Max-Age=0"));
    world.call("GET", "/v1/me", &[], "").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_running_download_stops_when_its_session_ends() {
    let world = World::new().await;
    let made = world.upload("d", "k", &pattern(4_000_000)).await;
    let mut request = world.request("GET", &format!("{}/content", made.header("location"))).body(Body::empty()).unwrap();
    request.headers_mut().insert("host", http::HeaderValue::from_static("vault.example"));
    let response = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(world.call("DELETE", "/v1/sessions/current", &[], "").await.status, StatusCode::NO_CONTENT);
    assert!(body.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn a_cookie_alone_changes_nothing_from_another_site() {
    let world = World::new().await;
    let cookie = format!("__Host-kluis={}", world.token);
    let with = |method: &str, uri: &str| Request::builder().method(method).uri(uri).header("cookie", &cookie);
    assert_eq!(world.send(with("GET", "/v1/me"), "").await.status, StatusCode::OK);
    for site in [None, Some("cross-site"), Some("same-site"), Some("none")] {
        let mut request = with("POST", "/v1/documents?name=x").header("idempotency-key", "k");
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        world.send(request, "x").await.refused(403, "cross_site");
    }
    let ours = with("POST", "/v1/documents?name=x").header("idempotency-key", "k").header("sec-fetch-site", "same-origin");
    assert_eq!(world.send(ours, "x").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn uploads_that_are_refused_leave_nothing() {
    let world = World::with(Limits { body_max_bytes: 3_000_000, ..Limits::default() }).await;
    let post = "/v1/documents?name=x";
    let key = ("idempotency-key", "k");
    let wrong = sha256_field_value(&[7; 32]);
    world.call("POST", post, &[], "x").await.refused(400, "idempotency_key_missing");
    world.call("POST", post, &[key, ("content-length", "10")], "short").await.refused(400, "length_mismatch");
    world.call("POST", post, &[key, ("content-length", "2")], "long").await.refused(400, "length_mismatch");
    world.call("POST", post, &[key, ("content-length", "3000001")], "").await.refused(413, "too_large");
    world.call("POST", post, &[key], pattern(3_000_001)).await.refused(413, "too_large");
    world.call("POST", post, &[key, ("content-length", "9223372036854775808")], "").await.refused(413, "too_large");
    for bad in ["+4", "-1", "4, 4", "18446744073709551616"] {
        world.call("POST", post, &[key, ("content-length", bad)], "four").await.refused(400, "bad_header");
    }
    world.call("POST", post, &[key, ("repr-digest", wrong.as_str())], "x").await.refused(422, "digest_mismatch");
    world.call("POST", post, &[key, ("content-digest", wrong.as_str())], pattern(2_000_000)).await.refused(422, "digest_mismatch");
    world.call("POST", post, &[key, ("repr-digest", "sha-256=abc")], "x").await.refused(400, "bad_digest");
    world.call("POST", post, &[key, ("content-encoding", "gzip")], "x").await.refused(415, "content_encoding");
    world.call("POST", post, &[key, ("content-type", "nonsense")], "x").await.refused(400, "bad_media_type");
    let broken = futures_util::stream::iter([Ok(Bytes::from(pattern(1_500_000))), Err(std::io::Error::other("reset"))]);
    world.call("POST", post, &[key], Body::from_stream(broken)).await.refused(400, "length_mismatch");
    world.bytes.refuse_writes.store(true, Ordering::Relaxed);
    let down = world.call("POST", post, &[key], "x").await;
    down.refused(503, "write_unavailable");
    down.header("retry-after");
    world.bytes.refuse_writes.store(false, Ordering::Relaxed);
    world.settled().await;
    assert_eq!((world.count().await, world.quota().await), (0, (0, 0)));
    // The key was never used up by a request that failed; exactly the limit is taken.
    assert_eq!(world.upload("x", "k", &pattern(3_000_000)).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_dropped_connection_leaves_nothing() {
    let world = World::new().await;
    let endless = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(pattern(1_500_000)))]).chain_pending();
    let mut request =
        world.request("POST", "/v1/documents?name=x").header("idempotency-key", "k").body(Body::from_stream(endless)).unwrap();
    request.headers_mut().insert("host", http::HeaderValue::from_static("vault.example"));
    let running = tokio::spawn(world.router.clone().oneshot(request));
    while world.quota().await.1 == 0 {
        tokio::task::yield_now().await;
    }
    running.abort();
    world.settled().await;
    assert_eq!(world.count().await, 0);
}

/// A stream that stays open after its last item.
trait ChainPending: futures_util::Stream + Sized {
    fn chain_pending(self) -> futures_util::stream::Chain<Self, futures_util::stream::Pending<Self::Item>> {
        use futures_util::StreamExt;
        self.chain(futures_util::stream::pending())
    }
}

impl<S: futures_util::Stream> ChainPending for S {}

#[tokio::test]
async fn quota_is_kept_and_named() {
    let world = World::new().await;
    let post = "/v1/documents?name=x";
    let over = world.call("POST", post, &[("idempotency-key", "k"), ("content-length", "1000000001")], "").await;
    over.refused(507, "quota_exceeded");
    assert_eq!(world.upload("x", "k2", &pattern(1000)).await.status, StatusCode::CREATED);
    assert_eq!(world.quota().await, (1000, 0));
}

#[tokio::test]
async fn a_body_of_unknown_length_fits_into_the_last_bytes() {
    let world = World::new().await;
    let me = world.call("GET", "/v1/me", &[], "").await.json();
    let account = me["id"].as_str().unwrap().parse().unwrap();
    let vault = kluis_raft::view::account(&*world.metadata.view(), account).unwrap().unwrap().vault;
    world.gateway.propose(Command::SetVaultLimits { vault, quota_bytes: Some(50_000), strict: None }).await.unwrap();
    let stream = |len: usize| {
        let frames: Vec<Result<Bytes, std::io::Error>> = pattern(len).chunks(9_000).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        Body::from_stream(futures_util::stream::iter(frames))
    };
    let post = "/v1/documents?name=x";
    world.call("POST", post, &[("idempotency-key", "a")], stream(50_001)).await.refused(507, "quota_exceeded");
    world.settled().await;
    assert_eq!(world.call("POST", post, &[("idempotency-key", "b")], stream(50_000)).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn idempotency_keys() {
    let world = World::new().await;
    let first = world.upload("x", "same", b"content").await;
    let again = world.upload("x", "same", b"content").await;
    assert_eq!((again.status, again.json()), (StatusCode::CREATED, first.json()));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(world.count().await, 1);
    world.upload("x", "same", b"CONTENT").await.refused(422, "idempotency_key_reused");
    world.upload("y", "same", b"content").await.refused(422, "idempotency_key_reused");
    world.upload("x", &"k".repeat(256), b"content").await.refused(400, "bad_header");
    let gone = world.call("DELETE", first.header("location"), &[("if-match", "*")], "").await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    world.upload("x", "same", b"content").await.refused(410, "document_gone");
}

#[tokio::test]
async fn a_running_request_is_not_run_twice() {
    let world = World::new().await;
    let endless = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(pattern(1_500_000)))]).chain_pending();
    let mut request =
        world.request("POST", "/v1/documents?name=x").header("idempotency-key", "k").body(Body::from_stream(endless)).unwrap();
    request.headers_mut().insert("host", http::HeaderValue::from_static("vault.example"));
    let running = tokio::spawn(world.router.clone().oneshot(request));
    while world.quota().await.1 == 0 {
        tokio::task::yield_now().await;
    }
    world.call("POST", "/v1/documents?name=x", &[("idempotency-key", "k")], pattern(1_500_000)).await.refused(409, "request_in_flight");
    running.abort();
}

#[tokio::test]
async fn names() {
    let world = World::new().await;
    for (number, name) in ["..%2Fx", "%252e%252e%252f", "C%3A%5C", "%2Fetc%2Fpasswd", "a%22b%27", "%F0%9F%97%9D"].iter().enumerate() {
        let made = world.upload(name, &format!("k{number}"), b"x").await;
        assert_eq!(made.status, StatusCode::CREATED, "{name}");
        let plain = percent_encoding::percent_decode_str(name).decode_utf8().unwrap().into_owned();
        assert_eq!(made.json()["name"], plain);
        let got = world.call("GET", &format!("{}/content", made.header("location")), &[], "").await;
        assert!(got.header("content-disposition").is_ascii());
    }
    let long = "a".repeat(256);
    for bad in ["", "a%00b", "a%0D%0Ab", "%ff", "%zz", "%", "%7F", "%E2%80%AE", long.as_str()] {
        world.upload(bad, "k", b"x").await.refused(400, "bad_name");
    }
    world.call("POST", "/v1/documents", &[("idempotency-key", "k")], "x").await.refused(400, "bad_name");
    world.call("POST", "/v1/documents?name=a&name=b", &[("idempotency-key", "k")], "x").await.refused(400, "bad_parameter");
    world.call("POST", "/v1/documents?nmae=a", &[("idempotency-key", "k")], "x").await.refused(400, "bad_parameter");
}

#[tokio::test]
async fn lists_come_in_pages_with_sealed_cursors() {
    let world = World::new().await;
    for i in 0..5 {
        world.clock.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!(world.upload(&format!("n{i}"), &format!("k{i}"), b"x").await.status, StatusCode::CREATED);
    }
    let mut seen = Vec::new();
    let mut uri = "/v1/documents?limit=2".to_owned();
    loop {
        let page = world.call("GET", &uri, &[], "").await;
        let json = page.json();
        seen.extend(json["documents"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap().to_owned()));
        let Some(next) = json["next"].as_str() else {
            assert!(page.headers.get("link").is_none());
            break;
        };
        assert_eq!(page.header("link"), format!("</v1/documents?limit=2&cursor={next}>; rel=\"next\""));
        uri = format!("/v1/documents?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["n4", "n3", "n2", "n1", "n0"]);
    for bad in ["x", "AAAA", "%2e", &"A".repeat(300)] {
        world.call("GET", &format!("/v1/documents?cursor={bad}"), &[], "").await.refused(400, "bad_cursor");
    }
    let foreign = Request::builder().uri(&uri).header("authorization", format!("Bearer {}", world.other));
    world.send(foreign, "").await.refused(400, "bad_cursor");
    for bad in ["0", "201", "-1", "x"] {
        world.call("GET", &format!("/v1/documents?limit={bad}"), &[], "").await.refused(400, "bad_parameter");
    }
}

const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
const PIECE: (&str, &str) = ("content-type", "application/offset+octet-stream");

async fn tus_begin(world: &World, len: usize, more: &[(&str, &str)]) -> Reply {
    let (len, name) = (len.to_string(), format!("filename {}", STANDARD.encode("t.bin")));
    let mut headers = vec![TUS, ("upload-length", len.as_str()), ("upload-metadata", name.as_str())];
    headers.extend(more);
    world.call("POST", "/v1/uploads", &headers, "").await
}

async fn tus_piece(world: &World, path: &str, offset: usize, piece: &[u8]) -> Reply {
    world.call("PATCH", path, &[TUS, PIECE, ("upload-offset", &offset.to_string())], piece.to_vec()).await
}

#[tokio::test]
async fn a_resumable_upload_in_odd_pieces() {
    let world = World::new().await;
    let content = pattern(2_600_000);
    let announced = sha256_field_value(&digest(&content));
    let made = tus_begin(&world, content.len(), &[("repr-digest", announced.as_str())]).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let path = made.header("location").to_owned();
    let mut at = 0;
    for cut in [1, 100, 1_048_576, 1_048_577, 1_700_000, 2_600_000] {
        let sent = tus_piece(&world, &path, at, &content[at..cut]).await;
        assert_eq!(sent.status, StatusCode::NO_CONTENT, "{:?}", sent.body);
        assert_eq!(sent.header("upload-offset"), cut.to_string());
        at = cut;
        if cut < content.len() {
            assert_eq!(world.call("HEAD", &path, &[TUS], "").await.header("upload-offset"), cut.to_string());
            assert_eq!(world.count().await, 0);
        } else {
            let document = sent.header("vault-document").to_owned();
            assert_eq!(sent.header("vault-version"), "1");
            let got = world.call("GET", &format!("/v1/documents/{document}/content"), &[], "").await;
            assert_eq!(got.body.as_ref(), content.as_slice());
            assert_eq!(world.call("GET", &format!("/v1/documents/{document}"), &[], "").await.json()["name"], "t.bin");
        }
    }
    world.call("HEAD", &path, &[TUS], "").await;
    assert_eq!(world.quota().await, (2_600_000, 0));
}

#[tokio::test]
async fn an_interrupted_piece_is_kept() {
    let world = World::new().await;
    let content = pattern(1_500_000);
    let path = tus_begin(&world, content.len(), &[]).await.header("location").to_owned();
    let broken = futures_util::stream::iter([Ok(Bytes::copy_from_slice(&content[..1_200_000])), Err(std::io::Error::other("reset"))]);
    let cut = world.call("PATCH", &path, &[TUS, PIECE, ("upload-offset", "0")], Body::from_stream(broken)).await;
    cut.refused(400, "length_mismatch");
    assert_eq!(world.call("GET", &path, &[], "").await.json()["offset"], 1_200_000);
    let rest = tus_piece(&world, &path, 1_200_000, &content[1_200_000..]).await;
    let got = world.call("GET", &format!("/v1/documents/{}/content", rest.header("vault-document")), &[], "").await;
    assert_eq!(got.body.as_ref(), content.as_slice());
}

#[tokio::test]
async fn resumable_uploads_that_are_refused() {
    let world = World::new().await;
    let path = tus_begin(&world, 10, &[]).await.header("location").to_owned();
    let off = tus_piece(&world, &path, 3, b"x").await;
    off.refused(409, "offset_mismatch");
    assert_eq!(off.header("upload-offset"), "0");
    tus_piece(&world, &path, 0, b"more than ten").await.refused(413, "too_large");
    world.call("PATCH", &path, &[PIECE, ("upload-offset", "0")], "x").await.refused(412, "tus_version");
    world.call("PATCH", &path, &[TUS, ("upload-offset", "0")], "x").await.refused(415, "media_type_refused");
    world.call("PATCH", &path, &[TUS, PIECE, ("upload-offset", "+0")], "x").await.refused(400, "bad_header");
    world.call("PATCH", &path, &[TUS, PIECE], "x").await.refused(400, "bad_header");
    let foreign = Request::builder().method("GET").uri(&path).header("authorization", format!("Bearer {}", world.other));
    world.send(foreign, "").await.refused(404, "not_found");
    world.call("POST", "/v1/uploads", &[TUS, ("upload-defer-length", "1")], "").await.refused(400, "bad_header");
    world.call("POST", "/v1/uploads", &[TUS, ("upload-length", "4, 4")], "").await.refused(400, "bad_header");
    world
        .call("POST", "/v1/uploads", &[TUS, ("upload-length", "4"), ("upload-metadata", "filename %%%")], "")
        .await
        .refused(400, "bad_header");
    let evil = format!("filename {}", STANDARD.encode([0xff]));
    world.call("POST", "/v1/uploads", &[TUS, ("upload-length", "4"), ("upload-metadata", &evil)], "").await.refused(400, "bad_name");
    let wrong = tus_begin(&world, 3, &[("repr-digest", &sha256_field_value(&[1; 32]))]).await.header("location").to_owned();
    tus_piece(&world, &wrong, 0, b"abc").await.refused(422, "digest_mismatch");
    tus_piece(&world, &wrong, 3, b"").await.refused(404, "not_found");
    assert_eq!(world.call("DELETE", &path, &[TUS], "").await.status, StatusCode::NO_CONTENT);
    world.call("GET", &path, &[], "").await.refused(404, "not_found");
    assert_eq!((world.count().await, world.quota().await), (0, (0, 0)));
}

#[tokio::test]
async fn tus_extensions() {
    let world = World::new().await;
    let abilities = world.send(Request::builder().method("OPTIONS").uri("/v1/uploads"), "").await;
    assert_eq!((abilities.status, abilities.header("tus-version")), (StatusCode::NO_CONTENT, "1.0.0"));
    assert!(abilities.header("tus-extension").contains("creation"));
    let empty = tus_begin(&world, 0, &[]).await;
    assert_eq!((empty.status, empty.header("vault-version")), (StatusCode::CREATED, "1"));
    let name = format!("filename {}", STANDARD.encode("t"));
    let with = world.call("POST", "/v1/uploads", &[TUS, PIECE, ("upload-length", "5"), ("upload-metadata", &name)], "hel").await;
    assert_eq!((with.status, with.header("upload-offset")), (StatusCode::CREATED, "3"));
    let last = tus_piece(&world, with.header("location"), 3, b"lo").await;
    let got = world.call("GET", &format!("/v1/documents/{}/content", last.header("vault-document")), &[], "").await;
    assert_eq!(got.body.as_ref(), b"hello");
}

#[tokio::test]
async fn json_bodies_are_read_strictly() {
    let world = World::new().await;
    let json = ("content-type", "application/json");
    let key = ("idempotency-key", "k");
    let made = world.call("POST", "/v1/uploads", &[json, key], r#"{"name":"j","length":3}"#).await;
    assert_eq!(made.status, StatusCode::CREATED, "{:?}", made.body);
    let again = world.call("POST", "/v1/uploads", &[json, key], r#"{"name":"j","length":3}"#).await;
    assert_eq!(again.header("location"), made.header("location"));
    world.call("POST", "/v1/uploads", &[json], r#"{"name":"j","length":3}"#).await.refused(400, "idempotency_key_missing");
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let long = format!(r#"{{"name":"{}","length":3}}"#, "a".repeat(70_000));
    for (body, status, code) in [
        (deep.as_str(), 400, "json_too_deep"),
        (long.as_str(), 413, "too_large"),
        (r#"{"name":"j","name":"k","length":3}"#, 400, "bad_json"),
        (r#"{"name":"j","length":3,"x":1}"#, 400, "bad_json"),
        (r#"{"name":"j","length":-3}"#, 400, "bad_json"),
        (r#"{"name":"j","length":3,"sha256":"zz"}"#, 400, "bad_json"),
        (r#"{"name":"a\u0000","length":3}"#, 400, "bad_name"),
        ("", 400, "bad_json"),
    ] {
        world.call("POST", "/v1/uploads", &[json, ("idempotency-key", "z")], body.to_owned()).await.refused(status, code);
    }
    world.call("POST", "/v1/uploads", &[key], "{}").await.refused(415, "media_type_refused");
}

#[tokio::test]
async fn heads_that_can_be_read_in_two_ways_are_refused() {
    let world = World::new().await;
    let two_hosts = Request::builder().uri("/livez").header("host", "a").header("host", "b");
    world.send(two_hosts, "").await.refused(400, "host_refused");
    let no_host = Request::builder().uri("/livez").body(Body::empty()).unwrap();
    Reply::read(world.router.clone().oneshot(no_host).await.unwrap()).await.refused(400, "host_refused");
    let elsewhere = Request::builder().uri("https://other.example/livez").header("host", "vault.example");
    world.send(elsewhere, "").await.refused(421, "wrong_host");
    let twice = Request::builder().uri("/livez").header("transfer-encoding", "chunked").header("transfer-encoding", "chunked");
    world.send(twice, "").await.refused(400, "bad_header");
    for method in ["TRACE", "CONNECT", "BREW"] {
        let reply = world.send(Request::builder().method(method).uri("/livez"), "").await;
        reply.refused(405, "method_not_allowed");
        reply.header("allow");
    }
    let other = world.send(Request::builder().method("PUT").uri("/livez"), "").await;
    other.refused(405, "method_not_allowed");
    assert!(other.header("allow").contains("GET"));
    world.send(Request::builder().uri(format!("/livez?{}", "a".repeat(9000))), "").await.refused(414, "uri_too_long");
    world.send(Request::builder().uri("/livez").header("x", "a".repeat(20_000)), "").await.refused(431, "headers_too_large");
    let mut many = Request::builder().uri("/livez");
    for i in 0..101 {
        many = many.header(format!("x-{i}"), "1");
    }
    world.send(many, "").await.refused(431, "headers_too_large");
    world.send(Request::builder().uri("/nowhere"), "").await.refused(404, "not_found");
}

#[tokio::test]
async fn without_a_majority_nothing_is_guessed() {
    let world = World::new().await;
    let made = world.upload("x", "k", b"x").await;
    world.metadata.set_quorum(false);
    for (method, uri) in
        [("GET", "/v1/me".to_owned()), ("GET", made.header("location").to_owned()), ("POST", "/v1/documents?name=y".into())]
    {
        let reply = world.call(method, &uri, &[("idempotency-key", "z")], "").await;
        reply.refused(503, "no_quorum");
        reply.header("retry-after");
    }
    world.metadata.set_quorum(true);
    assert_eq!(world.count().await, 1);
}

#[tokio::test]
async fn content_that_cannot_be_read_is_a_clear_503() {
    let world = World::new().await;
    let made = world.upload("x", "k", &pattern(100_000)).await;
    let path = format!("{}/content", made.header("location"));
    world.bytes.refuse_reads.store(true, Ordering::Relaxed);
    world.call("GET", &path, &[], "").await.refused(503, "not_enough_shards");
    world.bytes.refuse_reads.store(false, Ordering::Relaxed);
    world.bytes.damage();
    world.call("GET", &path, &[], "").await.refused(503, "content_damaged");
    assert_eq!(world.bytes.suspects.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn reduced_redundancy_is_said() {
    let world = World::new().await;
    world.bytes.reduced.store(true, Ordering::Relaxed);
    let made = world.upload("x", "k", b"x").await;
    assert_eq!((made.status, made.header("vault-redundancy")), (StatusCode::CREATED, "reduced"));
}

#[tokio::test]
async fn health_metrics_and_the_contract() {
    let world = World::new().await;
    let open = |uri: &str| Request::builder().uri(uri);
    assert_eq!(world.send(open("/livez"), "").await.status, StatusCode::OK);
    let ready = world.send(open("/readyz?verbose"), "").await;
    assert_eq!((ready.status, ready.json()["checks"].as_array().unwrap().len()), (StatusCode::SERVICE_UNAVAILABLE, 2));
    assert!(!String::from_utf8_lossy(&ready.body).contains("read-only"));
    assert_eq!(world.send(open("/readyz?exclude=disk_writable"), "").await.status, StatusCode::OK);
    assert_eq!(world.send(open("/readyz/quorum_read"), "").await.status, StatusCode::OK);
    assert_eq!(world.send(open("/readyz/disk_writable"), "").await.status, StatusCode::SERVICE_UNAVAILABLE);
    world.send(open("/readyz/nothing"), "").await.refused(404, "not_found");
    let api = world.send(open("/v1/openapi.json"), "").await.json();
    assert_eq!(api["openapi"], "3.1.0");
    for page in ["/", "/v1/docs"] {
        let page = world.send(open(page), "").await;
        assert!(page.header("content-security-policy").contains("style-src 'sha256-"));
        assert!(page.header("strict-transport-security").contains("max-age"));
    }
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traced = world.send(open("/livez").header("traceparent", format!("00-{trace}-b7ad6b7169203331-01")), "").await;
    assert_eq!(traced.header("request-id"), trace);
    let metrics = world.send(open("/metrics"), "").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains("kluis_http_requests_total{class=\"5xx\",method=\"GET\",route=\"/readyz\"} 1"), "{text}");
}

#[tokio::test]
async fn me_shows_the_person_and_not_the_number() {
    let world = World::new().await;
    let me = world.call("GET", "/v1/me", &[], "").await;
    let json = me.json();
    assert_eq!((json["name"].as_str(), json["roles"][0].as_str()), (Some("Alice Peeters"), Some("citizen")));
    assert_eq!(json["quota"]["limit_bytes"], 1_000_000_000);
    assert!(!String::from_utf8_lossy(&me.body).contains(ALICE));
    world.call("GET", "/v1/auth/nobody/start", &[], "").await.refused(404, "not_found");
    world.call("GET", "/v1/auth/callback?code=a&state=b", &[], "").await.refused(401, "login_mismatch");
}
