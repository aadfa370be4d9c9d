//! Signed and encrypted tokens in their compact form: JWS (RFC 7515) and JWE (RFC 7516).
//!
//! Reading order: this file (verify, sign, decrypt, encrypt), [`jwk`] (keys), [`mod@json`] (objects without
//! duplicate members).
//!
//! Owns: the compact forms for the algorithms below. Not: what a token claims ([`super::oidc`]).
//! Holds: (1) the caller pins every algorithm; a token whose header names another one (`none` among them) is
//! refused before any key is touched; (2) headers with `crit` or `zip` are refused: we know no extension, and an
//! unpacked token could have any size; (3) a token over [`TOKEN_BYTES_MAX`] is not read; (4) every base64url
//! has one spelling.

use std::str::FromStr;

use aws_lc_rs::{
    aead,
    cipher::{AES_128, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey},
    constant_time::verify_slices_are_equal,
    hmac,
    iv::FixedLength,
    rand::SystemRandom,
    rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents},
    signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kluis_chunkstore::env::Entropy;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

pub mod json;
pub mod jwk;

use json::parse_object;
use jwk::{DecryptionKey, Jwk, JwkSet, KeyUse, PublicKey, SigningKey, SigningPair};

/// Most bytes of a token's text.
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// Why a token or key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error("the token is too long")]
    TooLong,
    /// Not the right number of parts, or not base64url.
    #[error("the token is malformed")]
    Form,
    /// Not a JSON object, or one with duplicate members.
    #[error("the token holds malformed JSON")]
    Json,
    /// Another algorithm than the one that was agreed.
    #[error("the token uses another algorithm than was agreed")]
    Algorithm,
    /// A header extension that we do not know.
    #[error("the token demands an unknown extension")]
    Extension,
    /// No key, or more than one, fits.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// It cannot be decrypted.
    #[error("the token cannot be decrypted")]
    Decrypt,
    /// No usable key.
    #[error("the key is not usable")]
    Key,
    /// The cipher refused to work: never because of the input.
    #[error("the cipher failed")]
    Cipher,
}

macro_rules! algorithms {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// The registered name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl FromStr for $name {
            type Err = JoseError;

            fn from_str(text: &str) -> Result<Self, JoseError> {
                match text { $($text => Ok(Self::$variant),)+ _ => Err(JoseError::Algorithm) }
            }
        }
    };
}

algorithms!(
    /// How a token is signed.
    SignatureAlgorithm {
        /// RSA PKCS#1 v1.5 with SHA-256.
        Rs256 = "RS256",
        /// RSA PSS with SHA-256.
        Ps256 = "PS256",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
    }
);
algorithms!(
    /// How the key of an encrypted token is encrypted.
    KeyManagement {
        /// RSA OAEP with SHA-1.
        RsaOaep = "RSA-OAEP",
        /// RSA OAEP with SHA-256.
        RsaOaep256 = "RSA-OAEP-256",
    }
);
algorithms!(
    /// How the content of an encrypted token is encrypted.
    ContentEncryption {
        /// AES-256-GCM.
        A256Gcm = "A256GCM",
        /// AES-128-CBC with HMAC-SHA-256.
        A128CbcHs256 = "A128CBC-HS256",
    }
);

/// A header that was checked for form.
struct Header(Map<String, Value>);

impl Header {
    fn parse(part: &str) -> Result<Self, JoseError> {
        let object = parse_object(&decode(part)?).ok_or(JoseError::Json)?;
        if object.contains_key("crit") || object.contains_key("zip") {
            return Err(JoseError::Extension);
        }
        Ok(Self(object))
    }

    fn pinned(&self, name: &str, wanted: &str) -> Result<(), JoseError> {
        if self.0.get(name).and_then(Value::as_str) == Some(wanted) { Ok(()) } else { Err(JoseError::Algorithm) }
    }

    fn kid(&self) -> Result<Option<&str>, JoseError> {
        match self.0.get("kid") {
            None => Ok(None),
            Some(Value::String(kid)) => Ok(Some(kid)),
            Some(_) => Err(JoseError::Json),
        }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, JoseError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JoseError::Form)
}

