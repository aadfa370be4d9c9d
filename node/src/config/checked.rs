//! The configuration as the rest of the node sees it: types, not text.
//!
//! Owns: what each value means, its bounds, and rules between values. Not: where it was said.
//! Holds: (1) every key of the schema is looked at: the raw structs are taken apart exhaustively;
//! (2) a file that holds a secret belongs to the user of this process (or root) and nobody else may read
//! it; (3) the movable clock and the embedded identity provider only ever go with loopback listeners.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use kluis_chunkstore::ids::SiteName;
use kluis_gateway::{
    auth::jose::{ContentEncryption, KeyManagement, SignatureAlgorithm},
    scan::{
        NotScannable, ScanLimits, ScannerConfig,
        archive::ArchiveLimits,
        clamd::{Address, Deadlines},
    },
};

use super::{
    Place, Problem,
    raw::{Entry, RawConfig, RawValue},
    schema::{
        RawClock, RawDemo, RawDisks, RawGateway, RawIdentity, RawKeys, RawLimits, RawListen, RawLog, RawNode, RawRaft, RawReconcile,
        RawScan, RawStorage, RawWebhooks,
    },
    types::{
        CardConfig, CertificateFiles, Config, DisksConfig, GatewayConfig, IdentityConfig, LimitsConfig, ListenConfig, LogConfig, LogFormat,
        MasterKeyConfig, NodeConfig, RaftConfig, ReconcileConfig, StorageConfig,
    },
    values::{
        address, boolean, duration, issuer_address, label, level_filter, list, one_of, parsed, path, public_address, readable, scopes,
        secret, size, whole,
    },
};

mod mail;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// What `raw` means. `None`, or a value with `problems`, is no configuration.
pub fn check(file: &Path, raw: RawConfig, problems: &mut Vec<Problem>) -> Option<Config> {
    let RawConfig {
        node,
        listen,
        disks,
        gateway,
        identity,
        keys,
        storage,
        reconcile,
        raft,
        limits,
        scan,
        mail,
        webhooks,
        log,
        clock,
        demo,
    } = raw;
    let before = problems.len();
    let mut c = Checker { problems };
    let listen = check_listen(&mut c, listen);
    let loopback = [Some(listen.quic), Some(listen.admin), listen.gateway].into_iter().flatten().all(|a| a.ip().is_loopback());

    let RawClock { offset_file } = clock;
    let RawDemo { embedded } = demo;
    let only_loopback = "is only accepted when every listener is on loopback (127.0.0.0/8 or ::1)";
    if let Some(entry) = offset_file.as_ref().filter(|_| !loopback) {
        c.problem(entry.place.clone(), "clock.offset_file", only_loopback);
    }
    let clock_offset_file = c.optional("clock.offset_file", offset_file, path);
    let place = embedded.as_ref().map_or(Place::Default, |e| e.place.clone());
    let demo = c.needed("demo.embedded", embedded, boolean, false);
    if demo && !loopback {
        c.problem(place, "demo.embedded", only_loopback);
    }

    let RawWebhooks { loopback: webhooks_loopback } = webhooks;
    let place = webhooks_loopback.as_ref().map_or(Place::Default, |e| e.place.clone());
    let webhooks_loopback = c.needed("webhooks.loopback", webhooks_loopback, boolean, false);
    if webhooks_loopback && !loopback {
        c.problem(place, "webhooks.loopback", only_loopback);
    }

    let node = check_node(&mut c, node);
    let disks = check_disks(&mut c, disks);
    let gateway = check_gateway(&mut c, gateway, identity, keys, listen.gateway.is_some());
    let storage = check_storage(&mut c, storage);
    let reconcile = check_reconcile(&mut c, reconcile);
    let raft = check_raft(&mut c, raft);
    let limits = check_limits(&mut c, limits);
    let scan = check_scan(&mut c, scan);
    let mail = mail::check(&mut c, mail);
    let log = check_log(&mut c, log);
    if c.problems.len() > before {
        return None;
    }
    let file = file.to_owned();
    Some(Config {
        file,
        node,
        listen,
        disks,
        gateway,
        storage,
        reconcile,
        raft,
        limits,
        scan,
        mail,
        webhooks_loopback,
        log,
        clock_offset_file,
        demo,
    })
}

