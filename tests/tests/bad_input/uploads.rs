//! Bodies that are not what was announced, names that are none, keys used twice, JSON that is not wanted.

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::stream;
use kluis_tests::{content, fresh_key};
use reqwest::Body;

use super::{
    wire::blocking,
    world::{Reply, World},
};

const POST: &str = "POST /v1/documents?name=wire HTTP/1.1";

fn digest_field(content: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(digest(&SHA256, content)))
}

/// Lengths and digests that do not hold, and uploads that end half-way.
pub async fn bodies(world: &World) {
    let small = content(1, 5000);
    for (name, headers, expected) in [
        ("wrong Repr-Digest", vec![("repr-digest", digest_field(b"other"))], "422 digest_mismatch"),
        ("wrong Content-Digest", vec![("content-digest", digest_field(b"other"))], "422 digest_mismatch"),
        ("unreadable digest", vec![("repr-digest", "sha-256=abc".to_owned())], "400 bad_digest"),
        ("compressed content", vec![("content-encoding", "gzip".to_owned())], "415 content_encoding"),
        ("right digest", vec![("repr-digest", digest_field(&small))], "201"),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
        world.check(name, &[expected], world.upload("d", &headers, &small).await.brief());
    }
    let reply = world.call("POST", "/v1/documents?name=x", &[("idempotency-key", "m"), ("content-type", "nonsense")], b"x").await;
    world.check("media type that is none", &["400 bad_media_type"], reply.brief());

    let empty = world.upload("empty", &[], b"").await;
    world.check("zero bytes", &["201"], empty.brief());
    let got = world.call("GET", &format!("{}/content", empty.header("location")), &[], b"").await;
    world.holds("zero bytes come back", got.status == 200 && got.body.is_empty(), &got);

    for (name, length, expected) in [
        ("one byte above the largest document", "5000000001", "413 too_large"),
        ("2^63 bytes", "9223372036854775808", "413 too_large"),
        // The largest document fits an empty vault, and this one is not empty.
        ("above the quota", "5000000000", "507 quota_exceeded"),
    ] {
        let key = format!("Idempotency-Key: {}", fresh_key());
        let head = world.head(POST, &world.token, &[&key, &format!("Content-Length: {length}")]);
        world.check(format!("{name}, before a byte is sent"), &[expected], world.wire.exchange(head).await.brief());
    }
    let wanted = digest_field(b"none");
    let upload = [
        ("tus-resumable", "1.0.0"),
        ("upload-length", "5000000001"),
        ("upload-metadata", "filename eA=="),
        ("repr-digest", wanted.as_str()),
    ];
    world.check("resumable, too large", &["413 too_large"], world.call("POST", "/v1/uploads", &upload, b"").await.brief());
    world.holds("refused uploads hold no quota", world.wait_reserved(&world.token, false).await, "still reserved");

    let fields = |length: usize| [format!("Idempotency-Key: {}", fresh_key()), format!("Content-Length: {length}")];
    let [key, length] = fields(10_000);
    let (target, head) = (world.wire.clone(), world.head(POST, &world.token, &[&key, &length]));
    let ended = blocking(move || {
        let mut wire = target.connect();
        wire.send(head.as_bytes()).unwrap();
        wire.send(&[7; 5000]).unwrap();
        wire.finish();
        wire.read().brief()
    });
    world.check("shorter than announced", &["400 length_mismatch", "closed"], ended.await);

    let [key, length] = fields(10 << 20);
    let (target, head) = (world.wire.clone(), world.head(POST, &world.token, &[&key, &length]));
    let cut = blocking(move || {
        let mut wire = target.connect();
        wire.send(head.as_bytes()).unwrap();
        wire.send(&content(2, 3 << 20)).unwrap();
        wire
    });
    let wire = cut.await;
    world.holds("an upload under way holds quota", world.wait_reserved(&world.token, true).await, "nothing reserved");
    drop(wire);
    world.holds("an upload that was cut off gives its quota back", world.wait_reserved(&world.token, false).await, "still reserved");
    longer(world).await;
}