/// The `N` parts of a compact token.
fn parts<const N: usize>(token: &str) -> Result<[&str; N], JoseError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(JoseError::TooLong);
    }
    // One more than wanted, so that a longer token is seen.
    token.splitn(N + 1, '.').collect::<Vec<_>>().try_into().map_err(|_| JoseError::Form)
}

/// The payload of a compact JWS that a key of `keys` signed with `alg`.
///
/// # Errors
/// [`JoseError`]; [`JoseError::UnknownKey`] may mean that `keys` are old.
pub fn verify(token: &str, alg: SignatureAlgorithm, keys: &JwkSet) -> Result<Vec<u8>, JoseError> {
    let [header_part, payload_part, signature_part] = parts::<3>(token)?;
    let header = Header::parse(header_part)?;
    header.pinned("alg", alg.as_str())?;
    let (payload, signature) = (decode(payload_part)?, decode(signature_part)?);
    let key = keys.find(header.kid()?, KeyUse::Signature, alg.as_str())?;
    let signed_len = header_part.len() + 1 + payload_part.len();
    let signed = token.as_bytes().get(..signed_len).ok_or(JoseError::Form)?;
    let verified = match (alg, &key.key) {
        (SignatureAlgorithm::Rs256, PublicKey::Rsa { n, e }) => {
            PublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, &signature)
        }
        (SignatureAlgorithm::Ps256, PublicKey::Rsa { n, e }) => {
            PublicKeyComponents { n, e }.verify(&RSA_PSS_2048_8192_SHA256, signed, &signature)
        }
        (SignatureAlgorithm::Es256, PublicKey::P256(point)) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_slice()).verify(signed, &signature)
        }
        _ => return Err(JoseError::UnknownKey),
    };
    verified.map(|()| payload).map_err(|_| JoseError::Signature)
}

/// `claims` as a compact JWS: RS256 or ES256, as the key is.
///
/// # Errors
/// [`JoseError::Cipher`].
pub fn sign(claims: &Value, key: &SigningKey) -> Result<String, JoseError> {
    let alg = match key.pair {
        SigningPair::Rsa(_) => SignatureAlgorithm::Rs256,
        SigningPair::P256(_) => SignatureAlgorithm::Es256,
    };
    let header = json!({ "alg": alg.as_str(), "kid": key.kid(), "typ": "JWT" });
    let mut token = format!("{}.{}", encode_json(&header), encode_json(claims));
    let random = SystemRandom::new();
    let signature = match &key.pair {
        SigningPair::Rsa(pair) => {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature).map_err(|_| JoseError::Cipher)?;
            signature
        }
        SigningPair::P256(pair) => pair.sign(&random, token.as_bytes()).map_err(|_| JoseError::Cipher)?.as_ref().to_vec(),
    };
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn encode_json(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn oaep(alg: KeyManagement) -> &'static OaepAlgorithm {
    match alg {
        KeyManagement::RsaOaep => &OAEP_SHA1_MGF1SHA1,
        KeyManagement::RsaOaep256 => &OAEP_SHA256_MGF1SHA256,
    }
}

/// The content of a compact JWE that was encrypted to one of `keys` with exactly `alg` and `enc`.
///
/// # Errors
/// [`JoseError`]. Whatever fails after the key was found is [`JoseError::Decrypt`], so that the answer tells nothing
/// about which step failed.
pub fn decrypt(token: &str, alg: KeyManagement, enc: ContentEncryption, keys: &[DecryptionKey]) -> Result<Zeroizing<Vec<u8>>, JoseError> {
    let [header_part, key_part, iv_part, content_part, tag_part] = parts::<5>(token)?;
    let header = Header::parse(header_part)?;
    header.pinned("alg", alg.as_str())?;
    header.pinned("enc", enc.as_str())?;
    let (wrapped, iv, content, tag) = (decode(key_part)?, decode(iv_part)?, decode(content_part)?, decode(tag_part)?);
    let key = match (header.kid()?, keys) {
        (Some(kid), _) => keys.iter().find(|key| key.kid() == kid).ok_or(JoseError::UnknownKey)?,
        (None, [key]) => key,
        (None, _) => return Err(JoseError::UnknownKey),
    };
    let mut output = Zeroizing::new(vec![0; key.key.min_output_size()]);
    let content_key = key.key.decrypt(oaep(alg), &wrapped, &mut output, None).map_err(|_| JoseError::Decrypt)?;
    let content_key: &[u8; 32] = (&*content_key).try_into().map_err(|_| JoseError::Decrypt)?;
    open_content(enc, content_key, &iv, header_part.as_bytes(), content, &tag).ok_or(JoseError::Decrypt)
}