fn check_node(c: &mut Checker<'_>, raw: RawNode) -> NodeConfig {
    let RawNode { dir, site } = raw;
    NodeConfig { dir: c.needed("node.dir", dir, path, PathBuf::new()), site: c.optional("node.site", site, parsed::<SiteName>) }
}

fn check_listen(c: &mut Checker<'_>, raw: RawListen) -> ListenConfig {
    let RawListen { quic, admin, gateway } = raw;
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let place = gateway.as_ref().map_or(Place::File, |e| e.place.clone());
    let listen = ListenConfig {
        quic: c.needed("listen.quic", quic, address, nowhere),
        admin: c.needed("listen.admin", admin, address, nowhere),
        gateway: c.optional("listen.gateway", gateway, address),
    };
    if listen.gateway == Some(listen.admin) {
        c.problem(place, "listen.gateway", "is the same address as listen.admin");
    }
    listen
}

fn check_disks(c: &mut Checker<'_>, raw: RawDisks) -> DisksConfig {
    let RawDisks { paths, weight } = raw;
    let place = paths.as_ref().map_or(Place::File, |e| e.place.clone());
    let paths = c.needed("disks.paths", paths, |v| list(v)?.iter().map(path).collect::<Result<Vec<_>, _>>(), Vec::new());
    for (i, disk) in paths.iter().enumerate() {
        if paths.iter().take(i).any(|other| other == disk) {
            c.problem(place.clone(), "disks.paths", &format!("{} is listed twice", disk.display()));
        }
    }
    DisksConfig { paths, weight: c.optional("disks.weight", weight, |v| whole(v, 1, u32::MAX)) }
}

fn check_gateway(c: &mut Checker<'_>, raw: RawGateway, identities: Vec<RawIdentity>, keys: RawKeys, serves: bool) -> Option<GatewayConfig> {
    let RawGateway {
        public_url,
        certificate_file,
        key_file,
        connections_per_address,
        loopback_exempt,
        body_max,
        card_anchors_file,
        card_authorities_file,
        card_lists_file,
        card_policies,
        card_ocsp_hosts,
        minimum_age,
    } = raw;
    let card_files = [card_anchors_file, card_authorities_file, card_lists_file];
    let card = check_card(c, card_files, card_policies, card_ocsp_hosts);
    let minimum_age = c.needed("gateway.minimum_age", minimum_age, |v| whole(v, 0, 120_u8), 0);
    let body_max_bytes = c.needed("gateway.body_max", body_max, |v| size(v, KIB, 5 << 40), 0);
    let connections = c.needed("gateway.connections_per_address", connections_per_address, |v| whole(v, 0, 100_000_u32), 0);
    let loopback_exempt = c.needed("gateway.loopback_exempt", loopback_exempt, boolean, true);
    let public_url = if serves || public_url.is_some() { c.needed_as("gateway.public_url", public_url, public_address) } else { None };
    let place = certificate_file.as_ref().or(key_file.as_ref()).map_or(Place::File, |e| e.place.clone());
    let certificate_file = c.optional("gateway.certificate_file", certificate_file, readable);
    let key_file = c.optional("gateway.key_file", key_file, secret);
    if certificate_file.is_some() != key_file.is_some() {
        let missing = if key_file.is_some() { "gateway.certificate_file" } else { "gateway.key_file" };
        c.problem(place, missing, "is missing: certificate_file and key_file go together");
    }
    let master_key = check_keys(c, keys, serves);
    let mut identity: Vec<IdentityConfig> = Vec::new();
    for raw in identities {
        let place = raw.name.as_ref().map_or(Place::File, |e| e.place.clone());
        let Some(checked) = check_identity(c, raw) else { continue };
        if identity.iter().any(|other| other.name == checked.name) {
            c.problem(place, "gateway.identity.name", &format!("{:?} is used twice", checked.name));
        }
        identity.push(checked);
    }
    if !serves {
        return None;
    }
    Some(GatewayConfig {
        public_url: public_url?,
        certificate: certificate_file.zip(key_file).map(|(certificate, key)| CertificateFiles { certificate, key }),
        connections_per_address: usize::try_from(connections).ok().filter(|n| *n > 0),
        loopback_exempt,
        body_max_bytes,
        card,
        minimum_age,
        identity,
        master_key: master_key?,
    })
}

