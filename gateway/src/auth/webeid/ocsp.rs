//! Whether a certificate was revoked, as its authority's responder says it now (OCSP, RFC 6960).
//!
//! Owns: question and answer as bytes. Not: the way to the responder (`super::responder`).
//! Holds: (1) "good" is believed only when the issuer signed it, or somebody whom the issuer itself certified for
//! that; (2) for this very certificate, and now; (3) everything else is "unknown", which lets nobody in.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::{
    certificate::{Certificate, OCSP_SIGNING},
    der::{BIT_STRING, ENUMERATED, GENERALIZED_TIME, INTEGER, NULL, OCTET_STRING, OID, Reader, SEQUENCE, element, only, time, whole_bits},
};

const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// Difference between our clock and the responder's that is tolerated, in seconds.
const SKEW_S: u64 = 60;
/// Oldest answer that does not say how long it is good, in seconds.
const AGE_MAX_S: u64 = 900;
/// Most certificates of an answer that are looked at: each costs a signature.
const CERTIFICATES_MAX: usize = 4;
/// Most statements of an answer that are looked at.
const STATEMENTS_MAX: usize = 16;

/// What a responder said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Not revoked.
    Good,
    /// Revoked.
    Revoked,
    /// Nothing that can be believed.
    Unknown,
}

/// How a certificate is named to a responder: two hashes of its issuer, and its serial number.
struct Named<'a> {
    name_hash: [u8; 20],
    key_hash: [u8; 20],
    serial: &'a [u8],
}

impl<'a> Named<'a> {
    fn new(certificate: &Certificate<'a>, issuer: &Certificate<'_>) -> Self {
        Self { name_hash: sha1(certificate.issuer), key_hash: sha1(issuer.key.bits()), serial: certificate.serial }
    }
}

// SHA-1 names the issuer here, as responders expect; nothing is protected by it.
fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    out.iter_mut().zip(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// The question whether `certificate` was revoked by `issuer`.
pub fn question(certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> Vec<u8> {
    let named = Named::new(certificate, issuer);
    let algorithm = element(SEQUENCE, &[&element(OID, &[SHA1]), &element(NULL, &[])]);
    let hashes = [element(OCTET_STRING, &[&named.name_hash]), element(OCTET_STRING, &[&named.key_hash])];
    let id = element(SEQUENCE, &[&algorithm, &hashes[0], &hashes[1], &element(INTEGER, &[named.serial])]);
    let list = element(SEQUENCE, &[&element(SEQUENCE, &[&id])]);
    element(SEQUENCE, &[&element(SEQUENCE, &[&list])])
}

/// What `answer` says of `certificate` at `now_s`.
pub fn status(answer: &[u8], certificate: &Certificate<'_>, issuer: &Certificate<'_>, now_s: u64) -> Status {
    read(answer, certificate, issuer, now_s).unwrap_or(Status::Unknown)
}

fn read(answer: &[u8], certificate: &Certificate<'_>, issuer: &Certificate<'_>, now_s: u64) -> Option<Status> {
    let mut response = Reader::new(only(answer, SEQUENCE)?);
    if response.take(ENUMERATED)?.body != [0] {
        return None;
    }
    let mut bytes = Reader::new(only(response.take(0xa0)?.body, SEQUENCE)?);
    response.end()?;
    if bytes.take(OID)?.body != BASIC {
        return None;
    }
    let mut basic = Reader::new(only(bytes.take(OCTET_STRING)?.body, SEQUENCE)?);
    bytes.end()?;
    let data = basic.take(SEQUENCE)?;
    let algorithm = basic.take(SEQUENCE)?.body;
    let signature = whole_bits(basic.take(BIT_STRING)?.body)?;
    let certificates = basic.optional(0xa0)?;
    basic.end()?;

    let by_issuer = issuer.key.verifies(algorithm, data.whole, signature);
    let by_deputy = || {
        let mut list = certificates.and_then(|all| only(all.body, SEQUENCE)).map(Reader::new);
        std::iter::from_fn(|| list.as_mut()?.take(SEQUENCE)).take(CERTIFICATES_MAX).any(|found| {
            Certificate::parse(found.whole).is_some_and(|deputy| {
                deputy.issuer == issuer.subject
                    && deputy.is_valid_at(now_s)
                    && deputy.has_purpose(OCSP_SIGNING)
                    && deputy.is_signed_by(&issuer.key)
                    && deputy.key.verifies(algorithm, data.whole, signature)
            })
        })
    };
    if !by_issuer && !by_deputy() {
        return None;
    }
    statement(data.body, &Named::new(certificate, issuer), now_s)
}

/// The statement on one certificate, in signed data.
fn statement(data: &[u8], named: &Named<'_>, now_s: u64) -> Option<Status> {
    let mut data = Reader::new(data);
    data.optional(0xa0)?;
    // The responder's name or key hash: it was found by its signature.
    data.any()?;
    data.take(GENERALIZED_TIME)?;
    let mut statements = Reader::new(data.take(SEQUENCE)?.body);
    for _ in 0..STATEMENTS_MAX {
        let mut statement = Reader::new(statements.take(SEQUENCE)?.body);
        let is_named = names(statement.take(SEQUENCE)?.body, named)?;
        let verdict = statement.any()?;
        let this_update = time(statement.take(GENERALIZED_TIME)?)?;
        let next_update = match statement.optional(0xa0)? {
            Some(next) => {
                let mut next = Reader::new(next.body);
                Some(time(next.take(GENERALIZED_TIME)?)?)
            }
            None => None,
        };
        if !is_named {
            continue;
        }
        let good_until = next_update.unwrap_or(this_update.saturating_add(AGE_MAX_S));
        if this_update > now_s.saturating_add(SKEW_S) || good_until.saturating_add(SKEW_S) < now_s {
            return None;
        }
        return match verdict.tag {
            0x80 if verdict.body.is_empty() => Some(Status::Good),
            0xa1 => Some(Status::Revoked),
            _ => None,
        };
    }
    None
}

/// Whether a CertID names it.
fn names(id: &[u8], named: &Named<'_>) -> Option<bool> {
    let mut parts = Reader::new(id);
    let algorithm = Reader::new(parts.take(SEQUENCE)?.body).take(OID)?.body;
    let (name_hash, key_hash, serial) = (parts.take(OCTET_STRING)?, parts.take(OCTET_STRING)?, parts.take(INTEGER)?);
    parts.end()?;
    Some(algorithm == SHA1 && name_hash.body == named.name_hash && key_hash.body == named.key_hash && serial.body == named.serial)
}
