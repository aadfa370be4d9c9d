//! `POST /v1/me/export`: the whole vault as one ZIP file, streamed.
//!
//! Owns: which documents, and how their bytes come into the file. Not: the file ([`crate::export`]).
//! Holds: (1) memory is bounded by the list of documents: bytes go out as they come, no faster than they are taken;
//! (2) before each chunk the session is looked up again; (3) a document whose content cannot be given is listed with
//! the reason, and a transfer that breaks ends without the archive's end, so that no program takes it for whole.

use std::{io, sync::Arc};

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, header};
use kluis_raft::{
    model::{Document, DocumentId, Event, EventKind, Version},
    policy::{Action, Case, Phase, decide},
    store::StoreError,
    view,
};
use tokio::sync::mpsc;

use super::{
    Caller, Gateway,
    deliver::{Source, deliver},
    documents::rfc3339,
    rights::Right,
    trail,
    vault::OpenVault,
};
use crate::{
    export::{
        manifest::{ExportedDocument, ExportedVersion, FORMAT, MANIFEST, Manifest},
        zip::{ZipError, ZipWriter, safe_name},
    },
    problem::{Code, Problem, ProblemBody},
    range::ByteRange,
};

/// Most documents of one export: the list of them is held in memory.
const DOCUMENTS_MAX: usize = 100_000;
/// Documents that are read at a time.
const PAGE: usize = 200;
/// Earlier versions that are told of each document.
const EARLIER_MAX: usize = 100;
/// Pieces that wait for the reader.
const AHEAD: usize = 2;

