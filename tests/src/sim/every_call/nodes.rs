//! Nine nodes, one of which fails at a call, loses power and starts again; one person's documents on them.
//!
//! Owns: making them, requests, restarts, what must hold of all documents and disks at the end. Not: which call fails
//! in which operation ([`super::upload`], [`super::reconcile`]).
//! Holds: a document's content follows from its number.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use kluis_raft::{client::Metadata, invariants, view};
use serde_json::Value;

use super::{Covered, Target};
use crate::{
    content,
    sim::{
        rng::Rng,
        run::shards_astray,
        workload::{gateways, person},
        world::{CHUNK_BYTES, World},
    },
};

/// Longest wait for an answer, a restart, a repair.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait until nothing is left over: the life of an upload that was begun, the grace time, some passes.
const LEFT_OVER: Duration = Duration::from_secs(180);
/// The gateway that documents are sent to.
const GATEWAY: usize = 0;
/// Three chunks, the last of them short.
const DOCUMENT_BYTES: usize = 2 * CHUNK_BYTES as usize + 100;
/// Tries of a read, each at another gateway.
const TRIES: usize = 6;

/// Whose calls fail, and how n goes on.
pub(super) struct Aim {
    pub(super) name: &'static str,
    /// The node, from 0.
    pub(super) victim: usize,
    /// Calls to files, or to the database.
    pub(super) files: bool,
    /// From one n to the next.
    pub(super) step: usize,
}

impl Aim {
    pub(super) fn target(&self, world: &World) -> Target {
        let machine = &world.machines[self.victim];
        if self.files { Target::Files(machine.calls.clone()) } else { Target::Databases(machine.databases.clone()) }
    }
}

/// The nodes, and the documents of one person.
pub(super) struct Nodes {
    pub(super) world: World,
    token: String,
    /// The id of each document that was tried, by number; `None`: it was not acknowledged.
    tried: Vec<Option<String>>,
}

impl Nodes {
    /// A cluster that serves.
    pub(super) fn found(rng: &mut Rng) -> Self {
        let mut world = World::new(rng);
        world.found_cluster();
        world.probe.calm();
        let switchboard = world.switchboard.clone();
        let signed_in = world.finish(PATIENCE, async move { switchboard.sign_in(GATEWAY, PATIENCE, || person(0, 1)).await });
        let token = signed_in.expect("an answer in time").expect("a session");
        Self { world, token, tried: Vec::new() }
    }

