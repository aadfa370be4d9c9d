//! What an identity provider's tokens must say (OpenID Connect Core 1.0, section 3.1.3.7), and who they say it is.
//!
//! Owns: the checks of claims. Not: signatures ([`crate::auth::jose`]); the bytes here are verified ones.
//! Holds: an identity exists only after every check passed, the level of assurance among them.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use kluis_raft::model::Role;
use serde_json::{Map, Value};

use super::AuthError;
use crate::auth::{jose::json::parse_object, national_number::NationalNumber};

/// Difference between our clock and the provider's that is tolerated, in seconds.
pub const CLOCK_SKEW_S: u64 = 60;
/// An ID token that was issued longer ago belongs to no login of now, in seconds.
const AGE_MAX_S: u64 = 600;
/// Longest personal text that is taken from a provider, in characters.
const TEXT_CHARS_MAX: usize = 255;

/// What the ID token of one attempt must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) acr_values: &'a [String],
    pub(super) max_age_s: Option<u32>,
    pub(super) now_s: u64,
}

/// Claims that passed [`check_id_token`].
pub(super) struct CheckedClaims {
    pub(super) sub: String,
    pub(super) acr: String,
    members: Map<String, Value>,
}

impl std::fmt::Debug for CheckedClaims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CheckedClaims(..)")
    }
}

fn invalid(which: &'static str) -> AuthError {
    AuthError::TokenInvalid { which }
}

/// The claims of an ID token, if every one is as expected.
pub(super) fn check_id_token(payload: &[u8], expected: &Expected<'_>) -> Result<CheckedClaims, AuthError> {
    let members = parse_object(payload).ok_or_else(|| invalid("form"))?;
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let time = |name: &str| members.get(name).and_then(seconds);
    if text("iss") != Some(expected.issuer) {
        return Err(invalid("iss"));
    }
    if !is_only_audience(members.get("aud"), expected.client_id) {
        return Err(invalid("aud"));
    }
    if members.contains_key("azp") && text("azp") != Some(expected.client_id) {
        return Err(invalid("azp"));
    }
    let now = expected.now_s;
    if time("exp").is_none_or(|exp| exp.saturating_add(CLOCK_SKEW_S) <= now) {
        return Err(invalid("exp"));
    }
    let plausible = |iat: u64| iat <= now.saturating_add(CLOCK_SKEW_S) && iat.saturating_add(AGE_MAX_S + CLOCK_SKEW_S) > now;
    if !time("iat").is_some_and(plausible) {
        return Err(invalid("iat"));
    }
    if members.contains_key("nbf") && time("nbf").is_none_or(|nbf| nbf > now.saturating_add(CLOCK_SKEW_S)) {
        return Err(invalid("nbf"));
    }
    let same_nonce = |nonce: &str| verify_slices_are_equal(nonce.as_bytes(), expected.nonce.as_bytes()).is_ok();
    if !text("nonce").is_some_and(same_nonce) {
        return Err(invalid("nonce"));
    }
    if let Some(max_age_s) = expected.max_age_s {
        let fresh = |at: u64| at.saturating_add(u64::from(max_age_s) + CLOCK_SKEW_S) >= now && at <= now.saturating_add(CLOCK_SKEW_S);
        if !time("auth_time").is_some_and(fresh) {
            return Err(invalid("auth_time"));
        }
    }
    let sub = text("sub").filter(|sub| (1..=255).contains(&sub.len())).ok_or_else(|| invalid("sub"))?.to_owned();
    // Last, so that "too weak" is said only of a token that is genuine otherwise.
    let acr = text("acr").filter(|acr| expected.acr_values.iter().any(|accepted| accepted == acr));
    let acr = acr.ok_or(AuthError::WeakIdentity)?.to_owned();
    Ok(CheckedClaims { sub, acr, members })
}

/// The members of a userinfo answer for the same person.
pub(super) fn check_userinfo(payload: &[u8], claims: &CheckedClaims, expected: &Expected<'_>) -> Result<Map<String, Value>, AuthError> {
    let members = parse_object(payload).ok_or_else(|| invalid("userinfo"))?;
    let same = members.get("sub").and_then(Value::as_str) == Some(claims.sub.as_str())
        && members.get("iss").is_none_or(|iss| iss == expected.issuer)
        && members.get("aud").is_none_or(|aud| is_only_audience(Some(aud), expected.client_id));
    if same { Ok(members) } else { Err(invalid("userinfo")) }
}

/// Other audiences than ourselves are refused: we trust none of them with a token for our users.
fn is_only_audience(aud: Option<&Value>, client_id: &str) -> bool {
    match aud {
        Some(Value::String(one)) => one == client_id,
        Some(Value::Array(many)) => matches!(many.as_slice(), [Value::String(one)] if one == client_id),
        _ => false,
    }
}

/// A NumericDate (RFC 7519): seconds, with a fraction at most.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let float = value.as_f64().filter(|float| (0.0..1e12).contains(float))?;
        // In range by the line above; the fraction is meant to go.
        Some(float as u64)
    })
}

/// A person, as both tokens state them: the ID token goes first.
pub(super) struct Person {
    pub(super) number: NationalNumber,
    pub(super) name: String,
    pub(super) given_name: String,
    pub(super) family_name: String,
    pub(super) birthdate: String,
    pub(super) roles: Vec<Role>,
}

