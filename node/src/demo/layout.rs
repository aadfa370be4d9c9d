//! The shape of a demo: which nodes there are, what they do, where they listen and store.
//!
//! Owns: names, ports and directories as a function of a few numbers. Not: making any of it.
//! Holds: (1) pure, so a demo that is started again finds everything where it was; (2) all ports lie in
//! `base_port .. base_port + 10 * (nodes + 1)`:
//!
//! | port | what |
//! |------|------|
//! | base + 0 | embedded identity provider |
//! | base + 1 | movable clock |
//! | base + 10 i + 0 | node i: QUIC (UDP) |
//! | base + 10 i + 1 | node i: operators |
//! | base + 10 i + 2 | node i: gateway, on the first node of each site |

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use kluis_chunkstore::{code::Code, ids::NodeId};
use kluis_raft::model::cluster::NodeRole;
use serde::{Deserialize, Serialize};

use crate::exit::ExitError;

/// Names of the sites.
pub const SITES: [&str; 3] = ["dc1", "dc2", "dc3"];

/// What a demo is made with; kept in `DIR/demo-settings.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// First port.
    pub base_port: u16,
    /// Nodes of each site.
    pub nodes_per_site: u16,
    /// Disks of each node.
    pub disks_per_node: u16,
    /// Code of documents.
    pub code: Code,
    /// Quota of a vault, in bytes.
    pub quota_bytes: u64,
    /// What the configuration of every node says besides, as (`section.key`, value).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(String, String)>,
}

/// A node to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedNode {
    /// Its id: nodes join one after the other, so ids come in order.
    pub id: NodeId,
    /// Its site.
    pub site: &'static str,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// Where it speaks QUIC.
    pub quic: SocketAddr,
    /// Where it serves operators.
    pub admin: SocketAddr,
    /// Where it serves people.
    pub gateway: Option<SocketAddr>,
    /// Its directory.
    pub dir: PathBuf,
    /// Its disks.
    pub disks: Vec<PathBuf>,
}

impl PlannedNode {
    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("kluis.toml")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }
}

/// A whole demo to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Its directory, from the root.
    pub dir: PathBuf,
    /// What it is made with.
    pub settings: Settings,
    /// Its nodes, by id: those of the first site first.
    pub nodes: Vec<PlannedNode>,
}

impl Layout {
    /// The shape that follows from `settings`.
    ///
    /// # Errors
    /// Too many nodes for the ports, too few disks for the code, or nothing at all.
    pub fn new(dir: &Path, settings: Settings) -> Result<Self, ExitError> {
        let Settings { base_port, nodes_per_site, disks_per_node, code, quota_bytes: _, set: _ } = settings;
        if !(1..=20).contains(&nodes_per_site) || !(1..=16).contains(&disks_per_node) {
            return Err(ExitError::usage("a demo has 1 to 20 nodes a site and 1 to 16 disks a node", ""));
        }
        let per_site = usize::from(nodes_per_site) * usize::from(disks_per_node);
        if per_site < code.site_cap() {
            return Err(ExitError::usage(
                format!("code {code} needs {} disks a site, these are {per_site}", code.site_cap()),
                "ask for more nodes a site or more disks a node",
            ));
        }
        let last = u32::from(base_port) + 10 * (3 * u32::from(nodes_per_site) + 1);
        if base_port < 1024 || last > u32::from(u16::MAX) {
            return Err(ExitError::usage(format!("ports {base_port} to {last} are not all to be had"), "give another --base-port"));
        }
        let mut nodes = Vec::new();
        let mut number = 0_u16;
        for site in SITES {
            for in_site in 0..nodes_per_site {
                number += 1;
                let id = NodeId(u64::from(number));
                let port = |offset| loopback(base_port.saturating_add(10 * number).saturating_add(offset));
                let gateway = (in_site == 0).then(|| port(2));
                let mut roles = vec![NodeRole::Metadata, NodeRole::Chunk];
                roles.extend(gateway.map(|_| NodeRole::Gateway));
                nodes.push(PlannedNode {
                    id,
                    site,
                    roles,
                    quic: port(0),
                    admin: port(1),
                    gateway,
                    dir: dir.join("nodes").join(id.to_string()),
                    disks: (1..=disks_per_node).map(|d| dir.join("disks").join(format!("{id}-d{d}"))).collect(),
                });
            }
        }
        Ok(Self { dir: dir.to_owned(), settings, nodes })
    }

