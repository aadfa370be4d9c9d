//! What all cases share: a person's requests, the table of cases, what was acknowledged.
//!
//! Owns: the comparison of an answer with what is expected. Not: the cases.
//! Holds: (1) one case that fails does not hide the others; (2) a document counts as acknowledged when it
//! was answered 201 and was not deleted since, and nothing else may be listed at the end.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kluis_tests::fresh_key;
use reqwest::{Client, Method, header::HeaderMap};
use serde_json::Value;
use tokio::time::sleep;

use super::wire::Target;

/// Tries of a request that a gateway could not serve at the moment.
const TRIES: usize = 30;
/// Looks at a condition before a test is taken to hang.
const LOOKS: usize = 600;

/// One line of the table.
struct Row {
    name: String,
    expected: String,
    got: String,
    ok: bool,
}

/// An answer to a proper request.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header field's value; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// Status and code, as in `404 not_found`.
    pub fn brief(&self) -> String {
        match self.json()["code"].as_str() {
            Some(code) if self.status >= 400 => format!("{} {code}", self.status),
            _ => self.status.to_string(),
        }
    }
}

/// The service as the cases see it.
pub struct World {
    /// Trusts the cluster's authority, follows no redirect.
    pub client: Client,
    /// Addresses of the gateways.
    pub gateways: Vec<String>,
    /// The first gateway for raw connections.
    pub wire: Target,
    /// Whose documents most cases use.
    pub token: String,
    /// Somebody else.
    pub other: String,
    /// Who is slow: reservations of slow uploads must not stand in the way of the others.
    pub slow: String,
    /// Who stores 1 GB.
    pub big: String,
    /// The movable clock.
    pub clock_url: String,
    rows: Mutex<Vec<Row>>,
    acknowledged: Mutex<BTreeSet<String>>,
}

impl World {
    /// A world without cases.
    pub fn new(client: Client, gateways: Vec<String>, wire: Target, tokens: [String; 4], clock_url: String) -> Self {
        let [token, other, slow, big] = tokens;
        let (rows, acknowledged) = (Mutex::default(), Mutex::default());
        Self { client, gateways, wire, token, other, slow, big, clock_url, rows, acknowledged }
    }

    /// Notes a case: `expected` are answers that are right, each a whole one or its first words.
    pub fn check(&self, name: impl Into<String>, expected: &[&str], got: impl Into<String>) {
        let (name, got) = (name.into(), got.into());
        let fits = |e: &&str| got == **e || got.strip_prefix(*e).is_some_and(|rest| rest.starts_with(' ') && !rest.contains('+'));
        let ok = expected.iter().any(fits);
        println!("{} {name} -> {got}", if ok { "ok  " } else { "FAIL" });
        lock(&self.rows).push(Row { name, expected: expected.join(" | "), got, ok });
    }

    /// Notes a case that is right or not.
    pub fn holds(&self, name: impl Into<String>, ok: bool, got: impl std::fmt::Debug) {
        let got = if ok { "holds".to_owned() } else { format!("{got:?}") };
        self.check(name, &["holds"], got);
    }

    /// Prints the table and fails if any case did.
    pub fn finish(&self) {
        let rows = lock(&self.rows);
        let failed: Vec<String> =
            rows.iter().filter(|row| !row.ok).map(|row| format!("{}: expected {}, got {}", row.name, row.expected, row.got)).collect();
        println!("{} cases, {} failed", rows.len(), failed.len());
        assert!(rows.len() > 100, "only {} cases ran", rows.len());
        assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), rows.len(), failed.join("\n"));
    }

    /// One request, repeated while the gateway says that it cannot serve at present.
    pub async fn send(&self, gateway: usize, token: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let method: Method = method.parse().unwrap();
        let mut last = None;
        for _ in 0..TRIES {
            let mut request = self.client.request(method.clone(), format!("{}{path}", self.gateways[gateway])).body(body.to_vec());
            if !token.is_empty() {
                request = request.bearer_auth(token);
            }
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let reply = Reply { status, headers, body: answer.bytes().await.unwrap().to_vec() };
            if status != 503 {
                return reply;
            }
            last = Some(reply);
            sleep(Duration::from_secs(1)).await;
        }
        last.unwrap()
    }

    /// One request of the usual person to the first gateway.
    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.send(0, &self.token, method, path, headers, body).await
    }

    /// Stores a document under a name in percent encoding; what is acknowledged is noted.
    pub async fn upload(&self, name: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let key = fresh_key();
        let mut all = vec![("idempotency-key", key.as_str()), ("content-type", "text/plain")];
        all.extend(headers);
        let reply = self.call("POST", &format!("/v1/documents?name={name}"), &all, body).await;
        self.note(&reply);
        reply
    }

    /// Notes the document of an answer 201.
    pub fn note(&self, reply: &Reply) {
        if reply.status == 201 {
            lock(&self.acknowledged).insert(reply.json()["id"].as_str().unwrap().to_owned());
        }
    }

    /// Notes that a document was deleted.
    pub fn forget(&self, id: &str) {
        lock(&self.acknowledged).remove(id);
    }

    /// The usual person's documents that were acknowledged.
    pub fn acknowledged(&self) -> BTreeSet<String> {
        lock(&self.acknowledged).clone()
    }

    /// All documents that a person sees.
    pub async fn listed(&self, token: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut path = "/v1/documents?limit=200".to_owned();
        loop {
            let page = self.send(1, token, "GET", &path, &[], b"").await.json();
            found.extend(page["documents"].as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => path = format!("/v1/documents?limit=200&cursor={next}"),
                None => return found,
            }
        }
    }

    /// Bytes of quota that running uploads of a person hold.
    pub async fn reserved(&self, token: &str) -> u64 {
        self.send(0, token, "GET", "/v1/me", &[], b"").await.json()["quota"]["reserved_bytes"].as_u64().unwrap()
    }

    /// Waits until a person's reservations are, or are not, nothing.
    pub async fn wait_reserved(&self, token: &str, any: bool) -> bool {
        for _ in 0..LOOKS {
            if (self.reserved(token).await > 0) == any {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// A head for a raw connection: request line, Host, the token, further fields, and the blank line.
    pub fn head(&self, line: &str, token: &str, fields: &[&str]) -> String {
        let mut text = format!("{line}\r\nHost: {}\r\n", self.wire.host());
        if !token.is_empty() {
            text += &format!("Authorization: Bearer {token}\r\n");
        }
        for field in fields {
            text += field;
            text += "\r\n";
        }
        text + "\r\n"
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
