//! Who a node is: a certificate of the cluster's own authority with the name `n<id>.<site>.<cluster>`.
//!
//! Owns: reading certificate files, the name's form, the TLS configurations. Not: making certificates.
//! Holds: (1) TLS 1.3 only, mutual, no early data; (2) a name that parses is the whole truth about a peer:
//! its id is compared with every hello.

use std::{path::Path, sync::Arc};

use rustls::{RootCertStore, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

use crate::ids::{NodeId, SiteName};

/// Application protocol of connections between nodes.
pub const ALPN: &[u8] = b"kluis-node/1";

/// Why an identity cannot be used. Whoever runs the node must act.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {path}: {why}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// A certificate or key is malformed.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The certificate carries no name of the right form.
    #[error("the certificate names {0:?}, which is not n<id>.<site>.<cluster>")]
    Name(String),
    /// TLS refused the combination.
    #[error("the certificate and key do not work together: {0}")]
    Tls(String),
}

/// The name in a node's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName {
    /// Its id.
    pub node: NodeId,
    /// Its site.
    pub site: SiteName,
    /// The cluster's name.
    pub cluster: String,
}

impl NodeName {
    /// The DNS name.
    pub fn to_dns(&self) -> String {
        format!("{}.{}.{}", self.node, self.site, self.cluster)
    }

    /// The name behind a DNS name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.splitn(3, '.');
        let (node, site, cluster) = (parts.next()?, parts.next()?, parts.next()?);
        if !node.starts_with('n') || cluster.is_empty() {
            return None;
        }
        Some(Self { node: node.parse().ok()?, site: site.parse().ok()?, cluster: cluster.to_owned() })
    }

    /// The name in a certificate: its only DNS subject alternative name.
    ///
    /// # Errors
    /// [`IdentityError`] for a certificate that does not parse or names something else.
    pub fn of_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
        let malformed = |why: String| IdentityError::Malformed { what: "the certificate", why };
        let (_, certificate) = X509Certificate::from_der(der).map_err(|e| malformed(e.to_string()))?;
        let names = certificate.subject_alternative_name().map_err(|e| malformed(e.to_string()))?;
        let mut dns: Vec<&str> = Vec::new();
        if let Some(names) = names {
            for name in &names.value.general_names {
                if let GeneralName::DNSName(name) = name {
                    dns.push(name);
                }
            }
        }
        match dns.as_slice() {
            [one] => Self::parse(one).ok_or_else(|| IdentityError::Name((*one).to_owned())),
            other => Err(IdentityError::Name(other.join(", "))),
        }
    }
}

/// A node's certificate, key and the authority that it trusts.
pub struct NodeIdentity {
    /// Who it is.
    pub name: NodeName,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    roots: Arc<RootCertStore>,
    /// When the certificate ends, seconds since 1970.
    pub not_after: i64,
}

impl std::fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeIdentity").field("name", &self.name).finish_non_exhaustive()
    }
}

impl NodeIdentity {
    /// An identity from PEM texts.
    ///
    /// # Errors
    /// [`IdentityError`] says which of them is wrong.
    pub fn from_pem(certificate: &[u8], key: &[u8], authority: &[u8]) -> Result<Self, IdentityError> {
        let chain = certificates(certificate, "the certificate")?;
        let leaf = chain.first().ok_or(IdentityError::Malformed { what: "the certificate", why: "the file holds none".into() })?;
        let name = NodeName::of_certificate(leaf)?;
        let not_after = not_after(leaf)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|e| IdentityError::Malformed { what: "the key", why: e.to_string() })?;
        let mut roots = RootCertStore::empty();
        for root in certificates(authority, "the authority's certificate")? {
            roots.add(root).map_err(|e| IdentityError::Malformed { what: "the authority's certificate", why: e.to_string() })?;
        }
        Ok(Self { name, chain, key, roots: Arc::new(roots), not_after })
    }

    /// An identity from the files `node.pem`, `node.key` and `ca.pem` of a folder.
    ///
    /// # Errors
    /// [`IdentityError`] names the file.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path).map_err(|e| IdentityError::File { path: path.display().to_string(), why: e.to_string() })
        };
        Self::from_pem(&read("node.pem")?, &read("node.key")?, &read("ca.pem")?)
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }

    /// TLS for connections that peers open.
    pub(crate) fn server_tls(&self) -> Result<rustls::ServerConfig, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = |e: &dyn std::fmt::Display| IdentityError::Tls(e.to_string());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider.clone()).build().map_err(|e| tls(&e))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| tls(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key())
            .map_err(|e| tls(&e))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// TLS for connections that this node opens.
    pub(crate) fn client_tls(&self) -> Result<rustls::ClientConfig, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = |e: rustls::Error| IdentityError::Tls(e.to_string());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls)?
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(self.chain.clone(), self.key())
            .map_err(tls)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_early_data = false;
        Ok(config)
    }
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| IdentityError::Malformed { what, why: e.to_string() })
}

fn not_after(der: &[u8]) -> Result<i64, IdentityError> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|e| IdentityError::Malformed { what: "the certificate", why: e.to_string() })?;
    Ok(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_refuse() {
        let name = NodeName::parse("n7.dc1.prod.example").unwrap();
        assert_eq!((name.node, name.site.as_str(), name.cluster.as_str()), (NodeId(7), "dc1", "prod.example"));
        assert_eq!(NodeName::parse(&name.to_dns()), Some(name));
        for bad in ["", "n7", "n7.dc1", "n0.dc1.c", "7.dc1.c", "n7.DC.c", "n7.dc1."] {
            assert_eq!(NodeName::parse(bad), None, "{bad}");
        }
    }
}