    /// Where the embedded identity provider listens.
    pub fn identity(&self) -> SocketAddr {
        loopback(self.settings.base_port)
    }

    /// Where the movable clock listens.
    pub fn clock(&self) -> SocketAddr {
        loopback(self.settings.base_port.saturating_add(1))
    }

    /// File that the clock's offset is in.
    pub fn clock_file(&self) -> PathBuf {
        self.dir.join("clock")
    }

    /// The cluster's CA.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A key that the gateways share: `master`, `client-sign.pem`, `client-encrypt.pem`.
    pub fn key_file(&self, name: &str) -> PathBuf {
        self.dir.join("keys").join(name)
    }

    /// Addresses of the gateways.
    pub fn gateways(&self) -> impl Iterator<Item = SocketAddr> {
        self.nodes.iter().filter_map(|n| n.gateway)
    }

    /// Voters that the metadata group settles at: three a site where there are so many nodes, else one.
    pub fn voters(&self) -> usize {
        if self.settings.nodes_per_site >= 3 { 9 } else { 3 }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn settings(nodes_per_site: u16, disks_per_node: u16, code: Code) -> Settings {
        Settings { base_port: 7100, nodes_per_site, disks_per_node, code, quota_bytes: 1_000_000_000, set: Vec::new() }
    }

    #[test]
    fn the_usual_demo_has_nine_nodes_three_gateways_and_eighteen_disks() {
        let layout = Layout::new(Path::new("/d"), settings(3, 2, Code::STANDARD)).unwrap();
        assert_eq!(layout.nodes.len(), 9);
        let gateways: Vec<(String, u16)> = layout.nodes.iter().filter_map(|n| Some((n.id.to_string(), n.gateway?.port()))).collect();
        assert_eq!(gateways, [("n1".into(), 7112), ("n4".into(), 7142), ("n7".into(), 7172)]);
        assert_eq!(layout.nodes[3].site, "dc2");
        assert_eq!(layout.nodes[8].disks[1], Path::new("/d/disks/n9-d2"));
        assert_eq!((layout.identity().port(), layout.clock().port()), (7100, 7101));
        assert_eq!(layout.voters(), 9);
    }

    #[test]
    fn no_port_and_no_directory_is_used_twice() {
        let layout = Layout::new(Path::new("/d"), settings(20, 16, Code::DENSE)).unwrap();
        let mut ports = BTreeSet::from([layout.identity().port(), layout.clock().port()]);
        let mut count = ports.len();
        let mut dirs = BTreeSet::new();
        for node in &layout.nodes {
            for address in [Some(node.quic), Some(node.admin), node.gateway].into_iter().flatten() {
                ports.insert(address.port());
                count += 1;
            }
            dirs.extend(node.disks.iter().cloned().chain([node.dir.clone()]));
        }
        assert_eq!(ports.len(), count);
        assert_eq!(dirs.len(), layout.nodes.len() * 17);
        assert!(ports.iter().all(|p| (7100..7100 + 10 * 61).contains(p)));
    }

    #[test]
    fn what_cannot_be_is_a_usage_error() {
        let dir = Path::new("/d");
        for bad in [settings(0, 1, Code::SMALL), settings(21, 1, Code::SMALL), settings(1, 2, Code::STANDARD), settings(1, 17, Code::SMALL)]
        {
            assert_eq!(Layout::new(dir, bad.clone()).unwrap_err().exit.code(), 2, "{bad:?}");
        }
        let high = Settings { base_port: 65_500, ..settings(3, 2, Code::STANDARD) };
        assert!(Layout::new(dir, high).is_err());
    }
}
