//! Certificates of listeners and of the node: read from files, and put in force again when the files change.
//!
//! Owns: reading them. Not: who signs them ([`crate::ca`]).
//! Holds: a file that cannot be used leaves the certificate in force that was read before.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kluis_chunkstore::net::{Hub, NodeIdentity};
use kluis_gateway::server::ReloadableCert;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::time::sleep;

use crate::exit::ExitError;

/// A certificate with its key, in force until it is replaced.
///
/// # Errors
/// A file cannot be read, or they do not belong together.
pub fn load_certificate(certificate: &Path, key: &Path) -> Result<Arc<ReloadableCert>, ExitError> {
    let (chain, key) = read_certificate(certificate, key)?;
    let cert = ReloadableCert::new(chain, key)
        .map_err(|e| ExitError::refused(format!("{}: {e}", certificate.display()), "certificate and key must belong together"))?;
    Ok(Arc::new(cert))
}

fn read_certificate(certificate: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ExitError> {
    let malformed = |path: &Path, e: rustls_pki_types::pem::Error| ExitError::refused(format!("{} is malformed: {e}", path.display()), "");
    let pem = fs::read(certificate).map_err(|e| ExitError::file("read", certificate, &e))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|e| malformed(certificate, e))?;
    let pem = zeroize::Zeroizing::new(fs::read(key).map_err(|e| ExitError::file("read", key, &e))?);
    Ok((chain, PrivateKeyDer::from_pem_slice(&pem).map_err(|e| malformed(key, e))?))
}

/// Puts renewed certificates in force when their files change.
pub async fn reload_certificates(dir: PathBuf, http: Arc<ReloadableCert>, hub: Arc<Hub>) {
    let stamp = |name: &str| fs::metadata(dir.join(name)).and_then(|m| m.modified()).ok();
    let mut seen = (stamp("http.pem"), stamp("node.pem"));
    loop {
        sleep(Duration::from_secs(5)).await;
        let now = (stamp("http.pem"), stamp("node.pem"));
        if now == seen {
            continue;
        }
        let reloaded = read_certificate(&dir.join("http.pem"), &dir.join("http.key"))
            .map_err(|e| e.what)
            .and_then(|(chain, key)| http.replace(chain, key).map_err(|e| e.to_string()))
            .and_then(|()| NodeIdentity::load(&dir).map_err(|e| e.to_string()))
            .and_then(|identity| hub.reload(&identity).map_err(|e| e.to_string()));
        match reloaded {
            Ok(()) => tracing::info!("certificates reloaded"),
            Err(why) => {
                tracing::error!(code = "CERTIFICATE_UNUSABLE", why, "renewed certificates are not used; the old ones stay in force")
            }
        }
        seen = now;
    }
}
