//! How a directory becomes a member: the first of a new cluster, or one more by a single-use token.
//!
//! A token is `kluis1.` and base64url of JSON: the cluster's authority (so that nothing is trusted on first
//! use), where to ask, the site, and 32 random bytes, of which the cluster keeps only the SHA-256.
//!
//! Owns: tokens, the join request and its answer. Not: signing ([`crate::ca`]), the record of tokens
//! (`kluis_raft`).
//! Holds: (1) the node's private keys are made here and stay here; (2) a token that was used, has expired,
//! was forged or is for another site is refused with its reason; (3) nothing is written over.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kluis_chunkstore::{
    disk::Disk,
    env::Env,
    format::label::DiskLabel,
    ids::{ClusterId, DiskId, NodeId, SiteName, StorageId},
    net::identity::NodeName,
};
use kluis_raft::{
    command::{Command, NewNode},
    consensus::{Consensus, ConsensusOptions},
    model::{NodeRecord, NodeRole, TokenHash},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    admin_client::AdminClient,
    ca::{Authority, AuthorityError, NewKey, new_key},
    exit::ExitError,
    member::{self, Card},
    options::{InitOptions, IssuedToken, JoinOptions, Member, TokenOptions},
};

/// Documents up to this many bytes are stored as whole copies.
const SMALL_MAX_BYTES: u32 = 16 * 1024;
/// Plaintext bytes of a chunk (DECISIONS 0005).
const CHUNK_BYTES: u32 = 1 << 20;
const TOKEN_PREFIX: &str = "kluis1.";
const TOKEN_TEXT_MAX: usize = 8192;

/// What a token's text holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenContent {
    /// Where to ask.
    admin: SocketAddr,
    /// The cluster's authority, PEM.
    ca: String,
    /// The site that it is good for.
    site: SiteName,
    /// The secret, base64url.
    secret: String,
}

/// What a node asks for when it joins.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The token's secret, base64url.
    pub secret: String,
    /// The site that the node is at.
    pub site: SiteName,
    /// Its storage.
    pub storage: StorageId,
    /// Where it will speak QUIC.
    pub quic: SocketAddr,
    /// Where it will serve operators.
    pub admin: SocketAddr,
    /// Where it will serve people.
    pub gateway: Option<SocketAddr>,
    /// Request for its QUIC certificate, PEM.
    pub node_request: String,
    /// Request for its listeners' certificate, PEM.
    pub http_request: String,
}

/// What it gets.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinAnswer {
    /// Its id.
    pub node: NodeId,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's name.
    pub cluster_name: String,
    /// Its QUIC certificate, PEM.
    pub node_certificate: String,
    /// Its listeners' certificate, PEM.
    pub http_certificate: String,
    /// All members.
    pub members: Vec<NodeRecord>,
}

/// A new token: its hash for the metadata, its text for the operator.
pub struct NewToken {
    /// What the cluster keeps.
    pub hash: TokenHash,
    /// What the operator gets.
    pub text: Zeroizing<String>,
}

/// Makes a token.
///
/// # Errors
/// It cannot be written as JSON, which does not happen.
pub fn new_token(env: &Env, admin: SocketAddr, ca_pem: &str, site: &SiteName) -> Result<NewToken, serde_json::Error> {
    let mut secret = Zeroizing::new([0; 32]);
    env.entropy.fill(&mut *secret);
    let content = TokenContent { admin, ca: ca_pem.to_owned(), site: site.clone(), secret: BASE64_URL_SAFE_NO_PAD.encode(*secret) };
    let json = Zeroizing::new(serde_json::to_vec(&content)?);
    let text = Zeroizing::new(format!("{TOKEN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(&*json)));
    Ok(NewToken { hash: hash_of(&*secret), text })
}

fn hash_of(secret: &[u8]) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret).as_ref());
    TokenHash(hash)
}

/// The hash of the secret in a join request.
pub fn request_hash(secret: &str) -> Option<TokenHash> {
    let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(secret).ok()?);
    (bytes.len() == 32).then(|| hash_of(&bytes))
}

/// Whether a text has the form of a join token. Only the cluster knows whether it is good.
pub fn is_token(text: &str) -> bool {
    parse_token(text).is_some()
}

fn parse_token(text: &str) -> Option<TokenContent> {
    if text.len() > TOKEN_TEXT_MAX {
        return None;
    }
    let json = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(TOKEN_PREFIX)?).ok()?);
    serde_json::from_slice(&json).ok()
}

