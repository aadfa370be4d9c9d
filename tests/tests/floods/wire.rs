//! Connections from any loopback address, with TLS or without.
//!
//! Owns: the connection and its source address. Not: what is sent.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How long anything is waited for before a test is taken to hang.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A gateway.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    config: Arc<ClientConfig>,
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

    /// The same, speaking HTTP/2.
    pub fn h2(&self) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// What `Host` is.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// A connection without TLS on it. The gateway may close it at once.
    pub async fn tcp(&self, from: Ipv4Addr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        timeout(PATIENCE, socket.connect(self.address)).await.unwrap_or(Err(ErrorKind::TimedOut.into()))
    }

    /// A connection with its handshake done; an error when the gateway does not take it.
    pub async fn tls(&self, from: Ipv4Addr) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::from(self.address.ip());
        let handshake = TlsConnector::from(Arc::clone(&self.config)).connect(name, self.tcp(from).await?);
        timeout(PATIENCE, handshake).await.unwrap_or(Err(ErrorKind::TimedOut.into()))
    }

    /// Sends bytes on a connection of its own and gives all that comes back until the gateway closes it. What
    /// it did not read does not matter.
    pub async fn pour(&self, from: Ipv4Addr, bytes: &[u8]) -> Vec<u8> {
        let (mut reader, mut writer) = tokio::io::split(self.tls(from).await.expect("a new address is taken"));
        let mut got = Vec::new();
        let send = async {
            let _ = writer.write_all(bytes).await;
            let _ = writer.flush().await;
        };
        let read = async {
            let _ = reader.read_to_end(&mut got).await;
        };
        timeout(PATIENCE, async { tokio::join!(send, read) }).await.expect("the gateway closes the connection");
        got
    }
}

/// Whether the other side closed a connection; waits for nothing.
pub fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 16]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}
