//! Documents, their versions, the blobs that hold the bytes, and uploads under way.

use kluis_chunkstore::{
    code::Code,
    ids::{BlobId, ChunkId},
    placement::Avoid,
};
use serde::{Deserialize, Serialize};

use super::{AccountId, Attributes, DocumentState, NewShare, Origin, Runs, Scan, Sealed, TimeMs, VaultId, ulid_id};

ulid_id!(
    /// A document: stays the same over versions and names.
    DocumentId
);
ulid_id!(
    /// An upload under way.
    UploadId
);

/// A document with its newest version in it, so that one look-up serves a read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Opaque id.
    pub id: DocumentId,
    /// The vault that it belongs to.
    pub vault: VaultId,
    /// Its name and media type, sealed under the vault's key (the gateway knows the layout).
    pub name: Sealed,
    /// Counts every change; the strong ETag.
    pub revision: u64,
    /// When the first version was committed.
    pub created_ms: TimeMs,
    /// When the newest change was committed.
    pub updated_ms: TimeMs,
    /// The newest version.
    pub current: Version,
    /// What the owner says of it.
    pub attributes: Attributes,
    /// How it came here.
    pub origin: Origin,
    /// Where it stands.
    pub state: DocumentState,
}

/// Counts every change of a vault's documents, so that what was made of all of them is known to be old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents(pub u64);

/// One immutable content of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// From 1, in order of commit.
    pub number: u32,
    /// Where its bytes are.
    pub blob: BlobId,
    /// Bytes of plaintext.
    pub size: u64,
    /// SHA-256 of the plaintext.
    pub sha256: [u8; 32],
    /// The document key, wrapped under the vault's key.
    pub wrapped_key: Vec<u8>,
    /// When it was committed.
    pub created_ms: TimeMs,
    /// Whether fewer than k + s shards were synced when it was acknowledged.
    pub reduced: bool,
    /// What is known of malware in it.
    pub scan: Scan,
}

/// Where the shards of a blob were written: placement is a function of this and of the topology version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlobLayout {
    /// Version of the topology in force when shards were written.
    pub topology: u64,
    /// What was out of reach at that moment and avoided.
    pub avoid: Avoid,
}

/// The bytes of a version, as chunks on disks. A copy, or a version that was restored, names the same blob: no byte moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Random id; shards are stored under it.
    pub id: BlobId,
    /// The vault that it was uploaded to, for people who look.
    pub vault: VaultId,
    /// Its erasure code.
    pub code: Code,
    /// Number of chunks.
    pub chunks: u32,
    /// Plaintext bytes of every chunk but the last.
    pub chunk_bytes: u32,
    /// Plaintext bytes in all.
    pub size: u64,
    /// Every layout under which shards of it may lie, newest first. At most [`Blob::LAYOUTS_MAX`].
    pub layouts: Vec<BlobLayout>,
    /// Whether every shard was confirmed to lie where the newest layout wants it.
    pub settled: bool,
    /// Which attempt of the upload wrote the chunk of each position.
    pub runs: Runs,
    /// How many versions name it, in whatever vaults. The blob goes with the last.
    pub references: u64,
}

impl Blob {
    /// Most layouts of one blob: an upload that outlives more failures than this starts again.
    pub const LAYOUTS_MAX: usize = 8;

    /// The chunk at a position; `None` past the end.
    pub fn chunk(&self, position: u32) -> Option<ChunkId> {
        if position < self.chunks { self.runs.chunk(self.id, position) } else { None }
    }

    /// All its chunks, by position.
    pub fn all_chunks(&self) -> impl Iterator<Item = ChunkId> {
        (0..self.chunks).filter_map(move |position| self.chunk(position))
    }

    /// The chunk of an index if it is one of this blob's; `None` for tails, and for what attempts left that others
    /// superseded: nothing wants their shards.
    pub fn wanted(&self, index: u32) -> Option<ChunkId> {
        let position = ChunkId::position_of(index)?;
        self.chunk(position).filter(|chunk| chunk.index == index)
    }
}

/// The unfinished last chunk of a resumable upload, stored as a chunk of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// Its index, at or above `ChunkId::TAIL_BASE`.
    pub index: u32,
    /// Its plaintext bytes, below the chunk size.
    pub len: u32,
}

/// What an upload becomes when it is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UploadTarget {
    /// A new document of this id.
    NewDocument(DocumentId),
    /// A new version of a document, if it is still at this revision.
    NewVersion {
        /// The document.
        document: DocumentId,
        /// The revision that the client saw.
        revision: u64,
    },
}

/// Bytes on their way in: holds the reservation of quota and of the blob's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Opaque id.
    pub id: UploadId,
    /// Whose vault.
    pub vault: VaultId,
    /// Who uploads.
    pub account: AccountId,
    /// The blob that its chunks are stored under.
    pub blob: BlobId,
    /// What it becomes.
    pub target: UploadTarget,
    /// Name and media type, sealed under the vault's key.
    pub name: Sealed,
    /// The document key, wrapped under the vault's key.
    pub wrapped_key: Vec<u8>,
    /// The code of its chunks.
    pub code: Code,
    /// Plaintext bytes of every chunk but the last.
    pub chunk_bytes: u32,
    /// Announced length, where the client announced one.
    pub length: Option<u64>,
    /// SHA-256 that the client announced for the whole content.
    pub expected_sha256: Option<[u8; 32]>,
    /// Bytes of quota that it holds.
    pub reserved_bytes: u64,
    /// Durable plaintext bytes (resumable uploads).
    pub offset: u64,
    /// State of the running SHA-256 at `offset`, sealed under the document key (resumable uploads).
    pub hash_state: Sealed,
    /// The unfinished chunk at `offset`.
    pub tail: Option<Tail>,
    /// Layouts used so far, newest first.
    pub layouts: Vec<BlobLayout>,
    /// Whether any chunk was acknowledged with fewer than k + s shards.
    pub reduced: bool,
    /// Who writes at present, and until when nobody else may. One who lets go leaves `None`; who is still here past
    /// the time broke off, and may have sent chunks that are not counted in `offset`.
    pub writer: Option<(u128, TimeMs)>,
    /// When it is given up.
    pub expires_ms: TimeMs,
    /// Hash of the `Idempotency-Key` it was made with.
    pub idempotency: Option<[u8; 32]>,
    /// Whether it is resumable (tus) or lives in one request.
    pub resumable: bool,
    /// Which attempt writes the chunk of each position: a new one after each writer that broke off.
    pub runs: Runs,
    /// What the owner says of the document, where it is a new one.
    pub attributes: Attributes,
    /// The shares that begin with the version, all or none of them.
    pub shares: Vec<NewShare>,
}

impl Upload {
    /// Position of the first chunk that is not whole: the next one to be written.
    pub fn next_position(&self) -> u32 {
        let chunk_bytes = u64::from(self.chunk_bytes.max(1));
        // Without a tail only the last chunk of all is shorter, and it is whole.
        let whole = if self.tail.is_some() { self.offset / chunk_bytes } else { self.offset.div_ceil(chunk_bytes) };
        u32::try_from(whole).unwrap_or(u32::MAX)
    }
}
