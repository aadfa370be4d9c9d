//! What clients do while the cluster is being broken: put, replace, read, list, delete, leave uploads half-way, sign
//! in, end sessions, change a vault's rules. Uploads in pieces: [`super::resumable`].
//!
//! Owns: the operations and their repetition (another gateway, the same `Idempotency-Key`). Not: what their answers
//! must be ([`super::oracle`]).
//! Holds: (1) a document is changed by one client, read by all; (2) after an unknown outcome it is only read; (3) one
//! register is written and read by several clients at once, for the checker that distrusts the server.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use kluis_gateway::auth::{national_number::NationalNumber, oidc::Identity};
use kluis_raft::{
    client::Metadata,
    command::Command,
    model::{Assurance, Role},
};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    env::SimProbe,
    linear::{Event, Op},
    oracle::{Content, Listed, Oracle},
    rng::Rng,
    world::{CHUNK_BYTES, GRACE, Lost, NODES, SMALL_MAX_BYTES, Switchboard, UPLOAD_LIFETIME, is_gateway},
};

/// People with a vault each.
pub const PEOPLE: usize = 3;
/// Clients that work at once.
pub const CLIENTS: usize = 5;
/// Clients whose uploads rest for longer than an unwanted shard is left alone.
const RESTING_CLIENTS: usize = 2;
/// Clients that write and read the register.
const REGISTER_CLIENTS: usize = 3;
/// Operations on the register, each client.
const REGISTER_OPERATIONS: usize = 14;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// Tries of one operation.
pub(super) const TRIES: usize = 6;

/// What all clients share.
#[derive(Clone)]
pub struct Clients {
    /// How to reach gateways.
    pub switchboard: Switchboard,
    /// The record.
    pub oracle: Arc<Mutex<Oracle>>,
    /// States reached.
    pub probe: SimProbe,
    /// Set when they are to stop.
    pub stop: Arc<AtomicBool>,
    /// Clients that have not stopped yet.
    pub running: Arc<AtomicU64>,
    /// Bearer tokens, by person.
    tokens: Arc<Mutex<Vec<String>>>,
    /// Acknowledged documents, newest last: (person, id).
    pub(super) ids: Arc<Mutex<VecDeque<(usize, String)>>>,
    /// The register's history.
    pub register: Arc<Mutex<Vec<Event>>>,
    /// The id of the register's document and the content it began with.
    pub register_document: Arc<Mutex<Option<String>>>,
    now_us: Arc<AtomicU64>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// A header field's value, where it is text.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A header field's value, where it is a number.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.field(name)?.parse().ok()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    fn revision(&self) -> u64 {
        let digits = self.field("etag").unwrap_or_default().trim_matches('"').trim_start_matches('r');
        digits.parse().unwrap_or(0)
    }

    /// The number of the version that the answer shows.
    fn version(&self) -> u32 {
        self.json()["version"].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }

    fn is_passing(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::CONFLICT || self.status == StatusCode::TOO_MANY_REQUESTS
    }
}

/// The person with this number, as an identity provider would prove it.
pub fn person(number: usize, attempt: u64) -> Identity {
    let nine = 850_101_001 + 2 * number as u64;
    let text = format!("{nine:09}{:02}", 97 - nine % 97);
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&attempt.to_le_bytes());
    Identity {
        attempt: hash,
        number: text.parse::<NationalNumber>().expect("the check digits are right"),
        name: format!("Person {number}"),
        given_name: "Person".to_owned(),
        family_name: number.to_string(),
        birthdate: "1985-01-01".to_owned(),
        acr: "high".to_owned(),
        assurance: Assurance::High,
        way: "itsme".to_owned(),
        step_up: None,
        roles: vec![Role::Citizen],
        return_json: true,
    }
}

impl Clients {
    /// Clients of a cluster that serves.
    pub fn new(switchboard: Switchboard, probe: SimProbe, now_us: Arc<AtomicU64>) -> Self {
        Self {
            switchboard,
            oracle: Arc::default(),
            probe,
            stop: Arc::default(),
            running: Arc::default(),
            tokens: Arc::new(Mutex::new(vec![String::new(); PEOPLE])),
            ids: Arc::default(),
            register: Arc::default(),
            register_document: Arc::default(),
            now_us,
        }
    }

    /// Microseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.now_us.load(Ordering::Relaxed)
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The bearer token of a person.
    pub fn token(&self, person: usize) -> String {
        lock(&self.tokens)[person].clone()
    }