/// Three files, all or none: without any of them nobody could be let in, or somebody with a revoked card would be.
fn check_card(c: &mut Checker<'_>, files: [Option<Entry>; 3], policies: Option<Entry>, hosts: Option<Entry>) -> Option<CardConfig> {
    let labels = |v: &RawValue| list(v)?.iter().map(label).collect::<Result<Vec<_>, _>>();
    let policies = c.needed("gateway.card_policies", policies, labels, Vec::new());
    let ocsp_hosts = c.needed("gateway.card_ocsp_hosts", hosts, labels, Vec::new());
    let keys = ["gateway.card_anchors_file", "gateway.card_authorities_file", "gateway.card_lists_file"];
    let given = files.each_ref().map(Option::is_some);
    let [anchors, authorities, lists] = files;
    let anchors_file = c.optional("gateway.card_anchors_file", anchors, readable);
    let authorities_file = c.optional("gateway.card_authorities_file", authorities, readable);
    let lists_file = c.optional("gateway.card_lists_file", lists, readable);
    if given.contains(&true) {
        for (key, _) in keys.into_iter().zip(given).filter(|(_, given)| !given) {
            c.problem(Place::File, key, "is missing: the three card files go together");
        }
    }
    Some(CardConfig { anchors_file: anchors_file?, authorities_file: authorities_file?, lists_file: lists_file?, policies, ocsp_hosts })
}

fn check_keys(c: &mut Checker<'_>, raw: RawKeys, serves: bool) -> Option<MasterKeyConfig> {
    let RawKeys { master, file, module, token_label, pin_file, key_label } = raw;
    let kind = c.needed_as("keys.master", master, |v| one_of(v, &[("file", false), ("pkcs11", true)]));
    // What is written is checked even where this node does not use it: a wrong line is never silent.
    let file_given = file.is_some();
    let given = [module.is_some(), token_label.is_some(), pin_file.is_some(), key_label.is_some()];
    let key_file = c.optional("keys.file", file, secret);
    let module = c.optional("keys.module", module, readable);
    let token_label = c.optional("keys.token_label", token_label, label);
    let pin_file = c.optional("keys.pin_file", pin_file, secret);
    let key_label = c.optional("keys.key_label", key_label, label);
    if !serves {
        return None;
    }
    if kind? {
        for (key, given) in ["keys.module", "keys.token_label", "keys.pin_file", "keys.key_label"].into_iter().zip(given) {
            if !given {
                c.problem(Place::File, key, "is needed with keys.master = \"pkcs11\"");
            }
        }
        return Some(MasterKeyConfig::Pkcs11 { module: module?, token_label: token_label?, pin_file: pin_file?, key_label: key_label? });
    }
    if !file_given {
        c.problem(Place::File, "keys.file", "is needed on a gateway; `kluis key create FILE` makes one, once for all gateways");
    }
    Some(MasterKeyConfig::File { path: key_file? })
}

