//! What an export says of itself: `manifest.json`, the last file in it.
//!
//! Owns: the shape. Not: whether it is true of the file that it lies in ([`super::check`]).
//! Holds: every document of the vault is in it, also one whose content could not be given: nothing is left out silently.

use serde::{Deserialize, Serialize};

/// The name of the manifest in the archive.
pub const MANIFEST: &str = "manifest.json";
/// The form that this program writes and reads.
pub const FORMAT: &str = "kluis-export-v1";

/// A version of a document; the newest one's content is in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedVersion {
    /// Its number, from 1.
    pub version: u32,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// When it was stored.
    pub created_at: String,
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedDocument {
    /// Its id.
    pub id: String,
    /// Its name, as its owner wrote it.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its category's key.
    pub category: String,
    /// Its type's key.
    pub doc_type: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Where it stands.
    pub state: String,
    /// How it came here.
    pub origin: String,
    /// Day that it runs out on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_on: Option<String>,
    /// When the first version was stored.
    pub created_at: String,
    /// The file in the archive; none where the content could not be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// The newest version.
    pub newest: ExportedVersion,
    /// Versions before it, newest first, up to a hundred.
    pub earlier: Vec<ExportedVersion>,
    /// The newest event in the document's history: its place in the log, for a proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
}

/// The whole manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// Id of the vault.
    pub vault: String,
    /// When the export began.
    pub exported_at: String,
    /// The log's newest signed checkpoint at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The documents.
    pub documents: Vec<ExportedDocument>,
}
