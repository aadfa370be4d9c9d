//! The keys that a configuration may have: sections, keys, defaults, examples, descriptions.
//!
//! Owns: the one list of all keys. Not: reading ([`super::raw`]), meaning ([`super::checked`]).
//! Holds: (1) a key is listed once, here; the raw structs, the defaults, the example file and the names of
//! the environment variables are made from it; (2) a key without a default that the check does not let be absent
//! says when it is needed.

use super::raw::Entry;

/// One key of a section.
#[derive(Debug)]
pub struct KeySpec {
    /// Its name.
    pub key: &'static str,
    /// What it means: unit, bounds, reason.
    pub doc: &'static str,
    /// The value it has when nobody says anything, as TOML; empty when it has none.
    pub default: &'static str,
    /// A value for the example file, as TOML, where there is no default.
    pub example: &'static str,
    /// Whether somebody has to say it.
    pub needed: Needed,
}

/// When a key has to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// Never: it has a default, or may be absent.
    Never,
    /// On every node.
    Always,
    /// Where the words fit, as in `on a gateway`.
    Where(&'static str),
}

/// One section.
#[derive(Debug)]
pub struct SectionSpec {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static str,
    /// Its keys.
    pub keys: &'static [KeySpec],
}

macro_rules! needed {
    () => {
        Needed::Never
    };
    ($needed:expr) => {
        $needed
    };
}