    /// Signs everybody in and makes the register; for the beginning, when nothing is broken.
    pub async fn begin(&self, mut rng: Rng) -> bool {
        for number in 0..PEOPLE {
            let Some(token) = self.sign_in(&mut rng, number).await else { return false };
            lock(&self.tokens)[number] = token;
        }
        let content = Content { seed: 0, len: REGISTER_LEN };
        let Some(id) = self.put(&mut rng, 0, content).await else { return false };
        lock(&self.ids).clear();
        lock(&self.oracle).forget(&id);
        *lock(&self.register_document) = Some(id);
        true
    }

    /// As [`Clients::begin`], for a task of its own.
    pub async fn begin_owned(self, rng: Rng) -> bool {
        self.begin(rng).await
    }

    async fn sign_in(&self, rng: &mut Rng, number: usize) -> Option<String> {
        for _ in 0..TRIES {
            let attempt = rng.next();
            let gateway = gateway(rng);
            match self.switchboard.sign_in(gateway, PATIENCE, move || person(number, attempt)).await {
                Ok(token) => return Some(token),
                Err(Lost) => sleep(Duration::from_millis(300)).await,
            }
        }
        None
    }

    pub(super) async fn send(&self, at: usize, request: Request<Body>) -> Result<Answer, Lost> {
        let (parts, body) = self.switchboard.http(at, PATIENCE, request).await?.into_parts();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub(super) fn request(&self, method: Method, target: &str, token: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "vault.example")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
    }

    /// A new document, tried until its outcome is known; `None` when it is not.
    async fn put(&self, rng: &mut Rng, person: usize, content: Content) -> Option<String> {
        let began = self.now();
        let key = format!("{:016x}", rng.next());
        let token = self.token(person);
        let name = format!("document-{}", content.seed);
        lock(&self.oracle).uploading(&name, person, content, began);
        for _ in 0..TRIES {
            let bytes = Bytes::from(crate::content(content.seed, content.len));
            let request = self
                .request(Method::POST, &format!("/v1/documents?name={name}"), &token)
                .header("idempotency-key", &key)
                .header(header::CONTENT_LENGTH, content.len)
                .body(Body::from(bytes))
                .expect("a request");
            match self.send(gateway(rng), request).await {
                Ok(answer) if answer.status == StatusCode::CREATED => {
                    let json = answer.json();
                    let id = json["id"].as_str()?.to_owned();
                    let mut oracle = lock(&self.oracle);
                    oracle.count("put");
                    oracle.created(&id, person, content, answer.revision(), (began, self.now()));
                    oracle.acknowledge(&id, answer.version(), self.now());
                    lock(&self.ids).push_back((person, id.clone()));
                    return Some(id);
                }
                Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => return None,
                Ok(answer) if answer.is_passing() => {}
                Ok(answer) => {
                    let (status, code) = (answer.status, answer.code());
                    lock(&self.oracle).violated(self.now(), format!("an upload was refused: {status} {code}"));
                    return None;
                }
                Err(Lost) => {}
            }
            sleep(Duration::from_millis(rng.between(50, 800))).await;
        }
        lock(&self.oracle).count("put_unknown");
        None
    }

    /// A new version of a document.
    async fn replace(&self, rng: &mut Rng, id: &str, content: Content) {
        let Some(known) = lock(&self.oracle).document(id).cloned() else { return };
        if !known.is_settled() {
            return;
        }
        lock(&self.oracle).replacing(id, content, self.now());
        let request = self
            .request(Method::PUT, &format!("/v1/documents/{id}/content"), &self.token(known.person))
            .header(header::IF_MATCH, format!("\"r{}\"", known.revision))
            .header(header::CONTENT_LENGTH, content.len)
            .body(Body::from(crate::content(content.seed, content.len)))
            .expect("a request");
        match self.send(gateway(rng), request).await {
            Ok(answer) if answer.status.is_success() => {
                let mut oracle = lock(&self.oracle);
                oracle.count("replace");
                oracle.replaced(id, content, answer.revision(), self.now());
                oracle.acknowledge(id, answer.version(), self.now());
            }
            Ok(answer) if answer.status.is_client_error() => lock(&self.oracle).not_replaced(id, content),
            // Nobody knows: it is only read from now on.
            Ok(_) | Err(Lost) => lock(&self.oracle).count("replace_unknown"),
        }
    }

