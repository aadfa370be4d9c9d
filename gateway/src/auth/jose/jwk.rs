//! Keys of tokens: public ones as they are published (RFC 7517, RSA and P-256), private ones to sign and decrypt.
//!
//! Owns: their parsing, rendering, generation and key ids. Not: what is signed ([`super`]).
//! Holds: (1) an RSA key has 2048 to 8192 bits; (2) the key id of an own key is its RFC 7638 thumbprint, so
//! that gateways which share a key agree on it; (3) private keys are wiped by the library that holds them.
//!
//! Randomness for key generation, RSA and ECDSA is the crypto library's own, not the environment's: it takes
//! no other.

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair as RsaKeyPair, KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{JoseError, json::parse_object};

/// Most keys that are taken from a published set.
pub const KEYS_MAX: usize = 64;

/// What a published key is for (`use`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// `sig`.
    Signature,
    /// `enc`.
    Encryption,
}

/// The public part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Big-endian, without leading zeros.
    Rsa {
        /// Modulus, 256 to 1,024 bytes.
        n: Vec<u8>,
        /// Exponent, 1 to 5 bytes.
        e: Vec<u8>,
    },
    /// Uncompressed point: 4, x, y.
    P256(Box<[u8; 65]>),
}

/// A public key as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    /// Key id.
    pub kid: Option<String>,
    /// What it is for; `None` = anything.
    pub key_use: Option<KeyUse>,
    /// The only algorithm it is for; `None` = any.
    pub alg: Option<String>,
    /// The key.
    pub key: PublicKey,
}

impl PublicKey {
    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, JoseError> {
        let strip = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        let (n, e) = (strip(n), strip(e));
        if (256..=1024).contains(&n.len()) && (1..=5).contains(&e.len()) { Ok(Self::Rsa { n, e }) } else { Err(JoseError::Key) }
    }

    /// From the DER of an `RSAPublicKey` (RFC 8017): a sequence of two integers.
    fn rsa_from_der(der: &[u8]) -> Result<Self, JoseError> {
        let (sequence, rest) = der_value(der, 0x30)?;
        let (n, after) = der_value(sequence, 0x02)?;
        let (e, end) = der_value(after, 0x02)?;
        if rest.is_empty() && end.is_empty() { Self::rsa(n, e) } else { Err(JoseError::Key) }
    }

    /// The members that RFC 7638 takes.
    fn members(&self) -> Map<String, Value> {
        let text = |bytes: &[u8]| Value::String(URL_SAFE_NO_PAD.encode(bytes));
        let members = match self {
            Self::Rsa { n, e } => vec![("e", text(e)), ("kty", "RSA".into()), ("n", text(n))],
            Self::P256(point) => {
                let (x, y) = point[1..].split_at(32);
                vec![("crv", "P-256".into()), ("kty", "EC".into()), ("x", text(x)), ("y", text(y))]
            }
        };
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// SHA-256 over the members in the order of their names (RFC 7638), base64url.
    pub fn thumbprint(&self) -> String {
        // Written out by hand: the order and the lack of blanks are what the hash is over.
        let members: Vec<String> = match self {
            Self::Rsa { n, e } => {
                vec![
                    format!(r#""e":"{}""#, URL_SAFE_NO_PAD.encode(e)),
                    r#""kty":"RSA""#.into(),
                    format!(r#""n":"{}""#, URL_SAFE_NO_PAD.encode(n)),
                ]
            }
            Self::P256(point) => {
                let (x, y) = point[1..].split_at(32);
                let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
                vec![r#""crv":"P-256","kty":"EC""#.into(), format!(r#""x":"{x}""#), format!(r#""y":"{y}""#)]
            }
        };
        let text = format!("{{{}}}", members.join(","));
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
    }
}

impl Jwk {
    fn parse(object: &Map<String, Value>) -> Result<Self, JoseError> {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let bytes = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(JoseError::Key);
        let key = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => PublicKey::rsa(&bytes("n")?, &bytes("e")?)?,
            (Some("EC"), Some("P-256")) => {
                let point = [&[4][..], &bytes("x")?, &bytes("y")?].concat();
                PublicKey::P256(Box::new(point.as_slice().try_into().map_err(|_| JoseError::Key)?))
            }
            _ => return Err(JoseError::Key),
        };
        let key_use = match text("use") {
            Some("sig") => Some(KeyUse::Signature),
            Some("enc") => Some(KeyUse::Encryption),
            Some(_) => return Err(JoseError::Key),
            None => None,
        };
        Ok(Self { kid: text("kid").map(str::to_owned), key_use, alg: text("alg").map(str::to_owned), key })
    }

    /// The key as JSON.
    pub fn to_json(&self) -> Value {
        let mut object = self.key.members();
        let mut put = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value.into());
            }
        };
        put("kid", self.kid.as_deref());
        put("alg", self.alg.as_deref());
        put("use", self.key_use.map(|key_use| if key_use == KeyUse::Signature { "sig" } else { "enc" }));
        Value::Object(object)
    }

