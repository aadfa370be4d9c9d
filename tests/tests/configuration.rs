//! Promise: a wrong configuration is refused before anything happens, each mistake by file, line and key; and
//! a disk that is not this node's is named and left alone.
//!
//! The real binary is asked each time: `kluis config check`, `kluis config show`, `kluis node run`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/command.rs"]
mod command;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use command::{Running, assert_ended, free_address, kluis, run, said};
use kluis_chunkstore::{
    format::{label::DiskLabel, record::payload_checksum},
    ids::{ClusterId, DiskId, NodeId},
};
use kluis_node::config::{
    raw::SECTIONS,
    schema::{Needed, RawIdentity, SectionSpec},
};

/// A setting: section, key, value as TOML.
type Setting = (&'static str, &'static str, String);

/// A directory with a secret file, an open one, and the configuration.
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

    fn quoted(&self, name: &str) -> String {
        format!("{:?}", self.path(name).display().to_string())
    }

    /// Every key of the schema with a value that is right.
    fn complete(&self) -> Vec<Setting> {
        let of = |spec: &'static SectionSpec| spec.keys.iter().map(move |key| (spec.name, key));
        let all = SECTIONS.into_iter().flat_map(of).chain(of(&RawIdentity::SPEC));
        all.map(|(section, spec)| {
            let value = match (section, spec.key) {
                ("node", "dir") => self.quoted("node"),
                ("listen", "quic") => "\"127.0.0.1:7000\"".to_owned(),
                ("listen", "admin") => "\"127.0.0.1:7001\"".to_owned(),
                ("listen", "gateway") => "\"127.0.0.1:7002\"".to_owned(),
                ("keys", "master") => "\"pkcs11\"".to_owned(),
                (_, "file" | "pin_file" | "key_file" | "client_key_file" | "encryption_key_file" | "password_file") => {
                    self.quoted("secret")
                }
                (_, "certificate_file" | "ca_file" | "module" | "card_anchors_file" | "card_authorities_file" | "card_lists_file") => {
                    self.quoted("open")
                }
                _ if spec.default.is_empty() => spec.example.to_owned(),
                _ => spec.default.to_owned(),
            };
            (section, spec.key, value)
        })
        .collect()
    }

    /// Writes a configuration; returns its file.
    fn write(&self, settings: &[Setting]) -> PathBuf {
        let mut text = String::new();
        for section in SECTIONS.into_iter().chain([&RawIdentity::SPEC]) {
            text.push_str(&heading(section.name));
            for (_, key, value) in settings.iter().filter(|(name, _, _)| *name == section.name) {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        self.write_text(&text)
    }

    fn write_text(&self, text: &str) -> PathBuf {
        let file = self.path("kluis.toml");
        fs::write(&file, text).unwrap();
        file
    }
}

fn heading(section: &str) -> String {
    if section == "identity" { "[[gateway.identity]]\n".to_owned() } else { format!("[{section}]\n") }
}

fn full_name(section: &str, key: &str) -> String {
    if section == "identity" { format!("gateway.identity.{key}") } else { format!("{section}.{key}") }
}

fn check(file: &Path) -> Output {
    run([Path::new("config"), Path::new("check"), file])
}

/// Line of a file, from 1, on which a key of a section stands.
fn line_of(file: &Path, section: &str, key: &str) -> usize {
    let text = fs::read_to_string(file).unwrap();
    let heading = heading(section);
    let start = text.lines().position(|line| line == heading.trim_end()).unwrap();
    let begins = format!("{key} = ");
    start + 1 + text.lines().skip(start).position(|line| line.starts_with(&begins)).unwrap()
}

/// A value of the right form that is wrong all the same.
fn wrong_value(section: &str, key: &str) -> &'static str {
    match (section, key) {
        ("node", "dir") => "\"relative/path\"",
        ("node", "site") => "\"Not A Site\"",
        ("listen", "quic") => "\"127.0.0.1\"",
        ("listen", "admin") => "\"127.0.0.1:0\"",
        ("listen", "gateway") => "\"127.0.0.1:7001\"",
        ("disks", "paths") => "[\"/a\", \"/a\"]",
        ("disks", "weight") => "0",
        ("gateway", "public_url") => "\"https://vault.example.org/path\"",
        ("gateway", "connections_per_address") => "100001",
        ("gateway", "loopback_exempt") => "\"maybe\"",
        ("gateway", "body_max") => "\"6 TiB\"",
        ("gateway", "card_anchors_file" | "card_authorities_file" | "card_lists_file") => "\"/does/not/exist\"",
        ("gateway", "card_policies" | "card_ocsp_hosts") => "[\"\"]",
        ("gateway", "minimum_age") => "121",
        ("identity", "substantial_acr_values") => "[\"\"]",
        ("gateway" | "keys" | "identity", "certificate_file" | "key_file" | "file" | "module" | "pin_file" | "ca_file") => {
            "\"/does/not/exist\""
        }
        ("identity", "client_key_file" | "encryption_key_file") => "\"/does/not/exist\"",
        ("keys", "master") => "\"pkcs12\"",
        ("keys" | "identity", "token_label" | "key_label" | "client_id" | "national_number_claim" | "roles_claim") => "\"\"",
        ("storage", "segment_bytes" | "queue_bytes") => "\"5 GiB\"",
        ("storage", "upload_window_chunks") => "65",
        ("storage", _) => "\"900d\"",
        ("reconcile", "budget_bytes_per_second") => "\"1 KiB\"",
        ("reconcile", _) => "\"0s\"",
        ("raft", "snapshot_every_entries") => "99",
        ("raft", "heartbeat") => "\"9ms\"",
        ("raft", "election_min") => "\"599ms\"",
        ("raft", "election_max") => "\"600ms\"",
        ("limits", "uploads_per_account") => "10001",
        ("limits", _) => "\"900d\"",
        ("scan", "socket") => "\"192.0.2.1:3310\"",
        ("scan", "verdict_deadline") => "\"900d\"",
        ("scan", "entries" | "at_once") => "65535",
        ("scan", _) => "\"1 B\"",
        ("mail", "host") => "\"not a host\"",
        ("mail", "port") => "65536",
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
        ("identity", "id_token_alg") => "\"none\"",
        ("identity", "id_token_encryption") => "\"RSA1_5 A256GCM\"",
        ("identity", "require_par" | "userinfo") => "1",
        other => panic!("no wrong value is listed for {other:?}"),
    }
}

