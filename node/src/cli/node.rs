//! `kluis node` and `kluis key`: run a node, let one join, make a master key.
//!
//! Owns: these commands' arguments and output. Not: what they do (`assemble`, `join`, the gateway's keys).
//! `kluis node run --config FILE` is the one way to run a node: noun and verb, as everywhere.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use kluis_chunkstore::{env::Env, ids::SiteName};
use kluis_gateway::keys::{
    KeyError,
    file::FileMasterKey,
    pkcs11::{Pkcs11Config, Pkcs11MasterKey},
};
use kluis_raft::model::cluster::NodeRole;
use zeroize::Zeroizing;

use super::{Output, config::SourceArgs, json_line, parse_role, print, status::AdminArgs};
use crate::{
    clock::OffsetClock,
    config::units::parse_duration,
    exit::ExitError,
    options::{JoinOptions, Member, TokenOptions},
};

/// `kluis node ...`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Runs this machine's node until it is told to stop
    Run(SourceArgs),
    /// Makes this machine a member of a cluster, once
    Join(JoinArgs),
    /// Join tokens
    #[command(subcommand)]
    Token(TokenCommand),
}

/// `kluis node token ...`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token with which one node may join, once
    Create(CreateTokenArgs),
}

/// `kluis key ...`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Makes a master key, once for all gateways: in a file, or in an HSM; never overwrites one
    Create(CreateKeyArgs),
}

/// `kluis key create`
#[derive(Debug, Args)]
pub struct CreateKeyArgs {
    /// The file, to be put on every gateway
    #[arg(required_unless_present = "pkcs11_module", conflicts_with = "pkcs11_module")]
    file: Option<PathBuf>,
    #[command(flatten)]
    hsm: HsmArgs,
}

/// Where in an HSM: the values that `[keys]` of the configuration takes.
#[derive(Debug, Args)]
pub struct HsmArgs {
    /// Library of the HSM (PKCS#11): the key is made there and never leaves it
    #[arg(long, value_name = "FILE", requires = "token_label", requires = "pin_file", requires = "key_label")]
    pkcs11_module: Option<PathBuf>,
    /// Label of its token
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    token_label: Option<String>,
    /// File with the PIN (mode 0600)
    #[arg(long, value_name = "FILE", requires = "pkcs11_module")]
    pin_file: Option<PathBuf>,
    /// Label of the key
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    key_label: Option<String>,
}

impl HsmArgs {
    fn config(&self) -> Option<Pkcs11Config> {
        Some(Pkcs11Config {
            module: self.pkcs11_module.clone()?,
            token: self.token_label.clone()?,
            pin_file: self.pin_file.clone()?,
            key_label: self.key_label.clone()?,
        })
    }
}

/// `kluis node join`
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Directory of the node
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// File with the join token; `-` reads it from standard input. (Not a flag: other users see flags.)
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    #[command(flatten)]
    listen: ListenArgs,
}

/// Where a new node listens and stores.
#[derive(Debug, Clone, Args)]
pub struct ListenArgs {
    /// Where it speaks QUIC
    #[arg(long, value_name = "ADDRESS")]
    pub quic: SocketAddr,
    /// Where it serves operators
    #[arg(long, value_name = "ADDRESS")]
    pub admin: SocketAddr,
    /// Where it serves people, if it is a gateway
    #[arg(long, value_name = "ADDRESS")]
    pub gateway: Option<SocketAddr>,
    /// Directories of its disks
    #[arg(long, value_name = "DIR", value_delimiter = ',')]
    pub disks: Vec<PathBuf>,
}

/// `kluis node token create`
#[derive(Debug, Args)]
pub struct CreateTokenArgs {
    /// The only site that it is good for
    #[arg(long)]
    site: SiteName,
    /// What the node will do
    #[arg(long, value_delimiter = ',', value_parser = parse_role, default_values = ["metadata", "chunk"])]
    roles: Vec<NodeRole>,
    /// How long it is good for
    #[arg(long, value_parser = parse_duration, default_value = "1h")]
    lifetime: Duration,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs the node of a configuration until it is told to stop.
///
/// # Errors
/// A wrong configuration, or what stopped the node.
pub async fn run(source: &SourceArgs) -> Result<(), ExitError> {
    let config = source.load()?;
    let mut env = crate::assemble::real_env();
    if let Some(file) = &config.clock_offset_file {
        env = Env { clock: Arc::new(OffsetClock::new(env.clock.clone(), file.clone())), ..env };
    }
    crate::assemble::run(config, env).await
}

/// Runs the commands that make members.
///
/// # Errors
/// Unreachable, or a refusal.
pub async fn administer(command: NodeCommand, output: Output) -> Result<(), ExitError> {
    match command {
        NodeCommand::Run(source) => run(&source).await,
        NodeCommand::Join(args) => {
            let JoinArgs { dir, token_file, listen } = args;
            let ListenArgs { quic, admin, gateway, disks } = listen;
            let token = read_token(&token_file)?;
            let options = JoinOptions { dir, token, quic, admin, gateway, disks };
            let member = crate::join::join(options, crate::assemble::real_env()).await?;
            show_member(&member, output)
        }
        NodeCommand::Token(TokenCommand::Create(args)) => {
            let options = TokenOptions { site: args.site, roles: args.roles, lifetime_s: args.lifetime.as_secs() };
            let issued = crate::join::create_token(&args.admin.client()?, &options).await?;
            match output {
                Output::Json => print(&json_line(&issued)?),
                Output::Table => {
                    eprintln!(
                        "for one node in {}, until {:.0}; give it to `kluis node join --token-file -`",
                        issued.site, issued.expires_at
                    );
                    print(&format!("{}\n", issued.token))
                }
            }
        }
    }
}

/// Says which member was made.
///
/// # Errors
/// The output cannot be written.
pub fn show_member(member: &Member, output: Output) -> Result<(), ExitError> {
    match output {
        Output::Json => print(&json_line(member)?),
        Output::Table => print(&format!("{} of cluster {} ({}), site {}\n", member.node, member.cluster_name, member.cluster, member.site)),
    }
}

fn read_token(file: &std::path::Path) -> Result<Zeroizing<String>, ExitError> {
    let text = if file.as_os_str() == "-" { std::io::read_to_string(std::io::stdin().lock()) } else { fs::read_to_string(file) };
    let text = Zeroizing::new(text.map_err(|e| ExitError::file("read", file, &e))?);
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// Runs `kluis key`.
///
/// # Errors
/// The key exists, the file cannot be written, or the HSM does not make one.
pub fn key(command: &KeyCommand) -> Result<(), ExitError> {
    let KeyCommand::Create(CreateKeyArgs { file, hsm }) = command;
    let refused = |e: KeyError| {
        ExitError::refused(format!("no key was made: {e}"), "an existing master key is never overwritten: it opens every document")
    };
    if let Some(config) = hsm.config() {
        Pkcs11MasterKey::create(&config).map_err(refused)?;
        eprintln!("key {} of token {} is the master key: without it no document opens", config.key_label, config.token);
        return Ok(());
    }
    let file = file.as_ref().ok_or_else(|| ExitError::usage("neither a file nor an HSM is named", ""))?;
    let env = crate::assemble::real_env();
    FileMasterKey::create(file, &*env.entropy).map_err(refused)?;
    eprintln!("{} is the master key: keep a copy where no fire or thief finds both", file.display());
    Ok(())
}
