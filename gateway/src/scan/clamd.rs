//! clamd's INSTREAM protocol: bytes go out in frames, one answer comes back.
//!
//! ```text
//! we:     "zINSTREAM\0"  then frames: length (4 bytes, big-endian), bytes  then a frame of length 0
//! clamd:  "stream: OK\0" | "stream: NAME FOUND\0" | "INSTREAM size limit exceeded. ERROR\0" | anything else
//! we:     "zVERSION\0"
//! clamd:  "ClamAV 1.4.6/27500/Tue Nov  3 09:39:42 2026\0", or without the database where it has no official one
//! ```
//!
//! Owns: the client and the parsers of answers. Not: what an answer means for a document ([`super`]).
//! Holds: (1) clean is exactly `stream: OK` after every byte was written without an error; (2) every wait has a
//! deadline and an answer has a bounded length; (3) one frame at most is held, and it is the caller's own buffer.
//! Why the answer is read after a failed write: clamd answers a stream that is too long while we still write, and
//! closes.

use std::{fmt, io, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout, timeout_at},
};

/// Bytes of a frame: clamd reads them in one go.
const FRAME_MAX: usize = 256 << 10;
/// Bytes of an answer: the longest name of a signature is far shorter.
const ANSWER_MAX: usize = 4096;

/// Where clamd listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// An address of this machine: the protocol has neither encryption nor a password.
    Tcp(SocketAddr),
}

/// A text that is no address of a clamd.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is neither a path from the root nor a loopback address with a port, as in \"127.0.0.1:3310\"")]
pub struct BadAddress;

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let address: SocketAddr = text.parse().map_err(|_| BadAddress)?;
        if address.ip().is_loopback() && address.port() != 0 { Ok(Self::Tcp(address)) } else { Err(BadAddress) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until one frame is taken: clamd holds us back while it is busy.
    pub write: Duration,
    /// From the last byte to the answer: the whole stream is looked through then.
    pub verdict: Duration,
}

/// What clamd says about a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// `stream: OK`
    Clean,
    /// `stream: NAME FOUND`
    Found(String),
    /// The stream is longer than its `StreamMaxLength`.
    TooLong,
    /// Anything else: an error of clamd, or no clamd at all.
    Other(String),
}

/// What an answer says. Total: whatever is not one of the known answers is [`Answer::Other`].
pub fn parse_answer(bytes: &[u8]) -> Answer {
    let Some((line, _)) = split_nul(bytes) else { return Answer::Other("the answer is not whole".to_owned()) };
    if line == b"stream: OK" {
        return Answer::Clean;
    }
    if line == b"INSTREAM size limit exceeded. ERROR" {
        return Answer::TooLong;
    }
    let name = line.strip_prefix(b"stream: ").and_then(|rest| rest.strip_suffix(b" FOUND")).filter(|name| !name.is_empty());
    match name {
        Some(name) => Answer::Found(printable(name)),
        None => Answer::Other(printable(line)),
    }
}

/// Which clamd and which signatures judged: a verdict is only as new as these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Version of the program.
    pub engine: String,
    /// Number of the official database; `None` where there is none.
    pub database: Option<u32>,
    /// When that was made, as clamd writes it; empty where there is none.
    pub date: String,
}

/// What an answer to `VERSION` says.
pub fn parse_version(bytes: &[u8]) -> Option<Version> {
    let (line, _) = split_nul(bytes)?;
    let text = std::str::from_utf8(line).ok()?.strip_prefix("ClamAV ")?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return None;
    }
    let mut parts = text.splitn(3, '/');
    let engine = parts.next().filter(|engine| !engine.is_empty())?.to_owned();
    let Some(database) = parts.next() else { return Some(Version { engine, database: None, date: String::new() }) };
    let date = parts.next()?.to_owned();
    Some(Version { engine, database: Some(database.parse().ok()?), date })
}

fn split_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// What may go to a log: clamd's words are not ours.
fn printable(bytes: &[u8]) -> String {
    bytes.iter().take(200).map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '?' }).collect()
}

trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for T {}

async fn connect(address: &Address, deadline: Duration) -> io::Result<Box<dyn Socket>> {
    let connected = async {
        let socket: Box<dyn Socket> = match address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        };
        Ok::<_, io::Error>(socket)
    };
    timeout(deadline, connected).await.map_err(|_| late())?
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer within the deadline")
}

/// One stream on its way to clamd.
pub struct Session {
    socket: Box<dyn Socket>,
    deadlines: Deadlines,
    /// Why writing ended early.
    broken: Option<io::Error>,
}

impl Session {
    /// Connects and begins a stream.
    ///
    /// # Errors
    /// clamd is not there, or does not take the command.
    pub async fn open(address: &Address, deadlines: Deadlines) -> io::Result<Self> {
        let mut socket = connect(address, deadlines.connect).await?;
        timeout(deadlines.write, socket.write_all(b"zINSTREAM\0")).await.map_err(|_| late())??;
        Ok(Self { socket, deadlines, broken: None })
    }

    /// Sends more of the stream. `false` when clamd takes no more: [`Session::finish`] says why.
    pub async fn write(&mut self, data: &Bytes) -> bool {
        for piece in data.chunks(FRAME_MAX) {
            if self.broken.is_some() {
                return false;
            }
            if let Err(error) = self.frame(piece).await {
                self.broken = Some(error);
            }
        }
        self.broken.is_none()
    }

    /// A frame of no bytes ends the stream, so none is sent for an empty piece.
    async fn frame(&mut self, piece: &[u8]) -> io::Result<()> {
        let length = u32::try_from(piece.len()).map_err(io::Error::other)?.to_be_bytes();
        let (deadline, socket) = (self.deadlines.write, &mut self.socket);
        let sent = async {
            socket.write_all(&length).await?;
            socket.write_all(piece).await
        };
        timeout(deadline, sent).await.map_err(|_| late())?
    }

