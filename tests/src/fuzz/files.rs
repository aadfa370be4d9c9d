//! Targets: files and texts that operators hand to a node. Configuration, tokens, cards, and answers that a command
//! reads.
//!
//! Owns: what people and nodes write for a node. Not: keys ([`super::keys`]), certificates ([`super::peers`]).
//! Holds: a wrong configuration ends in problems, never in a panic; what is taken as JSON is written and taken
//! as the same.

use std::{path::Path, sync::Arc};

use kluis_chunkstore::{
    env::Env,
    env_real::{SystemClock, SystemFiles, ThreadPool},
    net::sockets::SystemSockets,
    topology::Topology,
};
use kluis_node::{
    admin_client::ApplyTopology,
    cli::{document::gateways::judge_refusal, parse_role},
    clock::parse_offset,
    config::{
        checked,
        raw::RawConfig,
        show,
        units::{parse_duration, parse_size, show_duration, show_size},
    },
    join::{JoinAnswer, JoinRequest, is_token, new_token, request_hash},
    member::Card,
    options::TokenOptions,
};
use kluis_raft::command::Command;
use reqwest::StatusCode;
use serde::{Serialize, de::DeserializeOwned};

use super::{Fixed, Target, kind, of_kind, settles, text, texts};

const WORDS: &str = include_str!("../../fuzz/dictionaries/files.dict");
const AUTHORITY: &str = include_str!("fixtures/ca.pem");
const CARD: &str = r#"{"cluster":"00000000000000000000000000000001","cluster_name":"prod","node":7,"site":"dc1","roles":["metadata","chunk"],"storage":"00000000000000000000000000000009","first_peers":[]}"#;
const BEGIN: &str = r#"{"InitCluster":{"id":"00000000000000000000000000000001","name":"prod","code":"4+5","small_max_bytes":16384,"chunk_bytes":1048576,"quota_bytes":1000,"node":{"site":"dc1","roles":["metadata"],"storage":"00000000000000000000000000000009","quic":"127.0.0.1:1","admin":"[::1]:2","gateway":null}}}"#;
const JOIN: &str = r#"{"secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","site":"dc1","storage":"00000000000000000000000000000009","quic":"127.0.0.1:1","admin":"127.0.0.1:2","gateway":null,"node_request":"","http_request":""}"#;
const ANSWER: &str = r#"{"node":7,"roles":["chunk"],"cluster":"00000000000000000000000000000001","cluster_name":"prod","node_certificate":"","http_certificate":"","members":[]}"#;
const TOKEN_OPTIONS: &str = r#"{"site":"dc1","roles":["chunk"],"lifetime_s":3600}"#;
const PROBLEM: &str = r#"{"type":"t","title":"Not now","status":503,"code":"unavailable","detail":"d","trace_id":"00"}"#;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target::new("config", config, || texts(&[show::example(), "[listen]\nquic = \"127.0.0.1:1\"\n".to_owned()]), WORDS).slow(20),
    Target::new("units", units, || texts(&["64 MiB", "30s", "0B", "18446744073709551615 B"]), WORDS),
    Target::new("join_token", join_token, join_token_seeds, WORDS),
    Target::new("member_files", member_files, member_seeds, WORDS),
    Target::new("problem_details", problem_details, || vec![of_kind(0, PROBLEM.as_bytes()), of_kind(3, b"<html>")], WORDS),
];

/// A configuration as a file, as environment variables and as flags, read and checked.
fn config(data: &[u8]) -> bool {
    let text = text(data);
    let mut problems = Vec::new();
    let mut raw = RawConfig::defaults();
    raw.read_file(&text, &mut problems);
    let pairs = text.lines().filter_map(|line| line.split_once(" = ")).map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pairs: Vec<(String, String)> = pairs.take(16).collect();
    let mut other = RawConfig::defaults();
    let mut other_problems = Vec::new();
    other.read_environment(pairs.iter().map(|(name, value)| (format!("KLUIS_{name}"), value.clone())), &mut other_problems);
    other.read_flags(&pairs, &mut other_problems);
    let file = Path::new("fuzz.toml");
    let _ = show::in_force(&raw, file, true);
    for problem in &problems {
        let _ = problem.to_string();
    }
    let well_formed = problems.is_empty();
    // Checking opens the files that a configuration names: not those that are devices.
    if !["/dev", "/proc", "/sys"].iter().any(|place| text.contains(place)) {
        let before = problems.len();
        let checked = checked::check(file, raw, &mut problems);
        assert!(checked.is_some() || problems.len() > before, "neither a configuration nor a reason");
        let _ = checked::check(file, other, &mut other_problems);
    }
    well_formed
}

/// Sizes, durations, roles and offsets: what is taken is shown and taken as the same.
fn units(data: &[u8]) -> bool {
    let text = text(data);
    let size = parse_size(&text);
    if let Ok(bytes) = size {
        assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
    }
    let duration = parse_duration(&text);
    if let Ok(time) = duration {
        assert_eq!(parse_duration(&show_duration(time)), Ok(time));
    }
    size.is_ok() | duration.is_ok() | parse_role(&text).is_ok() | parse_offset(&text).is_some()
}

fn join_token_seeds() -> Vec<Vec<u8>> {
    let env = Env {
        databases: Arc::new(kluis_chunkstore::database::NoDatabases),
        probe: Arc::new(kluis_chunkstore::env::NoProbe),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(Fixed),
        files: Arc::new(SystemFiles::default()),
        blocking: Arc::new(ThreadPool),
        sockets: Arc::new(SystemSockets),
    };
    let site = "dc1".parse().expect("a site");
    let token = new_token(&env, std::net::SocketAddr::from(([127, 0, 0, 1], 2)), AUTHORITY, &site).expect("a token is written as JSON");
    vec![token.text.as_bytes().to_vec(), b"kluis1.e30".to_vec()]
}

fn join_token(data: &[u8]) -> bool {
    let token = text(data);
    let _ = request_hash(&token);
    is_token(&token)
}

fn member_seeds() -> Vec<Vec<u8>> {
    let files = [CARD, BEGIN, JOIN, ANSWER, TOKEN_OPTIONS, r#"{"version":3}"#];
    (0..).zip(files).map(|(number, file)| of_kind(number, file.as_bytes())).collect()
}

fn json_again<T: Serialize + DeserializeOwned>(data: &[u8]) -> bool {
    settles(data, |bytes| serde_json::from_slice::<T>(bytes).and_then(|value| serde_json::to_vec(&value)))
}

/// The JSON that nodes and operators exchange, and that a node keeps.
fn member_files(data: &[u8]) -> bool {
    let (which, rest) = kind(data, 7);
    match which {
        0 => json_again::<Card>(rest),
        1 => json_again::<Command>(rest),
        2 => json_again::<JoinRequest>(rest),
        3 => json_again::<JoinAnswer>(rest),
        4 => json_again::<TokenOptions>(rest),
        5 => json_again::<ApplyTopology>(rest),
        _ => json_again::<Topology>(rest),
    }
}

/// What a command says to a refusal: the status in the first byte, the body after it.
fn problem_details(data: &[u8]) -> bool {
    let (which, body) = kind(data, 4);
    let status = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::CONFLICT, StatusCode::UNAUTHORIZED, StatusCode::BAD_REQUEST];
    let (error, again) = judge_refusal(status[usize::from(which)], body);
    assert!(!error.what.is_empty(), "a refusal says something");
    again
}
