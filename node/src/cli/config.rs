//! `kluis config`: check, show, example.
//!
//! Owns: these three commands. Not: the configuration itself ([`crate::config`]).

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::print;
use crate::{
    config::{self, Config, ConfigError, show},
    exit::ExitError,
};

/// Where the configuration is when nobody says.
pub const DEFAULT_FILE: &str = "/etc/kluis/kluis.toml";

/// `kluis config ...`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Checks a file and says everything that is wrong with it
    Check {
        /// The file
        #[arg(default_value = DEFAULT_FILE)]
        file: PathBuf,
    },
    /// Shows what is in force
    Show {
        /// Which configuration
        #[command(flatten)]
        source: SourceArgs,
        /// Says where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Prints a file with every key
    Example,
}

/// Which configuration.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "KLUIS_CONFIG", default_value = DEFAULT_FILE)]
    pub config: PathBuf,
    /// A value that goes over file and environment; may be given several times
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = parse_setting)]
    pub settings: Vec<(String, String)>,
}

impl SourceArgs {
    /// The checked configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load_with(&self.config, config::environment(), &self.settings)
    }
}

/// A setting as `--set` takes it.
///
/// # Errors
/// What is wrong with it.
pub fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key.contains('.') => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not of the form section.key=value".to_owned()),
    }
}

/// Runs `kluis config`.
///
/// # Errors
/// A wrong configuration.
pub fn run(command: &ConfigCommand) -> Result<(), ExitError> {
    match command {
        ConfigCommand::Check { file } => {
            Config::load(file, config::environment())?;
            eprintln!("{} is right", file.display());
            Ok(())
        }
        ConfigCommand::Show { source, origin } => {
            let (raw, problems) = config::read(&source.config, config::environment(), &source.settings);
            print(&show::in_force(&raw, &source.config, *origin))?;
            if problems.is_empty() { Ok(()) } else { Err(ConfigError { file: source.config.clone(), problems }.into()) }
        }
        ConfigCommand::Example => print(&show::example()),
    }
}
