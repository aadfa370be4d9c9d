//! The certification authority of a simulated cluster.
//!
//! Owns: keys and certificates of its nodes. Not: the production authority, which uses P-256 (`kluis_node::ca`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use kluis_chunkstore::net::identity::NodeName;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519, SanType, SerialNumber};

/// Certificates of constant length: Ed25519, serial numbers of one length. With P-256, whose signatures differ
/// in length from one to the next, a seed would not repeat itself.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    /// Where what all nodes share is kept.
    pub(super) dir: PathBuf,
}

impl Authority {
    /// A new authority, whose files go to `dir`.
    pub(super) fn new(dir: &Path) -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.serial_number = Some(SerialNumber::from(0x4000_0000u64));
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem, dir: dir.to_owned() }
    }

    /// Certificate and key of a node, into its folder.
    pub(super) fn issue(&self, dir: &Path, name: &NodeName, number: u64) {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.subject_alt_names = vec![SanType::DnsName(name.to_dns().try_into().expect("a DNS name"))];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(0x4000_0000u64 + number));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        for (file, content) in [("node.pem", &certificate), ("node.key", &key.serialize_pem()), ("ca.pem", &self.pem)] {
            fs::write(dir.join(file), content).expect("a file");
        }
    }
}
