//! An X.509 certificate, as much of it as a sign-in asks for (RFC 5280).
//!
//! Owns: where its parts are, its key, and signatures by that key. Not: whether it is to be trusted (`super::chain`).
//! Holds: (1) parts are slices of the input; (2) an extension, or an attribute that we use, that comes twice makes
//! the certificate unusable; (3) a signature's algorithm must fit the key, and only SHA-256 and longer count.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};

use super::der::{BIT_STRING, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, SET, only, time, whole_bits};

/// Most extensions of a certificate: real ones have about ten.
const EXTENSIONS_MAX: usize = 40;

const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d];

/// Attribute `serialNumber` (2.5.4.5): the national number.
pub const SERIAL_NUMBER: &[u8] = &[0x55, 0x04, 0x05];
/// Attribute `commonName`.
pub const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// Attribute `surname`.
pub const SURNAME: &[u8] = &[0x55, 0x04, 0x04];
/// Attribute `givenName`.
pub const GIVEN_NAME: &[u8] = &[0x55, 0x04, 0x2a];
/// Purpose `clientAuth`.
pub const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
/// Purpose `OCSPSigning`.
pub const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];

const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const POLICIES: &[u8] = &[0x55, 0x1d, 0x20];
const PURPOSES: &[u8] = &[0x55, 0x1d, 0x25];
const AUTHORITY_ACCESS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];
const ACCESS_OCSP: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
/// Tag of a URI among the general names.
const URI: u8 = 0x86;

/// What a certificate's key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage {
    /// To prove who one is.
    pub digital_signature: bool,
    /// To sign documents.
    pub non_repudiation: bool,
}

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey<'a> {
    /// A point on P-256.
    P256(&'a [u8]),
    /// A point on P-384.
    P384(&'a [u8]),
    /// An RSAPublicKey.
    Rsa(&'a [u8]),
}

impl<'a> PublicKey<'a> {
    /// The bits of the key.
    pub fn bits(&self) -> &'a [u8] {
        match *self {
            Self::P256(bits) | Self::P384(bits) | Self::Rsa(bits) => bits,
        }
    }

    /// Whether it made `signature` over `message` with the algorithm of this AlgorithmIdentifier's content.
    pub fn verifies(&self, algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let Some(oid) = Reader::new(algorithm).take(OID).map(|oid| oid.body) else { return false };
        let verification: &'static dyn VerificationAlgorithm = match (self, oid) {
            (Self::P256(_), ECDSA_SHA256) => &ECDSA_P256_SHA256_ASN1,
            (Self::P256(_), ECDSA_SHA384) => &ECDSA_P256_SHA384_ASN1,
            (Self::P384(_), ECDSA_SHA256) => &ECDSA_P384_SHA256_ASN1,
            (Self::P384(_), ECDSA_SHA384) => &ECDSA_P384_SHA384_ASN1,
            (Self::Rsa(_), RSA_SHA256) => &RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa(_), RSA_SHA384) => &RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa(_), RSA_SHA512) => &RSA_PKCS1_2048_8192_SHA512,
            _ => return false,
        };
        UnparsedPublicKey::new(verification, self.bits()).verify(message, signature).is_ok()
    }
}

