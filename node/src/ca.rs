//! The cluster's own certification authority.
//!
//! Owns: making its key and certificates for nodes, listeners and operators. Not: who may have one
//! ([`crate::join`], by single-use token).
//! Holds: (1) what a request asks for is ignored but for its public key: names and usages come from the
//! metadata; (2) a node's certificate carries exactly one DNS name, `n<id>.<site>.<cluster>`; a listener's
//! cannot be used by a client; an operator's names no node.
//! Why P-256: browsers and every TLS library take it; Ed25519 they do not.

use std::net::IpAddr;

use kluis_chunkstore::{env::Env, net::identity::NodeName};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// Life of the authority.
const AUTHORITY_DAYS: i64 = 3650;
/// Life of a node's, listener's or operator's certificate.
const LEAF_DAYS: i64 = 397;
/// How far a clock may lag behind the authority's.
const BACKDATE: Duration = Duration::hours(1);

/// A certificate or key could not be made or read.
#[derive(Debug, thiserror::Error)]
#[error("certification authority: {0}")]
pub struct AuthorityError(String);

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

/// A new key with the request for its certificate.
pub struct NewKey {
    /// Private key, PKCS#8 PEM.
    pub key_pem: Zeroizing<String>,
    /// Certificate signing request, PEM.
    pub request_pem: String,
}

/// Makes a key and a request for a certificate. The key never leaves the machine.
///
/// # Errors
/// The crypto library failed.
pub fn new_key() -> Result<NewKey, AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let request_pem = CertificateParams::new(Vec::new())?.serialize_request(&key)?.pem()?;
    Ok(NewKey { key_pem: Zeroizing::new(key.serialize_pem()), request_pem })
}

/// The authority, with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub certificate_pem: String,
}

impl Authority {
    /// Makes the authority of a new cluster; returns it with its key (PKCS#8 PEM).
    ///
    /// # Errors
    /// The crypto library failed.
    pub fn create(env: &Env, cluster_name: &str) -> Result<(Self, Zeroizing<String>), AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = base(env, AUTHORITY_DAYS, &format!("Kluis cluster {cluster_name}"))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        let key_pem = Zeroizing::new(key.serialize_pem());
        Ok((Self { issuer: Issuer::new(params, key), certificate_pem }, key_pem))
    }

    /// The authority from its files.
    ///
    /// # Errors
    /// They are malformed.
    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key_pem)?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(certificate_pem, key)?, certificate_pem: certificate_pem.to_owned() })
    }

    /// A certificate for a node's QUIC connections.
    ///
    /// # Errors
    /// The request is malformed or its signature wrong.
    pub fn sign_node(&self, env: &Env, request_pem: &str, name: &NodeName) -> Result<String, AuthorityError> {
        let mut params = base(env, LEAF_DAYS, &name.to_dns())?;
        params.subject_alt_names = vec![SanType::DnsName(name.to_dns().try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, request_pem)
    }

    /// A certificate for a node's HTTPS listeners at `addresses`.
    ///
    /// # Errors
    /// As [`Self::sign_node`].
    pub fn sign_listener(&self, env: &Env, request_pem: &str, name: &NodeName, addresses: &[IpAddr]) -> Result<String, AuthorityError> {
        let mut params = base(env, LEAF_DAYS, &format!("{} (HTTPS)", name.to_dns()))?;
        let mut addresses: Vec<IpAddr> = addresses.iter().copied().filter(|a| !a.is_unspecified()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        params.subject_alt_names = vec![SanType::DnsName(name.to_dns().try_into()?)];
        if addresses.iter().any(IpAddr::is_loopback) {
            params.subject_alt_names.push(SanType::DnsName("localhost".try_into()?));
        }
        params.subject_alt_names.extend(addresses.into_iter().map(SanType::IpAddress));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, request_pem)
    }

    /// A certificate for an operator.
    ///
    /// # Errors
    /// As [`Self::sign_node`].
    pub fn sign_operator(&self, env: &Env, request_pem: &str, name: &str) -> Result<String, AuthorityError> {
        let mut params = base(env, LEAF_DAYS, name)?;
        params.subject_alt_names = vec![SanType::URI(format!("{OPERATOR_URI}{name}").try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, request_pem)
    }

    fn sign(&self, mut params: CertificateParams, request_pem: &str) -> Result<String, AuthorityError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // Parsing checks the request's signature: whoever asks holds the key.
        let request = CertificateSigningRequestParams::from_pem(request_pem)?;
        Ok(params.signed_by(&request.public_key, &self.issuer)?.pem())
    }
}

/// Whether certificate signing requests are well-formed and signed by their keys.
///
/// # Errors
/// What is wrong with the first that is not.
pub fn check_requests(requests_pem: &[&str]) -> Result<(), AuthorityError> {
    for request in requests_pem {
        CertificateSigningRequestParams::from_pem(request)?;
    }
    Ok(())
}

/// What an operator's certificate names, before the operator's own name.
pub const OPERATOR_URI: &str = "kluis:operator:";

/// The operator that a certificate names, if it is an operator's.
pub fn operator_of(certificate_der: &[u8]) -> Option<String> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(certificate_der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(OPERATOR_URI).map(str::to_owned),
        _ => None,
    })
}

fn base(env: &Env, days: i64, common_name: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Kluis");
    params.distinguished_name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    let now = i64::try_from(env.clock.now_ms() / 1000).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let now = now.ok_or_else(|| AuthorityError("the clock is out of range".into()))?;
    params.not_before = now - BACKDATE;
    params.not_after = now + Duration::days(days);
    // 127 random bits: positive, unguessable, unique (CA/Browser baseline requirement 7.1).
    let mut serial = env.random_id();
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

#[cfg(test)]
mod tests {
    use kluis_chunkstore::net::NodeIdentity;

    use super::*;

    #[test]
    fn certificates_say_what_they_should_and_load() {
        let env = crate::assemble::real_env();
        let (authority, key) = Authority::create(&env, "test").unwrap();
        let authority = Authority::load(&authority.certificate_pem, &key).unwrap();
        let name = NodeName::parse("n3.dc1.test").unwrap();
        let node = new_key().unwrap();
        let certificate = authority.sign_node(&env, &node.request_pem, &name).unwrap();
        let identity =
            NodeIdentity::from_pem(certificate.as_bytes(), node.key_pem.as_bytes(), authority.certificate_pem.as_bytes()).unwrap();
        assert_eq!(identity.name, name);
        let operator = new_key().unwrap();
        let certificate = authority.sign_operator(&env, &operator.request_pem, "ann").unwrap();
        let der = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).unwrap().1.contents;
        assert_eq!(operator_of(&der).as_deref(), Some("ann"));
        assert!(NodeName::of_certificate(&der).is_err());
        let broken = operator.request_pem.replace("MI", "MJ");
        assert!(authority.sign_node(&env, &broken, &name).is_err());
    }
}
