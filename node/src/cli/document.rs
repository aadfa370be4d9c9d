//! `kluis document`: put, list, get, delete.
//!
//! Owns: these commands' arguments and output, ids by unique prefix. Not: talking to gateways and failing
//! over ([`gateways`]), moving bytes ([`put`], [`fetch`]).
//! Holds: what was stored or fetched is compared with what was sent, by SHA-256, before it is called done.

pub mod fetch;
pub mod gateways;
pub mod put;

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Method, header};
use serde::{Deserialize, Serialize};

use self::gateways::{GatewayArgs, Gateways};
use super::{Output, json_line, print, status::bytes, terminal};
use crate::{exit::ExitError, logging::escaped};

/// Characters of a whole document id.
const ID_CHARACTERS: usize = 26;
/// Pages that a list reads before it takes the gateway to be turning in a circle.
const PAGES_MAX: usize = 100_000;

/// `kluis document ...`
#[derive(Debug, Subcommand)]
pub enum DocumentCommand {
    /// Stores a file as a new document
    Put(PutArgs),
    /// Lists the documents, newest first
    List(ListArgs),
    /// Fetches a document
    Get(GetArgs),
    /// Deletes a document
    Delete(DeleteArgs),
}

/// `kluis document put`
#[derive(Debug, Args)]
pub struct PutArgs {
    /// The file
    pub file: PathBuf,
    /// Name of the document; the file's name when it is not given
    #[arg(long)]
    pub name: Option<String>,
    /// Media type
    #[arg(long = "type", value_name = "TYPE", default_value = "application/octet-stream")]
    pub media_type: String,
    /// Sends in pieces that survive a lost connection (tus)
    #[arg(long)]
    pub resumable: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// `kluis document list`
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// `kluis document get`
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The document's id, or its beginning
    id: String,
    /// Where to; `-` is standard output
    #[arg(short = 'o', long = "to", value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// `kluis document delete`
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The document's id, or its beginning
    id: String,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// A document as the gateway shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its id.
    pub id: String,
    /// Number of its newest version.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Bytes of the newest version.
    pub size: u64,
    /// SHA-256 of the newest version, hexadecimal.
    pub sha256: String,
    /// When it was first stored.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// What `If-Match` takes.
    pub etag: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    documents: Vec<Document>,
    #[serde(default)]
    next: Option<String>,
}

/// Runs `kluis document`.
///
/// # Errors
/// Unreachable, or a refusal of the gateway.
pub async fn run(command: DocumentCommand, output: Output) -> Result<(), ExitError> {
    match command {
        DocumentCommand::Put(args) => {
            let gateways = args.gateway.connect()?;
            let document = put::put(&gateways, &args).await?;
            match output {
                Output::Json => print(&json_line(&document)?),
                Output::Table => {
                    print(&format!("{}  version {}  {}  sha256 {}\n", document.id, document.version, bytes(document.size), document.sha256))
                }
            }
        }
        DocumentCommand::List(args) => {
            let documents = list(&args.gateway.connect()?).await?;
            match output {
                Output::Json => print(&json_line(&serde_json::json!({ "documents": documents }))?),
                Output::Table => print(&table(&documents)),
            }
        }
        DocumentCommand::Get(args) => {
            let gateways = args.gateway.connect()?;
            let document = find(&gateways, &args.id).await?;
            fetch::fetch(&gateways, &document, &args.to).await?;
            // The document itself may be on standard output.
            if args.to.as_os_str() == "-" {
                return Ok(());
            }
            match output {
                Output::Json => print(&json_line(&document)?),
                Output::Table => print(&format!("{}  {}\n", args.to.display(), bytes(document.size))),
            }
        }
        DocumentCommand::Delete(args) => {
            let gateways = args.gateway.connect()?;
            let document = find(&gateways, &args.id).await?;
            let path = format!("v1/documents/{}", document.id);
            gateways.send(Method::DELETE, &path, &|request| request.header(header::IF_MATCH, &document.etag)).await?;
            match output {
                Output::Json => print(&json_line(&serde_json::json!({ "id": document.id, "deleted": true }))?),
                Output::Table => print(&format!("{} is deleted\n", document.id)),
            }
        }
    }
}

