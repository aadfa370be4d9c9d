//! `kluis verify`: checks what the service handed out, without the service.
//!
//! Owns: the words in which it is told. Not: the proof itself (`kluis_raft::log::proof`), nor the judge of an export
//! (`kluis_gateway::export::check`).
//! Holds: (1) nothing is asked over a network; (2) the command succeeds only when the signature was checked too:
//! without `--key` it says what holds and ends with a refusal.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use jiff::Timestamp;
use kluis_gateway::export::check as exported;
use kluis_raft::log::{
    checkpoint::Checkpoint,
    leaf::{self, Opening},
    note::Verifier,
    proof::{PROOF_BYTES_MAX, Proof},
};
use serde::Serialize;

use super::{Output, json_line, print};
use crate::exit::ExitError;

/// Most bytes of an entry.
const LEAF_BYTES_MAX: usize = 64 * 1024;

/// Verbs of `kluis verify`.
#[derive(Debug, Subcommand)]
pub enum VerifyCommand {
    /// That an event is in the log, from a proof file alone
    Proof {
        /// The proof file
        file: PathBuf,
        /// The log's public key: NAME+KEYID+BASE64, from /v1/log/key, got once and kept
        #[arg(long)]
        key: Option<String>,
        /// The entry's bytes, where the proof file does not open the entry itself
        #[arg(long)]
        leaf: Option<PathBuf>,
    },
    /// That an export is whole, and is what its manifest says
    Export {
        /// The ZIP file
        file: PathBuf,
    },
}

/// What was proved.
#[derive(Debug, Serialize)]
struct Proved {
    log: String,
    index: u64,
    size: u64,
    signed: bool,
    event: String,
    at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened: Option<Opened>,
}

/// What the entry says to whoever has its opening.
#[derive(Debug, Serialize)]
struct Opened {
    actor: String,
    vault: String,
    document: String,
    details: String,
}

/// Runs `kluis verify`.
///
/// # Errors
/// The file cannot be read, or does not prove what it should.
pub fn run(command: &VerifyCommand, output: Output) -> Result<(), ExitError> {
    let (file, key, leaf) = match command {
        VerifyCommand::Proof { file, key, leaf } => (file, key, leaf),
        VerifyCommand::Export { file } => return export(file, output),
    };
    let text = String::from_utf8(read(file, PROOF_BYTES_MAX)?).map_err(|_| broken(file, "not text"))?;
    let proof = Proof::parse(&text).map_err(|e| broken(file, e))?;
    let key = key.as_deref().map(|key| Verifier::parse(key.trim())).transpose();
    let key = key.map_err(|e| ExitError::usage(format!("--key: {e}"), "copy the whole line of /v1/log/key"))?;
    let opening = opening(file, &proof, leaf.as_deref())?;
    let bytes = match (&opening, leaf) {
        (_, Some(path)) => read(path, LEAF_BYTES_MAX)?,
        (Some(opening), None) => opening.leaf(),
        (None, None) => {
            return Err(ExitError::usage("the proof does not open its entry", "give the entry's bytes with --leaf"));
        }
    };
    let proved = check(&proof, &bytes, key.as_ref()).map_err(|e| broken(file, e))?;
    let plain = leaf::parse(&bytes).map_err(|e| broken(file, e))?;
    let opened = opening.map(|opening| Opened {
        details: String::from_utf8_lossy(&opening.details).into_owned(),
        actor: opening.actor,
        vault: opening.vault,
        document: opening.document,
    });
    let proved = Proved {
        log: proved.origin,
        index: proof.index,
        size: proved.size,
        signed: key.is_some(),
        event: plain.kind,
        at_ms: plain.at_ms,
        opened,
    };
    match output {
        Output::Json => print(&json_line(&proved)?)?,
        Output::Table => print(&told(&proved))?,
    }
    if proved.signed {
        Ok(())
    } else {
        Err(ExitError::refused("who signed the checkpoint was not checked", "give the log's public key with --key"))
    }
}

/// Checks an export against its own manifest.
fn export(file: &Path, output: Output) -> Result<(), ExitError> {
    let mut opened = File::open(file).map_err(|e| ExitError::file("read", file, &e))?;
    let report = exported::check(&mut opened).map_err(|e| ExitError::failed(format!("{} is not a whole export: {e}", file.display())))?;
    match output {
        Output::Json => print(&json_line(&report)?),
        Output::Table => print(&format!(
            "The export is whole.\n  vault      {}\n  made       {}\n  documents  {}, {} bytes\n  left out   {}, each with a reason\n",
            report.vault.escape_debug(),
            report.exported_at.escape_debug(),
            report.documents,
            report.bytes,
            report.left_out
        )),
    }
}

/// What opens the entry, if the file has it; not where the entry's bytes are given.
fn opening(file: &Path, proof: &Proof, leaf: Option<&Path>) -> Result<Option<Opening>, ExitError> {
    let Some(extra) = proof.extra.as_ref().filter(|_| leaf.is_none()) else { return Ok(None) };
    let text = std::str::from_utf8(extra).map_err(|_| broken(file, "its opening is not text"))?;
    Opening::parse(text).map(Some).map_err(|e| broken(file, e))
}

fn check(proof: &Proof, leaf: &[u8], key: Option<&Verifier>) -> Result<Checkpoint, kluis_raft::log::Malformed> {
    match key {
        Some(key) => proof.verify(leaf, key),
        None => proof.verify_unsigned(leaf),
    }
}

fn told(proved: &Proved) -> String {
    let at = i64::try_from(proved.at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX);
    let mut text = format!(
        "The event is in the log.\n  log       {}\n  entry     {} of {}\n  event     {}\n  time      {at}\n",
        proved.log, proved.index, proved.size, proved.event
    );
    if let Some(opened) = &proved.opened {
        let lines = [("actor", &opened.actor), ("vault", &opened.vault), ("document", &opened.document), ("details", &opened.details)];
        for (name, value) in lines {
            if !value.is_empty() {
                text.push_str(&format!("  {name:<9} {}\n", value.escape_debug()));
            }
        }
    }
    let signed = if proved.signed { "by the given key" } else { "NOT CHECKED" };
    text.push_str(&format!("  signed    {signed}\n"));
    text
}

fn broken(file: &Path, why: impl std::fmt::Display) -> ExitError {
    ExitError::failed(format!("{} proves nothing: {why}", file.display()))
}

fn read(path: &Path, max: usize) -> Result<Vec<u8>, ExitError> {
    let failed = |e: std::io::Error| ExitError::file("read", path, &e);
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > max { Err(broken(path, "it is too long")) } else { Ok(bytes) }
}