impl From<AuthorityError> for ExitError {
    fn from(error: AuthorityError) -> Self {
        Self::failed(error.to_string())
    }
}

/// Makes a new cluster whose only member is this directory. It begins when the node runs first.
///
/// # Errors
/// The directory or a disk is in use, or cannot be written.
pub async fn init_cluster(options: InitOptions, env: Env) -> Result<Member, ExitError> {
    check_disks(&env, &options.disks)?;
    let dir = member::prepare(&options.dir)?;
    let (authority, ca_key) = Authority::create(&env, &options.cluster_name)?;
    let (cluster, storage) = (ClusterId::from_random(env.random_id()), StorageId::from_random(env.random_id()));
    let node = NodeId(1);
    let name = NodeName { node, site: options.site.clone(), cluster: options.cluster_name.clone() };
    let mut roles = options.roles.clone();
    roles.push(NodeRole::Metadata);
    roles.sort_unstable();
    roles.dedup();
    let gateway = options.gateway.filter(|_| roles.contains(&NodeRole::Gateway));

    let (node_key, http_key) = (new_key()?, new_key()?);
    let addresses = listeners(options.admin, gateway);
    let files = Files {
        node: (authority.sign_node(&env, &node_key.request_pem, &name)?, node_key),
        http: (authority.sign_listener(&env, &http_key.request_pem, &name, &addresses)?, http_key),
        ca: authority.certificate_pem.clone(),
    };
    member::write(&dir.join("ca.key"), ca_key.as_bytes(), true)?;
    files.write(&dir)?;
    let operator = new_key()?;
    let operator_certificate = authority.sign_operator(&env, &operator.request_pem, "operator")?;
    std::fs::create_dir_all(&options.operator_dir).map_err(|e| ExitError::file("make", &options.operator_dir, &e))?;
    member::write(&options.operator_dir.join("cert.pem"), operator_certificate.as_bytes(), false)?;
    member::write(&options.operator_dir.join("key.pem"), operator.key_pem.as_bytes(), true)?;
    member::write(&options.operator_dir.join("ca.pem"), authority.certificate_pem.as_bytes(), false)?;

    let begin = Command::InitCluster {
        id: cluster,
        name: options.cluster_name.clone(),
        code: options.code,
        small_max_bytes: SMALL_MAX_BYTES,
        chunk_bytes: CHUNK_BYTES,
        quota_bytes: options.quota_bytes,
        node: NewNode { site: options.site.clone(), roles: roles.clone(), storage, quic: options.quic, admin: options.admin, gateway },
    };
    member::write_json(&dir.join("begin.json"), &begin)?;
    let card = Card { cluster, cluster_name: options.cluster_name, node, site: options.site, roles, storage, first_peers: Vec::new() };
    finish(&env, &options.dir, &options.disks, card).await
}

/// Joins a cluster with a token.
///
/// # Errors
/// The token is refused, no node answers, or as [`init_cluster`].
pub async fn join(options: JoinOptions, env: Env) -> Result<Member, ExitError> {
    let token = parse_token(&options.token)
        .ok_or_else(|| ExitError::refused("join_refused: this is no join token", "make one with `kluis node token create`"))?;
    check_disks(&env, &options.disks)?;
    let dir = member::prepare(&options.dir)?;
    let storage = StorageId::from_random(env.random_id());
    let (node_key, http_key) = (new_key()?, new_key()?);
    let request = JoinRequest {
        secret: token.secret.clone(),
        site: token.site.clone(),
        storage,
        quic: options.quic,
        admin: options.admin,
        gateway: options.gateway,
        node_request: node_key.request_pem.clone(),
        http_request: http_key.request_pem.clone(),
    };
    let answer = ask(&token, &request).await?;
    Files { node: (answer.node_certificate, node_key), http: (answer.http_certificate, http_key), ca: token.ca }.write(&dir)?;
    let card = Card {
        cluster: answer.cluster,
        cluster_name: answer.cluster_name,
        node: answer.node,
        site: token.site,
        roles: answer.roles,
        storage,
        first_peers: answer.members,
    };
    finish(&env, &options.dir, &options.disks, card).await
}

