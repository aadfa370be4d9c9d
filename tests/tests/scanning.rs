//! Promise: nothing malicious becomes available, and nothing is stored unscanned (R71, R72, K30).
//!
//! Owns: scanning on a real cluster with a real clamd. Not: the formats (beside `gateway/src/scan`).
//! Holds: every refusal is followed by a look that nothing was stored and that no quota is used; harmless files of the
//! same kinds are taken, so that refusing everything would fail.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::stream;
use kluis_tests::{
    Api, Cluster, ClusterOptions, Failure,
    carriers::{eicar, page, pdf_with_file, png, zip, zip_flagged},
    clamd::Clamd,
    fresh_key,
};
use reqwest::{Body, Method, Response};
use tokio::sync::mpsc;

const PLAIN_FILE: &str = "/Type/EmbeddedFile/Filter/FlateDecode";
/// As qpdf writes it; clamd 1.4 looks past the file then.
const PARAMS_FIRST: &str = " /Params << /CheckSum <44d88612fea8a8f36de82e1278abb02f> /Size 68 >> /Type /EmbeddedFile /Filter /FlateDecode ";

struct World {
    cluster: Cluster,
    clamd: Clamd,
    api: Api,
}

impl World {
    fn start() -> Self {
        let clamd = Clamd::start();
        let env = [("KLUIS_SCAN_SOCKET", clamd.socket().display().to_string()), ("KLUIS_SCAN_VERDICT_DEADLINE", "5s".to_owned())];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let cluster = Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, env, ..ClusterOptions::default() });
        let api = Api::new(&cluster, cluster.sign_in(0));
        Self { cluster, clamd, api }
    }

    /// Fails unless this is refused and leaves nothing.
    async fn refused(&self, what: &str, content: &[u8]) -> Failure {
        let failure = self.api.once().put(what, content.to_vec()).await.expect_err(what);
        self.nothing_is_left(what).await;
        failure
    }

    async fn nothing_is_left(&self, what: &str) {
        assert!(self.api.list().await.unwrap().is_empty(), "{what} was stored");
        let quota = self.api.me().await.unwrap()["quota"].clone();
        assert_eq!(quota["used_bytes"], 0, "{what}: {quota}");
    }

    /// A resumable upload of one piece: its address and the answer to the piece.
    async fn resumable(&self, content: &[u8]) -> (String, Response) {
        let metadata = format!("filename {}", BASE64_STANDARD.encode("resumed"));
        let begun = self.api.request(Method::POST, 0, "/v1/uploads").header("tus-resumable", "1.0.0");
        let begun = begun.header("upload-length", content.len()).header("upload-metadata", metadata).send().await.unwrap();
        assert_eq!(begun.status(), 201);
        let location = begun.headers()["location"].to_str().unwrap();
        let path = location[location.find("/v1/").unwrap()..].to_owned();
        let answer = self.piece(&path, 0, content).await;
        (path, answer)
    }

    async fn piece(&self, path: &str, offset: usize, content: &[u8]) -> Response {
        let piece = self.api.request(Method::PATCH, 0, path).header("tus-resumable", "1.0.0").header("upload-offset", offset);
        piece.header("content-type", "application/offset+octet-stream").body(content.to_vec()).send().await.unwrap()
    }
}

