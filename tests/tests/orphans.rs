//! What never became a document, or is one no more, leaves nothing behind: the quota is given back, and its
//! shards are deleted from every disk.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use kluis_tests::{Api, Cluster, ClusterOptions, content, fresh_key};
use reqwest::{Body, Method, StatusCode, header};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_expired_and_deleted_uploads_leave_nothing() {
    let cluster = Cluster::start_with(ClusterOptions::eager());
    let api = Api::new(&cluster, cluster.sign_in(0));
    let kept = api.put("kept", content(1, 2 * MIB)).await.unwrap();
    cluster.wait_settled().await;
    let empty = Traces { shards: cluster.sum("kluis_disk_shards").await, used: kept.size, reserved: 0 };
    assert_eq!(traces(&cluster, &api).await, empty);

    println!("a connection ends in the middle of an upload");
    let upload = tokio::spawn(half_an_upload(&api).send());
    wait_for_more_shards(&cluster, &empty).await;
    assert!(traces(&cluster, &api).await.reserved >= 10 * MIB as u64, "quota is reserved while bytes come in");
    assert!(!upload.is_finished(), "the upload ended by itself");
    upload.abort();
    wait_for(&cluster, &api, &empty).await;

    println!("a resumable upload is never finished");
    let place = begin_resumable(&api).await;
    wait_for_more_shards(&cluster, &empty).await;
    assert_eq!(traces(&cluster, &api).await.reserved, 10 * MIB as u64);
    cluster.advance_clock("25h").await;
    // The session ended with the day, too.
    let api = Api::new(&cluster, cluster.sign_in(0));
    wait_for(&cluster, &api, &empty).await;
    let answer = api.request(Method::HEAD, 1, &place).header("Tus-Resumable", "1.0.0").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);

    println!("documents of every class are deleted");
    let mut docs = Vec::new();
    for (seed, len) in [(2, 300), (3, 40 << 10), (4, 3 * MIB)] {
        docs.push(api.put(&format!("document {seed}"), content(seed, len)).await.unwrap());
    }
    wait_for_more_shards(&cluster, &empty).await;
    for doc in &docs {
        api.delete(&doc.id).await.unwrap();
    }
    wait_for(&cluster, &api, &empty).await;

    let listed = api.list().await.unwrap();
    assert_eq!(listed, [api.read(&kept.id).await.unwrap()], "only what was acknowledged and not deleted is there");
    assert_eq!(api.get(&kept.id).await.unwrap(), content(1, 2 * MIB));
}

/// What uploads leave.
#[derive(Debug, PartialEq)]
struct Traces {
    shards: f64,
    used: u64,
    reserved: u64,
}

async fn traces(cluster: &Cluster, api: &Api) -> Traces {
    let quota = api.me().await.unwrap()["quota"].clone();
    let bytes = |name: &str| quota[name].as_u64().unwrap();
    Traces { shards: cluster.sum("kluis_disk_shards").await, used: bytes("used_bytes"), reserved: bytes("reserved_bytes") }
}

async fn wait_for(cluster: &Cluster, api: &Api, wanted: &Traces) {
    cluster
        .wait_until(&format!("only {wanted:?} are left"), 180, async || {
            let left = traces(cluster, api).await;
            assert!(left.shards >= wanted.shards, "shards of a document were deleted: {left:?}, {wanted:?} wanted");
            left == *wanted
        })
        .await;
}

async fn wait_for_more_shards(cluster: &Cluster, before: &Traces) {
    cluster.wait_until("shards are on disks", 60, async || cluster.sum("kluis_disk_shards").await > before.shards).await;
}

/// An upload of 10 MiB of which 3 come; then so few that it stays open and never gets on.
fn half_an_upload(api: &Api) -> reqwest::RequestBuilder {
    let first = stream::iter([Ok::<_, io::Error>(Bytes::from(content(9, 3 * MIB + 4096)))]);
    let drops = stream::unfold((), |()| async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        Some((Ok(Bytes::from_static(&[0; 2048])), ()))
    });
    api.request(Method::POST, 0, "/v1/documents")
        .query(&[("name", "never whole")])
        .header("Idempotency-Key", fresh_key())
        .header(header::CONTENT_LENGTH, 10 * MIB)
        .body(Body::wrap_stream(first.chain(drops)))
}

/// Begins a resumable upload of 10 MiB and sends 3 of them. Where it is.
async fn begin_resumable(api: &Api) -> String {
    let begin = api.request(Method::POST, 0, "/v1/uploads").header("Tus-Resumable", "1.0.0").header("Upload-Length", 10 * MIB);
    let begun = begin.header("Upload-Metadata", format!("filename {}", BASE64.encode("never finished"))).send().await.unwrap();
    assert_eq!(begun.status(), StatusCode::CREATED);
    let place = begun.headers()[header::LOCATION].to_str().unwrap().to_owned();
    // An address of its own or a path: the last two parts name the upload in either.
    let place = format!("/v1/uploads/{}", place.rsplit('/').next().unwrap());
    let piece = api.request(Method::PATCH, 0, &place).header("Tus-Resumable", "1.0.0").header("Upload-Offset", 0);
    let piece = piece.header(header::CONTENT_TYPE, "application/offset+octet-stream").body(content(10, 3 * MIB)).send().await.unwrap();
    assert_eq!(piece.status(), StatusCode::NO_CONTENT);
    assert_eq!(piece.headers()["upload-offset"], (3 * MIB).to_string().as_str());
    place
}