    async fn delete(&self, rng: &mut Rng, id: &str) {
        let Some(known) = lock(&self.oracle).document(id).cloned() else { return };
        if !known.is_settled() {
            return;
        }
        lock(&self.oracle).deleting(id, self.now());
        for _ in 0..TRIES {
            let request = self
                .request(Method::DELETE, &format!("/v1/documents/{id}"), &self.token(known.person))
                .header(header::IF_MATCH, format!("\"r{}\"", known.revision))
                .body(Body::empty())
                .expect("a request");
            match self.send(gateway(rng), request).await {
                // Not there: an earlier try did it.
                Ok(answer) if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND => {
                    let mut oracle = lock(&self.oracle);
                    oracle.count("delete");
                    oracle.deleted(id, self.now());
                    return;
                }
                Ok(answer) if answer.is_passing() => {}
                Ok(_) => return,
                Err(Lost) => {}
            }
            sleep(Duration::from_millis(rng.between(50, 800))).await;
        }
    }

    /// One read of a document through one gateway. `true` when it was answered.
    pub async fn read(&self, at: usize, id: &str) -> bool {
        let Some((person, floor)) = lock(&self.oracle).document(id).map(|known| (known.person, known.revision)) else { return true };
        let began = self.now();
        let request =
            self.request(Method::GET, &format!("/v1/documents/{id}/content"), &self.token(person)).body(Body::empty()).expect("a request");
        let Ok(answer) = self.send(at, request).await else { return false };
        let mut oracle = lock(&self.oracle);
        match answer.status {
            StatusCode::OK => {
                oracle.count("read");
                oracle.judge_read(id, (began, self.now()), Some(&answer.body));
                oracle.judge_revision(id, self.now(), answer.revision(), floor);
                true
            }
            StatusCode::NOT_FOUND => {
                oracle.count("read_404");
                oracle.judge_read(id, (began, self.now()), None);
                true
            }
            status if status.is_server_error() => false,
            // The session was ended under it.
            StatusCode::UNAUTHORIZED => false,
            status => {
                oracle.violated(self.now(), format!("document {id}: a read was refused: {status} {}", answer.code()));
                true
            }
        }
    }

    /// The whole list of a person's documents. `true` when it was answered.
    pub async fn list(&self, at: usize, person: usize) -> bool {
        let began = self.now();
        let Some(listed) = self.listed(at, person).await else { return false };
        let ids: Vec<String> = listed.into_iter().map(|listed| listed.id).collect();
        let mut oracle = lock(&self.oracle);
        oracle.count("list");
        oracle.judge_list(person, began, self.now(), &ids);
        true
    }

    /// Learns from a person's list what became of uploads whose outcome nobody knows. `true` when it was answered.
    pub async fn find_unknown(&self, at: usize, person: usize) -> bool {
        let Some(listed) = self.listed(at, person).await else { return false };
        if lock(&self.oracle).judge_names(person, self.now(), &listed) > 0 {
            self.probe.note("upload.found_by_name");
        }
        true
    }

    async fn listed(&self, at: usize, person: usize) -> Option<Vec<Listed>> {
        let mut listed = Vec::new();
        let mut target = "/v1/documents?limit=50".to_owned();
        loop {
            let request = self.request(Method::GET, &target, &self.token(person)).body(Body::empty()).expect("a request");
            let answer = self.send(at, request).await.ok().filter(|answer| answer.status == StatusCode::OK)?;
            let page = answer.json();
            let text = |document: &Value, member: &str| document[member].as_str().unwrap_or_default().to_owned();
            let documents = page["documents"].as_array().into_iter().flatten();
            listed.extend(documents.map(|d| Listed { id: text(d, "id"), name: text(d, "name") }));
            match page["next"].as_str() {
                Some(next) => target = format!("/v1/documents?limit=50&cursor={next}"),
                None => return Some(listed),
            }
        }
    }