fn open_content(enc: ContentEncryption, key: &[u8; 32], iv: &[u8], aad: &[u8], content: Vec<u8>, tag: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(content);
    if tag.len() != 16 {
        return None;
    }
    match enc {
        ContentEncryption::A256Gcm => {
            let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, key).ok()?);
            let nonce = aead::Nonce::try_assume_unique_for_key(iv).ok()?;
            key.open_in_place_separate_tag(nonce, aead::Aad::from(aad), tag, content.as_mut_slice()).ok()?;
            Some(content)
        }
        ContentEncryption::A128CbcHs256 => {
            let iv: &[u8; 16] = iv.try_into().ok()?;
            let (mac_key, cipher_key) = key.split_at(16);
            verify_slices_are_equal(&cbc_tag(mac_key, aad, iv, &content), tag).ok()?;
            let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_128, cipher_key).ok()?).ok()?;
            let plain_len = key.decrypt(content.as_mut_slice(), DecryptionContext::Iv128(FixedLength::from(iv))).ok()?.len();
            content.truncate(plain_len);
            Some(content)
        }
    }
}

/// RFC 7518, section 5.2.2.1: HMAC over associated data, iv, content and the bits of the associated data; its
/// first half.
fn cbc_tag(mac_key: &[u8], aad: &[u8], iv: &[u8; 16], content: &[u8]) -> [u8; 16] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, mac_key));
    context.update(aad);
    context.update(iv);
    context.update(content);
    context.update(&u64::try_from(aad.len()).unwrap_or(u64::MAX).saturating_mul(8).to_be_bytes());
    let mut tag = [0; 16];
    tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    tag
}

/// `content` (a signed token, most often) as a compact JWE to `key`.
///
/// # Errors
/// [`JoseError::Key`] when `key` is no RSA key for encryption; [`JoseError::Cipher`].
pub fn encrypt(content: &[u8], alg: KeyManagement, enc: ContentEncryption, key: &Jwk, entropy: &dyn Entropy) -> Result<String, JoseError> {
    let PublicKey::Rsa { n, e } = &key.key else { return Err(JoseError::Key) };
    if !key.fits(KeyUse::Encryption, alg.as_str()) {
        return Err(JoseError::Key);
    }
    let public: Result<PublicEncryptingKey, _> = PublicKeyComponents { n, e }.try_into();
    let public = OaepPublicEncryptingKey::new(public.map_err(|_| JoseError::Key)?).map_err(|_| JoseError::Key)?;
    let mut content_key = Zeroizing::new([0u8; 32]);
    entropy.fill(content_key.as_mut_slice());
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped = public.encrypt(oaep(alg), content_key.as_slice(), &mut wrapped, None).map_err(|_| JoseError::Cipher)?;
    let mut header = json!({ "alg": alg.as_str(), "enc": enc.as_str(), "cty": "JWT" });
    if let (Some(kid), Some(header)) = (&key.kid, header.as_object_mut()) {
        header.insert("kid".to_owned(), kid.as_str().into());
    }
    let header = encode_json(&header);
    let (iv, content, tag) = seal_content(enc, &content_key, header.as_bytes(), content, entropy).ok_or(JoseError::Cipher)?;
    let parts = [URL_SAFE_NO_PAD.encode(wrapped), URL_SAFE_NO_PAD.encode(iv), URL_SAFE_NO_PAD.encode(content), URL_SAFE_NO_PAD.encode(tag)];
    Ok(format!("{header}.{}", parts.join(".")))
}

type SealedContent = (Vec<u8>, Vec<u8>, [u8; 16]);

