//! The command line: `kluis NOUN VERB`.
//!
//! Owns: parsing of arguments, what all commands share (output, terminal, interruption), the way from an
//! error to an exit status. Not: what commands do (one file a noun).
//! Holds: (1) data goes to standard output, talk to standard error; (2) a closed pipe is no error;
//! (3) an interruption ends a command with 130 and never cancels work that the cluster took on.

pub mod cluster;
pub mod config;
pub mod demo;
pub mod document;
pub mod node;
pub mod office;
pub mod sign_in;
pub mod status;
pub mod terminal;
pub mod verify;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use kluis_raft::model::cluster::NodeRole;
use serde::Serialize;

use crate::exit::{Exit, ExitError};

const EXAMPLES: &str = "\
Examples:
  kluis demo --dir demo                        a cluster of nine nodes on this machine
  kluis demo sign-in --dir demo NUMBER         a token for one of its people
  kluis document put report.pdf                store a document (KLUIS_GATEWAY, KLUIS_CA, KLUIS_TOKEN)
  kluis document get 01J -o report.pdf         fetch one, by the beginning of its id
  kluis status --dir demo                      the cluster on one screen
  kluis node run --config /etc/kluis/kluis.toml";

/// A document vault on a three-site storage cluster.
#[derive(Debug, Parser)]
#[command(name = "kluis", version, about, before_help = EXAMPLES, propagate_version = true)]
struct Cli {
    /// Form of what is printed
    #[arg(long, global = true, value_enum, default_value_t = Output::Table, env = "KLUIS_OUTPUT")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// Form of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Documents: put, list, get, delete
    #[command(subcommand)]
    Document(document::DocumentCommand),
    /// The cluster on one screen
    Status(status::StatusArgs),
    /// Nodes: run, join, token
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// The cluster: init, apply-topology
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Configuration: check, show, example
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Keys: create
    #[command(subcommand)]
    Key(node::KeyCommand),
    /// A whole cluster on this machine
    Demo(demo::DemoArgs),
    /// Notaries' offices: import
    #[command(subcommand)]
    Office(office::OfficeCommand),
    /// What the service handed out, checked without it: proof, export
    #[command(subcommand)]
    Verify(verify::VerifyCommand),
}

/// The whole program: parses the arguments, runs the command, gives the exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for and go to standard output; the rest is a usage error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(Exit::Usage.code()) } else { ExitCode::SUCCESS };
        }
    };
    // Only fails when a provider was chosen before: then that one is used.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitError::failed(format!("cannot start: {error}")).report(),
    };
    let result = runtime.block_on(run(cli));
    // A blocking read of a terminal must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

async fn run(cli: Cli) -> Result<(), ExitError> {
    let output = cli.output;
    match cli.command {
        // These two stop in order when they are told to.
        Command::Node(node::NodeCommand::Run(args)) => node::run(&args).await,
        Command::Demo(args) => demo::run(args, output).await,
        Command::Document(command) => interruptible(document::run(command, output)).await,
        Command::Status(args) => interruptible(status::run(&args, output)).await,
        Command::Node(command) => interruptible(node::administer(command, output)).await,
        Command::Cluster(command) => interruptible(cluster::run(command, output)).await,
        Command::Config(command) => config::run(&command),
        Command::Key(command) => node::key(&command),
        Command::Office(command) => interruptible(office::run(&command, output)).await,
        Command::Verify(command) => verify::run(&command, output),
    }
}

async fn interruptible(work: impl Future<Output = Result<(), ExitError>>) -> Result<(), ExitError> {
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(ExitError::new(Exit::Interrupted, "interrupted", "")),
    }
}

/// Writes data to standard output.
///
/// # Errors
/// The output cannot be written; a closed pipe is success.
pub fn print(text: &str) -> Result<(), ExitError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(ExitError::failed(format!("cannot write the output: {e}"))),
        _ => Ok(()),
    }
}

/// A value as one line of JSON.
///
/// # Errors
/// The value has no JSON form.
pub fn json_line(value: &impl Serialize) -> Result<String, ExitError> {
    let mut line = serde_json::to_string(value).map_err(|e| ExitError::failed(format!("cannot be shown as JSON: {e}")))?;
    line.push('\n');
    Ok(line)
}

/// A role by its name.
pub fn role_name(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Metadata => "metadata",
        NodeRole::Chunk => "chunk",
        NodeRole::Gateway => "gateway",
    }
}

/// A role from its name.
///
/// # Errors
/// A sentence for people.
pub fn parse_role(text: &str) -> Result<NodeRole, String> {
    [NodeRole::Metadata, NodeRole::Chunk, NodeRole::Gateway]
        .into_iter()
        .find(|role| role_name(*role) == text)
        .ok_or_else(|| format!("{text:?} is no role (metadata, chunk, gateway)"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_its_help_opens_with_examples() {
        Cli::command().debug_assert();
        let help = Cli::command().render_help().to_string();
        assert!(help.starts_with("Examples:"), "{help}");
    }

    #[test]
    fn the_commands_of_the_manual_parse() {
        for line in [
            "kluis demo --dir d --base-port 7100 --nodes-per-site 3 --disks-per-node 2 --code 4+5 --detach",
            "kluis demo stop --dir d",
            "kluis demo sign-in --dir d 11030495678",
            "kluis demo start-node --dir d n4",
            "kluis document put f --name x --resumable --output json",
            "kluis document list",
            "kluis document get 01J -o -",
            "kluis document delete 01J --gateway https://127.0.0.1:1,https://127.0.0.1:2 --ca ca.pem --token t",
            "kluis status --dir d --output json --exit-status",
            "kluis status -w --admin https://127.0.0.1:1 --cert c --key k --ca a",
            "kluis node run --config f --set log.level=debug",
            "kluis node token create --site dc1 --roles metadata,chunk --dir d",
            "kluis node join --dir n --token-file t --quic 127.0.0.1:1 --admin 127.0.0.1:2 --disks a,b",
            "kluis cluster init --name demo --site dc1 --dir n --operator-dir o --quic 127.0.0.1:1 --admin 127.0.0.1:2 --disks a,b --code 4+5",
            "kluis cluster apply-topology --apply --dir d",
            "kluis config check f",
            "kluis config show --config f --origin",
            "kluis config example",
            "kluis key create f",
            "kluis verify proof f --key k --leaf l",
            "kluis verify export f",
            "kluis office import f --dir d",
            "kluis key create --pkcs11-module m --token-label t --pin-file p --key-label k",
            "kluis demo --dir d --set reconcile.grace=2s --set raft.heartbeat=1s",
        ] {
            if let Err(error) = Cli::try_parse_from(line.split(' ')) {
                panic!("{line}: {error}");
            }
        }
        for line in ["kluis demo --code 6+2 --dir d", "kluis document get", "kluis node token create --site A --dir d"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn roles_read_back() {
        for role in [NodeRole::Metadata, NodeRole::Chunk, NodeRole::Gateway] {
            assert_eq!(parse_role(role_name(role)), Ok(role));
        }
        assert!(parse_role("leader").is_err());
    }
}
