//! How a command ends: the exit codes, and the one line that says what to do.
//!
//! Owns: the numbers that scripts rely on and the shape of a final error message. Not: what went wrong
//! in detail (the log and the problem document say that).
//! Holds: a number has one meaning in every command.
//!
//! | code | meaning |
//! |-----:|---------|
//! | 0    | done |
//! | 1    | failed |
//! | 2    | usage: wrong flags or a wrong configuration |
//! | 3    | unreachable: no node or gateway answered |
//! | 4    | refused by a safety check; nothing was changed |
//! | 5    | still running when the time was up; it goes on |
//! | 6    | unhealthy (`--exit-status`) |
//! | 130  | interrupted from the keyboard |

use std::{fmt, process::ExitCode};

/// The meaning of an exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Failed for a reason that no other code names.
    Failed,
    /// Wrong flags or configuration.
    Usage,
    /// Nobody answered.
    Unreachable,
    /// A safety check refused; nothing was changed.
    Refused,
    /// Still running when the time was up.
    StillRunning,
    /// The cluster has findings.
    Unhealthy,
    /// Interrupted from the keyboard.
    Interrupted,
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::StillRunning => 5,
            Self::Unhealthy => 6,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command ended without having done its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitError {
    /// The exit status.
    pub exit: Exit,
    /// What happened, in one line.
    pub what: String,
    /// What the person can do now, in one line; empty when there is nothing to add.
    pub advice: String,
}

impl ExitError {
    /// An error with advice.
    pub fn new(exit: Exit, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { exit, what: what.into(), advice: advice.into() }
    }

    /// A failure that no other code names.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what, "")
    }

    /// Wrong flags or configuration.
    pub fn usage(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what, advice)
    }

    /// Nobody answered.
    pub fn unreachable(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, what, advice)
    }

    /// A safety check refused.
    pub fn refused(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Exit::Refused, what, advice)
    }

    /// The same error with `advice` where it had none.
    #[must_use]
    pub fn or_advice(mut self, advice: impl Into<String>) -> Self {
        if self.advice.is_empty() {
            self.advice = advice.into();
        }
        self
    }

    /// A failed call of the operating system on a file, in words.
    pub fn file(verb: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failed(format!("cannot {verb} {}: {error}", path.display()))
    }

    /// Writes the error to standard error and gives the status to end with. A command that stays
    /// silent on purpose (`--exit-status`) has an empty `what`.
    pub fn report(&self) -> ExitCode {
        if !self.what.is_empty() {
            eprintln!("kluis: {self}");
        }
        ExitCode::from(self.exit.code())
    }
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "\n  -> {}", self.advice) }
    }
}

impl std::error::Error for ExitError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_meaning() {
        let all = [Exit::Failed, Exit::Usage, Exit::Unreachable, Exit::Refused, Exit::StillRunning, Exit::Unhealthy, Exit::Interrupted];
        let codes: Vec<u8> = all.iter().map(|e| e.code()).collect();
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 130]);
    }

    #[test]
    fn advice_is_shown_once_and_only_when_there_is_some() {
        assert_eq!(ExitError::failed("it broke").to_string(), "it broke");
        let error = ExitError::failed("it broke").or_advice("mend it").or_advice("other");
        assert_eq!(error.to_string(), "it broke\n  -> mend it");
    }
}
