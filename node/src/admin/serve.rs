//! The operators' listener itself: TLS 1.3 with an optional client certificate, HTTP/1.1 and 2.
//!
//! Holds: (1) a handshake or a head that takes longer than [`HEAD_DEADLINE`] ends the connection; (2) at most
//! [`CONNECTIONS_MAX`] connections, so that a flood cannot take the node's files.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use kluis_gateway::server::ReloadableCert;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::Operator;
use crate::ca::operator_of;

/// Longest time for a handshake and for the head of a request.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 256;

/// TLS for operators: the node's certificate, and client certificates of the cluster's authority.
///
/// # Errors
/// The authority's certificate is unusable.
pub fn tls_config(certificate: Arc<ReloadableCert>, authority: Vec<CertificateDer<'static>>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in authority {
        roots.add(root)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves until `stop` turns true.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, router: Router, mut stop: watch::Receiver<bool>) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (acceptor, router, mut stop) = (acceptor.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                () = connection(socket, acceptor, router) => {}
            }
            drop(place);
        });
    }
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, router: Router) {
    let _ = socket.set_nodelay(true);
    let Ok(Ok(stream)) = timeout(HEAD_DEADLINE, acceptor.accept(socket)).await else { return };
    let operator = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(|leaf| operator_of(leaf));
    let router = router.layer(axum::Extension(Operator(operator)));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(16 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .max_concurrent_streams(32)
        .max_header_list_size(16 * 1024);
    let service = TowerToHyperService::new(router);
    // A connection that serves nothing for long is of no use to an operator.
    let _ = timeout(Duration::from_secs(300), builder.serve_connection(TokioIo::new(stream), service)).await;
}