    /// Whether the key may be used so.
    pub fn fits(&self, key_use: KeyUse, alg: &str) -> bool {
        self.key_use.is_none_or(|own| own == key_use) && self.alg.as_deref().is_none_or(|own| own == alg)
    }
}

/// Published keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JwkSet(pub Vec<Jwk>);

impl JwkSet {
    /// The usable keys of a published set. Keys of unknown kinds are passed over (RFC 7517, section 5).
    ///
    /// # Errors
    /// [`JoseError::Json`] when it is no key set, or has more than [`KEYS_MAX`] keys.
    pub fn parse(bytes: &[u8]) -> Result<Self, JoseError> {
        let object = parse_object(bytes).ok_or(JoseError::Json)?;
        let keys = object.get("keys").and_then(Value::as_array).filter(|keys| keys.len() <= KEYS_MAX).ok_or(JoseError::Json)?;
        Ok(Self(keys.iter().filter_map(Value::as_object).filter_map(|key| Jwk::parse(key).ok()).collect()))
    }

    /// The set as JSON.
    pub fn to_json(&self) -> Value {
        json!({ "keys": self.0.iter().map(Jwk::to_json).collect::<Vec<_>>() })
    }

    /// The key that a header names, or the only one that fits when it names none.
    ///
    /// # Errors
    /// [`JoseError::UnknownKey`].
    pub fn find(&self, kid: Option<&str>, key_use: KeyUse, alg: &str) -> Result<&Jwk, JoseError> {
        let mut fitting = self.0.iter().filter(|key| key.fits(key_use, alg) && (kid.is_none() || key.kid.as_deref() == kid));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            _ => Err(JoseError::UnknownKey),
        }
    }
}

/// How many bits a new RSA key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaBits {
    /// 2048.
    Rsa2048,
    /// 3072.
    Rsa3072,
}

impl RsaBits {
    fn size(self) -> KeySize {
        match self {
            Self::Rsa2048 => KeySize::Rsa2048,
            Self::Rsa3072 => KeySize::Rsa3072,
        }
    }
}

/// A new RSA key as PEM (PKCS#8), for a file with mode 0600. Takes up to a second.
///
/// # Errors
/// [`JoseError::Cipher`].
pub fn generate_rsa_pem(bits: RsaBits) -> Result<Zeroizing<String>, JoseError> {
    let pair = RsaKeyPair::generate(bits.size()).map_err(|_| JoseError::Cipher)?;
    let der: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| JoseError::Cipher)?;
    let der: &[u8] = der.as_ref();
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 80));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Ok(pem)
}

fn pkcs8(pem: &[u8]) -> Result<PrivatePkcs8KeyDer<'static>, JoseError> {
    PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| JoseError::Key)
}

pub(super) enum SigningPair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
}

/// A private key that signs.
pub struct SigningKey {
    kid: String,
    public: PublicKey,
    pub(super) pair: SigningPair,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

impl SigningKey {
    fn from_rsa(pair: RsaKeyPair) -> Result<Self, JoseError> {
        let public = PublicKey::rsa_from_der(pair.public_key().as_ref())?;
        Ok(Self { kid: public.thumbprint(), public, pair: SigningPair::Rsa(pair) })
    }

    fn from_p256(pair: EcdsaKeyPair) -> Result<Self, JoseError> {
        let bytes: &[u8] = pair.public_key().as_ref();
        let point: [u8; 65] = bytes.try_into().map_err(|_| JoseError::Key)?;
        let public = PublicKey::P256(Box::new(point));
        Ok(Self { kid: public.thumbprint(), public, pair: SigningPair::P256(pair) })
    }

    /// A new RSA key. Takes up to a second.
    ///
    /// # Errors
    /// [`JoseError::Cipher`].
    pub fn generate_rsa(bits: RsaBits) -> Result<Self, JoseError> {
        Self::from_rsa(RsaKeyPair::generate(bits.size()).map_err(|_| JoseError::Cipher)?)
    }

    /// A new P-256 key.
    ///
    /// # Errors
    /// [`JoseError::Cipher`].
    pub fn generate_p256() -> Result<Self, JoseError> {
        Self::from_p256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| JoseError::Cipher)?)
    }

    /// The key of a PEM file (PKCS#8, RSA or P-256).
    ///
    /// # Errors
    /// [`JoseError::Key`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, JoseError> {
        let der = pkcs8(pem)?;
        if let Ok(pair) = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()) {
            return Self::from_rsa(pair);
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der());
        Self::from_p256(pair.map_err(|_| JoseError::Key)?)
    }

    /// Key id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public part, to be published.
    pub fn public_jwk(&self) -> Jwk {
        Jwk { kid: Some(self.kid.clone()), key_use: Some(KeyUse::Signature), alg: None, key: self.public.clone() }
    }
}