/// All documents, newest first.
///
/// # Errors
/// Unreachable, or a refusal.
pub async fn list(gateways: &Gateways) -> Result<Vec<Document>, ExitError> {
    let mut documents = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = newest(gateways, cursor.as_deref()).await?;
        documents.extend(page.documents);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(documents),
        }
    }
    Err(ExitError::failed("the list of documents does not end"))
}

/// One page of documents.
async fn newest(gateways: &Gateways, cursor: Option<&str>) -> Result<Page, ExitError> {
    let query: Vec<(&str, &str)> = [("limit", "200")].into_iter().chain(cursor.map(|c| ("cursor", c))).collect();
    gateways.json(Method::GET, "v1/documents", &|request| request.query(&query)).await
}

/// The document of an id or of a unique beginning of one.
async fn find(gateways: &Gateways, id: &str) -> Result<Document, ExitError> {
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(ExitError::usage(format!("{id:?} is not a document id"), "`kluis document list` shows them"));
    }
    if id.len() >= ID_CHARACTERS {
        return gateways.json(Method::GET, &format!("v1/documents/{id}"), &|request| request).await;
    }
    unique(list(gateways).await?, id)
}

fn unique(documents: Vec<Document>, prefix: &str) -> Result<Document, ExitError> {
    let begins = |d: &Document| d.id.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let mut found = documents.into_iter().filter(begins);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(ExitError::failed(format!("no document's id begins with {prefix}")).or_advice("`kluis document list` shows them")),
        (Some(_), Some(_)) => {
            Err(ExitError::usage(format!("more than one document's id begins with {prefix}"), "give more characters of it"))
        }
    }
}

fn table(documents: &[Document]) -> String {
    let mut out = format!("{:<26}  {:>7}  {:>9}  {:<20}  NAME\n", "ID", "VERSION", "SIZE", "CHANGED");
    for d in documents {
        let changed: String = d.updated_at.chars().take(19).collect();
        let _ = writeln!(
            out,
            "{:<26}  {:>7}  {:>9}  {:<20}  {}",
            escaped(&d.id),
            d.version,
            bytes(d.size),
            escaped(&changed) + "Z",
            escaped(&d.name)
        );
    }
    out
}

/// A bar on standard error, where there is a terminal.
pub fn bar(size: u64, verb: &'static str) -> ProgressBar {
    if !terminal::stderr() {
        return ProgressBar::hidden();
    }
    let template = "{msg} [{bar:30}] {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(size).with_style(style.progress_chars("##-")).with_message(verb)
}

/// Shows a bar full, however short the transfer was, and takes it away: what comes next is the result.
pub fn finish(bar: &ProgressBar) {
    bar.finish();
    bar.finish_and_clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(id: &str, name: &str) -> Document {
        Document {
            id: id.into(),
            version: 1,
            name: name.into(),
            media_type: "text/plain".into(),
            size: 1536,
            sha256: "00".into(),
            created_at: "2026-08-24T10:14:03.5Z".into(),
            updated_at: "2026-08-24T10:14:03.5Z".into(),
            etag: "\"r1\"".into(),
        }
    }

    #[test]
    fn a_beginning_must_be_unique() {
        let all = || vec![document("01JA0", "a"), document("01JB0", "b")];
        assert_eq!(unique(all(), "01jb").unwrap().name, "b");
        assert_eq!(unique(all(), "01J").unwrap_err().exit.code(), 2);
        assert_eq!(unique(all(), "01X").unwrap_err().exit.code(), 1);
        assert_eq!(unique(all(), "01JA0000000").unwrap_err().exit.code(), 1);
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        let text = table(&[document("01JA0", "x\u{1b}[2J\ny")]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\u{1b}') && text.contains("2026-08-24T10:14:03Z"), "{text}");
    }
}
