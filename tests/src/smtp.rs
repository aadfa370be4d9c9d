//! A real SMTP server (aiosmtpd) on loopback that refuses the first mails and takes the rest.
//!
//! Owns: its start, what it saw, and its end. Not: what is sent to it.
//! Holds: (1) exactly the process that was started is ended, when this is dropped; (2) it listens when [`Smtp::start`]
//! returns.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde::Deserialize;

/// A mail as the server saw it, once for every try.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mail {
    /// Whether the server took it.
    pub taken: bool,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's receivers.
    pub to: Vec<String>,
    /// The subject, decoded.
    pub subject: String,
    /// The `Message-ID`.
    pub id: String,
    /// The field `Auto-Submitted`.
    pub auto: String,
    /// The text, decoded.
    pub text: String,
}

/// A running server.
pub struct Smtp {
    dir: tempfile::TempDir,
    process: Child,
    port: u16,
}

impl Smtp {
    /// Starts one that refuses the first `refusals` mails with a passing status.
    ///
    /// # Panics
    /// When it is not installed or does not listen.
    pub fn start(refusals: usize) -> Self {
        let dir = tempfile::Builder::new().prefix("kluis-smtp-").tempdir().expect("the temporary directory is writable");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smtp/server.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).arg(dir.path()).arg(refusals.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|e| panic!("`/usr/bin/python3` cannot be run ({e}): deploy/setup.sh installs it"));
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("the server speaks");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("aiosmtpd does not start: deploy/setup.sh installs python3-aiosmtpd"));
        Self { dir, process, port }
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every try so far, in order.
    ///
    /// # Panics
    /// When what it wrote cannot be read.
    pub fn tries(&self) -> Vec<Mail> {
        let mut files: Vec<_> = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "json"));
        files.sort();
        files.iter().map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