fn check_identity(c: &mut Checker<'_>, raw: RawIdentity) -> Option<IdentityConfig> {
    let RawIdentity {
        name,
        issuer,
        client_id,
        client_key_file,
        encryption_key_file,
        scope,
        national_number_claim,
        roles_claim,
        acr_values,
        substantial_acr_values,
        id_token_alg,
        id_token_encryption,
        require_par,
        userinfo,
        ca_file,
    } = raw;
    let place = id_token_encryption.as_ref().map_or(Place::File, |e| e.place.clone());
    let name = c.needed_as("gateway.identity.name", name, |v| parsed::<SiteName>(v).map_err(|_| "is 1 to 32 of a-z, 0-9 and -".to_owned()));
    let issuer = c.needed_as("gateway.identity.issuer", issuer, issuer_address);
    let client_id = c.needed_as("gateway.identity.client_id", client_id, label);
    let client_key_file = c.needed_as("gateway.identity.client_key_file", client_key_file, secret);
    let key_given = encryption_key_file.is_some();
    let encryption_key_file = c.optional("gateway.identity.encryption_key_file", encryption_key_file, secret);
    let scope = c.needed_as("gateway.identity.scope", scope, scopes);
    let claim = c.needed_as("gateway.identity.national_number_claim", national_number_claim, label);
    let roles_claim = c.optional("gateway.identity.roles_claim", roles_claim, label);
    let acr_values = c.needed_as("gateway.identity.acr_values", acr_values, |v| {
        let values = list(v)?.iter().map(label).collect::<Result<Vec<_>, _>>()?;
        if values.is_empty() { Err("names at least one strength of sign-in".to_owned()) } else { Ok(values) }
    });
    let lower = c.needed(
        "gateway.identity.substantial_acr_values",
        substantial_acr_values,
        |v| list(v)?.iter().map(label).collect::<Result<Vec<_>, _>>(),
        Vec::new(),
    );
    let id_token_alg = c.needed_as("gateway.identity.id_token_alg", id_token_alg, |v| {
        one_of(v, &[("RS256", SignatureAlgorithm::Rs256), ("PS256", SignatureAlgorithm::Ps256), ("ES256", SignatureAlgorithm::Es256)])
    });
    let id_token_encryption = c.needed_as("gateway.identity.id_token_encryption", id_token_encryption, |v| {
        one_of(
            v,
            &[
                ("none", None),
                ("RSA-OAEP-256 A256GCM", Some((KeyManagement::RsaOaep256, ContentEncryption::A256Gcm))),
                ("RSA-OAEP-256 A128CBC-HS256", Some((KeyManagement::RsaOaep256, ContentEncryption::A128CbcHs256))),
                ("RSA-OAEP A256GCM", Some((KeyManagement::RsaOaep, ContentEncryption::A256Gcm))),
                ("RSA-OAEP A128CBC-HS256", Some((KeyManagement::RsaOaep, ContentEncryption::A128CbcHs256))),
            ],
        )
    });
    let require_par = c.needed("gateway.identity.require_par", require_par, boolean, true);
    let userinfo = c.needed("gateway.identity.userinfo", userinfo, boolean, true);
    let ca_file = c.optional("gateway.identity.ca_file", ca_file, readable);
    if matches!(id_token_encryption, Some(Some(_))) && !key_given {
        c.problem(place, "gateway.identity.encryption_key_file", "is needed unless id_token_encryption = \"none\"");
    }
    Some(IdentityConfig {
        name: name?.to_string(),
        issuer: issuer?,
        client_id: client_id?,
        client_key_file: client_key_file?,
        encryption_key_file,
        scope: scope?,
        national_number_claim: claim?,
        roles_claim,
        acr_values: acr_values?,
        substantial_acr_values: lower,
        id_token_alg: id_token_alg?,
        id_token_encryption: id_token_encryption?,
        require_par,
        userinfo,
        ca_file,
    })
}

fn check_storage(c: &mut Checker<'_>, raw: RawStorage) -> StorageConfig {
    let RawStorage { segment_bytes, queue_bytes, shard_deadline, hedge_after, write_linger, upload_window_chunks } = raw;
    let zero = Duration::ZERO;
    StorageConfig {
        segment_bytes: c.needed("storage.segment_bytes", segment_bytes, |v| size(v, MIB, 4 * GIB), 0),
        queue_bytes: c.needed("storage.queue_bytes", queue_bytes, |v| size(v, MIB, 4 * GIB), 0),
        shard_deadline: c.needed("storage.shard_deadline", shard_deadline, |v| duration(v, 50 * MILLISECOND, MINUTE), zero),
        hedge_after: c.needed("storage.hedge_after", hedge_after, |v| duration(v, MILLISECOND, 10 * SECOND), zero),
        write_linger: c.needed("storage.write_linger", write_linger, |v| duration(v, zero, 5 * SECOND), zero),
        upload_window_chunks: c.needed("storage.upload_window_chunks", upload_window_chunks, |v| whole(v, 1, 64_usize), 1),
    }
}

