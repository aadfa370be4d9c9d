//! The public specimen of the Belgian profile, and every way to bend it.

use serde_json::{Map, Value};

use super::*;

const SPECIMEN: &str = include_str!("../../../testdata/webeid-be-specimen.json");
const POLICY: &str = "2.16.56.12.1.1.2.2";

fn specimen() -> Value {
    serde_json::from_str(SPECIMEN).unwrap()
}

fn members(specimen: &Value) -> Map<String, Value> {
    specimen["token"].as_object().unwrap().clone()
}

fn verified(token: &Map<String, Value>, origin: &str, nonce: &str) -> Result<(), AuthError> {
    let token = Token::parse(token)?;
    let certificate = Certificate::parse(&token.certificate).ok_or(AuthError::CertificateRefused { why: "form" })?;
    token.verify(&certificate.key, origin, nonce)
}

#[test]
fn the_specimen_is_read_and_verifies() {
    let specimen = specimen();
    let (origin, nonce) = (specimen["origin"].as_str().unwrap(), specimen["nonce"].as_str().unwrap());
    let token = Token::parse(&members(&specimen)).unwrap();
    let certificate = Certificate::parse(&token.certificate).unwrap();
    assert_eq!(token.verify(&certificate.key, origin, nonce), Ok(()));
    let person = Person::read(&certificate).unwrap();
    assert_eq!(person.number.expose(), specimen["expect"]["national_number"].as_str().unwrap());
    assert_eq!((person.name.as_str(), person.family_name.as_str()), ("Nora Specimen", "Specimen"));
    assert!(certificate.has_purpose(certificate::CLIENT_AUTH) && !certificate.has_purpose(certificate::OCSP_SIGNING));
    assert!(certificate.has_policy(&der::oid(POLICY).unwrap()) && !certificate.has_policy(&der::oid("2.16.56.12.1.1.2.1").unwrap()));
    assert!(certificate.key_usage().is_some_and(|usage| usage.digital_signature && !usage.non_repudiation));
    assert!(certificate.is_valid_at(1_735_000_000) && !certificate.is_valid_at(1_950_000_000));
    assert_eq!(certificate.ocsp_addresses().collect::<Vec<_>>(), ["http://eiddevcards.zetescards.be:8888"]);
}

#[test]
fn another_origin_nonce_or_algorithm_is_refused() {
    let specimen = specimen();
    let (origin, nonce) = (specimen["origin"].as_str().unwrap(), specimen["nonce"].as_str().unwrap());
    let token = members(&specimen);
    let invalid = |which| Err(AuthError::TokenInvalid { which });
    assert_eq!(verified(&token, origin, nonce), Ok(()));
    for other in [format!("{origin}/"), origin.to_uppercase(), origin.replace("https", "http"), String::new()] {
        assert_eq!(verified(&token, &other, nonce), invalid("signature"), "{other}");
    }
    for other in [nonce.trim_end_matches('='), "", "iMeEwP2cgUINY2XoO/lqEpOUn7z/ysHRqGXkGKC4VXA="] {
        assert_eq!(verified(&token, origin, other), invalid("signature"), "{other}");
    }
    // What joins to the same text is not the same pair.
    assert_eq!(verified(&token, &origin[..origin.len() - 1], &format!("{}{nonce}", &origin[origin.len() - 1..])), invalid("signature"));
    for (member, value, which) in [
        ("algorithm", "ES256", "alg"),
        ("algorithm", "RS256", "alg"),
        ("algorithm", "none", "alg"),
        ("format", "web-eid:2.0", "format"),
        ("format", "web-eid:10", "format"),
        ("format", "web-eid:1.", "format"),
        ("signature", "!", "signature"),
        ("signature", "", "signature"),
        ("unverifiedCertificate", "%", "certificate"),
    ] {
        let mut bent = token.clone();
        bent.insert(member.to_owned(), value.into());
        assert_eq!(verified(&bent, origin, nonce), invalid(which), "{member} = {value}");
        bent.remove(member);
        assert!(verified(&bent, origin, nonce).is_err(), "no {member}");
    }
    let mut later = token.clone();
    later.insert("format".to_owned(), "web-eid:1.1".into());
    later.insert("unverifiedSigningCertificate".to_owned(), "x".into());
    assert_eq!(verified(&later, origin, nonce), Ok(()));
}

#[test]
fn a_certificate_cut_or_changed_anywhere_never_panics_and_is_not_signed() {
    let token = Token::parse(&members(&specimen())).unwrap();
    for len in 0..token.certificate.len() {
        assert!(Certificate::parse(&token.certificate[..len]).is_none(), "cut at {len}");
    }
    for at in 0..token.certificate.len() {
        let mut changed = token.certificate.clone();
        changed[at] ^= 1;
        if let Some(certificate) = Certificate::parse(&changed) {
            let _ = (certificate.attribute(SERIAL_NUMBER), certificate.key_usage(), certificate.ocsp_addresses().count());
        }
    }
}
