//! Who asks: tokens that are none, ended, foreign or expired, sign-ins used twice, other people's documents.

use std::time::Duration;

use kluis_chunkstore::env_real::SystemEntropy;
use kluis_gateway::auth::token::BearerToken;
use reqwest::{Response, Url, header};
use tokio::time::sleep;

use super::world::World;

/// Texts of 401 differ in nothing: who guesses learns nothing.
pub async fn bad_tokens(world: &World) {
    let foreign = BearerToken::generate(&SystemEntropy).to_text().to_string();
    let mut forged = world.token.clone().into_bytes();
    forged[10] = if forged[10] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let long = "k".repeat(4000);
    let mut details = Vec::new();
    for (name, token) in [
        ("no token", ""),
        ("malformed token", "x"),
        ("token with one character changed", forged.as_str()),
        ("token of another cluster", foreign.as_str()),
        ("very long token", long.as_str()),
    ] {
        for (method, path) in [("GET", "/v1/me"), ("POST", "/v1/documents?name=x"), ("DELETE", "/v1/sessions/current")] {
            let reply = world.send(0, token, method, path, &[("idempotency-key", "k")], b"").await;
            world.check(format!("{name}: {method} {path}"), &["401 unauthenticated"], reply.brief());
            world.check(format!("{name}: challenge"), &["Bearer"], reply.header("www-authenticate"));
            details.push(reply.json()["detail"].clone());
        }
    }
    for (name, value) in [("basic credentials", "Basic YTpi".to_owned()), ("scheme without a token", "Bearer".to_owned())] {
        let reply = world.send(0, "", "GET", "/v1/me", &[("authorization", &value)], b"").await;
        world.check(name, &["401 unauthenticated"], reply.brief());
        details.push(reply.json()["detail"].clone());
    }
    let two = format!("Bearer {}", world.token);
    let reply = world.send(0, "", "GET", "/v1/me", &[("authorization", &two), ("authorization", &two)], b"").await;
    world.check("two tokens at once", &["401 unauthenticated"], reply.brief());
    details.push(reply.json()["detail"].clone());
    details.dedup();
    world.holds("all refused tokens read the same", details.len() == 1, &details);
}

/// A right that was taken away at one gateway is gone at the others when that is answered.
pub async fn revoked(world: &World, second: &str) {
    let before = world.send(1, second, "GET", "/v1/me", &[], b"").await;
    world.check("second session before its end", &["200"], before.brief());
    let ended = world.send(0, second, "DELETE", "/v1/sessions/current", &[], b"").await;
    world.check("a session ends", &["204"], ended.brief());
    for gateway in 0..world.gateways.len() {
        let reply = world.send(gateway, second, "GET", "/v1/me", &[], b"").await;
        world.check(format!("ended session at gateway {gateway}"), &["401 unauthenticated"], reply.brief());
    }
    world.check("the other session lives", &["200"], world.call("GET", "/v1/me", &[], b"").await.brief());
}

/// What is another's and what is not there get the same words.
pub async fn foreign_documents(world: &World) {
    let made = world.upload("mine", &[], b"mine").await;
    world.check("a document of the usual person", &["201"], made.brief());
    let path = made.header("location").to_owned();
    let unknown = "/v1/documents/01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let calls = [("GET", ""), ("DELETE", ""), ("GET", "/content"), ("HEAD", "/content"), ("PUT", "/content"), ("GET", "/versions")];
    for (method, end) in calls {
        let mut details = Vec::new();
        for (whose, at) in [("another's", path.as_str()), ("nobody's", unknown)] {
            let reply = world.send(0, &world.other, method, &format!("{at}{end}"), &[("if-match", "*")], b"").await;
            world.check(format!("{whose} document: {method} {end}"), &["404"], reply.brief());
            details.push((reply.json()["code"].clone(), reply.json()["title"].clone(), reply.json()["detail"].clone()));
        }
        world.holds(format!("one text for both: {method} {end}"), details[0] == details[1], &details);
    }
    world.check("the document is untouched", &["200"], world.call("GET", &path, &[], b"").await.brief());
}

/// A sign-in completes once, in the browser that began it.
pub async fn replayed_sign_in(world: &World) {
    let (callback, cookies) = browse(world).await;
    let stranger = finish(world, &callback, "").await;
    world.check("callback in another browser", &["401 login_mismatch"], brief(stranger).await);
    world.check("callback", &["200"], brief(finish(world, &callback, &cookies).await).await);
    for again in 1..=2 {
        let replay = finish(world, &callback, &cookies).await;
        world.check(format!("callback used again, {again}"), &["401 login_replayed", "401 login_refused"], brief(replay).await);
    }
    let (callback, cookies) = browse(world).await;
    let mut tampered = callback.clone();
    let pairs: Vec<(String, String)> = callback.query_pairs().into_owned().collect();
    tampered.query_pairs_mut().clear().extend_pairs(pairs.iter().map(|(k, v)| (k, if k == "state" { format!("{v}x") } else { v.clone() })));
    world.check("callback with another state", &["401 login_mismatch"], brief(finish(world, &tampered, &cookies).await).await);
}

/// Walks from the start of a sign-in to the address that the provider sends the browser to.
async fn browse(world: &World) -> (Url, String) {
    let start: Url = format!("{}/v1/auth/itsme/start", world.gateways[0]).parse().unwrap();
    let answer = world.client.get(start.clone()).header(header::ACCEPT, "application/json").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 303);
    let set = answer.headers().get_all(header::SET_COOKIE).iter().map(|v| v.to_str().unwrap().split(';').next().unwrap());
    let cookies = set.collect::<Vec<_>>().join("; ");
    let at = start.join(answer.headers()[header::LOCATION].to_str().unwrap()).unwrap();
    let page = world.client.get(at.clone()).send().await.unwrap().text().await.unwrap();
    let action = page.split_once("action=\"").unwrap().1.split_once('"').unwrap().0.replace("&amp;", "&");
    let action = at.join(&action).unwrap();
    let chosen = world.client.post(action.clone()).form(&[("person", "1")]).send().await.unwrap();
    (action.join(chosen.headers()[header::LOCATION].to_str().unwrap()).unwrap(), cookies)
}

async fn finish(world: &World, callback: &Url, cookies: &str) -> Response {
    let mut request = world.client.get(callback.clone()).header(header::ACCEPT, "application/json");
    if !cookies.is_empty() {
        request = request.header(header::COOKIE, cookies);
    }
    request.send().await.unwrap()
}

async fn brief(answer: Response) -> String {
    let status = answer.status().as_u16();
    let body: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
    body["code"].as_str().map_or_else(|| status.to_string(), |code| format!("{status} {code}"))
}

/// Moves the clock past the life of a session. All sessions have ended after it.
pub async fn expired(world: &World) {
    let thirteen_hours = r#"{"advance": "13h"}"#;
    let moved = world.client.put(&world.clock_url).body(thirteen_hours).send().await.unwrap();
    assert_eq!(moved.status().as_u16(), 200);
    for gateway in 0..world.gateways.len() {
        let mut reply = world.send(gateway, &world.token, "GET", "/v1/me", &[], b"").await;
        // Nodes look at the clock's file every tenth of a second.
        for _ in 0..100 {
            if reply.status != 200 {
                break;
            }
            sleep(Duration::from_millis(100)).await;
            reply = world.send(gateway, &world.token, "GET", "/v1/me", &[], b"").await;
        }
        world.check(format!("expired token at gateway {gateway}"), &["401 unauthenticated"], reply.brief());
    }
}