async fn ask(token: &TokenContent, request: &JoinRequest) -> Result<JoinAnswer, ExitError> {
    let failed = |e: reqwest::Error| {
        ExitError::unreachable(
            format!("the cluster does not answer at {}: {}", token.admin, crate::admin_client::cause(&e)),
            "is the node that made the token running?",
        )
    };
    let client = reqwest::Client::builder()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(token.ca.as_bytes()).map_err(failed)?)
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(failed)?;
    let answer = client.post(format!("https://{}/join", token.admin)).json(request).send().await.map_err(failed)?;
    let status = answer.status();
    let bytes = answer.bytes().await.map_err(failed)?;
    if !status.is_success() {
        let problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let detail = problem.get("detail").and_then(|d| d.as_str()).unwrap_or("the cluster refused");
        return Err(ExitError::refused(detail.to_owned(), "make a new token with `kluis node token create`"));
    }
    serde_json::from_slice(&bytes).map_err(|e| ExitError::failed(format!("the cluster gave an answer of another form: {e}")))
}

/// Makes a token through the operators' interface.
///
/// # Errors
/// Unreachable, or refused.
pub async fn create_token(client: &AdminClient, options: &TokenOptions) -> Result<IssuedToken, ExitError> {
    client.create_token(options).await
}

/// Addresses that the listeners' certificate must name.
pub fn listeners(admin: SocketAddr, gateway: Option<SocketAddr>) -> Vec<IpAddr> {
    [Some(admin), gateway].into_iter().flatten().map(|a| a.ip()).collect()
}

struct Files {
    node: (String, NewKey),
    http: (String, NewKey),
    ca: String,
}

impl Files {
    fn write(&self, dir: &Path) -> Result<(), ExitError> {
        for (name, (certificate, key)) in [("node", &self.node), ("http", &self.http)] {
            member::write(&dir.join(format!("{name}.key")), key.key_pem.as_bytes(), true)?;
            member::write(&dir.join(format!("{name}.pem")), certificate.as_bytes(), false)?;
        }
        member::write(&dir.join("ca.pem"), self.ca.as_bytes(), false)
    }
}

/// Refuses directories that are not empty, before anything is written or a token used up.
fn check_disks(env: &Env, paths: &[std::path::PathBuf]) -> Result<(), ExitError> {
    for path in paths {
        match env.files.list(path) {
            Ok(entries) if !entries.is_empty() => {
                let label = entries.iter().any(|e| e.as_os_str() == "label");
                let what = if label { "holds a disk already" } else { "is not empty" };
                return Err(ExitError::refused(format!("disk {}: {what}", path.display()), "give an empty directory for each disk"));
            }
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(ExitError::file("read", path, &e)),
            _ => {}
        }
    }
    Ok(())
}

/// Makes database and disks, and at last the card that makes the directory a member.
async fn finish(env: &Env, dir: &Path, disks: &[std::path::PathBuf], card: Card) -> Result<Member, ExitError> {
    let options = ConsensusOptions::new(card.node, card.storage, card.cluster, member::metadata_dir(dir));
    let databases = env.databases.clone();
    let made = env.run_blocking(move || Consensus::create(&*databases, &options)).await;
    made.map_err(|e| ExitError::failed(e.to_string()))?.map_err(|e| ExitError::failed(e.to_string()))?;
    if card.roles.contains(&NodeRole::Chunk) {
        for path in disks {
            format_disk(env, path, &card).await?;
        }
    }
    member::write_json(&member::identity_dir(dir).join("member.json"), &card)?;
    Ok(Member { cluster: card.cluster, cluster_name: card.cluster_name, node: card.node, site: card.site, roles: card.roles })
}

/// Labels an empty directory as a new disk of this node.
///
/// # Errors
/// It is not empty, or cannot be written.
pub async fn format_disk(env: &Env, path: &Path, card: &Card) -> Result<DiskLabel, ExitError> {
    let failed = |e: &dyn std::fmt::Display| ExitError::failed(format!("disk {}: {e}", path.display()));
    env.files.create_dir_all(path).map_err(|e| failed(&e))?;
    let label = DiskLabel { cluster: card.cluster, node: card.node, disk: DiskId::from_random(env.random_id()) };
    Disk::format(env, path, &label).await.map_err(|e| failed(&e))?;
    Ok(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_forgeries_are_none() {
        let env = crate::assemble::real_env();
        let site: SiteName = "dc2".parse().unwrap();
        let token = new_token(&env, SocketAddr::from(([127, 0, 0, 1], 9)), "PEM", &site).unwrap();
        let content = parse_token(&token.text).unwrap();
        assert_eq!((content.site, request_hash(&content.secret)), (site, Some(token.hash)));
        for bad in ["", "kluis1.", "kluis1.AAAA", "kluis2.e30", &"x".repeat(10_000)] {
            assert!(parse_token(bad).is_none(), "{bad}");
        }
        assert_eq!(request_hash("AAAA"), None);
    }
}