fn check_reconcile(c: &mut Checker<'_>, raw: RawReconcile) -> ReconcileConfig {
    let RawReconcile { interval, grace, budget_bytes_per_second } = raw;
    let zero = Duration::ZERO;
    ReconcileConfig {
        interval: c.needed("reconcile.interval", interval, |v| duration(v, SECOND, DAY), zero),
        grace: c.needed("reconcile.grace", grace, |v| duration(v, SECOND, 30 * DAY), zero),
        budget_bytes_per_second: c.needed("reconcile.budget_bytes_per_second", budget_bytes_per_second, |v| size(v, MIB, 100 * GIB), 0),
    }
}

fn check_raft(c: &mut Checker<'_>, raw: RawRaft) -> RaftConfig {
    let RawRaft { heartbeat, election_min, election_max, snapshot_every_entries } = raw;
    let zero = Duration::ZERO;
    let before = c.problems.len();
    let [min_place, max_place] = [&election_min, &election_max].map(|e| e.as_ref().map_or(Place::Default, |e| e.place.clone()));
    let raft = RaftConfig {
        heartbeat: c.needed("raft.heartbeat", heartbeat, |v| duration(v, 10 * MILLISECOND, 10 * SECOND), zero),
        election_min: c.needed("raft.election_min", election_min, |v| duration(v, 30 * MILLISECOND, MINUTE), zero),
        election_max: c.needed("raft.election_max", election_max, |v| duration(v, 30 * MILLISECOND, 2 * MINUTE), zero),
        snapshot_every_entries: c.needed("raft.snapshot_every_entries", snapshot_every_entries, |v| whole(v, 100, 10_000_000_u64), 0),
    };
    if c.problems.len() == before {
        if raft.election_min < raft.heartbeat * 6 / 5 {
            c.problem(
                min_place,
                "raft.election_min",
                "is below 1.2 heartbeats: votes are refused for one heartbeat after a leader's message",
            );
        }
        if raft.election_max <= raft.election_min {
            c.problem(max_place, "raft.election_max", "is not above raft.election_min: voters would stand at the same moment");
        }
    }
    raft
}

fn check_limits(c: &mut Checker<'_>, raw: RawLimits) -> LimitsConfig {
    let RawLimits { uploads_per_account, upload_lifetime, head_deadline, stall_deadline } = raw;
    let zero = Duration::ZERO;
    LimitsConfig {
        uploads_per_account: c.needed("limits.uploads_per_account", uploads_per_account, |v| whole(v, 1, 10_000_u32), 0),
        upload_lifetime: c.needed("limits.upload_lifetime", upload_lifetime, |v| duration(v, MINUTE, 30 * DAY), zero),
        head_deadline: c.needed("limits.head_deadline", head_deadline, |v| duration(v, SECOND, 5 * MINUTE), zero),
        stall_deadline: c.needed("limits.stall_deadline", stall_deadline, |v| duration(v, SECOND, 10 * MINUTE), zero),
    }
}

fn check_scan(c: &mut Checker<'_>, raw: RawScan) -> Option<ScannerConfig> {
    let RawScan { socket, verdict_deadline, spool, held, unpacked, entries, at_once } = raw;
    let memory = |value: &RawValue, min, max| usize::try_from(size(value, min, max)?).map_err(|e| e.to_string());
    let address = c.optional("scan.socket", socket, parsed::<Address>);
    let verdict = c.needed("scan.verdict_deadline", verdict_deadline, |v| duration(v, SECOND, 30 * MINUTE), Duration::ZERO);
    let limits = ScanLimits {
        spool_bytes: c.needed("scan.spool", spool, |v| memory(v, 64 * KIB, 64 * MIB), 0),
        held_bytes: c.needed("scan.held", held, |v| memory(v, MIB, GIB), 0),
        at_once: c.needed("scan.at_once", at_once, |v| whole(v, 1, 64_usize), 1),
        archive: ArchiveLimits {
            unpacked_bytes: c.needed("scan.unpacked", unpacked, |v| size(v, MIB, 1 << 40), 0),
            entries: c.needed("scan.entries", entries, |v| whole(v, 1, 65_534_u32), 0),
            ..ArchiveLimits::default()
        },
        ..ScanLimits::default()
    };
    let deadlines = Deadlines { connect: 5 * SECOND, write: 30 * SECOND, verdict };
    Some(ScannerConfig { address: address?, deadlines, limits, not_scannable: NotScannable::Refuse })
}