#[test]
fn every_field_wrong_in_turn_is_named_with_its_file_and_line() {
    let files = Files::new();
    let good = files.complete();
    assert_ended(&check(&files.write(&good)), 0, &["is right"]);
    let mut wrong = Vec::new();
    for (at, (section, key, _)) in good.iter().enumerate() {
        // The wrong type, a list where none fits, and the right type with a wrong value.
        for value in ["1979-05-27", "[[1]]", wrong_value(section, key)] {
            let mut settings = good.clone();
            settings[at].2 = value.to_owned();
            let file = files.write(&settings);
            let output = check(&file);
            let named = format!("{}:{}: {}: ", file.display(), line_of(&file, section, key), full_name(section, key));
            if output.status.code() != Some(2) || !said(&output).contains(&named) {
                wrong.push(format!("{} = {value}: {:?}: {}", full_name(section, key), output.status.code(), said(&output)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_missing_is_said_all_at_once() {
    let files = Files::new();
    let output = check(&files.write(&[]));
    let needed =
        ["node.dir", "listen.quic", "listen.admin", "gateway.identity.name", "gateway.identity.issuer", "gateway.identity.client_id"];
    assert_ended(&output, 2, &needed);
    assert_ended(&check(&files.path("not-there")), 2, &["cannot be read"]);
    fs::write(files.path("long"), " ".repeat((1 << 20) + 1)).unwrap();
    assert_ended(&check(&files.path("long")), 2, &["has at most 1048576"]);
    for broken in ["[node\ndir = 1", "[node]\ndir = \"x", "[node]\ndir = \"/a\"\ndir = \"/b\"\n"] {
        let file = files.write_text(broken);
        assert_ended(&check(&file), 2, &[&format!("{}:", file.display())]);
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let files = Files::new();
    let file = files.write_text("[node]\ndir = \"/x\"\n[listne]\n[storage]\nsegmnt_bytes = \"64 MiB\"\nxyzzy = 1\n[listen]\nquic = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n");
    let output = check(&file);
    assert_ended(
        &output,
        2,
        &[
            &format!("{}:3: listne: there is no section [listne]; did you mean \"listen\"?", file.display()),
            &format!("{}:5: storage.segmnt_bytes: there is no such key; did you mean \"segment_bytes\"?", file.display()),
            &format!("{}:6: storage.xyzzy: there is no such key", file.display()),
            "3 to mend",
        ],
    );

    let right = files.write_text("[node]\ndir = \"/x\"\n[listen]\nquic = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n");
    let output = kluis().args(["config", "check"]).arg(&right).env("KLUIS_STORAGE_QUEU_BYTES", "1 MiB").output().unwrap();
    assert_ended(&output, 2, &["$KLUIS_STORAGE_QUEU_BYTES: storage.queu_bytes: there is no such key; did you mean \"queue_bytes\"?"]);
    let output = kluis().args(["config", "check"]).arg(&right).env("KLUIS_RAFT_HEARTBEAT", "soon").output().unwrap();
    assert_ended(&output, 2, &["$KLUIS_RAFT_HEARTBEAT: raft.heartbeat: "]);
    // Variables of the client's commands and of other programs are not ours.
    let output =
        kluis().args(["config", "check"]).arg(&right).env("KLUIS_TOKEN", "t").env("KLUIS_GATEWAY", "https://127.0.0.1:1").output().unwrap();
    assert_ended(&output, 0, &["is right"]);
    assert_ended(
        &run(["node", "run", "--set", "storage.queu_bytes=1 MiB", "--config", &right.display().to_string()]),
        2,
        &["--set: storage.queu_bytes"],
    );
    assert_ended(&run(["node", "run", "--set", "storage", "--config", &right.display().to_string()]), 2, &["section.key=value"]);
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_defaults() {
    let files = Files::new();
    let file = files.write_text("[node]\ndir = \"/x\"\n[listen]\nquic = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n[storage]\nqueue_bytes = \"1 MiB\"\nhedge_after = \"1ms\"\nwrite_linger = \"1ms\"\n");
    let output = kluis()
        .args(["config", "show", "--origin", "--set", "storage.queue_bytes=3 MiB", "--config"])
        .arg(&file)
        .env("KLUIS_STORAGE_QUEUE_BYTES", "2 MiB")
        .env("KLUIS_STORAGE_HEDGE_AFTER", "2ms")
        .env("KLUIS_DISKS_PATHS", "/a,/b")
        .env("KLUIS_LOG", "debug")
        .output()
        .unwrap();
    assert_ended(&output, 0, &[]);
    let shown = String::from_utf8(output.stdout).unwrap();
    let lines: BTreeSet<&str> = shown.lines().collect();
    for line in [
        "queue_bytes = \"3 MiB\"  # --set".to_owned(),
        "hedge_after = \"2ms\"  # $KLUIS_STORAGE_HEDGE_AFTER".to_owned(),
        format!("write_linger = \"1ms\"  # {}:9", file.display()),
        "shard_deadline = \"1s\"  # default".to_owned(),
        "paths = \"/a,/b\"  # $KLUIS_DISKS_PATHS".to_owned(),
        "level = \"debug\"  # $KLUIS_LOG".to_owned(),
    ] {
        assert!(lines.contains(line.as_str()), "{line} is missing in\n{shown}");
    }
}

#[test]
fn secrets_that_others_can_read_are_refused_with_what_to_do() {
    let files = Files::new();
    let good = files.complete();
    for (section, key) in [
        ("keys", "file"),
        ("keys", "pin_file"),
        ("gateway", "key_file"),
        ("identity", "client_key_file"),
        ("identity", "encryption_key_file"),
    ] {
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(files.path("open"), fs::Permissions::from_mode(mode)).unwrap();
            let mut settings = good.clone();
            let setting = settings.iter_mut().find(|(s, k, _)| (*s, *k) == (section, key)).unwrap();
            setting.2 = files.quoted("open");
            let output = check(&files.write(&settings));
            let open = files.path("open").display().to_string();
            assert_ended(&output, 2, &[&full_name(section, key), &format!("(mode {mode:04o})"), &format!("chmod 600 {open}")]);
        }
    }
}

#[test]
fn the_parts_of_a_demo_are_refused_outside_loopback() {
    let files = Files::new();
    let settings: Vec<Setting> = files
        .complete()
        .into_iter()
        .map(|(section, key, value)| match (section, key) {
            ("listen", "quic") => (section, key, "\"192.0.2.1:7000\"".to_owned()),
            ("demo", "embedded") => (section, key, "true".to_owned()),
            _ => (section, key, value),
        })
        .collect();
    assert_ended(
        &check(&files.write(&settings)),
        2,
        &["clock.offset_file: is only accepted", "demo.embedded: is only accepted", "2 to mend"],
    );
}

/// A cluster of one node with `disks` disks; its configuration.
fn single_node(files: &Files, disks: usize) -> PathBuf {
    let (quic, admin) = (free_address().to_string(), free_address().to_string());
    let (dir, operator) = (files.path("node").display().to_string(), files.path("operator").display().to_string());
    let paths: Vec<String> = (1..=disks).map(|n| files.path(&format!("d{n}")).display().to_string()).collect();
    let made = run([
        "cluster",
        "init",
        "--name",
        "test",
        "--site",
        "dc1",
        "--dir",
        &dir,
        "--operator-dir",
        &operator,
        "--quic",
        &quic,
        "--admin",
        &admin,
        "--disks",
        &paths.join(","),
    ]);
    assert_ended(&made, 0, &[]);
    files.write_text(&format!(
        "[node]\ndir = {dir:?}\nsite = \"dc1\"\n[listen]\nquic = {quic:?}\nadmin = {admin:?}\n[disks]\npaths = {paths:?}\n[log]\nformat = \"json\"\n"
    ))
}

#[test]
fn a_node_that_must_not_run_says_why_by_its_exit_code() {
    let files = Files::new();
    let wrong = files.write_text("[node]\ndir = 1\n");
    assert_ended(&run(["node", "run", "--config", &wrong.display().to_string()]), 2, &["node.dir: ", "listen.quic: "]);

    let nobody =
        files.write_text(&format!("[node]\ndir = {}\n[listen]\nquic = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\n", files.quoted("empty")));
    assert_ended(&run(["node", "run", "--config", &nobody.display().to_string()]), 4, &["is not a member of a cluster", "kluis node join"]);

    let config = single_node(&files, 1).display().to_string();
    assert_ended(
        &run(["node", "run", "--config", &config, "--set", "node.site=dc2"]),
        4,
        &["node.site is dc2, but this node joined at dc1"],
    );
    // Another node's certificate, or none, in its identity.
    let certificate = files.path("node/identity/node.pem");
    let own = fs::read(&certificate).unwrap();
    fs::copy(files.path("node/identity/http.pem"), &certificate).unwrap();
    assert_ended(&run(["node", "run", "--config", &config]), 4, &["which is not n<id>.<site>.<cluster>"]);
    fs::remove_file(&certificate).unwrap();
    assert_ended(&run(["node", "run", "--config", &config]), 4, &["node.pem"]);
    fs::write(&certificate, own).unwrap();
    // Nothing of all that did harm: it runs, and ends with 0 when it is told to.
    let mut node = Running::start(Path::new(&config), &files.path("log"));
    node.wait_for_line("the node to be started", |line| line.contains("\"started\""));
    assert!(node.stop().success());
    assert_ended(&run(["node", "run", "--nonsense"]), 2, &["--nonsense"]);
}

/// A label with another format version, its checksum right.
fn with_version(label: &DiskLabel, version: u16) -> Vec<u8> {
    let mut bytes = label.encode().to_vec();
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    let sum = payload_checksum(&bytes[..4_088]);
    bytes[4_088..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn a_disk_that_is_not_this_nodes_is_named_and_the_rest_is_used() {
    let files = Files::new();
    let config = single_node(&files, 9);
    let label_file = |disk: usize| files.path(&format!("d{disk}/label"));
    let label = |disk: usize| DiskLabel::decode(&fs::read(label_file(disk)).unwrap()).unwrap();
    let foreign_cluster = DiskLabel { cluster: ClusterId(0xbad), ..label(3) };
    let foreign_node = DiskLabel { node: NodeId(7), ..label(4) };
    let mut flipped = label(5).encode().to_vec();
    flipped[50] ^= 1;
    let cases: [(usize, Vec<u8>, String); 6] = [
        (1, with_version(&label(1), 0), "the disk has format 0, this program reads 1: upgrade step by step".to_owned()),
        (2, with_version(&label(2), 2), "the disk has format 2, this program reads 1: use a newer program".to_owned()),
        (3, foreign_cluster.encode().to_vec(), format!("the disk belongs to cluster {}, not to {}", ClusterId(0xbad), label(3).cluster)),
        (4, foreign_node.encode().to_vec(), "the disk belongs to node n7, not to n1".to_owned()),
        (5, flipped, "the disk label is damaged: checksum does not match".to_owned()),
        (6, vec![b'x'; 100], "the disk label is damaged: too short".to_owned()),
    ];
    for (disk, bytes, _) in &cases {
        fs::write(label_file(*disk), bytes).unwrap();
    }
    // No label, but somebody's files: not a new disk.
    fs::remove_file(label_file(7)).unwrap();
    fs::write(files.path("d7/photographs"), "dear to somebody").unwrap();
    let kept: Vec<(PathBuf, Vec<u8>)> = (1..=6).map(|disk| (label_file(disk), fs::read(label_file(disk)).unwrap())).collect();

    let mut node = Running::start(&config, &files.path("log"));
    node.wait_for_line("the node to be started", |line| line.contains("\"started\""));
    let refused: Vec<serde_json::Value> = node
        .log()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["code"] == "DISK_REFUSED")
        .collect();
    let why = |disk: usize| -> Option<String> {
        let path = files.path(&format!("d{disk}")).display().to_string();
        refused.iter().find(|line| line["path"] == path.as_str()).map(|line| line["why"].as_str().unwrap_or_default().to_owned())
    };
    for (disk, _, text) in &cases {
        assert_eq!(why(*disk).as_ref(), Some(text), "d{disk}");
    }
    assert!(why(7).is_some_and(|why| why.contains("has no label and is not empty")));
    assert_eq!((why(8), why(9)), (None, None), "the others are used");
    assert!(node.stop().success());
    for (path, bytes) in kept {
        assert_eq!(fs::read(&path).unwrap(), bytes, "{} was written over", path.display());
    }
    assert!(!label_file(7).exists());
}

#[test]
fn an_empty_directory_becomes_a_new_disk_and_never_an_old_one() {
    let files = Files::new();
    let config = single_node(&files, 2);
    let id = |disk: &str| -> DiskId { DiskLabel::decode(&fs::read(files.path(disk).join("label")).unwrap()).unwrap().disk };
    let (first, second) = (id("d1"), id("d2"));
    fs::remove_dir_all(files.path("d1")).unwrap();
    fs::create_dir(files.path("d1")).unwrap();
    let mut node = Running::start(&config, &files.path("log"));
    node.wait_for_line("the node to be started", |line| line.contains("\"started\""));
    assert!(node.log().lines().any(|line| line.contains("became a new disk") && line.contains("/d1")), "{}", node.log());
    assert!(node.stop().success());
    assert_ne!(id("d1"), first);
    assert_eq!(id("d2"), second);
}

/// What `kluis config example` prints.
fn example() -> String {
    let output = kluis().args(["config", "example"]).stdin(Stdio::null()).output().unwrap();
    assert_ended(&output, 0, &[]);
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of the example by section, each a heading, a key or prose; `#` before a heading or a key is kept.
fn by_section(text: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let bare = line.trim_start_matches('#');
        if bare.starts_with('[') {
            section = bare.trim_matches(['[', ']']).trim_start_matches("gateway.").to_owned();
        }
        lines.push((section.clone(), line.to_owned()));
    }
    lines
}

/// The example with these keys set and their headings un-commented; all other lines stay as they were printed.
fn filled_in(settings: &[Setting]) -> String {
    let mut text = String::new();
    for (section, line) in by_section(&example()) {
        let bare = line.trim_start_matches('#');
        let own: Vec<&Setting> = settings.iter().filter(|(name, _, _)| *name == section).collect();
        let value = own.iter().find(|(_, key, _)| bare.starts_with(&format!("{key} = ")));
        match value {
            Some((_, key, value)) => text.push_str(&format!("{key} = {value}\n")),
            None if bare.starts_with('[') && !own.is_empty() => text.push_str(&format!("{bare}\n")),
            None => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

/// Keys that have to be said, always and where words hold of which one is in `places`.
fn needed(places: &[&str]) -> Vec<(&'static str, &'static str)> {
    let of = |spec: &'static SectionSpec| spec.keys.iter().map(move |key| (spec.name, key));
    let all = SECTIONS.into_iter().flat_map(of).chain(of(&RawIdentity::SPEC));
    let is_needed = |needed: Needed| match needed {
        Needed::Never => false,
        Needed::Always => true,
        Needed::Where(words) => places.contains(&words),
    };
    all.filter(|(_, key)| is_needed(key.needed)).map(|(section, key)| (section, key.key)).collect()
}

#[test]
fn the_example_is_right_once_the_required_values_are_filled_in() {
    let files = Files::new();
    assert_ended(&check(&files.write_text(&example())), 0, &["is right"]);

    let always = needed(&[]);
    let own: Vec<Setting> = files.complete().into_iter().filter(|(section, key, _)| always.contains(&(*section, *key))).collect();
    assert_eq!(own.len(), 3, "{own:?}");
    let file = files.write_text(&filled_in(&own));
    assert_ended(&check(&file), 0, &["is right"]);
    let shown = run(["config", "show", "--origin", "--config", &file.display().to_string()]);
    let dir = format!("dir = {}  # {}:", files.quoted("node"), file.display());
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&dir), "{}", String::from_utf8_lossy(&shown.stdout));
}

/// A gateway, with the master key in a file or in an HSM: what says that it is required there is, and no other key.
#[test]
fn a_gateway_needs_what_the_example_says_and_no_more() {
    let files = Files::new();
    for master in ["file", "pkcs11"] {
        let with_master = format!("on a gateway, with `{master}`");
        let keys = needed(&["on a gateway", "for each provider", "unless `id_token_encryption` is `none`", with_master.as_str()]);
        let is_set = |section: &str, key: &str| {
            keys.contains(&(section, key)) || matches!((section, key), ("listen", "gateway") | ("keys", "master"))
        };
        let mut settings = files.complete();
        settings.retain(|(section, key, _)| is_set(section, key));
        let kind = settings.iter_mut().find(|(section, key, _)| (*section, *key) == ("keys", "master")).unwrap();
        kind.2 = format!("{master:?}");
        assert_ended(&check(&files.write_text(&filled_in(&settings))), 0, &["is right"]);

        for (section, key) in keys {
            let text = filled_in(&settings);
            let value = &settings.iter().find(|(s, k, _)| (*s, *k) == (section, key)).unwrap().2;
            let line = format!("{key} = {value}\n");
            let without: String = by_section(&text)
                .into_iter()
                .filter(|(name, other)| (name.as_str(), format!("{other}\n")) != (section, line.clone()))
                .map(|(_, line)| line + "\n")
                .collect();
            assert_eq!(without.len() + line.len(), text.len(), "{section}.{key} is not said once");
            assert_ended(&check(&files.write_text(&without)), 2, &[&full_name(section, key), "1 to mend"]);
        }
    }
}

#[test]
fn every_key_of_the_example_can_be_uncommented() {
    let files = Files::new();
    let bare = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned();
    let text: String = example().lines().map(|line| bare(line) + "\n").collect();
    let file = files.write_text(&text);
    let shown = run(["config", "show", "--origin", "--config", &file.display().to_string()]);
    assert_ended(&shown, 0, &[]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(!shown.contains("  # default"), "not every key is said: {shown}");
    for section in SECTIONS.into_iter().chain([&RawIdentity::SPEC]) {
        assert!(text.contains(&heading(section.name)), "{}", section.name);
        for key in section.keys {
            assert!(shown.lines().any(|line| line.starts_with(&format!("{} = ", key.key))), "{}.{}", section.name, key.key);
        }
    }
}