/// Reads the person out of checked claims.
pub(super) fn person(
    claims: &CheckedClaims,
    userinfo: &Map<String, Value>,
    number_claim: &str,
    roles_claim: Option<&str>,
) -> Result<Person, AuthError> {
    let find = |name: &str| claims.members.get(name).or_else(|| userinfo.get(name));
    let text = |name: &str| find(name).and_then(Value::as_str).map(clean).unwrap_or_default();
    let number = find(number_claim).and_then(Value::as_str).and_then(|number| number.parse().ok());
    let (given_name, family_name) = (text("given_name"), text("family_name"));
    let name = Some(text("name")).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| format!("{given_name} {family_name}").trim().to_owned());
    let mut roles = vec![Role::Citizen];
    let is_notary = |value: &Value| value.as_str() == Some("notary");
    if let Some(stated) = roles_claim.and_then(find)
        && (is_notary(stated) || stated.as_array().is_some_and(|all| all.iter().any(is_notary)))
    {
        roles.push(Role::Notary);
    }
    Ok(Person {
        number: number.ok_or_else(|| invalid("national_number"))?,
        name,
        given_name,
        family_name,
        birthdate: text("birthdate"),
        roles,
    })
}

/// Without control characters and of bounded length.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn check(claims: &Value, max_age_s: Option<u32>) -> Result<CheckedClaims, AuthError> {
        let acr_values = ["high".to_owned(), "higher".to_owned()];
        let expected = Expected { issuer: "https://idp", client_id: "vault", nonce: "n", acr_values: &acr_values, max_age_s, now_s: NOW };
        check_id_token(claims.to_string().as_bytes(), &expected)
    }

    fn good() -> Value {
        json!({"iss": "https://idp", "aud": "vault", "sub": "s", "exp": NOW + 300, "iat": NOW, "nonce": "n", "acr": "high", "number": "11030495678"})
    }

    #[test]
    fn each_wrong_claim_is_named() {
        assert!(check(&good(), None).is_ok());
        for (name, values) in [
            ("iss", vec![json!("https://other"), json!("https://idp/"), json!(null)]),
            ("aud", vec![json!("other"), json!([]), json!(["vault", "other"]), json!(7)]),
            ("azp", vec![json!("other"), json!(null)]),
            ("exp", vec![json!(NOW - 60), json!(-1), json!("soon"), json!(null)]),
            ("iat", vec![json!(NOW + 61), json!(NOW - 660), json!(null)]),
            ("nbf", vec![json!(NOW + 61), json!("x")]),
            ("nonce", vec![json!("m"), json!(""), json!(null)]),
            ("sub", vec![json!(""), json!(1), json!("s".repeat(256))]),
        ] {
            for value in values {
                let mut claims = good();
                claims[name] = value.clone();
                let expected = AuthError::TokenInvalid { which: name };
                assert_eq!(check(&claims, None).unwrap_err(), expected, "{name} = {value}");
                if name != "azp" && name != "nbf" {
                    claims.as_object_mut().unwrap().remove(name);
                    assert_eq!(check(&claims, None).unwrap_err(), expected, "no {name}");
                }
            }
        }
        for acr in [json!("low"), json!(null), json!(["high"])] {
            let mut claims = good();
            claims["acr"] = acr;
            assert_eq!(check(&claims, None).unwrap_err(), AuthError::WeakIdentity);
        }
    }

    #[test]
    fn tolerances_and_forms_that_are_fine() {
        for (name, value) in [
            ("exp", json!(NOW - 59)),
            ("iat", json!(NOW + 60)),
            ("aud", json!(["vault"])),
            ("azp", json!("vault")),
            ("iat", json!(1.8e9)),
            ("acr", json!("higher")),
        ] {
            let mut claims = good();
            claims[name] = value.clone();
            assert!(check(&claims, None).is_ok(), "{name} = {value}");
        }
        let mut claims = good();
        assert_eq!(check(&claims, Some(30)).unwrap_err(), AuthError::TokenInvalid { which: "auth_time" });
        claims["auth_time"] = json!(NOW - 91);
        assert!(check(&claims, Some(30)).is_err());
        claims["auth_time"] = json!(NOW - 90);
        assert!(check(&claims, Some(30)).is_ok());
    }

    #[test]
    fn the_person_comes_from_both_tokens() {
        let claims = check(&good(), None).unwrap();
        let userinfo = json!({"given_name": "An\u{7}n", "family_name": "Peeters", "roles": ["notary"], "number": "21021392344"});
        let userinfo = userinfo.as_object().unwrap();
        let found = person(&claims, userinfo, "number", Some("roles")).unwrap();
        assert_eq!(found.number.expose(), "11030495678", "the ID token goes first");
        assert_eq!((found.name.as_str(), found.given_name.as_str()), ("Ann Peeters", "Ann"));
        assert_eq!(found.roles, [Role::Citizen, Role::Notary]);
        assert_eq!(person(&claims, userinfo, "number", None).unwrap().roles, [Role::Citizen]);
        let refused = person(&claims, userinfo, "roles", None).err();
        assert_eq!(refused, Some(AuthError::TokenInvalid { which: "national_number" }));
    }

    #[test]
    fn userinfo_of_somebody_else_is_refused() {
        let claims = check(&good(), None).unwrap();
        let expected = Expected { issuer: "https://idp", client_id: "vault", nonce: "n", acr_values: &[], max_age_s: None, now_s: NOW };
        assert!(check_userinfo(br#"{"sub":"s","aud":"vault"}"#, &claims, &expected).is_ok());
        for bad in [r#"{"sub":"t"}"#, "{}", r#"{"sub":"s","aud":"other"}"#, r#"{"sub":"s","iss":"x"}"#, r#"{"sub":"s","sub":"s"}"#] {
            assert!(check_userinfo(bad.as_bytes(), &claims, &expected).is_err(), "{bad}");
        }
    }
}