fn check_log(c: &mut Checker<'_>, raw: RawLog) -> LogConfig {
    let RawLog { format, level } = raw;
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    LogConfig {
        format: c.needed("log.format", format, |v| one_of(v, &formats), LogFormat::Auto),
        level: c.needed("log.level", level, level_filter, String::new()),
    }
}

/// Collects what is wrong while values are taken.
struct Checker<'a> {
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn problem(&mut self, place: Place, key: &str, text: &str) {
        self.problems.push(Problem::new(place, key, text));
    }

    /// A value that may be absent.
    fn optional<T>(&mut self, key: &str, entry: Option<Entry>, parse: impl FnOnce(&RawValue) -> Result<T, String>) -> Option<T> {
        let entry = entry?;
        match parse(&entry.value) {
            Ok(value) => Some(value),
            Err(text) => {
                self.problem(entry.place, key, &text);
                None
            }
        }
    }

    /// A value that must be there.
    fn needed_as<T>(&mut self, key: &str, entry: Option<Entry>, parse: impl FnOnce(&RawValue) -> Result<T, String>) -> Option<T> {
        if entry.is_none() {
            self.problem(Place::File, key, "is missing");
        }
        self.optional(key, entry, parse)
    }

    /// A value that must be there. The stand-in is never seen: a problem was noted with it.
    fn needed<T>(&mut self, key: &str, entry: Option<Entry>, parse: impl FnOnce(&RawValue) -> Result<T, String>, stand_in: T) -> T {
        self.needed_as(key, entry, parse).unwrap_or(stand_in)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::config::{
        raw::SECTIONS,
        schema::{RawIdentity, SectionSpec},
    };

    struct Files {
        dir: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            let files = Self { dir: tempfile::tempdir().unwrap() };
            for (name, mode) in [("secret", 0o600), ("open", 0o644)] {
                fs::write(files.path(name), "x").unwrap();
                fs::set_permissions(files.path(name), fs::Permissions::from_mode(mode)).unwrap();
            }
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// A file with every key, all right, as `(section, key, value)`.
        fn complete(&self) -> Vec<(&'static str, &'static str, String)> {
            let (secret, open) = (self.path("secret"), self.path("open"));
            let value = |section: &str, key: &'static str, default: &str, example: &str| match key {
                "dir" => "\"/var/lib/kluis\"".to_owned(),
                "master" => "\"pkcs11\"".to_owned(),
                "quic" | "admin" => format!("\"127.0.0.1:{}\"", if key == "quic" { 7000 } else { 7001 }),
                "gateway" => "\"127.0.0.1:7002\"".to_owned(),
                "file" | "pin_file" | "key_file" | "client_key_file" | "encryption_key_file" | "password_file" => {
                    format!("{:?}", secret.display().to_string())
                }
                "certificate_file" | "ca_file" | "module" | "card_anchors_file" | "card_authorities_file" | "card_lists_file" => {
                    format!("{:?}", open.display().to_string())
                }
                _ => {
                    assert!(!default.is_empty() || !example.is_empty(), "{section}.{key}");
                    if default.is_empty() { example.to_owned() } else { default.to_owned() }
                }
            };
            let of = |spec: &'static SectionSpec| spec.keys.iter().map(move |k| (spec.name, k));
            SECTIONS
                .into_iter()
                .flat_map(of)
                .chain(of(&RawIdentity::SPEC))
                .map(|(section, k)| (section, k.key, value(section, k.key, k.default, k.example)))
                .collect()
        }

        fn load(&self, values: &[(&'static str, &'static str, String)]) -> Result<Config, Vec<Problem>> {
            let mut text = String::new();
            for section in SECTIONS.into_iter().chain([&RawIdentity::SPEC]) {
                let heading = if section.name == "identity" { "[[gateway.identity]]".to_owned() } else { format!("[{}]", section.name) };
                text.push_str(&format!("{heading}\n"));
                for (_, key, value) in values.iter().filter(|(s, _, _)| *s == section.name) {
                    text.push_str(&format!("{key} = {value}\n"));
                }
            }
            let file = self.path("kluis.toml");
            fs::write(&file, text).unwrap();
            Config::load(&file, []).map_err(|e| e.problems)
        }
    }

    #[test]
    fn a_complete_file_is_accepted_and_means_what_it_says() {
        let files = Files::new();
        let config = files.load(&files.complete()).unwrap();
        assert_eq!(config.storage.segment_bytes, 64 * MIB);
        assert_eq!(config.raft.heartbeat, Duration::from_millis(500));
        let gateway = config.gateway.unwrap();
        assert_eq!(gateway.body_max_bytes, 5_000_000_000);
        assert_eq!(gateway.identity.len(), 1);
        assert!(matches!(gateway.master_key, MasterKeyConfig::Pkcs11 { .. }));
    }

    #[test]
    fn every_field_wrong_in_turn_is_an_error_that_names_it() {
        let files = Files::new();
        let good = files.complete();
        for (i, (section, key, _)) in good.iter().enumerate() {
            // A date is never right, a list in a list neither; the third is the right type with a wrong value.
            let mut wrong = vec!["1979-05-27".to_owned(), "[[1]]".to_owned()];
            wrong.push(wrong_value(section, key).to_owned());
            for value in wrong {
                let mut values = good.clone();
                values[i].2 = value.clone();
                let problems = files.load(&values).err().unwrap_or_else(|| panic!("{section}.{key} = {value} was accepted"));
                let name = if *section == "identity" { format!("gateway.identity.{key}") } else { format!("{section}.{key}") };
                assert!(problems.iter().any(|p| p.key == name && matches!(p.place, Place::Line(_))), "{name} = {value}: {problems:?}");
            }
        }
    }

    /// A value of the right form that is wrong all the same.
    fn wrong_value(section: &str, key: &str) -> &'static str {
        match (section, key) {
            ("node", "dir") => "\"relative/path\"",
            ("node", "site") => "\"Not A Site\"",
            ("listen", _) => "\"127.0.0.1\"",
            ("disks", "paths") => "[\"/a\", \"/a\"]",
            ("disks", "weight") => "0",
            ("gateway", "public_url") => "\"http://vault.example.org\"",
            ("gateway", "connections_per_address") => "-1",
            ("gateway", "loopback_exempt") => "\"maybe\"",
            ("gateway", "body_max") => "\"5\"",
            ("gateway", "card_policies" | "card_ocsp_hosts") => "[\"\"]",
            ("gateway", "card_anchors_file" | "card_authorities_file" | "card_lists_file") => "\"/does/not/exist\"",
            ("gateway", "minimum_age") => "121",
            ("gateway" | "keys" | "identity", "certificate_file" | "key_file" | "file" | "module" | "pin_file" | "ca_file") => {
                "\"/does/not/exist\""
            }
            ("identity", "client_key_file" | "encryption_key_file") => "\"/does/not/exist\"",
            ("keys", "master") => "\"pkcs12\"",
            ("keys" | "identity", "token_label" | "key_label" | "client_id" | "national_number_claim" | "roles_claim") => "\"\"",
            ("storage" | "reconcile", "segment_bytes" | "queue_bytes" | "budget_bytes_per_second") => "\"1 B\"",
            ("storage", "upload_window_chunks") => "65",
            ("storage" | "reconcile" | "limits", "write_linger" | "shard_deadline" | "hedge_after" | "interval" | "grace") => "\"900d\"",
            ("raft", "snapshot_every_entries") => "1",
            ("raft", "heartbeat") => "\"1ms\"",
            ("raft", "election_min") => "\"599ms\"",
            ("raft", "election_max") => "\"600ms\"",
            ("limits", "uploads_per_account") => "0",
            ("limits", _) => "\"900d\"",
            ("scan", "socket") => "\"192.0.2.1:3310\"",
            ("scan", "verdict_deadline") => "\"900d\"",
            ("scan", "entries" | "at_once") => "65535",
            ("scan", _) => "\"1 B\"",
            ("mail", "host") => "\"not a host\"",
            ("mail", "port") => "0",
            ("mail", "from") => "\"nobody\"",
            ("mail", "tls") => "\"ssl\"",
            ("mail", "user") => "\"\"",
            ("mail", _) => "\"/does/not/exist\"",
            ("webhooks", "loopback") => "\"maybe\"",
            ("log", "format") => "\"xml\"",
            ("log", "level") => "\"inof\"",
            ("clock", "offset_file") => "\"clock\"",
            ("demo", "embedded") => "\"maybe\"",
            ("identity", "name") => "\"../x\"",
            ("identity", "issuer") => "\"http://idp.example.org\"",
            ("identity", "scope") => "\"profile\"",
            ("identity", "acr_values") => "[]",
            ("identity", "substantial_acr_values") => "[\"\"]",
            ("identity", "id_token_alg") => "\"none\"",
            ("identity", "id_token_encryption") => "\"RSA1_5 A256GCM\"",
            ("identity", "require_par" | "userinfo") => "1",
            other => panic!("no wrong value is listed for {other:?}"),
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_what_to_do() {
        let files = Files::new();
        let mut values = files.complete();
        for value in values.iter_mut().filter(|(_, key, _)| *key == "pin_file") {
            value.2 = format!("{:?}", files.path("open").display().to_string());
        }
        let problems = files.load(&values).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].key == "keys.pin_file" && problems[0].text.contains("chmod 600"), "{problems:?}");
    }

    #[test]
    fn the_movable_clock_and_the_demo_are_refused_outside_loopback() {
        let files = Files::new();
        let mut values = files.complete();
        for value in &mut values {
            match (value.0, value.1) {
                ("listen", "quic") => value.2 = "\"192.0.2.1:7000\"".to_owned(),
                ("demo", "embedded") => value.2 = "true".to_owned(),
                _ => {}
            }
        }
        let keys: Vec<String> = files.load(&values).unwrap_err().into_iter().map(|p| p.key).collect();
        assert_eq!(keys, ["clock.offset_file", "demo.embedded"]);
    }

    #[test]
    fn all_that_is_missing_is_said_at_once() {
        let files = Files::new();
        let keys: Vec<String> = files.load(&[]).unwrap_err().into_iter().map(|p| p.key).collect();
        for key in ["node.dir", "listen.quic", "listen.admin", "gateway.identity.name", "gateway.identity.issuer"] {
            assert!(keys.iter().any(|k| k == key), "{key} in {keys:?}");
        }
    }

    #[test]
    fn a_node_that_is_no_gateway_needs_three_lines() {
        let files = Files::new();
        let file = files.path("small.toml");
        fs::write(&file, "[node]\ndir = \"/x\"\n[listen]\nquic = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n").unwrap();
        let config = Config::load(&file, []).unwrap();
        assert!(config.gateway.is_none());
        let flags = [("storage.queue_bytes".to_owned(), "2 MiB".to_owned())];
        let variables =
            [("KLUIS_STORAGE_QUEUE_BYTES".to_owned(), "1 MiB".to_owned()), ("KLUIS_DISKS_PATHS".to_owned(), "/a,/b".to_owned())];
        let config = Config::load_with(&file, variables, &flags).unwrap();
        assert_eq!((config.storage.queue_bytes, config.disks.paths.len()), (2 * MIB, 2), "flag over environment over file");
    }
}
