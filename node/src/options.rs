//! What the commands that make or join a cluster are asked to do.
//!
//! Owns: the option structs between the command line (or the demo) and `join`. Not: how it is done.
//! Holds: everything is parsed: no text where a type exists.

use std::{net::SocketAddr, path::PathBuf};

use jiff::Timestamp;
use kluis_chunkstore::{
    code::Code,
    ids::{ClusterId, NodeId, SiteName},
};
use kluis_raft::model::cluster::NodeRole;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What `kluis cluster init` makes: a new cluster whose only member is this node.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Directory of the node: `identity/` and `meta/` are made in it. Must not hold a node yet.
    pub dir: PathBuf,
    /// Where the first operator's credentials go: `cert.pem`, `key.pem` (mode 0600) and `ca.pem`.
    pub operator_dir: PathBuf,
    /// Name of the cluster: a DNS label, checked by [`check_cluster_name`].
    pub cluster_name: String,
    /// Site of the first node.
    pub site: SiteName,
    /// Roles of the first node; metadata is always among them.
    pub roles: Vec<NodeRole>,
    /// Where the node speaks QUIC.
    pub quic: SocketAddr,
    /// Where the node serves operators and health checks.
    pub admin: SocketAddr,
    /// Where the node serves people, if it is a gateway.
    pub gateway: Option<SocketAddr>,
    /// Directories of its disks: made and labelled here, must be empty.
    pub disks: Vec<PathBuf>,
    /// Code of documents above the small class.
    pub code: Code,
    /// Quota of a new vault, in bytes.
    pub quota_bytes: u64,
}

/// A cluster's name: a DNS label of at most 32 characters, as a site's name is.
///
/// # Errors
/// A sentence for people.
pub fn check_cluster_name(text: &str) -> Result<String, String> {
    match text.parse::<SiteName>() {
        Ok(name) => Ok(name.to_string()),
        Err(_) => Err(format!("{text:?} is not a cluster name (1 to 32 of a-z, 0-9, -)")),
    }
}

/// What `kluis node join` does: makes this directory a member of an existing cluster.
#[derive(Clone)]
pub struct JoinOptions {
    /// Directory of the node: `identity/` and `meta/` are made in it. Must not hold a node yet.
    pub dir: PathBuf,
    /// The single-use token: says which cluster, where to ask, and which site and roles.
    pub token: Zeroizing<String>,
    /// Where the node speaks QUIC.
    pub quic: SocketAddr,
    /// Where the node serves operators and health checks.
    pub admin: SocketAddr,
    /// Where the node serves people; must be given exactly when the token grants the gateway role.
    pub gateway: Option<SocketAddr>,
    /// Directories of its disks: made and labelled here, must be empty.
    pub disks: Vec<PathBuf>,
}

impl std::fmt::Debug for JoinOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dir, token: _, quic, admin, gateway, disks } = self;
        f.debug_struct("JoinOptions")
            .field("dir", dir)
            .field("token", &"(secret)")
            .field("quic", quic)
            .field("admin", admin)
            .field("gateway", gateway)
            .field("disks", disks)
            .finish()
    }
}

/// What `kluis node token create` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenOptions {
    /// The only site that the token is good for.
    pub site: SiteName,
    /// The roles that the node gets.
    pub roles: Vec<NodeRole>,
    /// How long it is good for, in seconds.
    pub lifetime_s: u64,
}

/// A join token as the cluster hands it out, once.
#[derive(Clone, Serialize, Deserialize)]
pub struct IssuedToken {
    /// The text to give to `kluis node join`.
    pub token: String,
    /// The site that it is good for.
    pub site: SiteName,
    /// The roles that it grants.
    pub roles: Vec<NodeRole>,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken")
            .field("token", &"(secret)")
            .field("site", &self.site)
            .field("roles", &self.roles)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// The member that init or join made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's name.
    pub cluster_name: String,
    /// The node's id.
    pub node: NodeId,
    /// The node's site.
    pub site: SiteName,
    /// What it does.
    pub roles: Vec<NodeRole>,
}
