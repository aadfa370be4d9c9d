//! What a node knows of itself before it runs: the files under `identity/` of its directory.
//!
//! | file | what | mode |
//! |---|---|---|
//! | `member.json` | [`Card`]: cluster, id, site, roles, storage | 0600 |
//! | `node.pem`, `node.key` | certificate and key for QUIC | key 0600 |
//! | `http.pem`, `http.key` | certificate and key of the HTTPS listeners | key 0600 |
//! | `ca.pem` | the cluster's authority | |
//! | `ca.key` | its key, only on nodes that may let others join | 0600 |
//! | `begin.json` | the first command of a new cluster, until it was carried out | 0600 |
//!
//! Owns: these files. Holds: keys are written with mode 0600 from the first byte on; `member.json` is
//! written last, so that a directory without it is no member.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use kluis_chunkstore::ids::{ClusterId, NodeId, SiteName, StorageId};
use kluis_raft::{
    command::Command,
    model::{NodeRecord, NodeRole},
};
use serde::{Deserialize, Serialize};

use crate::exit::ExitError;

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its name.
    pub cluster_name: String,
    /// The node's id.
    pub node: NodeId,
    /// Its site.
    pub site: SiteName,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// Its storage.
    pub storage: StorageId,
    /// The members at the time it joined: whom it talks to before it has the metadata.
    pub first_peers: Vec<NodeRecord>,
}

/// The folder of these files in a node's directory.
pub fn identity_dir(node_dir: &Path) -> PathBuf {
    node_dir.join("identity")
}

/// The folder of the metadata database in a node's directory.
pub fn metadata_dir(node_dir: &Path) -> PathBuf {
    node_dir.join("meta")
}

/// Makes the folder of a new member.
///
/// # Errors
/// The directory holds a member already, or cannot be written.
pub fn prepare(node_dir: &Path) -> Result<PathBuf, ExitError> {
    let dir = identity_dir(node_dir);
    if dir.join("member.json").exists() {
        return Err(ExitError::refused(
            format!("{} is a member of a cluster already", node_dir.display()),
            "use another --dir, or run the node that is there",
        ));
    }
    fs::create_dir_all(&dir).map_err(|e| ExitError::file("make", &dir, &e))?;
    Ok(dir)
}

/// Writes a file durably; `secret` files can be read by their owner alone.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, content: &[u8], secret: bool) -> Result<(), ExitError> {
    let failed = |e: std::io::Error| ExitError::file("write", path, &e);
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mode = if secret { 0o600 } else { 0o644 };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&temporary, path).map_err(failed)?;
    if let Some(parent) = path.parent() {
        fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// Writes something as JSON, for its owner alone.
///
/// # Errors
/// The file cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), ExitError> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| ExitError::failed(format!("{}: {e}", path.display())))?;
    write(path, &text, true)
}

/// The card of a member.
///
/// # Errors
/// The directory holds no member, or the file is damaged.
pub fn read(node_dir: &Path) -> Result<Card, ExitError> {
    let path = identity_dir(node_dir).join("member.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(ExitError::refused(
                format!("{} is not a member of a cluster", node_dir.display()),
                "begin one with `kluis cluster init`, or join one with `kluis node join`",
            ));
        }
        Err(e) => return Err(ExitError::file("read", &path, &e)),
    };
    serde_json::from_slice(&bytes).map_err(|e| ExitError::failed(format!("{} is damaged: {e}", path.display())))
}

/// The first command of a new cluster, if it is still to be carried out.
///
/// # Errors
/// The file is damaged.
pub fn pending_beginning(node_dir: &Path) -> Result<Option<Command>, ExitError> {
    let path = identity_dir(node_dir).join("begin.json");
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| ExitError::failed(format!("{} is damaged: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ExitError::file("read", &path, &e)),
    }
}

/// Notes that the cluster has begun.
///
/// # Errors
/// The file cannot be removed.
pub fn has_begun(node_dir: &Path) -> Result<(), ExitError> {
    let path = identity_dir(node_dir).join("begin.json");
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ExitError::file("remove", &path, &e)),
        _ => Ok(()),
    }
}
