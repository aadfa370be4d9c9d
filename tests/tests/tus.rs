//! Promise: an upload that was interrupted goes on where it stands, over any gateway (tus 1.0).
//!
//! Owns: tus on a real cluster, from creation to expiry. Not: other bad input (`bad_input`).
//! Holds: (1) an offset that a gateway tells is durable at every other gateway; (2) what comes out is what
//! went in, whatever happened between; (3) an upload that ends without its last byte leaves nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{io, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use kluis_tests::{Cluster, content};
use reqwest::{Body, Client, Method, RequestBuilder, Response, header::HeaderMap};
use tokio::{sync::mpsc, time::sleep};

const PIECE: &str = "application/offset+octet-stream";
/// Bytes of the upload that is interrupted.
const LARGE: usize = 25_000_000;
/// Looks at a condition before a test is taken to hang.
const LOOKS: usize = 600;

/// One person at all gateways.
struct Person {
    client: Client,
    gateways: Vec<String>,
    token: String,
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn offset_of(headers: &HeaderMap) -> usize {
    field(headers, "upload-offset").parse().unwrap_or_else(|_| panic!("no offset: {headers:?}"))
}

fn repr_digest(content: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(digest(&SHA256, content)))
}

/// A body that ends with an error behind `content`: the connection or stream is cut there.
fn cut_off(content: &[u8]) -> Body {
    let pieces: Vec<io::Result<Bytes>> = content.chunks(64 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Body::wrap_stream(stream::iter(pieces).chain(stream::iter([Err(io::Error::other("cut"))])))
}

impl Person {
    fn new(cluster: &Cluster, person: usize) -> Self {
        let gateways = (0..3).map(|site| cluster.gateway(site)).collect();
        Self { client: cluster.client(), gateways, token: cluster.sign_in(person) }
    }

    fn request(&self, gateway: usize, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        let url = format!("{}{path}", self.gateways[gateway % self.gateways.len()]);
        self.client.request(method, url).bearer_auth(&self.token)
    }

    fn tus(&self, gateway: usize, method: &str, path: &str) -> RequestBuilder {
        self.request(gateway, method, path).header("tus-resumable", "1.0.0")
    }

    fn creation(&self, gateway: usize, name: &str, len: usize) -> RequestBuilder {
        let metadata = format!("filename {},filetype {}", BASE64_STANDARD.encode(name), BASE64_STANDARD.encode("text/x-test"));
        self.tus(gateway, "POST", "/v1/uploads").header("upload-length", len).header("upload-metadata", metadata)
    }

    /// Begins an upload and gives its path.
    async fn begin(&self, gateway: usize, name: &str, len: usize) -> String {
        let answer = self.creation(gateway, name, len).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), field(answer.headers(), "tus-resumable")), (201, "1.0.0"), "{answer:?}");
        assert!(!field(answer.headers(), "upload-expires").is_empty(), "{answer:?}");
        field(answer.headers(), "location").to_owned()
    }

    fn piece(&self, gateway: usize, path: &str, offset: usize, body: impl Into<Body>) -> RequestBuilder {
        self.tus(gateway, "PATCH", path).header("content-type", PIECE).header("upload-offset", offset).body(body)
    }

    /// Sends a piece that must be taken, once the upload is free and the gateway serves.
    async fn take(&self, gateway: usize, path: &str, offset: usize, body: &[u8]) -> Response {
        for _ in 0..LOOKS {
            let answer = self.piece(gateway, path, offset, body.to_vec()).send().await.unwrap();
            match answer.status().as_u16() {
                204 => return answer,
                // The request that was cut off may still be noting what it has; an election may be under way.
                409 | 503 => sleep(Duration::from_millis(100)).await,
                _ => panic!("PATCH {path} at {offset}: {answer:?}"),
            }
        }
        panic!("PATCH {path} at {offset} was never taken")
    }

    /// Where an upload stands; `None` when there is none.
    async fn offset(&self, gateway: usize, path: &str) -> Option<usize> {
        let answer = self.tus(gateway, "HEAD", path).send().await.unwrap();
        match answer.status().as_u16() {
            200 => Some(offset_of(answer.headers())),
            404 => None,
            _ => panic!("HEAD {path}: {answer:?}"),
        }
    }

    /// Sends what must be refused, and gives the header fields of the refusal.
    async fn refused(&self, request: RequestBuilder, status: u16, code: &str) -> HeaderMap {
        let answer = request.send().await.unwrap();
        let (got, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body: serde_json::Value = answer.json().await.unwrap_or_default();
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{body}");
        headers
    }

    async fn content(&self, gateway: usize, document: &str) -> Bytes {
        let answer = self.request(gateway, "GET", &format!("/v1/documents/{document}/content")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{answer:?}");
        answer.bytes().await.unwrap()
    }

    async fn json(&self, path: &str) -> serde_json::Value {
        self.request(1, "GET", path).send().await.unwrap().json().await.unwrap()
    }

    async fn documents(&self) -> usize {
        self.json("/v1/documents?limit=200").await["documents"].as_array().unwrap().len()
    }

    /// Waits until running uploads hold no quota.
    async fn nothing_reserved(&self) {
        for _ in 0..LOOKS {
            if self.json("/v1/me").await["quota"]["reserved_bytes"] == 0 {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("uploads that ended hold quota");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cluster_interrupted_uploads_go_on_over_any_gateway() {
    let cluster = Cluster::start();
    let person = Person::new(&cluster, 0);
    odd_pieces(&person).await;
    interrupted(&person).await;
    creation(&person).await;
    refusals(&person).await;
    two_writers(&person).await;
    termination(&person).await;
    expiration(&cluster, person).await;
}

/// Pieces of odd sizes, each to another gateway than the one before.
async fn odd_pieces(person: &Person) {
    let content = content(1, 2_600_000);
    let path = person.begin(0, "odd.bin", content.len()).await;
    let mut at = 0;
    for (turn, cut) in [1, 100, 1_048_575, 1_048_576, 1_048_577, 1_700_001, 2_600_000].into_iter().enumerate() {
        assert_eq!(person.offset(turn + 1, &path).await, Some(at));
        let answer = person.take(turn, &path, at, &content[at..cut]).await;
        assert_eq!(offset_of(answer.headers()), cut);
        let document = field(answer.headers(), "vault-document").to_owned();
        assert_eq!(document.is_empty(), cut < content.len(), "the last piece and no other names the document");
        at = cut;
        if cut == content.len() {
            assert_eq!(field(answer.headers(), "vault-version"), "1");
            assert!(person.content(turn + 1, &document).await == content, "other bytes came out");
            let shown = person.json(&format!("/v1/documents/{document}")).await;
            assert_eq!((shown["name"].as_str(), shown["media_type"].as_str()), (Some("odd.bin"), Some("text/x-test")));
        }
    }
    person.nothing_reserved().await;
}

/// 25 MB whose connection is cut twice.
async fn interrupted(person: &Person) {
    let content = content(2, LARGE);
    let before = person.documents().await;
    let begun = person.creation(0, "large.bin", LARGE).header("repr-digest", repr_digest(&content)).send().await.unwrap();
    let path = field(begun.headers(), "location").to_owned();
    let mut at = 0;
    for (turn, end) in [(0, 9_000_001), (1, 17_000_003)] {
        // A cut client has no answer, or one that says that its body was too short.
        match person.piece(turn, &path, at, cut_off(&content[at..end])).send().await {
            Err(_) => {}
            Ok(answer) => assert_eq!(answer.status().as_u16(), 400, "{answer:?}"),
        }
        let mut now = at;
        for _ in 0..LOOKS {
            now = person.offset(turn + 1, &path).await.expect("the upload is still there");
            if now > at {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        assert!(now > at && now <= end, "after {at}..{end} the upload stands at {now}");
        assert_eq!(person.documents().await, before, "half a document is none");
        at = now;
    }
    let answer = person.take(2, &path, at, &content[at..]).await;
    let document = field(answer.headers(), "vault-document").to_owned();
    let got = person.content(0, &document).await;
    assert_eq!((got.len(), digest(&SHA256, &got).as_ref()), (LARGE, digest(&SHA256, &content).as_ref()));
    let shown = person.json(&format!("/v1/documents/{document}")).await;
    assert_eq!(shown["sha256"], hex::encode(digest(&SHA256, &content)));
    person.nothing_reserved().await;
}

/// What the server can do, and the ways to begin.
async fn creation(person: &Person) {
    let abilities = person.request(0, "OPTIONS", "/v1/uploads").send().await.unwrap();
    assert_eq!(abilities.status().as_u16(), 204);
    assert_eq!(field(abilities.headers(), "tus-version"), "1.0.0");
    assert_eq!(field(abilities.headers(), "tus-max-size"), "5000000000");
    for extension in ["creation", "creation-with-upload", "expiration", "termination"] {
        let all = field(abilities.headers(), "tus-extension");
        assert!(all.split(',').any(|e| e == extension), "{extension}: {all}");
    }
    let empty = person.creation(0, "empty.bin", 0).send().await.unwrap();
    let document = field(empty.headers(), "vault-document").to_owned();
    assert!(person.content(1, &document).await.is_empty(), "an upload of no bytes is whole at once");

    let with = person.creation(0, "hello", 5).header("content-type", PIECE).body("hel").send().await.unwrap();
    assert_eq!((with.status().as_u16(), offset_of(with.headers())), (201, 3));
    let path = field(with.headers(), "location").to_owned();
    let last = person.take(1, &path, 3, b"lo").await;
    assert_eq!(person.content(2, field(last.headers(), "vault-document")).await, "hello");

    let json = person.request(0, "POST", "/v1/uploads").header("idempotency-key", "tus-json");
    let json = json.json(&serde_json::json!({"name": "by-json", "length": 4})).send().await.unwrap();
    let path = field(json.headers(), "location").to_owned();
    let state = person.json(&path).await;
    assert_eq!((state["offset"].as_u64(), state["length"].as_u64()), (Some(0), Some(4)));
    let last = person.take(1, &path, 0, b"json").await;
    assert_eq!(person.content(0, field(last.headers(), "vault-document")).await, "json");
}

/// What is refused, with its code; none of it moves the upload.
async fn refusals(person: &Person) {
    let before = person.documents().await;
    let path = person.begin(0, "refused", 10).await;
    let raw = |person: &Person| person.request(1, "PATCH", &path).header("upload-offset", "0").body("x");
    person.refused(raw(person).header("content-type", PIECE), 412, "tus_version").await;
    let old = person.refused(raw(person).header("content-type", PIECE).header("tus-resumable", "0.2.2"), 412, "tus_version").await;
    assert_eq!(field(&old, "tus-version"), "1.0.0", "the version that is spoken is named");
    person.refused(raw(person).header("tus-resumable", "1.0.0"), 415, "media_type_refused").await;
    let other = raw(person).header("tus-resumable", "1.0.0").header("content-type", "application/octet-stream");
    person.refused(other, 415, "media_type_refused").await;
    let off = person.refused(person.piece(1, &path, 3, "x"), 409, "offset_mismatch").await;
    assert_eq!(offset_of(&off), 0, "the true offset is told");
    person.refused(person.piece(1, &path, 0, "more than ten"), 413, "too_large").await;
    for bad in ["+0", "-1", "0, 0", "18446744073709551616", "x"] {
        let request = person.tus(1, "PATCH", &path).header("content-type", PIECE).header("upload-offset", bad).body("x");
        person.refused(request, 400, "bad_header").await;
    }
    person.refused(person.tus(1, "PATCH", &path).header("content-type", PIECE).body("x"), 400, "bad_header").await;
    person.refused(person.tus(0, "POST", "/v1/uploads").header("upload-defer-length", "1"), 400, "bad_header").await;
    person.refused(person.tus(0, "POST", "/v1/uploads").header("upload-length", "4"), 400, "bad_name").await;
    let evil = format!("filename {}", BASE64_STANDARD.encode([0xff]));
    let evil = person.tus(0, "POST", "/v1/uploads").header("upload-length", "4").header("upload-metadata", evil);
    person.refused(evil, 400, "bad_name").await;
    let broken = person.tus(0, "POST", "/v1/uploads").header("upload-length", "4").header("upload-metadata", "filename %%%");
    person.refused(broken, 400, "bad_header").await;
    person.refused(person.creation(0, "large", 5_000_000_001), 413, "too_large").await;
    person.refused(person.piece(0, "/v1/uploads/01ARZ3NDEKTSV4RRFFQ69G5FAV", 0, "x"), 404, "not_found").await;
    assert_eq!(person.offset(2, &path).await, Some(0), "nothing of that moved the upload");

    let wrong = person.creation(0, "wrong", 3).header("repr-digest", repr_digest(b"other")).send().await.unwrap();
    let wrong = field(wrong.headers(), "location").to_owned();
    person.refused(person.piece(1, &wrong, 0, "abc"), 422, "digest_mismatch").await;
    assert_eq!(person.offset(2, &wrong).await, None, "an upload with the wrong digest is gone");
    assert_eq!(person.tus(0, "DELETE", &path).send().await.unwrap().status().as_u16(), 204);
    person.nothing_reserved().await;
    assert_eq!(person.documents().await, before);
}

/// While one request writes, others are told so; what it writes is whole.
async fn two_writers(person: &Person) {
    let content = content(3, 3_000_000);
    for _ in 0..5 {
        let path = person.begin(0, "writers", content.len()).await;
        let (feed, pieces) = mpsc::channel::<io::Result<Bytes>>(4);
        let body = Body::wrap_stream(stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) }));
        let first = tokio::spawn(person.piece(0, &path, 0, body).send());
        feed.send(Ok(Bytes::copy_from_slice(&content[..1_500_000]))).await.unwrap();
        let mut busy = false;
        for _ in 0..LOOKS {
            // No bytes: should this one come before the first, it changes nothing.
            let answer = person.piece(1, &path, 0, "").send().await.unwrap();
            let status = answer.status().as_u16();
            let body: serde_json::Value = answer.json().await.unwrap_or_default();
            busy = status == 409 && body["code"] == "upload_busy";
            if busy || first.is_finished() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        if !busy {
            // The empty piece held the upload in the very moment that the first one wanted it: once more.
            first.abort();
            person.tus(0, "DELETE", &path).send().await.unwrap();
            continue;
        }
        feed.send(Ok(Bytes::copy_from_slice(&content[1_500_000..]))).await.unwrap();
        drop(feed);
        let answer = first.await.unwrap().unwrap();
        assert_eq!(answer.status().as_u16(), 204, "{answer:?}");
        assert!(person.content(2, field(answer.headers(), "vault-document")).await == content, "other bytes came out");
        return;
    }
    panic!("a second writer was never told that the upload is busy");
}

/// An upload that is given up is gone everywhere, with its quota.
async fn termination(person: &Person) {
    let path = person.begin(0, "terminated", 100_000).await;
    person.take(1, &path, 0, &content(4, 50_000)).await;
    assert_eq!(person.tus(2, "DELETE", &path).send().await.unwrap().status().as_u16(), 204);
    for gateway in 0..3 {
        assert_eq!(person.offset(gateway, &path).await, None);
        person.refused(person.piece(gateway, &path, 50_000, "x"), 404, "not_found").await;
    }
    person.refused(person.tus(0, "DELETE", &path), 404, "not_found").await;
    person.nothing_reserved().await;
}

/// An upload that rests for longer than a day is given up. Sessions end before that: this comes last.
async fn expiration(cluster: &Cluster, person: Person) {
    let before = person.documents().await;
    let path = person.begin(0, "expired", 100_000).await;
    person.take(1, &path, 0, &content(5, 50_000)).await;
    cluster.advance_clock("25h").await;
    // Until every gateway looked at the clock, the old session counts.
    for gateway in 0..3 {
        let mut looks = 0;
        while person.request(gateway, "GET", "/v1/me").send().await.unwrap().status().as_u16() != 401 {
            looks += 1;
            assert!(looks < LOOKS, "the clock does not move at gateway {gateway}");
            sleep(Duration::from_millis(100)).await;
        }
    }
    let person = Person::new(cluster, 0);
    for gateway in 0..3 {
        assert_eq!(person.offset(gateway, &path).await, None);
    }
    person.nothing_reserved().await;
    assert_eq!(person.documents().await, before);
}
