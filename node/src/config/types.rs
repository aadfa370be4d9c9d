//! The checked configuration: what every other part of the node reads.
//!
//! Owns: its types. Not: how values get into them ([`super::checked`]).
//! Holds: every value is within the bounds that [`super::schema`] documents; no text where a type exists.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use kluis_chunkstore::ids::SiteName;
use kluis_gateway::{
    auth::jose::{ContentEncryption, KeyManagement, SignatureAlgorithm},
    notify::mail::{MailAddress, MailTls},
    scan::ScannerConfig,
};
use url::Url;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that it came from.
    pub file: PathBuf,
    /// `[node]`
    pub node: NodeConfig,
    /// `[listen]`
    pub listen: ListenConfig,
    /// `[disks]`
    pub disks: DisksConfig,
    /// `[gateway]`: present exactly when the node is a gateway.
    pub gateway: Option<GatewayConfig>,
    /// `[storage]`
    pub storage: StorageConfig,
    /// `[reconcile]`
    pub reconcile: ReconcileConfig,
    /// `[raft]`
    pub raft: RaftConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[scan]`; `None`: nothing is scanned.
    pub scan: Option<ScannerConfig>,
    /// `[mail]`; `None`: no mail is sent.
    pub mail: Option<MailConfig>,
    /// `[webhooks] loopback`: they may lead to this machine; only on loopback.
    pub webhooks_loopback: bool,
    /// `[log]`
    pub log: LogConfig,
    /// `[clock] offset_file`: a file that moves the clock; only on loopback.
    pub clock_offset_file: Option<PathBuf>,
    /// `[demo] embedded`: part of a demo; only on loopback.
    pub demo: bool,
}

/// `[mail]`
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// Name of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whom mails are from.
    pub from: MailAddress,
    /// How the way there is protected.
    pub tls: MailTls,
    /// User, and the file with the password.
    pub login: Option<(String, PathBuf)>,
    /// Authority of its certificate, PEM.
    pub ca_file: Option<PathBuf>,
}

/// `[node]`
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Directory of the node, with `identity/` and `meta/` in it.
    pub dir: PathBuf,
    /// Site that the identity must be of.
    pub site: Option<SiteName>,
}

/// `[listen]`
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// QUIC between nodes.
    pub quic: SocketAddr,
    /// Operators.
    pub admin: SocketAddr,
    /// People and programs, on a gateway.
    pub gateway: Option<SocketAddr>,
}

/// `[disks]`
#[derive(Debug, Clone)]
pub struct DisksConfig {
    /// Directories of the disks.
    pub paths: Vec<PathBuf>,
    /// Weight of each; `None`: the GiB of its file system.
    pub weight: Option<u32>,
}

/// `[gateway]`, with the master key that only gateways use.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The address that people use.
    pub public_url: Url,
    /// Certificate chain and key; `None`: the node's own.
    pub certificate: Option<CertificateFiles>,
    /// Connections that one client address may hold; `None`: no limit.
    pub connections_per_address: Option<usize>,
    /// Whether loopback addresses are exempt from what is counted by address.
    pub loopback_exempt: bool,
    /// Largest document, in bytes.
    pub body_max_bytes: u64,
    /// Providers that people sign in with.
    pub identity: Vec<IdentityConfig>,
    /// Identity cards, if people sign in with them.
    pub card: Option<CardConfig>,
    /// Age from which on people are let in.
    pub minimum_age: u8,
    /// The master key.
    pub master_key: MasterKeyConfig,
}

/// Identity cards as a way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardConfig {
    /// Root authorities, PEM.
    pub anchors_file: PathBuf,
    /// Authorities below them, PEM.
    pub authorities_file: PathBuf,
    /// Revocation lists, PEM.
    pub lists_file: PathBuf,
    /// Accepted policies.
    pub policies: Vec<String>,
    /// Responders that may be asked.
    pub ocsp_hosts: Vec<String>,
}

/// A certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Chain, PEM.
    pub certificate: PathBuf,
    /// Key, PEM.
    pub key: PathBuf,
}

/// Where the master key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeyConfig {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
    },
    /// In a device.
    Pkcs11 {
        /// The device's library.
        module: PathBuf,
        /// The token's label.
        token_label: String,
        /// File with the PIN.
        pin_file: PathBuf,
        /// The key's label.
        key_label: String,
    },
}

/// `[[gateway.identity]]`
#[derive(Debug, Clone)]
pub struct IdentityConfig {
    /// Path segment.
    pub name: String,
    /// Issuer.
    pub issuer: Url,
    /// Our name there.
    pub client_id: String,
    /// Our signing key.
    pub client_key_file: PathBuf,
    /// Our decryption key; present when tokens come encrypted.
    pub encryption_key_file: Option<PathBuf>,
    /// Scopes to ask for.
    pub scope: String,
    /// Claim with the national number.
    pub national_number_claim: String,
    /// Claim with roles.
    pub roles_claim: Option<String>,
    /// Accepted strengths; never empty.
    pub acr_values: Vec<String>,
    /// Strengths that are enough to enter only.
    pub substantial_acr_values: Vec<String>,
    /// Algorithm of signatures.
    pub id_token_alg: SignatureAlgorithm,
    /// Encryption of tokens.
    pub id_token_encryption: Option<(KeyManagement, ContentEncryption)>,
    /// Whether pushed authorization requests are required.
    pub require_par: bool,
    /// Whether userinfo is asked too.
    pub userinfo: bool,
    /// CA certificates for the provider's address.
    pub ca_file: Option<PathBuf>,
}

/// `[storage]`
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes that may wait for a disk.
    pub queue_bytes: u64,
    /// Deadline of one shard.
    pub shard_deadline: Duration,
    /// When a read asks for another shard.
    pub hedge_after: Duration,
    /// How long an upload waits for its last shards.
    pub write_linger: Duration,
    /// Chunks of an upload under way.
    pub upload_window_chunks: usize,
}

/// `[reconcile]`
#[derive(Debug, Clone)]
pub struct ReconcileConfig {
    /// Time between passes.
    pub interval: Duration,
    /// Age below which an unwanted shard stays.
    pub grace: Duration,
    /// Bytes moved a second at most.
    pub budget_bytes_per_second: u64,
}

/// `[raft]`
#[derive(Debug, Clone)]
pub struct RaftConfig {
    /// Heartbeat.
    pub heartbeat: Duration,
    /// Shortest silence before a voter asks the others and stands for election.
    pub election_min: Duration,
    /// Longest such silence.
    pub election_max: Duration,
    /// Entries between snapshots.
    pub snapshot_every_entries: u64,
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// Uploads under way an account.
    pub uploads_per_account: u32,
    /// Life of an unfinished upload.
    pub upload_lifetime: Duration,
    /// Deadline of a request's head.
    pub head_deadline: Duration,
    /// Deadline of a stalled answer.
    pub stall_deadline: Duration,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Form.
    pub format: LogFormat,
    /// Filter, checked to be one that `tracing_subscriber::EnvFilter` takes.
    pub level: String,
}
