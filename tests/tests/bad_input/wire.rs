//! Requests as bytes over TLS: for what no proper client sends.
//!
//! Owns: the connection, splitting what comes back into answers. Not: what an answer should be.
//! Holds: (1) bytes go out exactly as given; (2) a read ends because the connection closed, or because
//! nothing came for a while after a whole answer.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};

/// How long an answer is waited for before a test is taken to hang.
const PATIENCE: Duration = Duration::from_secs(90);
/// Silence after a whole answer after which no second one is expected.
const QUIET: Duration = Duration::from_millis(700);
/// How long one read blocks.
const LOOK: Duration = Duration::from_millis(100);

/// A gateway as raw connections reach it.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

/// One open connection.
pub struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    head: String,
    body: Vec<u8>,
}

/// All that came back.
#[derive(Debug)]
pub struct Exchange {
    /// The answers, interim ones too.
    pub answers: Vec<Answer>,
    /// Whether the gateway closed the connection.
    pub closed: bool,
}

impl Target {
    /// The gateway at `https://ADDRESS`, trusting the authority in `ca_file`.
    pub fn new(gateway: &str, ca_file: &Path) -> Self {
        let address = gateway.strip_prefix("https://").expect("gateways speak https").parse().expect("gateways have addresses");
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&std::fs::read(ca_file).unwrap()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, config: Arc::new(config) }
    }

    /// The same, speaking HTTP/2 if the gateway does.
    pub fn h2(&self) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// What `Host` is.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// A connection without TLS on it.
    pub fn tcp(&self) -> TcpStream {
        let socket = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// A connection with its handshake done. Blocks.
    pub fn connect(&self) -> Wire {
        let mut socket = self.tcp();
        let name = ServerName::try_from(self.address.ip().to_string()).unwrap();
        let mut connection = ClientConnection::new(self.config.clone(), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).unwrap();
        }
        socket.set_read_timeout(Some(LOOK)).unwrap();
        Wire { stream: StreamOwned::new(connection, socket) }
    }

    /// Sends `bytes` on a new connection and gives what comes back.
    pub async fn exchange(&self, bytes: impl Into<Vec<u8>>) -> Exchange {
        let (target, bytes) = (self.clone(), bytes.into());
        blocking(move || {
            let mut wire = target.connect();
            // A gateway that refuses early may close while we still send: what it said counts.
            let _ = wire.send(&bytes);
            wire.read()
        })
        .await
    }
}

/// Runs what blocks where it holds nothing up.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

impl Wire {
    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Says that no more is to come, as a client does that is done sending.
    pub fn finish(&mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.flush();
        let _ = self.stream.sock.shutdown(Shutdown::Write);
    }

    /// Everything until the connection is closed or falls silent after an answer.
    pub fn read(&mut self) -> Exchange {
        let mut bytes = Vec::new();
        let mut last = Instant::now();
        let mut buffer = [0; 16 * 1024];
        let closed = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(n) => {
                    bytes.extend_from_slice(&buffer[..n]);
                    last = Instant::now();
                }
                Err(error) if passing(&error) => {
                    let answered = parse(&bytes).iter().any(|a| a.status >= 200);
                    if last.elapsed() >= if answered { QUIET } else { PATIENCE } {
                        break false;
                    }
                }
                Err(_) => break true,
            }
        };
        Exchange { answers: parse(&bytes), closed }
    }

    /// Whether the gateway closes the connection before a test would be taken to hang.
    pub fn is_closed_in_time(&mut self) -> bool {
        let began = Instant::now();
        let mut buffer = [0; 1024];
        while began.elapsed() < PATIENCE {
            match self.stream.read(&mut buffer) {
                Ok(got) => {
                    if got == 0 {
                        return true;
                    }
                }
                Err(error) if passing(&error) => {}
                Err(_) => return true,
            }
        }
        false
    }
}

fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Answer {
    /// A header field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Status and code, as in `404 not_found`; the status alone where there is no code.
    pub fn brief(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        match problem["code"].as_str() {
            Some(code) => format!("{} {code}", self.status),
            None => self.status.to_string(),
        }
    }
}

impl Exchange {
    /// All answers in one line; `closed` or `silent` where there was none.
    pub fn brief(&self) -> String {
        let all: Vec<String> = self.answers.iter().map(Answer::brief).collect();
        match (all.is_empty(), self.closed) {
            (false, _) => all.join(" + "),
            (true, true) => "closed".to_owned(),
            (true, false) => "silent".to_owned(),
        }
    }

    /// The same, with ` closed` behind an answer after which the connection was closed.
    pub fn brief_with_end(&self) -> String {
        let end = if self.closed && !self.answers.is_empty() { " closed" } else { "" };
        format!("{}{end}", self.brief())
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// The whole answers at the beginning of `bytes`. Ours carry their length.
fn parse(bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let status = head.strip_prefix("HTTP/1.").and_then(|line| line.get(2..5)).and_then(|digits| digits.parse().ok());
        let Some(status) = status else { break };
        let len = header(&head, "content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
        let Some(body) = rest.get(end + 4..end + 4 + len) else { break };
        answers.push(Answer { status, body: body.to_vec(), head });
        rest = &rest[end + 4 + len..];
    }
    answers
}
