//! `GET /v1/documents/{id}/placement`: where the pieces of a document lie, so that its owner can see what is promised.
//!
//! Owns: the view. Not: the placement itself ([`kluis_chunkstore::placement`]).
//! Holds: nothing of the content is in it, and nobody but the owner sees it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use kluis_chunkstore::placement::Placer;
use kluis_raft::view;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Caller, Gateway,
    documents::{find, page_limit, paged},
    params::Params,
};
use crate::problem::{Code, Problem, ProblemBody};

/// Where one piece of a chunk lies.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShardPlace {
    /// Its row of the erasure code.
    pub shard: u8,
    /// The site.
    pub site: String,
    /// The node.
    pub node: String,
    /// The disk.
    pub disk: String,
}

/// Where a chunk lies.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChunkPlace {
    /// Its position in the document, from 0.
    pub chunk: u32,
    /// Its pieces: no two on one disk.
    pub shards: Vec<ShardPlace>,
}

/// Where the newest version of a document lies.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlacementPage {
    /// Number of the version.
    pub version: u32,
    /// Chunks that it is cut into; each has a key of its own.
    pub chunks: u32,
    /// The code: K of K+M pieces give a chunk back.
    pub code: String,
    /// Whether all pieces were confirmed in these places. Where not, some are on their way.
    pub settled: bool,
    /// Pieces on this page by site.
    pub sites: BTreeMap<String, u32>,
    /// The chunks of this page.
    pub places: Vec<ChunkPlace>,
    /// What to send as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Where the pieces of a document lie: site, node and disk of each, and nothing of its content.
#[utoipa::path(
    get, path = "/v1/documents/{id}/placement", tag = "documents", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "The document's id."),
        ("limit" = Option<u64>, Query, description = "Chunks of a page, 1 to 200; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "From `next` or the Link header of the page before."),
    ),
    responses(
        (status = 200, body = PlacementPage),
        (status = "default", description = "An error.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn read(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(document): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["limit", "cursor"])?;
    let limit = page_limit(&gateway, &params)?;
    let (vault, document) = find(&gateway, &caller, &document).await?;
    let from = match params.value("cursor").map(|cursor| vault.open_cursor(cursor)).transpose()? {
        Some(at) => u32::try_from(at).map_err(|_| Problem::plain(Code::BadCursor))?,
        None => 0,
    };
    let read = gateway.metadata.view();
    let blob = view::blob(&*read, document.current.blob)?.ok_or_else(|| Problem::internal("a version's blob is missing"))?;
    let mut page = PlacementPage {
        version: document.current.number,
        chunks: blob.chunks,
        code: blob.code.to_string(),
        settled: blob.settled,
        sites: BTreeMap::new(),
        places: Vec::new(),
        next: None,
    };
    let path = format!("/v1/documents/{}/placement", document.id);
    // A document without a byte has no chunk, and lies nowhere.
    let Some(layout) = blob.layouts.first() else { return paged(&path, limit, None, |_| page) };
    let topology = view::topology_at(&*read, layout.topology)?.ok_or_else(|| Problem::internal("a layout's topology is missing"))?;
    let placer = Placer::new(&topology, blob.code, &layout.avoid);
    let mut position = from;
    while let Some(chunk) = blob.chunk(position).filter(|_| page.places.len() < limit) {
        let mut shards = Vec::new();
        for (shard, disk) in placer.place(chunk).iter() {
            let Some(node) = topology.node_of(disk) else { continue };
            let Some(site) = topology.site_of(node) else { continue };
            *page.sites.entry(site.as_str().to_owned()).or_insert(0) += 1;
            shards.push(ShardPlace { shard, site: site.as_str().to_owned(), node: node.to_string(), disk: disk.to_string() });
        }
        page.places.push(ChunkPlace { chunk: position, shards });
        position += 1;
    }
    let next = if position < blob.chunks { Some(vault.seal_cursor(u128::from(position))?) } else { None };
    paged(&path, limit, next, |next| PlacementPage { next, ..page })
}
