//! `kluis office`: import of the register.
//!
//! Owns: reading the file, the pieces that it is sent in. Not: what becomes of a line.
//! Holds: (1) a file with a line that cannot be read is refused whole, with the line's number, before anything is sent;
//! (2) lines go in the file's order; a file may be imported again.

use std::{fs, path::PathBuf};

use clap::{Args, Subcommand};
use kluis_gateway::api::offices::OfficeLine;

use super::{Output, json_line, print, status::AdminArgs};
use crate::{
    admin::offices::{Imported, RegisterPiece},
    exit::ExitError,
};

/// Lines of a piece: even the longest ones fit a body of the operator interface.
const PIECE: usize = 10;
/// Most bytes of a register.
const FILE_MAX: u64 = 64 << 20;

/// `kluis office ...`
#[derive(Debug, Subcommand)]
pub enum OfficeCommand {
    /// Takes the register of offices in: one JSON object a line
    Import(ImportArgs),
}

/// `kluis office import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Lines with register_number, name, address, notaries [{name, national_number, suspended}], successor_of, closed
    file: PathBuf,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs `kluis office`.
///
/// # Errors
/// An unreadable file, nobody who answers, or a refusal.
pub async fn run(command: &OfficeCommand, output: Output) -> Result<(), ExitError> {
    let OfficeCommand::Import(args) = command;
    let file = |e: std::io::Error| ExitError::file("read", &args.file, &e);
    if fs::metadata(&args.file).map_err(file)?.len() > FILE_MAX {
        return Err(ExitError::usage(format!("{} is longer than {FILE_MAX} bytes", args.file.display()), ""));
    }
    let lines = read(&fs::read_to_string(&args.file).map_err(file)?)?;
    let client = args.admin.client()?;
    let mut all = Imported::default();
    let mut rest = lines;
    while !rest.is_empty() {
        let later = rest.split_off(rest.len().min(PIECE));
        let imported = client.import_offices(&RegisterPiece { offices: rest }).await?;
        all.created += imported.created;
        all.updated += imported.updated;
        rest = later;
    }
    match output {
        Output::Json => print(&json_line(&all)?),
        Output::Table => print(&format!("{} offices are new, {} were known\n", all.created, all.updated)),
    }
}

/// The lines of a register.
fn read(text: &str) -> Result<Vec<OfficeLine>, ExitError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            // What serde says may repeat the line, which has numbers of people in it.
            let bad = |e: serde_json::Error| format!("line {} of the register, column {}, cannot be read", number + 1, e.column());
            serde_json::from_str(line).map_err(|e| ExitError::refused(bad(e), "nothing was imported"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_read_line_by_line_and_a_bad_line_is_named() {
        let good = r#"{"register_number":"1","name":"A","address":"B","notaries":[{"name":"N","national_number":"71120496208"}]}"#;
        assert_eq!(read(&format!("{good}\n\n{good}\n")).unwrap().len(), 2);
        let bad = read(&format!("{good}\n{}", good.replace("71120496208\"", "71120496208\",\"x\":1"))).unwrap_err();
        assert!(bad.what.contains("line 2") && !bad.what.contains("71120496208"), "{}", bad.what);
    }
}