macro_rules! schema {
    ($(
        $(#[doc = $section_doc:literal])*
        $section:ident: $Struct:ident {
            $( $(#[doc = $doc:literal])* $key:ident: default $default:literal, example $example:literal $(, needed $needed:expr)?; )*
        }
    )*) => {
        $(
            $(#[doc = $section_doc])*
            #[derive(Debug, Clone, Default)]
            pub struct $Struct {
                $( $(#[doc = $doc])* pub $key: Option<Entry>, )*
            }

            impl $Struct {
                /// The section and its keys.
                pub const SPEC: SectionSpec = SectionSpec {
                    name: stringify!($section),
                    doc: concat!($($section_doc, "\n"),*),
                    keys: &[$(KeySpec {
                        key: stringify!($key),
                        doc: concat!($($doc, "\n"),*),
                        default: $default,
                        example: $example,
                        needed: needed!($($needed)?),
                    }),*],
                };

                /// Where the value of a key is kept.
                pub fn slot(&mut self, key: &str) -> Option<&mut Option<Entry>> {
                    match key {
                        $(stringify!($key) => Some(&mut self.$key),)*
                        _ => None,
                    }
                }

                /// What was said for each key, in order of the schema.
                pub fn entries(&self) -> Vec<(&'static str, Option<&Entry>)> {
                    vec![$((stringify!($key), self.$key.as_ref())),*]
                }
            }
        )*
    };
}

schema! {
    /// The node itself. Who it is (its id, site and certificate) was decided when it joined and lies in `identity/`.
    node: RawNode {
        /// Directory of the node: `identity/` (who it is) and `meta/` (its copy of the metadata).
        dir: default "", example "\"/var/lib/kluis\"", needed Needed::Always;
        /// Site that the node must be of: a guard against a disk in the wrong machine. Optional.
        site: default "", example "\"dc1\"";
    }
    /// Where the node listens: addresses with ports.
    listen: RawListen {
        /// QUIC (UDP): the other nodes.
        quic: default "", example "\"192.0.2.11:7000\"", needed Needed::Always;
        /// HTTPS for operators (client certificates), health checks and metrics.
        admin: default "", example "\"192.0.2.11:7001\"", needed Needed::Always;
        /// HTTPS for people and programs. Absent: this node is no gateway.
        gateway: default "", example "\"192.0.2.11:443\"";
    }
    /// The disks of the node: directories, in production each its own file system.
    disks: RawDisks {
        /// Their paths. Empty: the node stores no shards.
        paths: default "[]", example "[\"/srv/kluis/d1\", \"/srv/kluis/d2\"]";
        /// Share of the data that each of them takes, 1 to 4294967295. Absent: the GiB of its file system.
        weight: default "", example "4000";
    }
    /// What people and programs meet. Used when `listen.gateway` is set.
    gateway: RawGateway {
        /// The address that people use, https, without a path.
        public_url: default "", example "\"https://vault.example.org\"", needed Needed::Where("on a gateway");
        /// Certificate chain (PEM). Absent, with `key_file`: the node's own certificate of the cluster CA. Reloaded when it changes.
        certificate_file: default "", example "\"/etc/kluis/tls/fullchain.pem\"";
        /// Key of the certificate (PEM, mode 0600).
        key_file: default "", example "\"/etc/kluis/tls/key.pem\"";
        /// Connections that one client address may hold, 1 to 100000; 0 is no limit.
        connections_per_address: default "64", example "";
        /// Whether this machine's own addresses are exempt from what is counted by address: a proxy here is many clients.
        loopback_exempt: default "true", example "";
        /// Largest document, 1 KiB to 5 TiB.
        body_max: default "\"5 GB\"", example "";
        /// Root authorities of identity cards (PEM). With the other two files: people may sign in with their card (Web eID).
        card_anchors_file: default "", example "\"/etc/kluis/eid-roots.pem\"";
        /// Authorities between those and the cards (PEM).
        card_authorities_file: default "", example "\"/etc/kluis/eid-authorities.pem\"";
        /// Revocation lists (PEM) of every authority, and of the cards where no `card_ocsp_hosts` are named. Read anew each minute; an old list lets nobody in.
        card_lists_file: default "", example "\"/etc/kluis/eid-lists.pem\"";
        /// Policies under which a card's certificate must have been made.
        card_policies: default "[\"2.16.56.12.1.1.2.2\"]", example "";
        /// Responders (OCSP) that may be asked whether a card was revoked: hosts, with a port where it is not 80.
        card_ocsp_hosts: default "[]", example "[\"ocsp.eid.belgium.be\"]";
        /// Age from which on people are let in, 0 to 120.
        minimum_age: default "0", example "";
    }
    /// The master key that wraps every vault's key. Used when `listen.gateway` is set.
    keys: RawKeys {
        /// Where it is: `file` or `pkcs11`.
        master: default "\"file\"", example "";
        /// With `file`: the key file (mode 0600), the same on every gateway.
        file: default "", example "\"/etc/kluis/master.key\"", needed Needed::Where("on a gateway, with `file`");
        /// With `pkcs11`: the library of the device.
        module: default "", example "\"/usr/lib/softhsm/libsofthsm2.so\"", needed Needed::Where("on a gateway, with `pkcs11`");
        /// With `pkcs11`: the token's label.
        token_label: default "", example "\"kluis\"", needed Needed::Where("on a gateway, with `pkcs11`");
        /// With `pkcs11`: a file with the PIN (mode 0600).
        pin_file: default "", example "\"/etc/kluis/pin\"", needed Needed::Where("on a gateway, with `pkcs11`");
        /// With `pkcs11`: the key's label.
        key_label: default "", example "\"master\"", needed Needed::Where("on a gateway, with `pkcs11`");
    }
    /// How shards are written and read.
    storage: RawStorage {
        /// Size of a segment file, 1 MiB to 4 GiB, reserved when the segment is begun.
        segment_bytes: default "\"64 MiB\"", example "";
        /// Shards that may wait for a disk, 1 MiB to 4 GiB: beyond it writers are told to wait.
        queue_bytes: default "\"64 MiB\"", example "";
        /// How long one shard may take to write or read, 50ms to 60s, before its disk counts as absent.
        shard_deadline: default "\"1s\"", example "";
        /// How long a read waits for a shard before it asks for another one, 1ms to 10s.
        hedge_after: default "\"100ms\"", example "";
        /// How long an upload waits for the last shards once it may be acknowledged, 0ms to 5s.
        write_linger: default "\"50ms\"", example "";
        /// Chunks of one upload on their way to disks at a time, 1 to 64: bounds its memory.
        upload_window_chunks: default "4", example "";
    }
    /// The background work that makes disks agree with metadata.
    reconcile: RawReconcile {
        /// Time between two passes, 1s to 24h.
        interval: default "\"30s\"", example "";
        /// Age below which an unwanted shard is left alone, 1s to 30d: an upload may be under way.
        grace: default "\"15m\"", example "";
        /// Bytes that the work may move a second, 1 MiB to 100 GiB.
        budget_bytes_per_second: default "\"64 MiB\"", example "";
    }
    /// The metadata group. Every node should have the same values.
    raft: RawRaft {
        /// Time between two messages of an idle leader, 10ms to 10s.
        heartbeat: default "\"500ms\"", example "";
        /// Shortest silence of the leader after which a voter asks the others, and stands for election if they hear nothing
        /// either: at least 1.2 heartbeats.
        election_min: default "\"600ms\"", example "";
        /// Longest such silence: above `election_min`.
        election_max: default "\"800ms\"", example "";
        /// Log entries after which a snapshot is made, 100 to 10000000.
        snapshot_every_entries: default "10000", example "";
    }
    /// What one client may ask of a gateway.
    limits: RawLimits {
        /// Uploads that an account may have under way, 1 to 10000.
        uploads_per_account: default "64", example "";
        /// How long an unfinished upload is kept, 1m to 30d.
        upload_lifetime: default "\"24h\"", example "";
        /// Time for the head of a request to arrive, 1s to 5m.
        head_deadline: default "\"5s\"", example "";
        /// Time that a client may take no byte of an answer, 1s to 10m.
        stall_deadline: default "\"30s\"", example "";
    }
    /// The virus scanner (clamd). Without `socket`, documents are stored unscanned. In clamd's own configuration, set `StreamMaxLength` and `MaxFileSize` to at least `gateway.body_max`, and `AlertExceedsMax yes`.
    scan: RawScan {
        /// Where clamd listens: a path, or a loopback address with a port.
        socket: default "", example "\"/run/clamav/clamd.ctl\"";
        /// How long clamd may take to a verdict once it has all bytes, 1s to 30m. Above its own `MaxScanTime`.
        verdict_deadline: default "\"2m\"", example "";
        /// Containers (archives, PDF) up to this size are kept while they arrive, 64 KiB to 64 MiB for each upload; larger ones are read again.
        spool: default "\"4 MiB\"", example "";
        /// Largest PDF, and bytes of containers in containers, that are held to look into, 1 MiB to 1 GiB, for each of `at_once`.
        held: default "\"64 MiB\"", example "";
        /// Bytes that an archive may unpack to, 1 MiB to 1 TiB.
        unpacked: default "\"1 GiB\"", example "";
        /// Entries of an archive, with those of archives in it, 1 to 65534.
        entries: default "10000", example "";
        /// Containers that are looked into at once, 1 to 64.
        at_once: default "4", example "";
    }
    /// The mail server that notices go to. Without `host`, no mail is sent.
    mail: RawMail {
        /// Its name, which its certificate has; with `tls = "none"`, a loopback address.
        host: default "", example "\"smtp.example.org\"";
        /// Its port.
        port: default "587", example "";
        /// Whom mails are from.
        from: default "", example "\"noreply@example.org\"", needed Needed::Where("with `host`");
        /// `starttls` (nothing is said before the connection is safe), `implicit` (TLS from the first byte, port 465 as a rule) or `none` (only to this machine).
        tls: default "\"starttls\"", example "";
        /// User, where the server asks for one; `password_file` goes with it.
        user: default "", example "\"kluis\"";
        /// File with the password (mode 0600).
        password_file: default "", example "\"/etc/kluis/mail-password\"";
        /// CA certificate (PEM) of the server. Absent: the system's.
        ca_file: default "", example "\"/etc/kluis/mail-ca.pem\"";
    }
    /// Webhooks, which notices are posted to.
    webhooks: RawWebhooks {
        /// Whether they may lead to this machine, by number, over plain http too. Refused unless every listener is on loopback.
        loopback: default "false", example "";
    }
    /// The log, on standard error.
    log: RawLog {
        /// `text`, `json` (one object a line) or `auto`: text on a terminal, else JSON.
        format: default "\"auto\"", example "";
        /// Least level shown (`error`, `warn`, `info`, `debug`, `trace`), also by module: `info,kluis_raft=debug`. `KLUIS_LOG` sets it too.
        level: default "\"info\"", example "";
    }
    /// A clock that a file can move. Only for demos: refused unless every listener is on loopback.
    clock: RawClock {
        /// File with milliseconds to add to the time of day.
        offset_file: default "", example "\"/tmp/kluis-demo/clock\"";
    }
    /// Demos.
    demo: RawDemo {
        /// Whether the node is part of a demo, with its embedded identity provider. Refused unless every listener is on loopback.
        embedded: default "false", example "";
    }
    /// `[[gateway.identity]]`: an OpenID provider that people sign in with. There may be several.
    identity: RawIdentity {
        /// Name in the path: `/v1/auth/NAME/start`; 1 to 32 of a-z, 0-9 and `-`.
        name: default "", example "\"itsme\"", needed Needed::Where("for each provider");
        /// The provider's issuer: https; http only on loopback.
        issuer: default "", example "\"https://idp.example.org/oidc\"", needed Needed::Where("for each provider");
        /// Our name at the provider.
        client_id: default "", example "\"kluis\"", needed Needed::Where("for each provider");
        /// Our signing key (PKCS#8 PEM, mode 0600) for `private_key_jwt`.
        client_key_file: default "", example "\"/etc/kluis/idp-sign.pem\"", needed Needed::Where("for each provider");
        /// Our decryption key (PKCS#8 PEM, mode 0600), for tokens that come encrypted.
        encryption_key_file: default "", example "\"/etc/kluis/idp-encrypt.pem\"", needed Needed::Where("unless `id_token_encryption` is `none`");
        /// Scopes to ask for, `openid` among them.
        scope: default "\"openid profile\"", example "";
        /// Claim that holds the national number.
        national_number_claim: default "", example "\"http://itsme.services/v2/claim/BENationalNumber\"", needed Needed::Where("for each provider");
        /// Claim that holds roles (a notary's). Absent: nobody has one.
        roles_claim: default "", example "\"roles\"";
        /// Strengths of sign-in that are accepted.
        acr_values: default "", example "[\"http://itsme.services/v2/claim/acr_advanced\"]", needed Needed::Where("for each provider");
        /// Strengths of sign-in that are enough to enter, but not for what cannot be undone.
        substantial_acr_values: default "[]", example "[\"http://itsme.services/v2/claim/acr_basic\"]";
        /// Algorithm of the ID token's signature: `RS256`, `PS256` or `ES256`.
        id_token_alg: default "\"RS256\"", example "";
        /// Encryption of the ID token: `none`, or algorithm and content encryption, as in `RSA-OAEP-256 A256GCM`.
        id_token_encryption: default "\"RSA-OAEP-256 A256GCM\"", example "";
        /// Whether the provider must offer pushed authorization requests.
        require_par: default "true", example "";
        /// Whether claims are also fetched from the userinfo endpoint.
        userinfo: default "true", example "";
        /// CA certificates (PEM) for the provider's address. Absent: the system's.
        ca_file: default "", example "\"/etc/kluis/idp-ca.pem\"";
    }
}
