//! Whether a card's certificate is one that signs people in: its path, its purpose, its policy, its revocation lists.
//!
//! Owns: these checks, which are pure. Not: asking a responder (`super::responder`).
//! Holds: (1) a certificate passes only on a path to a configured anchor, alive, made for proving who one is, under a
//! configured policy; (2) every authority on the path is looked up in a current revocation list, and so is the card
//! itself where no responder is asked: a missing or old list lets nobody in.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime, pem::PemObject};
use webpki::{
    Cert, CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert, aws_lc_rs as algorithms,
};

use super::{
    certificate::{CLIENT_AUTH, Certificate},
    der,
};
use crate::auth::oidc::{AuthError, BadProvider};

static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// Whom we trust to make cards.
pub(super) struct Authorities {
    anchors: Vec<(CertificateDer<'static>, TrustAnchor<'static>)>,
    intermediates: Vec<CertificateDer<'static>>,
    policies: Vec<Vec<u8>>,
}

/// Revocation lists, as they were read last.
pub(super) type Lists = Vec<CertRevocationList<'static>>;

fn refused(why: &'static str) -> AuthError {
    AuthError::CertificateRefused { why }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadProvider> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.map_err(|error| BadProvider(format!("certificates of card authorities: {error}")))
}

/// Revocation lists from PEM.
pub(super) fn lists(pem: &[u8]) -> Result<Lists, BadProvider> {
    let mut lists = Vec::new();
    for list in rustls_pki_types::CertificateRevocationListDer::pem_slice_iter(pem) {
        let list = list.map_err(|error| BadProvider(format!("revocation lists: {error}")))?;
        let owned = OwnedCertRevocationList::from_der(&list).map_err(|error| BadProvider(format!("a revocation list: {error}")))?;
        lists.push(owned.into());
    }
    Ok(lists)
}

impl Authorities {
    pub(super) fn new(anchors_pem: &[u8], intermediates_pem: &[u8], policies: &[String]) -> Result<Self, BadProvider> {
        let mut anchors = Vec::new();
        for certificate in certificates(anchors_pem)? {
            let anchor = anchor_from_trusted_cert(&certificate).map(|anchor| anchor.to_owned());
            let anchor = anchor.map_err(|error| BadProvider(format!("a trust anchor of cards: {error}")))?;
            anchors.push((certificate, anchor));
        }
        if anchors.is_empty() {
            return Err(BadProvider("cards need at least one trust anchor".to_owned()));
        }
        let encoded = |policy: &String| der::oid(policy).ok_or_else(|| BadProvider(format!("{policy:?} is no object identifier")));
        let policies = policies.iter().map(encoded).collect::<Result<Vec<_>, _>>()?;
        if policies.is_empty() {
            return Err(BadProvider("cards need at least one accepted policy".to_owned()));
        }
        Ok(Self { anchors, intermediates: certificates(intermediates_pem)?, policies })
    }

    /// The certificate of who issued `leaf`, if `leaf` passes. `asked` = a responder will be asked about it.
    pub(super) fn check(&self, leaf: &[u8], lists: &Lists, now_s: u64, asked: bool) -> Result<Vec<u8>, AuthError> {
        let certificate = Certificate::parse(leaf).ok_or_else(|| refused("form"))?;
        let leaf = CertificateDer::from(leaf);
        let end_entity = EndEntityCert::try_from(&leaf).map_err(|_| refused("form"))?;
        let anchors: Vec<TrustAnchor<'_>> = self.anchors.iter().map(|(_, anchor)| anchor.clone()).collect();
        let borrowed: Vec<&CertRevocationList<'_>> = lists.iter().collect();
        // Which certificates need a list is decided below; a list that is there counts here.
        let revocation = RevocationOptionsBuilder::new(&borrowed).ok().map(|builder| {
            builder
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let at = UnixTime::since_unix_epoch(Duration::from_secs(now_s));
        let path = end_entity
            .verify_for_usage(ALGORITHMS, &anchors, &self.intermediates, at, KeyUsage::client_auth(), revocation, None)
            .map_err(|error| path_error(&error))?;
        // The path check takes a certificate without purposes for one of all purposes.
        if !certificate.has_purpose(CLIENT_AUTH) {
            return Err(refused("purpose"));
        }
        if !certificate.key_usage().is_some_and(|usage| usage.digital_signature && !usage.non_repudiation) {
            return Err(refused("key usage"));
        }
        if !self.policies.iter().any(|policy| certificate.has_policy(policy)) {
            return Err(refused("policy"));
        }
        let all_listed = path.intermediate_certificates().all(|cert| is_listed(lists, cert)) && (asked || is_listed(lists, &end_entity));
        if !all_listed {
            return Err(AuthError::RevocationUnknown);
        }
        match path.intermediate_certificates().next() {
            Some(issuer) => Ok(issuer.der().to_vec()),
            None => {
                let issuer = self.anchors.iter().find(|(_, anchor)| anchor == path.anchor());
                issuer.map(|(certificate, _)| certificate.to_vec()).ok_or_else(|| refused("issuer"))
            }
        }
    }
}

/// Whether a list speaks of all certificates of this one's issuer: one with a distribution point may not.
fn is_listed(lists: &Lists, cert: &Cert<'_>) -> bool {
    lists.iter().any(|list| list.issuer() == cert.issuer() && list.issuing_distribution_point().is_none())
}

fn path_error(error: &Error) -> AuthError {
    match error {
        Error::CertRevoked => refused("revoked"),
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => refused("expired"),
        // The second: another authority of the same name.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => refused("issuer"),
        Error::CrlExpired { .. } | Error::UnknownRevocationStatus => AuthError::RevocationUnknown,
        _ => refused("path"),
    }
}
