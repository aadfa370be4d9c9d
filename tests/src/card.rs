//! Identity cards of an authority of our own, that look like Belgian ones: a root, an authority below it, revocation
//! lists, and cards that sign as Web eID has them sign.
//!
//! Owns: making them, good and wrong ones. Not: what a gateway makes of them.
//! Holds: everything is new with each authority; no real one is ever involved.

use aws_lc_rs::{
    digest::{SHA384, digest},
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, RevokedCertParams, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

/// Policy of the Belgian authentication certificate, 2.16.56.12.1.1.2.2, as the extension's value.
const POLICY: &[u8] = &[0x30, 0x0b, 0x30, 0x09, 0x06, 0x07, 0x60, 0x38, 0x0c, 0x01, 0x01, 0x02, 0x02];
/// The same for documents that are signed (… 2.1).
const SIGNING_POLICY: &[u8] = &[0x30, 0x0b, 0x30, 0x09, 0x06, 0x07, 0x60, 0x38, 0x0c, 0x01, 0x01, 0x02, 0x01];

/// How a card departs from a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Not at all.
    None,
    /// Its time is over.
    Expired,
    /// It is the certificate for signing documents.
    ForSigning,
    /// It was made under another policy.
    OtherPolicy,
    /// It has no purpose.
    NoPurpose,
}

/// An authority for cards.
pub struct CardAuthority {
    root: Certificate,
    root_issuer: Issuer<'static, KeyPair>,
    authority: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A card.
pub struct Card {
    certificate: Vec<u8>,
    key: EcdsaKeyPair,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key")
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CountryName, "BE");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2060, 1, 1));
    params
}

fn list(issuer: &Issuer<'static, KeyPair>, revoked: &[u64]) -> String {
    let revoked = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2021, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2060, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).and_then(|list| list.pem()).expect("a list")
}

impl Default for CardAuthority {
    fn default() -> Self {
        let (root_key, key) = (key(), key());
        let (root_params, params) = (authority_params("Look-alike Root"), authority_params("Look-alike Citizen CA"));
        let root = root_params.self_signed(&root_key).expect("a root");
        let root_issuer = Issuer::new(root_params, root_key);
        let authority = params.signed_by(&key, &root_issuer).expect("an authority");
        Self { root, root_issuer, authority, issuer: Issuer::new(params, key) }
    }
}

impl CardAuthority {
    /// The root, PEM.
    pub fn anchors(&self) -> String {
        self.root.pem()
    }

    /// The authority below it, PEM.
    pub fn authorities(&self) -> String {
        self.authority.pem()
    }

    /// The lists of both, with these cards revoked; PEM.
    pub fn lists(&self, revoked: &[u64]) -> String {
        list(&self.root_issuer, &[]) + &list(&self.issuer, revoked)
    }

    /// The list of the root alone: none speaks of cards.
    pub fn root_list(&self) -> String {
        list(&self.root_issuer, &[])
    }

    /// A new card.
    pub fn card(&self, serial: u64, national_number: &str, flaw: Flaw) -> Card {
        let key = key();
        let mut params = CertificateParams::default();
        let name = &mut params.distinguished_name;
        name.push(DnType::CountryName, "BE");
        name.push(DnType::CommonName, "Anna Proefpersoon (Authentication)");
        name.push(DnType::CustomDnType(vec![2, 5, 4, 4]), "Proefpersoon");
        name.push(DnType::CustomDnType(vec![2, 5, 4, 42]), "Anna");
        name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), national_number);
        params.serial_number = Some(SerialNumber::from(serial));
        let until = if flaw == Flaw::Expired { 2021 } else { 2060 };
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
        let for_signing = flaw == Flaw::ForSigning;
        params.key_usages = vec![if for_signing { KeyUsagePurpose::ContentCommitment } else { KeyUsagePurpose::DigitalSignature }];
        if !for_signing && flaw != Flaw::NoPurpose {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        let policy = if for_signing || flaw == Flaw::OtherPolicy { SIGNING_POLICY } else { POLICY };
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 32], policy.to_vec())];
        let certificate = params.signed_by(&key, &self.issuer).expect("a card").der().to_vec();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &key.serialize_der()).expect("a key");
        Card { certificate, key }
    }
}

impl Card {
    /// What a browser's Web eID extension gives for an origin and a challenge.
    pub fn token(&self, origin: &str, nonce: &str) -> Value {
        let signed = [digest(&SHA384, origin.as_bytes()).as_ref(), digest(&SHA384, nonce.as_bytes()).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).expect("a signature");
        json!({
            "format": "web-eid:1.0",
            "algorithm": "ES384",
            "unverifiedCertificate": STANDARD.encode(&self.certificate),
            "signature": STANDARD.encode(signature.as_ref()),
            "appVersion": "https://web-eid.eu/web-eid-app/releases/2.7.0+965",
        })
    }
}