/// Why an export ends early.
enum Stop {
    /// Nobody reads it any more.
    Left,
    /// It cannot go on.
    Failed(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<ZipError> for Stop {
    fn from(error: ZipError) -> Self {
        Self::Failed(Problem::internal(error))
    }
}

struct Export {
    gateway: Arc<Gateway>,
    caller: Caller,
    vault: OpenVault,
    zip: ZipWriter,
    to: mpsc::Sender<io::Result<Bytes>>,
}

/// All own documents as a ZIP file with a manifest, which `kluis verify export` checks without the service.
#[utoipa::path(
    post, path = "/v1/me/export", tag = "me", security(("bearer" = [])),
    responses(
        (status = 200, description = "The file.", content_type = "application/zip"),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn export(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Response, Problem> {
    let vault = OpenVault::open(&gateway, gateway.metadata.view(), caller.vault).await?;
    if usize::try_from(vault.record.documents).map_or(true, |documents| documents > DOCUMENTS_MAX) {
        return Err(Problem::new(Code::Unprocessable, format!("an export has at most {DOCUMENTS_MAX} documents")));
    }
    let trail = trail::of_caller(&gateway, &caller, &vault, None)?;
    gateway.recorder.record(Event { kind: EventKind::Exported, vault: Some(vault.id()), document: None, trail }).await?;
    let (to, from) = mpsc::channel(AHEAD);
    tokio::spawn(Export { gateway, caller, vault, zip: ZipWriter::default(), to }.run());
    let parts = stream::unfold(from, |mut from| async move { from.recv().await.map(|part| (part, from)) });
    let mut response = Response::new(Body::from_stream(parts));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"kluis-export.zip\""));
    Ok(response)
}

impl Export {
    async fn run(mut self) {
        let ended = self.all().await;
        if let Err(Stop::Failed(problem)) = ended {
            tracing::warn!(code = problem.code.as_str(), "an export ended early");
            // Whoever reads may have left meanwhile.
            let _ = self.to.send(Err(io::Error::other(problem.code.as_str()))).await;
        }
    }

    async fn all(&mut self) -> Result<(), Stop> {
        let exported_at = rfc3339(self.gateway.clock.now_ms());
        let checkpoint = view::log(&*self.gateway.metadata.view())?.checkpoint.map(|checkpoint| checkpoint.note);
        let mut documents = Vec::new();
        let mut before: Option<DocumentId> = None;
        loop {
            let read = self.gateway.current().await?;
            self.caller.again(&*read, self.gateway.clock.now_ms())?;
            let page = view::documents(&*read, self.vault.id(), before, PAGE)?;
            drop(read);
            before = page.last().map(|document| document.id);
            let more = page.len() == PAGE;
            for document in page {
                if documents.len() == DOCUMENTS_MAX {
                    return Err(Problem::plain(Code::Unprocessable).into());
                }
                documents.push(self.document(&document).await?);
            }
            if !more {
                break;
            }
        }
        let vault = self.vault.id().to_string();
        let manifest = Manifest { format: FORMAT.to_owned(), vault, exported_at, checkpoint, documents };
        let text = serde_json::to_vec_pretty(&manifest).map_err(Problem::internal)?;
        let head = self.zip.begin(MANIFEST)?;
        self.send(head).await?;
        self.zip.data(&text)?;
        self.send(text).await?;
        let tail = self.zip.end()?;
        self.send(tail).await?;
        let end = std::mem::take(&mut self.zip).finish()?;
        self.send(end).await
    }

    async fn send(&self, part: impl Into<Bytes>) -> Result<(), Stop> {
        self.to.send(Ok(part.into())).await.map_err(|_| Stop::Left)
    }

    /// Writes the content of a document, if it can be given, and says what the manifest says of it.
    async fn document(&mut self, document: &Document) -> Result<ExportedDocument, Stop> {
        let label = self.vault.open_label(document.id, &document.name)?;
        let attributes = &document.attributes;
        let labels = attributes.labels.iter().map(|word| self.vault.open_word(word)).collect::<Result<Vec<_>, _>>()?;
        let read = self.gateway.metadata.view();
        let newest_event = view::document_history(&*read, self.vault.id(), document.id, u64::MAX, 1)?;
        let mut earlier = Vec::new();
        for number in (1..document.current.number).rev().take(EARLIER_MAX) {
            earlier.extend(view::version(&*read, self.vault.id(), document.id, number)?.map(|version| told(&version)));
        }
        drop(read);
        let mut listed = ExportedDocument {
            id: document.id.to_string(),
            name: label.name.as_str().to_owned(),
            media_type: label.media_type.as_str().to_owned(),
            category: attributes.category.key().to_owned(),
            doc_type: attributes.doc_type.key().to_owned(),
            labels,
            state: document.state.key().to_owned(),
            origin: document.origin.key().to_owned(),
            expires_on: attributes.expires_on.map(|day| day.to_string()),
            created_at: rfc3339(document.created_ms),
            file: None,
            left_out: None,
            newest: told(&document.current),
            earlier,
            log_index: newest_event.first().map(|event| event.index),
        };
        match decide(Case::owner(Phase::of(document.state, &document.current.scan)), Action::Read) {
            Err(denial) => listed.left_out = Some(denial.code().to_owned()),
            Ok(()) => {
                let file = format!("documents/{}/{}", document.id, safe_name(label.name.as_str()));
                if self.content(document, &file).await? {
                    listed.file = Some(file);
                } else {
                    listed.left_out = Some("erased_meanwhile".to_owned());
                }
            }
        }
        Ok(listed)
    }

    /// Writes a file; `false` when the document went before its first byte came.
    async fn content(&mut self, document: &Document, file: &str) -> Result<bool, Stop> {
        let version = &document.current;
        let Some(blob) = view::blob(&*self.gateway.metadata.view(), version.blob)? else { return Ok(false) };
        let sealer = self.vault.sealer(version.blob, &version.wrapped_key)?;
        let gateway = Arc::clone(&self.gateway);
        let source = Source { gateway, right: Right::Owner { caller: self.caller.clone(), document: document.id }, blob, sealer };
        let whole = [ByteRange { start: 0, end: version.size }];
        let parts = if version.size == 0 { &[][..] } else { &whole[..] };
        let mut body = match deliver(source, parts, "", String::new()).await {
            Ok(delivery) => delivery.body.into_data_stream(),
            Err(problem) if problem.code == Code::NotFound => return Ok(false),
            Err(problem) => return Err(problem.into()),
        };
        let head = self.zip.begin(file)?;
        self.send(head).await?;
        while let Some(part) = body.next().await {
            let part = part.map_err(|_| Problem::plain(Code::Unavailable))?;
            self.zip.data(&part)?;
            self.send(part).await?;
        }
        let tail = self.zip.end()?;
        self.send(tail).await?;
        Ok(true)
    }
}

fn told(version: &Version) -> ExportedVersion {
    ExportedVersion {
        version: version.number,
        size: version.size,
        sha256: hex::encode(version.sha256),
        created_at: rfc3339(version.created_ms),
    }
}
