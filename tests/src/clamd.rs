//! A real clamd with signatures that know one harmless file (EICAR), on a Unix socket of its own.
//!
//! Owns: its start, its failures and its end. Not: what is sent to it.
//! Holds: (1) exactly the process that was started is signalled, and it ends when this is dropped; (2) it listens when
//! [`Clamd::start`] returns.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

const CONFIG: &str = include_str!("../fixtures/clamd/clamd.conf.in");
/// By its bytes, wherever they stand, and by its digest.
const SIGNATURES: [(&str, &str); 2] =
    [("eicar.ndb", include_str!("../fixtures/clamd/eicar.ndb")), ("eicar.hsb", include_str!("../fixtures/clamd/eicar.hsb"))];
/// Limit of a start: it only ends what hangs.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running clamd.
pub struct Clamd {
    dir: tempfile::TempDir,
    process: Option<Child>,
}

impl Clamd {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed or does not listen.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("kluis-clamd-").tempdir().expect("the temporary directory is writable");
        for folder in ["db", "tmp"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for (name, text) in SIGNATURES {
            fs::write(dir.path().join("db").join(name), text).unwrap();
        }
        fs::write(dir.path().join("clamd.conf"), CONFIG.replace("@DIR@", &dir.path().display().to_string())).unwrap();
        let mut clamd = Self { dir, process: None };
        clamd.start_again();
        clamd
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("clamd.sock")
    }

    /// Starts it again on the same socket, after [`Clamd::kill`].
    ///
    /// # Panics
    /// When it does not listen.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let program = ["/usr/sbin/clamd", "/usr/local/sbin/clamd"].into_iter().find(|path| Path::new(path).exists()).unwrap_or("clamd");
        let out = fs::File::create(self.dir.path().join("out")).unwrap();
        let mut command = Command::new(program);
        command.arg("--config-file").arg(self.dir.path().join("clamd.conf"));
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap_or_else(|e| panic!("`{program}` cannot be run ({e}): deploy/setup.sh installs it"));
        self.process = Some(child);
        let until = Instant::now() + START_LIMIT;
        while !self.answers() {
            let ended = self.process.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none() && Instant::now() < until, "clamd does not listen ({ended:?}): {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut socket = UnixStream::connect(self.socket())?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            socket.write_all(b"zPING\0")?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.trim_end_matches('\0') == "PONG")
    }

    fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        format!("{}{}", read("out"), read("clamd.log"))
    }

    fn signal(&self, signal: Signal) {
        let child = self.process.as_ref().expect("clamd runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("clamd can be signalled");
    }

    /// Stops it from running, without ending it: it is silent, and its connections stay.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen one go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it without warning, and waits until it is gone. Its socket stays behind, and nobody listens.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Clamd {
    fn drop(&mut self) {
        self.kill();
    }
}