/// A private RSA key that decrypts.
pub struct DecryptionKey {
    kid: String,
    public: PublicKey,
    pub(super) key: OaepPrivateDecryptingKey,
}

impl std::fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DecryptionKey({})", self.kid)
    }
}

impl DecryptionKey {
    fn from_der(der: &[u8]) -> Result<Self, JoseError> {
        let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| JoseError::Key)?;
        let public = PublicKey::rsa_from_der(pair.public_key().as_ref())?;
        let key = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| JoseError::Key)?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| JoseError::Key)?;
        Ok(Self { kid: public.thumbprint(), public, key })
    }

    /// A new RSA key. Takes up to a second.
    ///
    /// # Errors
    /// [`JoseError::Cipher`].
    pub fn generate(bits: RsaBits) -> Result<Self, JoseError> {
        let pair = RsaKeyPair::generate(bits.size()).map_err(|_| JoseError::Cipher)?;
        let der: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| JoseError::Cipher)?;
        Self::from_der(der.as_ref())
    }

    /// The key of a PEM file (PKCS#8, RSA).
    ///
    /// # Errors
    /// [`JoseError::Key`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, JoseError> {
        Self::from_der(pkcs8(pem)?.secret_pkcs8_der())
    }

    /// Key id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public part, to be published. `alg` is stated because providers choose by it.
    pub fn public_jwk(&self, alg: super::KeyManagement) -> Jwk {
        Jwk { kid: Some(self.kid.clone()), key_use: Some(KeyUse::Encryption), alg: Some(alg.as_str().to_owned()), key: self.public.clone() }
    }
}

/// Content of the DER value with this tag at the start of `der`, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Result<(&[u8], &[u8]), JoseError> {
    let (&found, rest) = der.split_first().ok_or(JoseError::Key)?;
    let (&first, rest) = rest.split_first().ok_or(JoseError::Key)?;
    if found != tag {
        return Err(JoseError::Key);
    }
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // Two bytes of length are enough for any key that is accepted.
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or(JoseError::Key)?;
            (bytes.iter().fold(0, |len, byte| (len << 8) | usize::from(*byte)), rest)
        }
        _ => return Err(JoseError::Key),
    };
    rest.split_at_checked(len).ok_or(JoseError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638_section_3_1() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let jwk = format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}]}}"#);
        let set = JwkSet::parse(jwk.as_bytes()).unwrap();
        assert_eq!(set.0[0].key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn sets_round_trip_and_unknown_keys_are_passed_over() {
        let rsa = SigningKey::generate_rsa(RsaBits::Rsa2048).unwrap().public_jwk();
        let p256 = SigningKey::generate_p256().unwrap().public_jwk();
        let set = JwkSet(vec![rsa.clone(), p256]);
        assert_eq!(JwkSet::parse(set.to_json().to_string().as_bytes()), Ok(set.clone()));
        let mut with_others = set.to_json();
        with_others["keys"].as_array_mut().unwrap().extend([
            json!({"kty": "OKP", "crv": "Ed25519"}),
            json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
            json!(7),
        ]);
        assert_eq!(JwkSet::parse(with_others.to_string().as_bytes()), Ok(set.clone()));
        assert_eq!(set.find(rsa.kid.as_deref(), KeyUse::Signature, "RS256"), Ok(&rsa));
        assert_eq!(set.find(rsa.kid.as_deref(), KeyUse::Encryption, "RS256"), Err(JoseError::UnknownKey));
        assert_eq!(set.find(Some("x"), KeyUse::Signature, "RS256"), Err(JoseError::UnknownKey));
        assert_eq!(set.find(None, KeyUse::Signature, "RS256"), Err(JoseError::UnknownKey), "two could be meant");
        for bad in ["", "{}", r#"{"keys":1}"#, r#"{"keys":[],"keys":[]}"#] {
            assert_eq!(JwkSet::parse(bad.as_bytes()), Err(JoseError::Json), "{bad}");
        }
    }

    #[test]
    fn pem_files_keep_the_key() {
        let pem = generate_rsa_pem(RsaBits::Rsa2048).unwrap();
        let (signs, decrypts) = (SigningKey::from_pem(pem.as_bytes()).unwrap(), DecryptionKey::from_pem(pem.as_bytes()).unwrap());
        assert_eq!(signs.kid(), decrypts.kid());
        assert!(SigningKey::from_pem(b"no key").is_err());
    }
}