    /// A session is begun, ended, and must be refused everywhere from then on.
    async fn revoke(&self, rng: &mut Rng, person: usize) {
        let Some(token) = self.sign_in(rng, person).await else { return };
        let sessions = self.request(Method::GET, "/v1/sessions", &token).body(Body::empty()).expect("a request");
        let Ok(answer) = self.send(gateway(rng), sessions).await else { return };
        let json = answer.json();
        let current = json["sessions"].as_array().into_iter().flatten().find(|s| s["current"].as_bool() == Some(true));
        let Some(id) = current.and_then(|s| s["id"].as_str()).map(str::to_owned) else { return };
        // Used everywhere first: a gateway that remembered it would be found out.
        for at in gateways() {
            let me = self.request(Method::GET, "/v1/me", &token).body(Body::empty()).expect("a request");
            let _ = self.send(at, me).await;
        }
        let end = self.request(Method::DELETE, &format!("/v1/sessions/{id}"), &token).body(Body::empty()).expect("a request");
        match self.send(gateway(rng), end).await {
            Ok(answer) if answer.status.is_success() => {}
            _ => return,
        }
        lock(&self.oracle).count("revoke");
        for at in gateways() {
            let began = self.now();
            let me = self.request(Method::GET, "/v1/me", &token).body(Body::empty()).expect("a request");
            if let Ok(answer) = self.send(at, me).await {
                match answer.status {
                    StatusCode::UNAUTHORIZED => self.probe.note("session.refused_after_its_end"),
                    status if status.is_success() => {
                        lock(&self.oracle).violated(began, format!("gateway {at} served a session that had been ended before"));
                    }
                    _ => {}
                }
            }
        }
    }

    /// A vault becomes strict for a moment: uploads with few shards are refused meanwhile.
    async fn strictness(&self, rng: &mut Rng, person: usize, strict: bool) {
        let token = self.token(person);
        let me = self.request(Method::GET, "/v1/me", &token).body(Body::empty()).expect("a request");
        let Ok(answer) = self.send(gateway(rng), me).await else { return };
        let Some(vault) = answer.json()["vault_id"].as_str().and_then(|id| id.parse().ok()) else { return };
        let at = rng.below(NODES as u64) as usize;
        let done = self.switchboard.ask(at, PATIENCE, move |live| async move {
            let command = Command::SetVaultLimits { vault, quota_bytes: None, strict: Some(strict) };
            live.node.consensus.propose(command).await.is_ok()
        });
        if done.await == Ok(true) {
            lock(&self.oracle).count("strictness");
        }
    }

