//! Promise: whoever is to be told is told, at least once and recognisably once, and nothing that is sent names a document
//! or a person (the table of notices at the end of the requirements; R72's notice).
//!
//! Owns: mail through a real SMTP server and webhooks through a receiver of our own, on a real cluster. Not: addresses
//! that lead inside by name (beside `gateway/src/notify/webhook.rs`: names cannot be forged here).
//! Holds: every receiver fails twice before it takes anything; waits end because a condition holds.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::{Router, body::Bytes, extract::State, response::IntoResponse};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use kluis_tests::{Api, Cluster, ClusterOptions, carriers::eicar, clamd::Clamd, smtp::Smtp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

/// In the names of all documents: nothing that is sent may have it.
const NAME: &str = "name-that-nobody-is-sent";
/// Limit of a wait: it only ends a test that hangs.
const LIMIT: Duration = Duration::from_secs(120);

fn start(env: Vec<(String, String)>) -> Cluster {
    Cluster::start_with(ClusterOptions { nodes_per_site: 1, disks_per_node: 3, env, ..ClusterOptions::default() })
}

fn settings(pairs: &[(&str, String)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

async fn call(api: &Api, method: Method, path: &str, etag: Option<&str>, body: Option<Value>) -> (StatusCode, Value) {
    let mut request = api.request(method, 0, path);
    if let Some(etag) = etag {
        request = request.header("if-match", etag);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

/// Waits until `look` finds something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not come");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn erase_one(api: &Api) -> String {
    let doc = api.put(NAME, b"content".to_vec()).await.unwrap();
    api.delete(&doc.id).await.unwrap();
    doc.id
}

/// A post as it arrived.
#[derive(Debug, Clone)]
struct Post {
    path: String,
    id: String,
    timestamp: String,
    signature: String,
    body: Vec<u8>,
}

#[derive(Clone, Default)]
struct Receiver {
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Receiver {
    /// Listens; `/hook` answers 500 twice and then 200, `/away` sends to `/hook`.
    async fn start() -> (Self, String) {
        let receiver = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (receiver, url)
    }

    fn posts(&self, path: &str) -> Vec<Post> {
        self.posts.lock().unwrap().iter().filter(|post| post.path == path).cloned().collect()
    }
}

async fn take(State(receiver): State<Receiver>, uri: http::Uri, headers: http::HeaderMap, body: Bytes) -> axum::response::Response {
    let field = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let post = Post {
        path: uri.path().to_owned(),
        id: field("webhook-id"),
        timestamp: field("webhook-timestamp"),
        signature: field("webhook-signature"),
        body: body.to_vec(),
    };
    let mut posts = receiver.posts.lock().unwrap();
    posts.push(post);
    let tries = posts.iter().filter(|post| post.path == uri.path()).count();
    match uri.path() {
        "/away" => (http::StatusCode::FOUND, [("location", "/hook")]).into_response(),
        _ if tries <= 2 => http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        _ => http::StatusCode::OK.into_response(),
    }
}

fn verify(post: &Post, secret: &str) {
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let signed = [format!("{}.{}.", post.id, post.timestamp).as_bytes(), &post.body].concat();
    let tag = BASE64_STANDARD.decode(post.signature.strip_prefix("v1,").unwrap()).unwrap();
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed, &tag).expect("the signature is right");
    assert!(!post.body.escape_ascii().to_string().contains(NAME), "{post:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_is_told_by_mail_in_the_persons_language() {
    let smtp = Smtp::start(2);
    let env = [
        ("KLUIS_MAIL_HOST", "127.0.0.1".to_owned()),
        ("KLUIS_MAIL_PORT", smtp.port().to_string()),
        ("KLUIS_MAIL_TLS", "none".to_owned()),
        ("KLUIS_MAIL_FROM", "noreply@kluis.example".to_owned()),
    ];
    let cluster = start(settings(&env));
    let api = Api::new(&cluster, cluster.sign_in(0));

    let (status, contact) =
        call(&api, Method::PATCH, "/v1/me", None, Some(json!({ "email": "alice@mail.example.org", "lang": "fr" }))).await;
    assert_eq!((status, &contact["email_pending"]), (StatusCode::OK, &json!("alice@mail.example.org")), "{contact}");
    let (status, _) = call(&api, Method::PATCH, "/v1/me", None, Some(json!({ "email": "bob@mail.example.org" }))).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    let taken = until("the mail with the code", async || smtp.tries().into_iter().find(|mail| mail.taken)).await;
    let tries = smtp.tries();
    assert!(tries.len() >= 3 && tries.iter().all(|mail| mail.id == taken.id), "one delivery has one id: {tries:?}");
    assert_eq!((taken.from.as_str(), taken.to.as_slice()), ("noreply@kluis.example", ["alice@mail.example.org".to_owned()].as_slice()));
    assert_eq!(taken.auto, "auto-generated");
    let code: String =
        taken.text.lines().map(str::trim).find(|line| line.len() == 8 && line.bytes().all(|b| b.is_ascii_digit())).unwrap().into();

    let other = if code == "00000000" { "00000001" } else { "00000000" };
    let (status, _) = call(&api, Method::POST, "/v1/me/email/verify", None, Some(json!({ "code": other }))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, contact) = call(&api, Method::POST, "/v1/me/email/verify", None, Some(json!({ "code": code }))).await;
    assert_eq!((status, &contact["email"], &contact["email_pending"]), (StatusCode::OK, &json!("alice@mail.example.org"), &Value::Null));

    let answer = api.request(Method::GET, 0, "/v1/notification-settings").send().await.unwrap();
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let chosen = json!({ "channels": { "erasure.done": { "mail": true, "webhook": false } } });
    assert_eq!(call(&api, Method::PUT, "/v1/notification-settings", Some(&etag), Some(chosen)).await.0, StatusCode::OK);
    erase_one(&api).await;
    let mail = until("the mail about the erasure", async || smtp.tries().into_iter().find(|mail| mail.taken && mail.id != taken.id)).await;
    assert_eq!(mail.subject, "Un document a \u{e9}t\u{e9} effac\u{e9} d\u{e9}finitivement");
    assert!(mail.text.contains(&mail.subject) && mail.text.matches("https://").count() == 1, "{}", mail.text);
    for mail in smtp.tries() {
        let number = cluster.national_number(0);
        assert!(!mail.text.contains(NAME) && !mail.subject.contains(NAME) && !mail.text.contains(&number), "{mail:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_signed_tried_again_with_one_id_and_never_led_astray() {
    let (receiver, url) = Receiver::start().await;
    let cluster = start(settings(&[("KLUIS_WEBHOOKS_LOOPBACK", "true".to_owned())]));
    let api = Api::new(&cluster, cluster.sign_in(0));
    for bad in ["https://localhost/", "http://10.0.0.1/", "https://169.254.169.254/", "http://[::ffff:127.0.0.1]/"] {
        let (status, problem) = call(&api, Method::POST, "/v1/webhooks", None, Some(json!({ "url": bad }))).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("url_refused")), "{bad}");
    }
    let (status, made) = call(&api, Method::POST, "/v1/webhooks", None, Some(json!({ "url": format!("{url}/hook") }))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let secret = made["secret"].as_str().unwrap();
    let deliveries = format!("/v1/webhooks/{}/deliveries", made["webhook"]["id"].as_str().unwrap());

    let document = erase_one(&api).await;
    let of_erasure = |post: &Post| serde_json::from_slice::<Value>(&post.body).unwrap()["type"] == "erasure.done";
    let posts = until("the third try", async || {
        let posts: Vec<Post> = receiver.posts("/hook").into_iter().filter(of_erasure).collect();
        (posts.len() >= 3).then_some(posts)
    })
    .await;
    for post in &posts {
        verify(post, secret);
        assert_eq!((&post.id, &post.body), (&posts[0].id, &posts[0].body), "all tries are the same delivery");
    }
    assert_eq!(serde_json::from_slice::<Value>(&posts[0].body).unwrap()["data"]["document"], document);
    let shown = until("the delivery's end", async || {
        let (_, page) = call(&api, Method::GET, &deliveries, None, None).await;
        page["deliveries"].as_array().unwrap().iter().find(|delivery| delivery["state"] == "delivered").cloned()
    })
    .await;
    assert_eq!(shown["id"], posts[0].id.as_str());
    assert!(shown["attempts"].as_u64().unwrap() >= 3 && shown["failure"].is_null(), "{shown}");

    let (_, away) = call(&api, Method::POST, "/v1/webhooks", None, Some(json!({ "url": format!("{url}/away") }))).await;
    let path = format!("/v1/webhooks/{}", away["webhook"]["id"].as_str().unwrap());
    let before = receiver.posts("/hook").len();
    assert_eq!(call(&api, Method::POST, &format!("{path}/test"), None, None).await.0, StatusCode::ACCEPTED);
    let failed = until("the redirect's failure", async || {
        let (_, page) = call(&api, Method::GET, &format!("{path}/deliveries"), None, None).await;
        page["deliveries"].as_array().unwrap().iter().find(|delivery| delivery["failure"] == "refused").cloned()
    })
    .await;
    assert_eq!((failed["status"].as_u64(), failed["type"].as_str()), (Some(302), Some("webhook.test")));
    assert_eq!(receiver.posts("/hook").len(), before, "a redirect was followed");
    let (_, shown) = call(&api, Method::GET, &path, None, None).await;
    assert!(shown["failing_since"].is_string(), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r72_refused_malware_is_told_to_its_owner() {
    let clamd = Clamd::start();
    let cluster = start(settings(&[("KLUIS_SCAN_SOCKET", clamd.socket().display().to_string())]));
    let (api, other) = (Api::new(&cluster, cluster.sign_in(0)), Api::new(&cluster, cluster.sign_in(1)));
    let failure = api.once().put(NAME, eicar()).await.unwrap_err();
    assert_eq!(failure.code, "malware_detected");
    let (_, page) = call(&api, Method::GET, "/v1/notifications", None, None).await;
    let told = &page["notifications"][0];
    assert_eq!((told["type"].as_str(), told["details"]["name"].as_str()), (Some("malware.refused"), Some(NAME)), "{page}");
    let (_, page) = call(&other, Method::GET, "/v1/notifications", None, None).await;
    assert_eq!((page["unread"].as_u64(), page["notifications"].as_array().unwrap().len()), (Some(0), 0), "{page}");
}