fn seal_content(enc: ContentEncryption, key: &[u8; 32], aad: &[u8], content: &[u8], entropy: &dyn Entropy) -> Option<SealedContent> {
    let mut sealed = content.to_vec();
    match enc {
        ContentEncryption::A256Gcm => {
            let mut iv = [0; 12];
            entropy.fill(&mut iv);
            let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, key).ok()?);
            let nonce = aead::Nonce::assume_unique_for_key(iv);
            let tag = key.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), &mut sealed).ok()?;
            Some((iv.to_vec(), sealed, tag.as_ref().try_into().ok()?))
        }
        ContentEncryption::A128CbcHs256 => {
            let mut iv = [0; 16];
            entropy.fill(&mut iv);
            let (mac_key, cipher_key) = key.split_at(16);
            let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_128, cipher_key).ok()?).ok()?;
            cipher.less_safe_encrypt(&mut sealed, EncryptionContext::Iv128(FixedLength::from(&iv))).ok()?;
            let tag = cbc_tag(mac_key, aad, &iv, &sealed);
            Some((iv.to_vec(), sealed, tag))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::{jwk::RsaBits, *};
    use crate::keys::tests::TestEntropy;

    static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate_rsa(RsaBits::Rsa2048).unwrap());
    static DECRYPT: LazyLock<DecryptionKey> = LazyLock::new(|| DecryptionKey::generate(RsaBits::Rsa2048).unwrap());

    fn published(key: &SigningKey) -> JwkSet {
        JwkSet(vec![key.public_jwk()])
    }

    fn with_header(token: &str, header: &str) -> String {
        let (_, rest) = token.split_once('.').unwrap();
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn es256_of_rfc_7515_appendix_a_3_verifies() {
        let keys = JwkSet::parse(br#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#).unwrap();
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let payload = verify(token, SignatureAlgorithm::Es256, &keys).unwrap();
        assert!(payload.starts_with(br#"{"iss":"joe""#));
    }

    #[test]
    fn signed_tokens_verify_only_as_agreed() {
        let p256 = SigningKey::generate_p256().unwrap();
        for (key, alg, other) in
            [(&*RSA, SignatureAlgorithm::Rs256, SignatureAlgorithm::Ps256), (&p256, SignatureAlgorithm::Es256, SignatureAlgorithm::Rs256)]
        {
            let token = sign(&json!({"sub": "a"}), key).unwrap();
            assert_eq!(verify(&token, alg, &published(key)).unwrap(), br#"{"sub":"a"}"#);
            assert_eq!(verify(&token, other, &published(key)), Err(JoseError::Algorithm));
            assert_eq!(verify(&token, alg, &JwkSet::default()), Err(JoseError::UnknownKey));
            let mut impostor = SigningKey::generate_p256().unwrap().public_jwk();
            impostor.kid = Some(key.kid().to_owned());
            assert!(verify(&token, alg, &JwkSet(vec![impostor])).is_err());
        }
    }

    #[test]
    fn forged_headers_are_refused() {
        let (token, keys, alg) = (sign(&json!({"sub": "a"}), &RSA).unwrap(), published(&RSA), SignatureAlgorithm::Rs256);
        for (header, error) in [
            (r#"{"alg":"none"}"#, JoseError::Algorithm),
            (r#"{"alg":"HS256"}"#, JoseError::Algorithm),
            (r#"{}"#, JoseError::Algorithm),
            (r#"{"alg":"RS256","crit":["exp"]}"#, JoseError::Extension),
            (r#"{"alg":"none","alg":"RS256"}"#, JoseError::Json),
            (r#"{"alg":"RS256","kid":7}"#, JoseError::Json),
            (r#"{"alg":"RS256","kid":"x"}"#, JoseError::UnknownKey),
            (r#"{"alg":"RS256"}"#, JoseError::Signature),
            ("[]", JoseError::Json),
        ] {
            assert_eq!(verify(&with_header(&token, header), alg, &keys), Err(error), "{header}");
        }
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        assert_eq!(verify(&format!("{unsigned}."), alg, &keys), Err(JoseError::Signature));
        assert_eq!(verify(unsigned, alg, &keys), Err(JoseError::Form));
        assert_eq!(verify(&format!("{token}."), alg, &keys), Err(JoseError::Form));
        assert_eq!(verify(&format!("{token}="), alg, &keys), Err(JoseError::Form));
        assert_eq!(verify(&"a".repeat(TOKEN_BYTES_MAX + 1), alg, &keys), Err(JoseError::TooLong));
    }

    #[test]
    fn encrypted_tokens_open_only_as_agreed() {
        for alg in [KeyManagement::RsaOaep, KeyManagement::RsaOaep256] {
            for enc in [ContentEncryption::A256Gcm, ContentEncryption::A128CbcHs256] {
                let token = encrypt(b"content", alg, enc, &DECRYPT.public_jwk(alg), &TestEntropy).unwrap();
                let keys = std::slice::from_ref(&*DECRYPT);
                assert_eq!(*decrypt(&token, alg, enc, keys).unwrap(), b"content");
                let other_alg = if alg == KeyManagement::RsaOaep { KeyManagement::RsaOaep256 } else { KeyManagement::RsaOaep };
                assert_eq!(decrypt(&token, other_alg, enc, keys).unwrap_err(), JoseError::Algorithm);
                assert_eq!(decrypt(&token, alg, enc, &[]).unwrap_err(), JoseError::UnknownKey);
                let header = format!(r#"{{"alg":"{}","enc":"{}","zip":"DEF"}}"#, alg.as_str(), enc.as_str());
                assert_eq!(decrypt(&with_header(&token, &header), alg, enc, keys).unwrap_err(), JoseError::Extension);
                let header = format!(r#"{{"alg":"{}","enc":"{}"}}"#, alg.as_str(), enc.as_str());
                assert_eq!(decrypt(&with_header(&token, &header), alg, enc, keys).unwrap_err(), JoseError::Decrypt);
                let parts: Vec<_> = token.split('.').collect();
                for part in 1..5 {
                    let mut bytes = URL_SAFE_NO_PAD.decode(parts[part]).unwrap();
                    bytes[0] ^= 1;
                    let edited = URL_SAFE_NO_PAD.encode(bytes);
                    let mut parts = parts.clone();
                    parts[part] = &edited;
                    assert_eq!(decrypt(&parts.join("."), alg, enc, keys).unwrap_err(), JoseError::Decrypt, "{part}");
                }
            }
        }
        let signing = RSA.public_jwk();
        assert!(encrypt(b"", KeyManagement::RsaOaep256, ContentEncryption::A256Gcm, &signing, &TestEntropy).is_err());
    }

    /// The example of RFC 7518, appendix B.1.
    #[test]
    fn the_cbc_tag_is_that_of_rfc_7518() {
        let key: Vec<u8> = (0..32).collect();
        let plain = b"A cipher system must not be required to be secret, and it must be able to fall into the hands of the enemy without inconvenience";
        let iv = hex::decode("1af38c2dc2b96ffdd86694092341bc04").unwrap();
        let aad = b"The second principle of Auguste Kerckhoffs";
        let cipher = UnboundCipherKey::new(&AES_128, &key[16..]).unwrap();
        let mut content = plain.to_vec();
        let iv: [u8; 16] = iv.try_into().unwrap();
        let context = EncryptionContext::Iv128(FixedLength::from(&iv));
        PaddedBlockEncryptingKey::cbc_pkcs7(cipher).unwrap().less_safe_encrypt(&mut content, context).unwrap();
        let tag = cbc_tag(&key[..16], aad, &iv, &content);
        assert_eq!(hex::encode(tag), "652c3fa36b0a7c5b3219fab3a30bc1c4");
        let key: [u8; 32] = key.try_into().unwrap();
        let opened = open_content(ContentEncryption::A128CbcHs256, &key, &iv, aad, content, &tag).unwrap();
        assert_eq!(&opened[..], &plain[..]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[A-Za-z0-9._-]{0,80}") {
            prop_assert!(verify(&text, SignatureAlgorithm::Rs256, &JwkSet::default()).is_err());
            prop_assert!(decrypt(&text, KeyManagement::RsaOaep256, ContentEncryption::A256Gcm, &[]).is_err());
        }
    }
}
