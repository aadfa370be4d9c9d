//! TLS and QUIC over loopback, with the product's own settings.
//!
//! Owns: pairs of endpoints in this process. Not: the settings (a gateway's and a node's).
//! Holds: (1) both ends run in this process, so the processor time is that of both; (2) what is sent is read to
//! its last byte before the time is taken.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use kluis_chunkstore::net::{NodeIdentity, endpoint, identity::NodeName};
use kluis_gateway::server::{ReloadableCert, tls_config};
use kluis_node::{
    assemble::real_env,
    ca::{Authority, new_key},
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::{BLOCK_BYTES, CHUNK_BYTES, Rate};
use crate::{load::random, proc::own_cpu_seconds};

/// Streams that are under way at a time on the QUIC connection.
pub const STREAMS: usize = 8;
const SERVER: &str = "n1.dc1.bench";
const CLIENT: &str = "n2.dc1.bench";
/// Bytes of a request that asks for little: a line and some headers.
const REQUEST_BYTES: usize = 512;
/// Bytes that a reader takes at once.
const SINK_BYTES: usize = 64 << 10;
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An authority with what it signed: a listener, and two nodes.
pub struct Identities {
    listener: Arc<rustls::ServerConfig>,
    roots: Arc<RootCertStore>,
    server: NodeIdentity,
    client: NodeIdentity,
}

impl Identities {
    /// Makes them.
    ///
    /// # Errors
    /// The crypto library failed.
    pub fn make() -> Result<Self> {
        let env = real_env();
        let (authority, _) = Authority::create(&env, "bench")?;
        let name = |dns: &str| NodeName::parse(dns).context("no node's name");
        let node = |dns: &str| -> Result<NodeIdentity> {
            let key = new_key()?;
            let certificate = authority.sign_node(&env, &key.request_pem, &name(dns)?)?;
            Ok(NodeIdentity::from_pem(certificate.as_bytes(), key.key_pem.as_bytes(), authority.certificate_pem.as_bytes())?)
        };
        let key = new_key()?;
        let certificate = authority.sign_listener(&env, &key.request_pem, &name(SERVER)?, &[ANYWHERE.ip()])?;
        let chain = certificates(&certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.key_pem.as_bytes()).map_err(|e| anyhow!("the key: {e}"))?;
        let mut roots = RootCertStore::empty();
        for root in certificates(&authority.certificate_pem)? {
            roots.add(root)?;
        }
        Ok(Self {
            listener: tls_config(Arc::new(ReloadableCert::new(chain, key)?))?,
            roots: Arc::new(roots),
            server: node(SERVER)?,
            client: node(CLIENT)?,
        })
    }

    /// A connection with its two ends.
    async fn tls(&self) -> Result<(client::TlsStream<TcpStream>, server::TlsStream<TcpStream>)> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let listener = TcpListener::bind(ANYWHERE).await?;
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(self.listener.clone());
        let accepted = async {
            let (tcp, _) = listener.accept().await?;
            tcp.set_nodelay(true)?;
            anyhow::Ok(acceptor.accept(tcp).await?)
        };
        let connected = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            anyhow::Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(SERVER)?, tcp).await?)
        };
        tokio::try_join!(connected, accepted)
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|e| anyhow!("the certificate: {e}"))
}

/// Chunks one way over one connection.
///
/// # Errors
/// The connection breaks.
pub async fn tls_stream(identities: &Identities, time: Duration) -> Result<Rate> {
    let (mut client, mut server) = identities.tls().await?;
    let chunk = random(CHUNK_BYTES)?;
    let sink = tokio::spawn(async move {
        let mut buffer = vec![0; SINK_BYTES];
        while server.read(&mut buffer).await? > 0 {}
        anyhow::Ok(())
    });
    let (begun, cpu) = (Instant::now(), own_cpu_seconds());
    let mut operations = 0;
    while operations == 0 || begun.elapsed() < time {
        client.write_all(&chunk).await?;
        operations += 1;
    }
    client.shutdown().await?;
    sink.await??;
    Ok(Rate::new(operations, CHUNK_BYTES, begun.elapsed(), own_cpu_seconds() - cpu))
}

/// A short request and a block back, one after the other.
///
/// # Errors
/// The connection breaks.
pub async fn tls_exchange(identities: &Identities, time: Duration) -> Result<Rate> {
    let (mut client, mut server) = identities.tls().await?;
    let (request, answer) = (random(REQUEST_BYTES)?, random(BLOCK_BYTES)?);
    let answering = tokio::spawn(async move {
        let mut asked = [0; REQUEST_BYTES];
        // Until the client goes.
        while server.read_exact(&mut asked).await.is_ok() {
            server.write_all(&answer).await?;
            server.flush().await?;
        }
        anyhow::Ok(())
    });
    let mut block = [0; BLOCK_BYTES];
    let (begun, cpu) = (Instant::now(), own_cpu_seconds());
    let mut operations = 0;
    while operations == 0 || begun.elapsed() < time {
        client.write_all(&request).await?;
        client.flush().await?;
        client.read_exact(&mut block).await?;
        operations += 1;
    }
    let measured = Rate::new(operations, BLOCK_BYTES, begun.elapsed(), own_cpu_seconds() - cpu);
    client.shutdown().await?;
    answering.await??;
    Ok(measured)
}

/// `bytes_each` on a stream of its own, answered when it was read; `streams` of them at a time.
///
/// # Errors
/// The connection breaks.
pub async fn quic(identities: &Identities, bytes_each: usize, streams: usize, time: Duration) -> Result<Rate> {
    let env = real_env();
    let server = endpoint::open(&env, &identities.server, ANYWHERE)?;
    let client = endpoint::open(&env, &identities.client, ANYWHERE)?;
    let address = server.local_addr()?;
    let sink = tokio::spawn(async move {
        let incoming = server.accept().await.context("the endpoint was closed")?;
        let connection = incoming.await?;
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            tokio::spawn(async move {
                while recv.read_chunk(usize::MAX, true).await?.is_some() {}
                send.write_all(&[1]).await?;
                send.finish()?;
                anyhow::Ok(())
            });
        }
        anyhow::Ok(())
    });
    let connection = client.connect(address, SERVER)?.await?;
    let content = random(bytes_each)?;
    let (begun, cpu) = (Instant::now(), own_cpu_seconds());
    let mut workers = JoinSet::new();
    for _ in 0..streams {
        let (connection, content): (_, Bytes) = (connection.clone(), content.clone());
        workers.spawn(async move {
            let mut operations = 0_u64;
            while operations == 0 || begun.elapsed() < time {
                let (mut send, mut recv) = connection.open_bi().await?;
                send.write_chunk(content.clone()).await?;
                send.finish()?;
                let mut answer = [0; 1];
                recv.read_exact(&mut answer).await?;
                operations += 1;
            }
            anyhow::Ok(operations)
        });
    }
    let mut operations = 0;
    while let Some(finished) = workers.join_next().await {
        operations += finished??;
    }
    let measured = Rate::new(operations, bytes_each, begun.elapsed(), own_cpu_seconds() - cpu);
    connection.close(0_u8.into(), b"done");
    client.wait_idle().await;
    sink.await??;
    Ok(measured)
}