/// Over HTTP/2 a body can be longer than its announced length; over HTTP/1.1 that is another request.
async fn longer(world: &World) {
    let probe = world.client.get(format!("{}/livez", world.gateways[0])).send().await.unwrap();
    assert_eq!(probe.version(), reqwest::Version::HTTP_2, "this case needs a client that speaks HTTP/2");
    let pieces = stream::iter((0..4).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[1; 5000]))));
    let request = world.client.post(format!("{}/v1/documents?name=longer", world.gateways[0])).bearer_auth(&world.token);
    let request = request.header("idempotency-key", fresh_key()).header("content-length", "10000").body(Body::wrap_stream(pieces));
    let got = match request.send().await {
        Err(_) => "stream reset".to_owned(),
        Ok(answer) => {
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Reply { status, headers, body: answer.bytes().await.unwrap_or_default().to_vec() }.brief()
        }
    };
    world.check("longer than announced", &["stream reset", "400"], got);
    let made = world.call("POST", "/v1/uploads", &[TUS, ("upload-length", "10"), ("upload-metadata", "filename eA==")], b"").await;
    let path = made.header("location").to_owned();
    let piece = [TUS, ("content-type", "application/offset+octet-stream"), ("upload-offset", "0")];
    world.check("resumable, longer than announced", &["413 too_large"], world.call("PATCH", &path, &piece, b"more than ten").await.brief());
    let piece = [TUS, ("content-type", "application/offset+octet-stream"), ("upload-offset", "5")];
    let off = world.call("PATCH", &path, &piece, b"x").await;
    world.check("offset that does not match", &["409 offset_mismatch"], off.brief());
    world.check("the true offset is told", &["0"], off.header("upload-offset"));
    world.check("given up", &["204"], world.call("DELETE", &path, &[TUS], b"").await.brief());
}

const TUS: (&str, &str) = ("tus-resumable", "1.0.0");