async fn code(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let problem: serde_json::Value = answer.json().await.unwrap();
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

fn is(failure: &Failure, status: u16, code: &str) -> bool {
    failure.status == Some(status) && failure.code == code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r71_malware_never_becomes_available() {
    let mut world = World::start();
    let (virus, inner) = (eicar(), zip(&[("a.com", &eicar())]));
    let hidden = pdf_with_file(PARAMS_FIRST, &virus);
    let carriers: [(&str, Vec<u8>); 8] = [
        ("plain", virus.clone()),
        ("at the end", [vec![b'x'; 100_000], virus.clone()].concat()),
        ("zipped", inner.clone()),
        ("nested", zip(&[("inner.zip", &inner)])),
        ("in a PDF", pdf_with_file(PLAIN_FILE, &virus)),
        ("in a PDF, hidden from clamd", hidden.clone()),
        ("in a PDF in a ZIP", zip(&[("a.pdf", &hidden)])),
        ("in a ZIP in a PDF", pdf_with_file(PARAMS_FIRST, &inner)),
    ];
    for (what, content) in &carriers {
        let failure = world.refused(what, content).await;
        assert!(is(&failure, 422, "malware_detected"), "{what}: {failure}");
        let (path, answer) = world.resumable(content).await;
        assert_eq!(code(answer).await, (422, "malware_detected".to_owned()), "{what}");
        let gone = world.api.request(Method::GET, 0, &path).send().await.unwrap();
        assert_eq!(gone.status(), 404, "{what}: the upload is still there");
        world.nothing_is_left(what).await;
    }

    world.clamd.freeze();
    let failure = world.refused("while clamd is hung", b"harmless").await;
    assert!(is(&failure, 503, "scan_unavailable"), "{failure}");
    world.clamd.thaw();

    // Killed while the content streams.
    let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body =
        Body::wrap_stream(stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) }));
    let request = world.api.request(Method::POST, 0, "/v1/documents").query(&[("name", "killed")]).header("idempotency-key", fresh_key());
    let upload = tokio::spawn(request.header("content-type", "text/plain").body(body).send());
    // The third piece is taken from the channel only when the first was given to the connection.
    for _ in 0..3 {
        sender.send(Ok(Bytes::from(vec![b'a'; 100_000]))).await.unwrap();
    }
    world.clamd.kill();
    // The answer may come before the end.
    let _ = sender.try_send(Ok(Bytes::from_static(b"end")));
    drop(sender);
    assert_eq!(code(upload.await.unwrap().unwrap()).await, (503, "scan_unavailable".to_owned()));
    world.nothing_is_left("killed").await;

    let failure = world.refused("while clamd is down", b"harmless").await;
    assert!(is(&failure, 503, "scan_unavailable"), "{failure}");
    let (path, answer) = world.resumable(b"harmless").await;
    assert_eq!(code(answer).await, (503, "scan_unavailable".to_owned()));
    world.nothing_is_left("resumable while clamd is down").await;

    // What waited for the scanner goes on, and what is harmless is taken.
    world.clamd.start_again();
    let answer = world.piece(&path, b"harmless".len(), b"").await;
    assert_eq!(answer.status(), 204);
    let resumed = answer.headers()["vault-document"].to_str().unwrap().to_owned();
    assert_eq!(world.api.get(&resumed).await.unwrap(), b"harmless");
    let doc = world.api.put("again", b"harmless".to_vec()).await.unwrap();
    assert_eq!(world.api.get(&doc.id).await.unwrap(), b"harmless");
    assert_eq!(world.cluster.live_nodes(), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r72_a_refusal_says_why_and_uses_no_quota() {
    let world = World::start();
    let malware = world.refused("malware", &eicar()).await;
    assert!(is(&malware, 422, "malware_detected") && !malware.detail.is_empty(), "{malware}");
    let active = world.refused("suspicious", &page("/OpenAction<</S/Launch/F(x)>>")).await;
    assert!(is(&active, 415, "type_refused") && active.detail.contains("when it is opened"), "{active}");
    // A new version is scanned as well, and the old one stays.
    let doc = world.api.put("versions", b"first".to_vec()).await.unwrap();
    let put = world.api.request(Method::PUT, 0, &format!("/v1/documents/{}/content", doc.id)).header("if-match", &doc.etag);
    let answer = put.header("content-type", "text/plain").body(eicar()).send().await.unwrap();
    assert_eq!(code(answer).await, (422, "malware_detected".to_owned()));
    assert_eq!(world.api.get(&doc.id).await.unwrap(), b"first");
    assert_eq!(world.api.me().await.unwrap()["quota"]["used_bytes"], 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k30_none_of_twenty_nasties_becomes_available() {
    let world = World::start();
    let note: (&str, &[u8]) = ("a.txt", b"harmless");
    let small = zip(&[note]);
    let mut deep = small.clone();
    for _ in 0..3 {
        deep = zip(&[("inner.zip", &deep)]);
    }
    let zeros = vec![0; 70 << 20];
    let beyond = [zeros.as_slice(), &eicar()].concat();
    let vba: &[(&str, &[u8])] = &[("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<d/>"), ("word/vbaProject.bin", b"x")];
    let nasties: Vec<(&str, Vec<u8>)> = vec![
        ("a bomb", zip(&[("a", &zeros)])),
        ("malware behind the scanner's limit", zip(&[("a", &beyond)])),
        ("too deep", deep),
        ("a ZIP with a password", zip_flagged(&[note], 1)),
        ("names that lead outside", zip(&[("../../a", b"x")])),
        ("the same name twice", zip(&[note, note])),
        ("a ZIP behind a program", [b"MZ\x90\0".as_slice(), &small].concat()),
        ("a PDF with a password", page("/X 1>>\nendobj\ntrailer<</Encrypt 3 0 R")),
        ("a PDF that is a ZIP", [page(""), small.clone()].concat()),
        ("a PDF behind something", [b"junk\n".to_vec(), page("")].concat()),
        ("a PDF that starts a program", page("/OpenAction<</S/Launch/F(x)>>")),
        ("a PDF with a script at its start", page("/OpenAction<</S/J#61vaScript/JS(x)>>")),
        ("a JPEG that is a ZIP", [b"\xff\xd8\xff\xe0\0\x10JFIF\0".to_vec(), small.clone()].concat()),
        ("a GIF that is a script", b"GIF89a/*\0\0\0\0*/=1;alert(1)".to_vec()),
        ("a huge image", png(70_000, 70_000)),
        ("a program", b"\x7fELF\x02\x01\x01\0".to_vec()),
        ("a script", b"#!/bin/sh\necho x\n".to_vec()),
        ("a page with a script", b"<!DOCTYPE html><script>alert(1)</script>".to_vec()),
        ("an image with a script", b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>".to_vec()),
        ("XML that multiplies", b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>".to_vec()),
        ("macros", zip(vba)),
        ("an old Office file", [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".as_slice(), &[0; 504]].concat()),
        ("a script in a ZIP", zip(&[("a.sh", b"#!/bin/sh\n")])),
        ("no known type", b"\x01\x02\x03\x04".to_vec()),
    ];
    assert!(nasties.len() >= 20);
    for (what, content) in &nasties {
        let failure = world.refused(what, content).await;
        let told = is(&failure, 415, "type_refused") || is(&failure, 422, "malware_detected");
        assert!(told, "{what}: {failure}");
    }

    let document: &[(&str, &[u8])] = &[("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<d/>")];
    let harmless = [
        ("text", "k\u{e4}se".as_bytes().to_vec()),
        ("nothing", Vec::new()),
        ("PDF", page("")),
        ("PDF with a file", pdf_with_file(PARAMS_FIRST, b"harmless")),
        ("ZIP", zip(&[note, ("inner.zip", &small)])),
        ("Office", zip(document)),
        ("image", png(10, 10)),
        // Larger than what is kept while it arrives: read again from the disks.
        ("large ZIP", zip(&[("noise", &kluis_tests::content(1, 6 << 20))])),
    ];
    for (what, content) in harmless {
        let doc = world.api.once().put(what, content.clone()).await.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert!(world.api.get(&doc.id).await.unwrap() == content, "{what}");
    }
}