    /// Ends the stream and takes the answer.
    ///
    /// # Errors
    /// No answer came, or one that says clean about a stream that was not written to its end.
    pub async fn finish(mut self) -> io::Result<Answer> {
        if self.broken.is_none()
            && let Err(error) = self.frame(&[]).await
        {
            self.broken = Some(error);
        }
        let answer = read_answer(&mut self.socket, self.deadlines.verdict).await;
        match (answer.map(|bytes| parse_answer(&bytes)), self.broken) {
            (Ok(Answer::Clean | Answer::Other(_)) | Err(_), Some(error)) => Err(error),
            (answer, _) => answer,
        }
    }
}

/// Asks clamd which it is.
///
/// # Errors
/// It is not there, or answers something else.
pub async fn version(address: &Address, deadlines: Deadlines) -> io::Result<Version> {
    let mut socket = connect(address, deadlines.connect).await?;
    timeout(deadlines.write, socket.write_all(b"zVERSION\0")).await.map_err(|_| late())??;
    let answer = read_answer(&mut socket, deadlines.write).await?;
    parse_version(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the version of clamd cannot be read"))
}

/// Everything up to the first NUL, the end or the bound.
async fn read_answer(socket: &mut Box<dyn Socket>, deadline: Duration) -> io::Result<Vec<u8>> {
    let until = Instant::now() + deadline;
    let mut answer = Vec::new();
    let mut part = [0u8; 512];
    while answer.len() < ANSWER_MAX && !answer.contains(&0) {
        let read = timeout_at(until, socket.read(&mut part)).await.map_err(|_| late())??;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    const SOON: Deadlines = Deadlines { connect: Duration::from_secs(5), write: Duration::from_secs(5), verdict: Duration::from_secs(5) };

    #[test]
    fn clean_is_one_answer_only() {
        assert_eq!(parse_answer(b"stream: OK\0"), Answer::Clean);
        assert_eq!(parse_answer(b"stream: OK\0rest"), Answer::Clean);
        for other in
            [&b"stream: OK"[..], b"", b"\0", b"stream: OK \0", b"stream:OK\0", b"x stream: OK\0", b"STREAM: OK\0", b"stream: OK\n\0"]
        {
            assert!(matches!(parse_answer(other), Answer::Other(_)), "{}", other.escape_ascii());
        }
        assert_eq!(parse_answer(b"stream: A.B-1 FOUND\0"), Answer::Found("A.B-1".to_owned()));
        assert_eq!(parse_answer(b"stream: x\xff FOUND\0"), Answer::Found("x?".to_owned()));
        assert!(matches!(parse_answer(b"stream:  FOUND\0"), Answer::Other(_)));
        assert_eq!(parse_answer(b"INSTREAM size limit exceeded. ERROR\0"), Answer::TooLong);
    }

    #[test]
    fn versions_come_with_and_without_a_database() {
        let full = parse_version(b"ClamAV 1.4.6/27500/Tue Nov  3 09:39:42 2026\0").unwrap();
        assert_eq!((full.engine.as_str(), full.database, full.date.as_str()), ("1.4.6", Some(27500), "Tue Nov  3 09:39:42 2026"));
        let bare = parse_version(b"ClamAV 1.4.6\0").unwrap();
        assert_eq!((bare.engine.as_str(), bare.database), ("1.4.6", None));
        for bad in [&b"ClamAV 1.4.6"[..], b"ClamAV \0", b"ClamAV 1/x/y\0", b"ClamAV 1/2\0", b"Other 1\0", b"ClamAV 1\n\0", b"\xff\0"] {
            assert_eq!(parse_version(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn addresses_stay_on_this_machine() {
        assert_eq!("/run/clamav/clamd.ctl".parse(), Ok(Address::Unix("/run/clamav/clamd.ctl".into())));
        assert!(matches!("127.0.0.1:3310".parse(), Ok(Address::Tcp(_))));
        for bad in ["", "clamd.ctl", "192.0.2.1:3310", "localhost:3310", "127.0.0.1", "127.0.0.1:0"] {
            assert_eq!(bad.parse::<Address>(), Err(BadAddress), "{bad}");
        }
    }

    /// Stands for a clamd that says `answer` once it saw `take` bytes, and closes.
    async fn told(answer: &'static [u8], take: usize, data: usize) -> io::Result<Answer> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; take];
            socket.read_exact(&mut seen).await.unwrap();
            socket.write_all(answer).await.unwrap();
            seen
        });
        let mut session = Session::open(&Address::Unix(path), SOON).await.unwrap();
        session.write(&Bytes::from(vec![7; data])).await;
        let answer = session.finish().await;
        let seen = peer.await.unwrap();
        assert!(seen.starts_with(b"zINSTREAM\0"));
        answer
    }

    #[tokio::test]
    async fn an_answer_about_half_a_stream_is_no_answer_unless_it_refuses() {
        // Command, length, three bytes, end.
        assert_eq!(told(b"stream: OK\0", 10 + 4 + 3 + 4, 3).await.unwrap(), Answer::Clean);
        // Much more than a socket holds: the peer is gone while we write.
        let much = 8 << 20;
        assert!(told(b"stream: OK\0", 10, much).await.is_err());
        assert_eq!(told(b"INSTREAM size limit exceeded. ERROR\0", 10, much).await.unwrap(), Answer::TooLong);
        assert!(matches!(told(b"", 10 + 4 + 3 + 4, 3).await.unwrap(), Answer::Other(_)));
    }

    #[tokio::test]
    async fn a_clamd_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Session::open(&Address::Unix(dir.path().join("none")), SOON).await.is_err());
    }
}