/// Names are text: what looks like a path stays text, what cannot be text is refused.
pub async fn names(world: &World) {
    for (name, plain) in [
        ("..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
        ("%252e%252e%252f", "%2e%2e%2f"),
        ("C%3A%5Cx", "C:\\x"),
        ("%2Fetc%2Fpasswd", "/etc/passwd"),
        ("a%22%3B%20filename%3D%22evil.exe", "a\"; filename=\"evil.exe"),
        ("%F0%9F%97%9D%20sleutel", "\u{1f5dd} sleutel"),
    ] {
        let made = world.upload(name, &[], b"x").await;
        world.check(format!("name {plain:?}"), &["201"], made.brief());
        world.check(format!("name {plain:?} comes back"), &[plain], made.json()["name"].as_str().unwrap_or_default());
        let got = world.call("GET", &format!("{}/content", made.header("location")), &[], b"").await;
        let value = got.header("content-disposition").to_owned();
        let sound = value.is_ascii() && value.starts_with("attachment; ") && value.matches('"').count() == 2;
        world.holds(format!("name {plain:?} in Content-Disposition"), sound, &value);
    }
    let (long, bytes) = ("a".repeat(256), "%F0%9F%97%9D".repeat(257));
    for bad in [
        "",
        "a%00b",
        "a%0D%0ASet-Cookie:x=y",
        "a%0Ab",
        "%1B[2J",
        "%ff",
        "%C3%28",
        "%zz",
        "%",
        "%7F",
        "%E2%80%AE",
        "Ka%CC%88te",
        &long,
        &bytes,
    ] {
        let shown: String = bad.chars().take(24).collect();
        world.check(format!("name {shown}"), &["400 bad_name"], world.upload(bad, &[], b"x").await.brief());
    }
    world.check("no name", &["400 bad_name"], world.call("POST", "/v1/documents", &[("idempotency-key", "n")], b"x").await.brief());
    world.check("two names", &["400 bad_parameter"], world.upload("a&name=b", &[], b"x").await.brief());
    world.check("unknown parameter", &["400 bad_parameter"], world.upload("a&nmae=b", &[], b"x").await.brief());
    for (name, target) in [
        ("raw control character in the target", &b"/v1/documents?name=a\x01b"[..]),
        ("raw bytes that are no UTF-8 in the target", &b"/v1/documents?name=a\xff\xfeb"[..]),
        ("raw blank in the target", &b"/v1/documents?name=a b"[..]),
        ("raw line feed in the target", &b"/v1/documents?name=a\nb"[..]),
    ] {
        let tail = world.head("", &world.token, &["Idempotency-Key: raw", "Content-Length: 1"]);
        let request = [b"POST ", target, b" HTTP/1.1", tail.as_bytes(), b"x"].concat();
        world.check(name, &["400"], world.wire.exchange(request).await.brief());
    }
    for path in ["/v1/documents/..%2f..%2fetc%2fpasswd", "/v1/documents/%00", "/v1/documents/%ff", "/v1/documents/x", "/../../etc/passwd"] {
        let request = world.head(&format!("GET {path} HTTP/1.1"), &world.token, &[]);
        world.check(format!("path {path}"), &["404 not_found", "400 bad_request"], world.wire.exchange(request).await.brief());
    }
}

/// One key, one document.
pub async fn idempotency(world: &World) {
    let (body, path) = (content(3, 40_000), "/v1/documents?name=once");
    world.check("no Idempotency-Key", &["400 idempotency_key_missing"], world.call("POST", path, &[], &body).await.brief());
    let long = "k".repeat(256);
    world.check(
        "Idempotency-Key too long",
        &["400 bad_header"],
        world.call("POST", path, &[("idempotency-key", &long)], &body).await.brief(),
    );
    let key = fresh_key();
    let keyed = [("idempotency-key", key.as_str())];
    let first = world.call("POST", path, &keyed, &body).await;
    world.note(&first);
    let again = world.send(1, &world.token, "POST", path, &keyed, &body).await;
    world.check("first with the key", &["201"], first.brief());
    world.check("same key, same body, another gateway", &["201"], again.brief());
    world.holds("one document came of both", first.json() == again.json() && first.json()["id"].is_string(), again.json());
    let other = content(4, 40_000);
    world.check("same key, other body", &["422 idempotency_key_reused"], world.call("POST", path, &keyed, &other).await.brief());
    let renamed = world.call("POST", "/v1/documents?name=twice", &keyed, &body).await;
    world.check("same key, other name", &["422 idempotency_key_reused"], renamed.brief());

    let (key, body) = (fresh_key(), content(5, 1_500_000));
    let head = world.head(
        "POST /v1/documents?name=flight HTTP/1.1",
        &world.token,
        &[&format!("Idempotency-Key: {key}"), "Content-Type: text/plain", "Content-Length: 1500000"],
    );
    let (target, sent) = (world.wire.clone(), body.clone());
    let mut wire = blocking(move || {
        let mut wire = target.connect();
        wire.send(head.as_bytes()).unwrap();
        wire.send(&sent[..1_200_000]).unwrap();
        wire
    })
    .await;
    world.holds("the first is under way", world.wait_reserved(&world.token, true).await, "nothing reserved");
    let second = [("idempotency-key", key.as_str()), ("content-type", "text/plain")];
    let refused = world.send(1, &world.token, "POST", "/v1/documents?name=flight", &second, &body).await;
    world.check("same key while the first is under way", &["409 request_in_flight"], refused.brief());
    world.holds("it is told when to come back", !refused.header("retry-after").is_empty(), &refused.headers);
    let rest = body.clone();
    let finished = blocking(move || {
        wire.send(&rest[1_200_000..]).unwrap();
        wire.read()
    });
    world.check("the first ends", &["201"], finished.await.brief());
    let repeated = world.send(2, &world.token, "POST", "/v1/documents?name=flight", &second, &body).await;
    world.note(&repeated);
    world.check("same key after it", &["201"], repeated.brief());
}

/// JSON is read strictly.
pub async fn json(world: &World) {
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let long = format!(r#"{{"name":"{}","length":3}}"#, "a".repeat(70_000));
    for (name, body, expected) in [
        ("JSON too deep", deep.as_str(), "400 json_too_deep"),
        ("JSON too long", long.as_str(), "413 too_large"),
        ("doubled key", r#"{"name":"j","name":"k","length":3}"#, "400 bad_json"),
        ("unknown key", r#"{"name":"j","length":3,"x":1}"#, "400 bad_json"),
        ("missing key", r#"{"name":"j"}"#, "400 bad_json"),
        ("negative length", r#"{"name":"j","length":-3}"#, "400 bad_json"),
        ("length that is text", r#"{"name":"j","length":"3"}"#, "400 bad_json"),
        ("length above 2^64", r#"{"name":"j","length":18446744073709551616}"#, "400 bad_json"),
        ("digest that is none", r#"{"name":"j","length":3,"sha256":"zz"}"#, "400 bad_json"),
        ("NUL in a name", r#"{"name":"a\u0000","length":3}"#, "400 bad_name"),
        ("half a surrogate", r#"{"name":"\ud800","length":3}"#, "400 bad_json"),
        ("two values", r#"{"name":"j","length":3} {}"#, "400 bad_json"),
        ("cut off", r#"{"name":"j","#, "400 bad_json"),
        ("empty body", "", "400 bad_json"),
    ] {
        let key = fresh_key();
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        world.check(name, &[expected], world.call("POST", "/v1/uploads", &headers, body.as_bytes()).await.brief());
    }
    let invalid =
        world.call("POST", "/v1/uploads", &[("content-type", "application/json"), ("idempotency-key", "u")], b"{\"name\":\"\xff\"}").await;
    world.check("JSON that is no UTF-8", &["400 bad_json"], invalid.brief());
    world.check(
        "no media type",
        &["415 media_type_refused"],
        world.call("POST", "/v1/uploads", &[("idempotency-key", "v")], b"{}").await.brief(),
    );
}

/// Bytes of the large document.
pub const BIG: u64 = 1_000_000_000;
const BLOCK: usize = 1_000_000;

/// One block of the large document: all different, none compressible.
fn block(number: u64) -> Bytes {
    content(1_000_000 + number, BLOCK).into()
}

/// 1 GB goes in as a stream and comes back the same.
pub async fn big(world: &World) {
    let count = BIG / BLOCK as u64;
    let mut sent = Context::new(&SHA256);
    for number in 0..count {
        sent.update(&block(number));
    }
    let sent = hex::encode(sent.finish());
    let key = fresh_key();
    let mut made = None;
    for _ in 0..3 {
        let blocks = stream::iter((0..count).map(|number| Ok::<_, std::io::Error>(block(number))));
        let request = world.client.post(format!("{}/v1/documents?name=big", world.gateways[0])).bearer_auth(&world.big);
        let request = request.header("idempotency-key", &key).header("content-length", BIG).body(Body::wrap_stream(blocks));
        let answer = request.timeout(std::time::Duration::from_secs(600)).send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let reply = Reply { status, headers, body: answer.bytes().await.unwrap().to_vec() };
        // 503 is an honest answer of a busy machine; the same key makes the next try harmless.
        if status != 503 {
            made = Some(reply);
            break;
        }
    }
    let Some(made) = made else { return world.check("1 GB goes in", &["201"], "503, three times") };
    world.check("1 GB goes in", &["201"], made.brief());
    world.check("1 GB: digest in the answer", &[&sent], made.json()["sha256"].as_str().unwrap_or_default());
    let url = format!("{}{}/content", world.gateways[0], made.header("location"));
    let request = world.client.get(url).bearer_auth(&world.big).timeout(std::time::Duration::from_secs(600));
    let mut answer = request.send().await.unwrap();
    let (mut got, mut len) = (Context::new(&SHA256), 0);
    while let Some(piece) = answer.chunk().await.unwrap() {
        len += piece.len() as u64;
        got.update(&piece);
    }
    world.check("1 GB: length of what comes out", &[&BIG.to_string()], len.to_string());
    world.check("1 GB: digest of what comes out", &[&sent], hex::encode(got.finish()));
    let path = made.header("location");
    let gone = world.send(0, &world.big, "DELETE", path, &[("if-match", made.header("etag"))], b"").await;
    world.check("1 GB is deleted", &["204"], gone.brief());
}