/// A certificate.
#[derive(Debug, Clone)]
pub struct Certificate<'a> {
    /// What is signed.
    signed: &'a [u8],
    /// How, as the content of an AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// Serial number, as the content of an INTEGER.
    pub serial: &'a [u8],
    /// Name of who signed it, encoded.
    pub issuer: &'a [u8],
    /// Name of whose it is, encoded.
    pub subject: &'a [u8],
    /// First second of its life.
    pub not_before: u64,
    /// Last second of its life.
    pub not_after: u64,
    /// Its key.
    pub key: PublicKey<'a>,
    extensions: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Certificate<'a> {
    /// The certificate in `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut outer = Reader::new(only(bytes, SEQUENCE)?);
        let signed = outer.take(SEQUENCE)?;
        let algorithm = outer.take(SEQUENCE)?.body;
        let signature = whole_bits(outer.take(BIT_STRING)?.body)?;
        outer.end()?;

        let mut inner = Reader::new(signed.body);
        // Version 3: others have no extensions.
        if only(inner.take(0xa0)?.body, INTEGER)? != [2] {
            return None;
        }
        let serial = inner.take(INTEGER)?.body;
        if inner.take(SEQUENCE)?.body != algorithm {
            return None;
        }
        let issuer = inner.take(SEQUENCE)?.whole;
        let mut validity = Reader::new(inner.take(SEQUENCE)?.body);
        let (not_before, not_after) = (time(validity.any()?)?, time(validity.any()?)?);
        validity.end()?;
        let subject = inner.take(SEQUENCE)?.whole;
        let key = public_key(inner.take(SEQUENCE)?.body)?;
        inner.optional(0x81)?;
        inner.optional(0x82)?;
        let extensions = inner.optional(0xa3)?.map_or(Some(Vec::new()), |all| extensions(all.body))?;
        inner.end()?;
        Some(Self { signed: signed.whole, algorithm, signature, serial, issuer, subject, not_before, not_after, key, extensions })
    }

    /// Whether `key` signed it.
    pub fn is_signed_by(&self, key: &PublicKey<'_>) -> bool {
        key.verifies(self.algorithm, self.signed, self.signature)
    }

    /// Whether it is alive.
    pub fn is_valid_at(&self, now_s: u64) -> bool {
        (self.not_before..=self.not_after).contains(&now_s)
    }

    /// The text of an attribute of the subject; `None` when it is missing, given twice or no text.
    pub fn attribute(&self, wanted: &[u8]) -> Option<&'a str> {
        let mut found = None;
        let mut sets = Reader::new(only(self.subject, SEQUENCE)?);
        while !sets.is_empty() {
            let mut set = Reader::new(sets.take(SET)?.body);
            while !set.is_empty() {
                let mut pair = Reader::new(set.take(SEQUENCE)?.body);
                let (oid, value) = (pair.take(OID)?, pair.any()?);
                pair.end()?;
                if oid.body == wanted {
                    // UTF8String, PrintableString, IA5String: all of them are UTF-8.
                    if found.is_some() || !matches!(value.tag, 0x0c | 0x13 | 0x16) {
                        return None;
                    }
                    found = Some(std::str::from_utf8(value.body).ok()?);
                }
            }
        }
        found
    }

    fn extension(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        self.extensions.iter().find(|(oid, _)| *oid == wanted).map(|(_, value)| *value)
    }

    /// What its key may be used for; `None` when it does not say.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        let bits = only(self.extension(KEY_USAGE)?, BIT_STRING)?;
        // The first byte counts unused bits.
        let first = bits.get(1).copied().unwrap_or(0);
        Some(KeyUsage { digital_signature: first & 0x80 != 0, non_repudiation: first & 0x40 != 0 })
    }

    /// Whether a purpose is among those that it names.
    pub fn has_purpose(&self, wanted: &[u8]) -> bool {
        let mut purposes = self.extension(PURPOSES).and_then(|value| only(value, SEQUENCE)).map(Reader::new);
        std::iter::from_fn(|| purposes.as_mut()?.take(OID)).any(|oid| oid.body == wanted)
    }

    /// Whether a policy is among those that it was made under.
    pub fn has_policy(&self, wanted: &[u8]) -> bool {
        let mut policies = self.extension(POLICIES).and_then(|value| only(value, SEQUENCE)).map(Reader::new);
        std::iter::from_fn(|| policies.as_mut()?.take(SEQUENCE))
            .any(|policy| Reader::new(policy.body).take(OID).is_some_and(|oid| oid.body == wanted))
    }

    /// Addresses that answer whether it was revoked, as the certificate says: not to be asked unless they are known.
    pub fn ocsp_addresses(&self) -> impl Iterator<Item = &'a str> {
        let mut descriptions = self.extension(AUTHORITY_ACCESS).and_then(|value| only(value, SEQUENCE)).map(Reader::new);
        std::iter::from_fn(move || descriptions.as_mut()?.take(SEQUENCE)).filter_map(|description| {
            let mut parts = Reader::new(description.body);
            let (method, place) = (parts.take(OID)?, parts.take(URI)?);
            (method.body == ACCESS_OCSP).then(|| std::str::from_utf8(place.body).ok())?
        })
    }
}

fn public_key(spki: &[u8]) -> Option<PublicKey<'_>> {
    let mut parts = Reader::new(spki);
    let mut algorithm = Reader::new(parts.take(SEQUENCE)?.body);
    let bits = whole_bits(parts.take(BIT_STRING)?.body)?;
    parts.end()?;
    let oid = algorithm.take(OID)?.body;
    if oid == RSA {
        return Some(PublicKey::Rsa(bits));
    }
    match (oid, algorithm.take(OID)?.body) {
        (EC_PUBLIC_KEY, P256) => Some(PublicKey::P256(bits)),
        (EC_PUBLIC_KEY, P384) => Some(PublicKey::P384(bits)),
        _ => None,
    }
}

/// The extensions, as identifier and value.
fn extensions(body: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut all = Reader::new(only(body, SEQUENCE)?);
    let mut found: Vec<(&[u8], &[u8])> = Vec::new();
    while !all.is_empty() {
        let mut parts = Reader::new(all.take(SEQUENCE)?.body);
        let oid = parts.take(OID)?.body;
        // Whether it is critical: the path check refuses critical ones that it does not know.
        parts.optional(0x01)?;
        let value = parts.take(OCTET_STRING)?.body;
        parts.end()?;
        if found.len() == EXTENSIONS_MAX || found.iter().any(|(known, _)| *known == oid) {
            return None;
        }
        found.push((oid, value));
    }
    Some(found)
}
