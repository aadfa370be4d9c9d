//! Metadata of many documents without uploading them: empty documents, proposed to the group by a member in this
//! process.
//!
//! The commands are those of an upload, in the same order, with names sealed and keys wrapped as a gateway does it;
//! what is left out is HTTPS and, the documents being empty, every byte of content. The member is a whole node of the
//! cluster, run here from its own configuration while its process is stopped, so no listener takes commands that it
//! would not take otherwise.
//!
//! Owns: making these commands. Not: what they do. Holds: a refused command ends the run.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, anyhow, bail};
use aws_lc_rs::digest;
use kluis_chunkstore::{code::Code, env::Env, ids::BlobId};
use kluis_gateway::{
    api::{
        name::{DocumentName, Label, MediaType},
        vault::LABEL,
    },
    keys::{DocumentKey, KeyRing, MasterKey, VaultKey, file::FileMasterKey, vault_key::seal_text},
};
use kluis_node::{
    assemble::{Node, real_env},
    clock::OffsetClock,
    config::{Config, types::MasterKeyConfig},
    demo::{layout::Layout, record},
};
use kluis_raft::{
    client::Metadata as _,
    command::{BeginUpload, Command, CommitUpload},
    consensus::Consensus,
    model::{Actor, Attributes, DocumentId, Scan, Trail, UploadId, UploadTarget, Vault, VaultId},
    outcome::Outcome,
    view,
};
use tokio::task::JoinSet;

/// Commands under way at a time.
const AT_ONCE: usize = 256;
const UPLOAD_LIFETIME_MS: u64 = 600_000;

/// Writes the metadata of `count` empty documents into a vault, by the stopped node `node` of the demo in `dir`.
///
/// # Errors
/// The node does not run here, or a command is refused.
pub async fn write(dir: &Path, node: &str, vault: &str, count: usize) -> Result<()> {
    let settings = record::settings(dir)?.context("the demo has no settings")?;
    let layout = Layout::new(dir, settings)?;
    let planned = layout.nodes.iter().find(|planned| planned.id.to_string() == node).context("the demo lacks a node")?;
    let config = Config::load(&planned.config(), [])?;
    let env = env(&config);
    let master = master_key(&config, &env)?;
    let node = Node::start(config, env.clone()).await?;
    let written = write_all(&node.consensus, &env, master, vault, count).await;
    node.stop().await;
    written
}

/// The environment that the node's own process would have.
fn env(config: &Config) -> Env {
    let env = real_env();
    match &config.clock_offset_file {
        Some(file) => Env { clock: Arc::new(OffsetClock::new(env.clock.clone(), file.clone())), ..env },
        None => env,
    }
}

fn master_key(config: &Config, env: &Env) -> Result<Arc<dyn MasterKey>> {
    let gateway = config.gateway.as_ref().context("the node is no gateway")?;
    match &gateway.master_key {
        MasterKeyConfig::File { path } => Ok(Arc::new(FileMasterKey::open(path, env.entropy.clone())?)),
        MasterKeyConfig::Pkcs11 { .. } => bail!("a demo has its master key in a file"),
    }
}

async fn write_all(consensus: &Arc<Consensus>, env: &Env, master: Arc<dyn MasterKey>, vault: &str, count: usize) -> Result<()> {
    let id: VaultId = vault.parse().map_err(|_| anyhow!("{vault} is no vault"))?;
    consensus.linearize().await?;
    let read = consensus.view();
    let cluster = view::cluster(&*read)?.context("the metadata has no cluster")?;
    let vault = view::vault(&*read, id)?.context("the vault does not exist")?;
    let key = KeyRing::new(vec![master], env.entropy.clone())?.vault_key(vault.id, &vault.keys).await?;
    let writer = Arc::new(Writer { consensus: consensus.clone(), env: env.clone(), vault, key, chunk_bytes: cluster.chunk_bytes });
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE.min(count) {
        let (writer, next) = (writer.clone(), next.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                writer.document(number).await?;
            }
        });
    }
    while let Some(finished) = workers.join_next().await {
        finished??;
    }
    Ok(())
}

/// What all documents share.
struct Writer {
    consensus: Arc<Consensus>,
    env: Env,
    vault: Vault,
    key: Arc<VaultKey>,
    chunk_bytes: u32,
}

impl Writer {
    fn random(&self) -> u128 {
        u128::from_be_bytes(self.env.random_id())
    }

    async fn document(&self, number: usize) -> Result<()> {
        let now = self.env.clock.now_ms();
        let (document, upload, blob) = (DocumentId::new(now, self.random()), UploadId::new(now, self.random()), BlobId(self.random()));
        let label = Label { name: DocumentName::new(&format!("direct {number}"))?, media_type: MediaType::unknown() };
        let wrapped_key = DocumentKey::generate(&*self.env.entropy).wrap(&*self.env.entropy, &self.key, self.vault.id, blob)?;
        let begin = BeginUpload {
            upload,
            vault: self.vault.id,
            account: self.vault.owner,
            blob,
            target: UploadTarget::NewDocument(document),
            name: seal_text(&self.key, LABEL, &document.to_bytes(), &label.encode()?)?,
            wrapped_key,
            code: Code::SMALL,
            chunk_bytes: self.chunk_bytes,
            length: Some(0),
            expected_sha256: None,
            reserve_bytes: 0,
            lifetime_ms: UPLOAD_LIFETIME_MS,
            idempotency: None,
            resumable: false,
            attributes: Attributes::default(),
            shares: Vec::new(),
        };
        match self.consensus.propose(Command::BeginUpload(Box::new(begin))).await? {
            Outcome::Upload(_) => {}
            other => bail!("unexpected answer to BeginUpload: {other:?}"),
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, b"").as_ref());
        let mut salt = [0; 32];
        self.env.entropy.fill(&mut salt);
        let trail = Trail::bare(Actor::Account(self.vault.owner), salt);
        let commit = CommitUpload {
            upload,
            size: 0,
            sha256,
            chunks: 0,
            layouts: Vec::new(),
            reduced: false,
            settled: true,
            scan: Scan::NotAsked,
            trail,
        };
        match self.consensus.propose(Command::CommitUpload(Box::new(commit))).await? {
            Outcome::Committed(_) => Ok(()),
            other => bail!("unexpected answer to CommitUpload: {other:?}"),
        }
    }
}