    fn request(&self, method: Method, target: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "vault.example")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
    }

    fn ask(&mut self, at: usize, request: Request<Body>) -> Option<http::Response<Bytes>> {
        let switchboard = self.world.switchboard.clone();
        let answer = async move { switchboard.http(at, PATIENCE, request).await };
        self.world.finish(PATIENCE + Duration::from_secs(1), answer)?.ok()
    }

    /// Sends the next document; its id when it was acknowledged.
    pub(super) fn put(&mut self) -> Option<String> {
        let number = self.tried.len();
        let request = self
            .request(Method::POST, &format!("/v1/documents?name=document-{number}"))
            .header("idempotency-key", format!("{number:016x}"))
            .header(header::CONTENT_LENGTH, DOCUMENT_BYTES)
            .body(Body::from(content(number as u64, DOCUMENT_BYTES)))
            .expect("a request");
        let id = self.ask(GATEWAY, request).filter(|answer| answer.status() == StatusCode::CREATED).and_then(|answer| {
            let json: Value = serde_json::from_slice(answer.body()).ok()?;
            json["id"].as_str().map(str::to_owned)
        });
        self.tried.push(id.clone());
        id
    }

    /// Whether a document reads back equal.
    pub(super) fn reads_back(&mut self, number: usize, id: &str) -> Result<(), String> {
        let all: Vec<usize> = gateways().collect();
        let mut last = "no answer".to_owned();
        for turn in 0..TRIES {
            let request = self.request(Method::GET, &format!("/v1/documents/{id}/content")).body(Body::empty()).expect("a request");
            match self.ask(all[turn % all.len()], request) {
                Some(answer) if answer.status() == StatusCode::OK => {
                    let equal = answer.body()[..] == content(number as u64, DOCUMENT_BYTES)[..];
                    return if equal { Ok(()) } else { Err(format!("document {number} has other bytes")) };
                }
                Some(answer) => last = answer.status().to_string(),
                None => {}
            }
            self.world.run_for(Duration::from_millis(500));
        }
        Err(format!("document {number} cannot be read: {last}"))
    }

    /// The machine of a node loses power and starts again; an operator trusts its disks.
    pub(super) fn restart(&mut self, at: usize) -> Result<(), String> {
        self.world.crash(at, true);
        self.world.trust_disks(at);
        self.world.start(at);
        let ready = self.world.await_some(PATIENCE, |world| world.all_ready().then_some(()));
        let refused = self.world.machines[at].refused.get().cloned().unwrap_or_default();
        ready.ok_or_else(|| format!("node n{} is not back: {refused}", at + 1))
    }

    /// Every document that is listed, by number and id.
    fn listed(&mut self) -> Result<Vec<(usize, String)>, String> {
        let mut listed = Vec::new();
        let mut target = "/v1/documents?limit=50".to_owned();
        loop {
            let request = self.request(Method::GET, &target).body(Body::empty()).expect("a request");
            let answer = self.ask(GATEWAY, request).filter(|answer| answer.status() == StatusCode::OK).ok_or("no list")?;
            let page: Value = serde_json::from_slice(answer.body()).map_err(|e| e.to_string())?;
            for document in page["documents"].as_array().into_iter().flatten() {
                let (id, name) = (document["id"].as_str().unwrap_or_default(), document["name"].as_str().unwrap_or_default());
                let number = name.strip_prefix("document-").and_then(|number| number.parse().ok());
                listed.push((number.ok_or_else(|| format!("a document is called {name}"))?, id.to_owned()));
            }
            match page["next"].as_str() {
                Some(next) => target = format!("/v1/documents?limit=50&cursor={next}"),
                None => return Ok(listed),
            }
        }
    }

    /// What was acknowledged is listed and reads back equal; what else is listed is whole; nothing is left over.
    pub(super) fn judge(&mut self, covered: &mut Covered) {
        let left = self.nothing_left();
        let listed = self.listed();
        let mut broken: Vec<String> = left.err().into_iter().collect();
        match listed {
            Err(why) => broken.push(why),
            Ok(listed) => {
                for (number, id) in self.tried.iter().enumerate().filter_map(|(number, id)| Some((number, id.as_ref()?))) {
                    if !listed.iter().any(|(listed, found)| *listed == number && found == id) {
                        broken.push(format!("document {number} was acknowledged and is not listed"));
                    }
                }
                for (number, id) in listed {
                    broken.extend(self.reads_back(number, &id).err());
                }
            }
        }
        for what in broken {
            covered.violated("the end", 0, what);
        }
    }

    /// Waits until there is no upload, no reserved quota, no shard that is missing or unwanted.
    pub(super) fn nothing_left(&mut self) -> Result<(), String> {
        let mut last = String::new();
        let clean = self.world.await_some(LEFT_OVER, |world| {
            let metadata = world.ask(GATEWAY, Duration::from_secs(5), |live| async move {
                let consensus = &live.node.consensus;
                consensus.linearize().await.map_err(|e| e.to_string())?;
                let read = consensus.view();
                // What is reserved is the sum of the uploads: one of the invariants.
                let broken = invariants::violations(&*read).map_err(|e| e.to_string())?;
                let uploads = view::uploads(&*read, 100).map_err(|e| e.to_string())?.len();
                if uploads == 0 && broken.is_empty() { Ok(()) } else { Err(format!("{uploads} uploads are left, {broken:?}")) }
            });
            let found = metadata.unwrap_or_else(|_| Err("the metadata does not answer".to_owned()));
            match found.and_then(|()| shards_astray(world)) {
                Ok(astray) if astray.is_empty() => return Some(()),
                Ok(astray) => last = astray,
                Err(why) => last = why,
            }
            world.run_for(Duration::from_secs(2));
            None
        });
        clean.ok_or(last)
    }
}