    /// One client, until it is told to stop.
    pub async fn client(self, number: usize, mut rng: Rng) {
        let person = number % PEOPLE;
        let mut own: Vec<String> = Vec::new();
        while !self.stopping() {
            match rng.below(100) {
                0..=29 => {
                    let content = Content { seed: rng.next(), len: length(&mut rng) };
                    own.extend(self.put(&mut rng, person, content).await);
                }
                30..=39 if !own.is_empty() => {
                    let id = rng.pick(&own).clone();
                    let content = Content { seed: rng.next(), len: length(&mut rng) };
                    self.replace(&mut rng, &id, content).await;
                }
                40..=47 if !own.is_empty() => {
                    let id = own.swap_remove(rng.below(own.len() as u64) as usize);
                    self.delete(&mut rng, &id).await;
                }
                48..=82 => {
                    let id = {
                        let ids = lock(&self.ids);
                        (!ids.is_empty()).then(|| ids[rng.below(ids.len() as u64) as usize].1.clone())
                    };
                    if let Some(id) = id {
                        let _ = self.read(gateway(&mut rng), &id).await;
                    }
                }
                83..=86 => {
                    let _ = self.list(gateway(&mut rng), person).await;
                }
                87..=92 => {
                    let content = Content { seed: rng.next(), len: length(&mut rng) };
                    self.resumable(&mut rng, person, content, None).await;
                }
                93..=96 => self.revoke(&mut rng, person).await,
                97 => {
                    let strict = rng.chance(500_000);
                    self.strictness(&mut rng, person, strict).await;
                }
                _ => {}
            }
            sleep(Duration::from_millis(rng.between(5, 120))).await;
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// A client whose uploads rest on their way: what they have stored so far is wanted all the same.
    async fn resting_client(self, number: usize, mut rng: Rng) {
        let chunk = u64::from(CHUNK_BYTES);
        while !self.stopping() {
            let content = Content { seed: rng.next(), len: rng.between(chunk + 1, 6 * chunk) as usize };
            let rest = GRACE + Duration::from_millis(rng.between(5_000, 8_000));
            self.resumable(&mut rng, number % PEOPLE, content, Some(rest)).await;
            sleep(Duration::from_millis(rng.between(5, 500))).await;
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// One client of the register.
    async fn register_client(self, number: usize, mut rng: Rng) {
        for turn in 0..REGISTER_OPERATIONS {
            if self.stopping() {
                break;
            }
            let Some(id) = lock(&self.register_document).clone() else { break };
            let token = self.token(0);
            let call = self.now();
            let look = self.request(Method::GET, &format!("/v1/documents/{id}/content"), &token).body(Body::empty()).expect("a request");
            let looked = self.send(gateway(&mut rng), look).await;
            let Ok(answer) = looked else {
                sleep(Duration::from_millis(rng.between(100, 1_500))).await;
                continue;
            };
            if answer.status == StatusCode::OK {
                let value = register_value(&answer.body);
                lock(&self.register).push(Event { call, end: Some(self.now()), op: Op::Read(value) });
                if rng.chance(600_000) {
                    let value = 1 + (number * REGISTER_OPERATIONS + turn) as u64;
                    let call = self.now();
                    let request = self
                        .request(Method::PUT, &format!("/v1/documents/{id}/content"), &token)
                        .header(header::IF_MATCH, answer.field("etag").unwrap_or_default())
                        .body(Body::from(register_bytes(value)))
                        .expect("a request");
                    let written = self.send(gateway(&mut rng), request).await;
                    let mut register = lock(&self.register);
                    match written {
                        Ok(answer) if answer.status.is_success() => {
                            register.push(Event { call, end: Some(self.now()), op: Op::Write(value) });
                        }
                        Ok(answer) if answer.status.is_client_error() => {}
                        Ok(_) | Err(Lost) => {
                            register.push(Event { call, end: None, op: Op::Write(value) });
                            // Few unknown outcomes, or the search has no end.
                            if register.iter().filter(|e| e.end.is_none()).count() >= 6 {
                                break;
                            }
                        }
                    }
                }
            }
            sleep(Duration::from_millis(rng.between(100, 2_500))).await;
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// Every client as a task to be spawned.
    pub fn tasks(&self, rng: &mut Rng) -> Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> {
        let mut tasks: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        for number in 0..CLIENTS {
            tasks.push(Box::pin(self.clone().client(number, rng.fork(&format!("client {number}")))));
        }
        for number in 0..RESTING_CLIENTS {
            tasks.push(Box::pin(self.clone().resting_client(number, rng.fork(&format!("resting {number}")))));
        }
        for number in 0..REGISTER_CLIENTS {
            tasks.push(Box::pin(self.clone().register_client(number, rng.fork(&format!("register {number}")))));
        }
        self.running.store(tasks.len() as u64, Ordering::Relaxed);
        tasks
    }

    /// Signs a person in again, after the faults, and gives the new token.
    pub async fn renew(&self, rng: &mut Rng, number: usize) -> bool {
        match self.sign_in(rng, number).await {
            Some(token) => {
                lock(&self.tokens)[number] = token;
                true
            }
            None => false,
        }
    }

    /// Whether an upload works now.
    pub async fn can_put(&self, rng: &mut Rng, person: usize) -> bool {
        let content = Content { seed: rng.next(), len: 3 * CHUNK_BYTES as usize };
        self.put(rng, person, content).await.is_some()
    }
}

/// Bytes of the register's document.
const REGISTER_LEN: usize = 8;

fn register_bytes(value: u64) -> Vec<u8> {
    value.to_le_bytes().to_vec()
}

/// The value in the register's bytes; what it began with counts as 0.
fn register_value(bytes: &[u8]) -> u64 {
    if bytes == crate::content(0, REGISTER_LEN) {
        return 0;
    }
    bytes.try_into().map_or(u64::MAX, u64::from_le_bytes)
}

/// The gateways.
pub fn gateways() -> impl Iterator<Item = usize> {
    (0..NODES).filter(|at| is_gateway(*at))
}

pub(super) fn gateway(rng: &mut Rng) -> usize {
    let all: Vec<usize> = gateways().collect();
    *rng.pick(&all)
}

/// Lengths at which something changes, and others.
fn length(rng: &mut Rng) -> usize {
    let chunk = CHUNK_BYTES as usize;
    match rng.below(10) {
        0 => 0,
        1 => SMALL_MAX_BYTES as usize,
        2 => chunk,
        3 => chunk + 1,
        4..=6 => rng.below(u64::from(SMALL_MAX_BYTES)) as usize,
        _ => rng.below(6 * u64::from(CHUNK_BYTES)) as usize,
    }
}

/// Longest time that an upload, once begun, may keep shards that nobody wants.
pub const UPLOADS_END: Duration = UPLOAD_LIFETIME;
