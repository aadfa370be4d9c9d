//! The configuration of a node: one TOML file, environment variables, flags.
//!
//! Reading order: [`schema`] (which keys there are), [`raw`] (what was said, and where), [`types`] (what
//! the node reads), [`checked`] (from the one to the other), [`values`] (single values), [`units`] (sizes,
//! durations, near names), [`show`] (the example file, `--origin`).
//!
//! Owns: the order flag > `KLUIS_SECTION_KEY` > file > default, and errors. Not: live reloading.
//! Holds: (1) all that is wrong is reported at once, each with file and line; (2) a [`Config`] that
//! exists was checked: no text where a type exists, secrets in files that only their owner can read.

pub mod checked;
pub mod raw;
pub mod schema;
pub mod show;
pub mod types;
pub mod units;
pub mod values;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use raw::RawConfig;
pub use types::Config;

use crate::exit::ExitError;

/// Largest configuration file that is read, in bytes.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nobody said anything: the default.
    Default,
    /// The file as a whole.
    File,
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was said.
    pub place: Place,
    /// The key, as `section.key`; empty when it is not about one.
    pub key: String,
    /// What is wrong and what would be right.
    pub text: String,
}

impl Problem {
    /// A problem with a key.
    pub fn new(place: Place, key: &str, text: impl Into<String>) -> Self {
        Self { place, key: key.to_owned(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, in the order of the file; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            match &problem.place {
                Place::Line(line) => write!(f, "{}:{line}: {problem}", self.file.display())?,
                Place::Environment(name) => write!(f, "${name}: {problem}")?,
                Place::Flag => write!(f, "--set: {problem}")?,
                Place::File | Place::Default => write!(f, "{}: {problem}", self.file.display())?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for ExitError {
    fn from(error: ConfigError) -> Self {
        let count = error.problems.len();
        let advice = format!("{count} to mend; `kluis config example` prints a file with every key");
        Self::usage(format!("the configuration is wrong\n{error}"), advice)
    }
}

impl Config {
    /// The configuration in `file`, with environment variables over it.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(file: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        Self::load_with(file, variables, &[])
    }

    /// As [`Config::load`], with flags (`section.key`, value) over both.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load_with(
        file: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let (raw, mut problems) = read(file, variables, flags);
        let checked = checked::check(file, raw, &mut problems);
        match checked {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError { file: file.to_owned(), problems: sorted(problems) }),
        }
    }
}

/// What was said, before it is checked, and what is wrong with how it was said.
pub fn read(file: &Path, variables: impl IntoIterator<Item = (String, String)>, flags: &[(String, String)]) -> (RawConfig, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut raw = RawConfig::defaults();
    match file_text(file) {
        Ok(text) => raw.read_file(&text, &mut problems),
        Err(text) => problems.push(Problem::new(Place::File, "", text)),
    }
    raw.read_environment(variables, &mut problems);
    raw.read_flags(flags, &mut problems);
    (raw, problems)
}

fn file_text(file: &Path) -> Result<String, String> {
    let bytes = fs::metadata(file).map_err(|e| format!("cannot be read: {e}"))?.len();
    if bytes > FILE_MAX_BYTES {
        return Err(format!("is {bytes} bytes long; a configuration has at most {FILE_MAX_BYTES}"));
    }
    fs::read_to_string(file).map_err(|e| format!("cannot be read: {e}"))
}

fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    let line = |p: &Problem| if let Place::Line(line) = p.place { line } else { usize::MAX };
    problems.sort_by_key(line);
    problems
}

/// The environment variables of this process that are valid text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
