//! Targets: what a client sends in a request. Ranges, tags, names, queries, heads, bodies, cursors, bearer tokens.
//!
//! Owns: texts of HTTP. Not: tokens of identity providers ([`super::tokens`]).
//! Holds: what is accepted has a canonical form that is accepted as the same; a name that is accepted can split
//! no header; a cursor that opens is one that was sealed.

use std::sync::{Arc, LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kluis_gateway::{
    api::{
        Caller,
        caller::cookie,
        documents, json,
        name::{DocumentName, Label, MediaType},
        params::Params,
        uploads::{NewUpload, tus_length},
        vault::OpenVault,
    },
    auth::{national_number::NationalNumber, token::BearerToken},
    keys::{SecretKey, fuzzing::vault_key},
    range::{Etags, Selection, if_range_matches, select},
    upload::{Sha256, decimal, sha256_field, sha256_field_value, upload_metadata},
};
use kluis_raft::model::{AccountId, Session, SessionId, Vault, VaultId};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Fixed, Target, kind, of_kind, text, texts};

const WORDS: &str = include_str!("../../fuzz/dictionaries/http.dict");
const BODY_BYTES_MAX: u64 = 5_000_000_000;
/// As deep as bodies may be nested by default.
const JSON_DEPTH_MAX: usize = 16;
const NEW_UPLOAD: &str = r#"{"name":"a.pdf","length":5,"media_type":"application/pdf","sha256":null}"#;

/// The targets of this file.
pub const TARGETS: &[Target] = &[
    Target::new("range", range, || texts(&["\x0abytes=0-4", "\x63bytes=-3,8-", "\x05bytes=6-7, 0-1", "\x05items=1"]), WORDS),
    Target::new("etags", etags, || texts(&["\"r1\"", "W/\"a\", \"b\"", "*"]), WORDS),
    Target::new("document_name", document_name, || texts(&["testament 2026.pdf", "../x", "K\u{e4}te\u{1f5dd}", "text/plain"]), WORDS),
    Target::new("label", label, || texts(&[r#"{"name":"a.pdf","media_type":"application/pdf"}"#]), WORDS),
    Target::new("query", query, || texts(&["name=a+b%20c%2F..&limit=5", "cursor=AAAA", "limit=1&limit=2"]), WORDS),
    Target::new("request_head", request_head, head_seeds, WORDS),
    Target::new("tus_fields", tus_fields, field_seeds, WORDS),
    Target::new("json_body", json_body, || texts(&[NEW_UPLOAD, r#"{"name":"a","length":0}"#, "[[[[[[]]]]]]"]), WORDS),
    Target::new("bearer_token", bearer_token, || vec![BearerToken::generate(&Fixed).to_text().as_bytes().to_vec()], WORDS),
    Target::new("cursor", cursor, || vec![VAULT.seal_cursor(7).expect("the cipher works").into_bytes()], WORDS),
    Target::new("national_number", national_number, || texts(&["85.07.30-033.28", "11030495678", "00000000097"]), WORDS),
    Target::new("hash_state", hash_state, hash_seeds, WORDS),
];

/// Size of the document in the first byte, the header after it.
fn range(data: &[u8]) -> bool {
    let Some((size, rest)) = data.split_first() else { return false };
    let header = text(rest);
    let _ = if_range_matches(Some(&header), "\"r1\"");
    for size in [u64::from(*size), u64::MAX] {
        let Ok(Selection::Parts(parts)) = select(Some(&header), size, 16) else { continue };
        assert!((1..=16).contains(&parts.len()), "{} parts", parts.len());
        assert!(parts.iter().all(|part| part.start < part.end && part.end <= size), "{parts:?} of {size}");
        assert!(parts.windows(2).all(|pair| pair[0].end < pair[1].start), "{parts:?}");
        let specs: Vec<String> = parts.iter().map(|part| format!("{}-{}", part.start, part.end - 1)).collect();
        let canonical = format!("bytes={}", specs.join(","));
        assert_eq!(select(Some(&canonical), size, 16), Ok(Selection::Parts(parts)), "{canonical}");
    }
    select(Some(&header), u64::from(*size), 16).is_ok()
}

fn etags(data: &[u8]) -> bool {
    let value = text(data);
    let Ok(tags) = Etags::parse(&value) else { return false };
    if let Etags::Listed(listed) = &tags {
        let shown: Vec<String> = listed.iter().map(|(weak, tag)| format!("{}{tag}", if *weak { "W/" } else { "" })).collect();
        assert_eq!(Etags::parse(&shown.join(", ")).as_ref(), Ok(&tags));
        assert!(listed.iter().all(|(weak, tag)| tags.matches_weakly(tag) && (*weak || tags.matches_strongly(tag))));
    }
    true
}

fn document_name(data: &[u8]) -> bool {
    let media_type = MediaType::new(&text(data));
    if let Ok(media_type) = &media_type {
        assert!(HeaderValue::from_str(media_type.as_str()).is_ok(), "a media type that is no header value");
    }
    let Ok(name) = DocumentName::from_bytes(data) else { return media_type.is_ok() };
    assert_eq!(name.as_str().as_bytes(), data);
    let disposition = name.content_disposition();
    assert!(disposition.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && disposition.matches('"').count() == 2, "{disposition}");
    // The extended form is that of a query but for two signs that it leaves as they are.
    let (_, encoded) = disposition.split_once("UTF-8''").expect("the form has both names");
    let query = format!("name={}", encoded.replace('+', "%2B").replace('&', "%26"));
    let back = Params::parse(Some(&query), &["name"]).expect("an encoded name decodes");
    assert_eq!(back.value("name"), Some(name.as_str()));
    true
}

fn label(data: &[u8]) -> bool {
    let Some(label) = Label::decode(data) else { return false };
    let again = label.encode().expect("a label is written as JSON");
    assert!(Label::decode(&again).is_some_and(|same| same == label));
    true
}

fn query(data: &[u8]) -> bool {
    let query = text(data);
    let Ok(params) = Params::parse(Some(&query), &["name", "limit", "cursor"]) else { return false };
    if let Ok(Some(limit)) = params.number("limit", 1..=200) {
        assert!((1..=200).contains(&limit));
    }
    if let Some(cursor) = params.value("cursor") {
        let _ = VAULT.open_cursor(cursor);
    }
    true
}

/// Lines of `name: value` as the head of a request; what is no field is left out.
fn head(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = line[at + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

fn head_seeds() -> Vec<Vec<u8>> {
    let digest = sha256_field_value(&[7; 32]);
    let metadata = STANDARD.encode("a.pdf");
    let tus = format!("Tus-Resumable: 1.0.0\nUpload-Length: 5\nUpload-Metadata: filename {metadata}\nRepr-Digest: {digest}");
    let put = format!("Content-Length: 5\nContent-Type: text/plain\nIdempotency-Key: k\nContent-Digest: {digest}\nIf-Match: \"r1\"");
    texts(&[tus.as_str(), put.as_str(), "If-None-Match: W/\"r1\", *\nCookie: a=b; __Host-kluis=x\nContent-Encoding: gzip"])
}

/// Everything that is read from the head of a request before its body.
fn request_head(data: &[u8]) -> bool {
    let headers = head(data);
    let caller = Caller {
        session: Session {
            id: SessionId([1; 32]),
            public_id: 1,
            account: AccountId(1),
            vault: VaultId(1),
            created_ms: 0,
            expires_ms: 1,
            acr: String::new(),
        },
        address: None,
    };
    let announced = documents::announced(&headers, BODY_BYTES_MAX);
    if let Ok(announced) = &announced {
        assert!(announced.length.is_none_or(|length| length <= BODY_BYTES_MAX));
    }
    let matched = documents::require_match(&headers, "\"r1\"").is_ok();
    let unchanged = documents::is_unchanged(&headers, "\"r1\"").is_ok();
    let typed = documents::media_type(&headers).is_ok();
    let key = documents::idempotency(&headers, &caller, &[b"request"]);
    if let Ok(key) = &key {
        assert_eq!(documents::idempotency(&headers, &caller, &[b"request"]).ok().as_ref(), Some(key));
    }
    let own = cookie(&headers, "__Host-kluis").is_some();
    let tus = tus_length(&headers, BODY_BYTES_MAX).is_ok();
    tus | key.is_ok() | (announced.is_ok() & matched & unchanged & typed) | own
}

fn field_seeds() -> Vec<Vec<u8>> {
    let metadata = format!("filename {},is_empty", STANDARD.encode("a.pdf"));
    vec![of_kind(0, b"18446744073709551615"), of_kind(1, metadata.as_bytes()), of_kind(2, sha256_field_value(&[7; 32]).as_bytes())]
}

/// Single fields of tus and of digests: what is taken is written and taken as the same.
fn tus_fields(data: &[u8]) -> bool {
    let (which, rest) = kind(data, 3);
    let value = text(rest);
    match which {
        0 => decimal(&value).is_ok_and(|number| {
            assert_eq!(decimal(&number.to_string()), Ok(number));
            true
        }),
        1 => upload_metadata(&value).is_ok_and(|pairs| {
            let shown: Vec<String> = pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).collect();
            assert_eq!(upload_metadata(&shown.join(",")), Ok(pairs));
            true
        }),
        _ => sha256_field(&value).is_ok_and(|digest| {
            assert!(digest.is_none_or(|digest| sha256_field(&sha256_field_value(&digest)) == Ok(Some(digest))));
            true
        }),
    }
}

/// A body for the one endpoint that takes JSON, and as any JSON.
fn json_body(data: &[u8]) -> bool {
    let any = json::read::<serde_json::Value>(data, JSON_DEPTH_MAX);
    if let Ok(value) = &any {
        let shown = serde_json::to_vec(value).expect("a value is written as JSON");
        assert!(json::read::<serde_json::Value>(&shown, JSON_DEPTH_MAX).is_ok());
    }
    let wanted = json::read::<NewUpload>(data, JSON_DEPTH_MAX).is_ok();
    assert!(any.is_ok() || !wanted, "a body that is not JSON was taken");
    wanted
}

fn bearer_token(data: &[u8]) -> bool {
    let given = text(data);
    let Ok(token) = BearerToken::parse(&given) else { return false };
    assert_eq!(token.to_text().as_str(), given, "a token has one text");
    true
}

static VAULT: LazyLock<OpenVault> = LazyLock::new(|| {
    let key = vault_key(&SecretKey::from_bytes([3; 32])).expect("the cipher works");
    let record = Vault {
        id: VaultId(1),
        owner: AccountId(1),
        keys: Vec::new(),
        quota_bytes: 0,
        used_bytes: 0,
        reserved_bytes: 0,
        documents: 0,
        strict: false,
    };
    OpenVault::with_key(record, Arc::new(key))
});

fn cursor(data: &[u8]) -> bool {
    let given = text(data);
    let Ok(at) = VAULT.open_cursor(&given) else { return false };
    assert_eq!(VAULT.seal_cursor(at).expect("the cipher works"), given, "a cursor has one text");
    true
}

fn national_number(data: &[u8]) -> bool {
    let Ok(number) = text(data).parse::<NationalNumber>() else { return false };
    assert_eq!(number.expose().len(), 11);
    assert!(number.expose().parse::<NationalNumber>().is_ok_and(|same| same.expose() == number.expose()));
    let birth = number.birth();
    assert!(birth.month <= 12 && birth.day <= 31, "{} {}", birth.month, birth.day);
    let _ = number.is_bis();
    true
}

fn hash_seeds() -> Vec<Vec<u8>> {
    let mut hash = Sha256::default();
    hash.update(&[9; 100]);
    vec![hash.export(), Sha256::default().export()]
}

/// A stored state of a running hash: any is taken that has the length, and goes on without harm.
fn hash_state(data: &[u8]) -> bool {
    let Some(mut hash) = Sha256::import(data) else { return false };
    let exported = hash.export();
    let mut same = Sha256::import(&exported).expect("what was exported is imported");
    for piece in [&b"one"[..], &[2; 130], b""] {
        hash.update(piece);
        same.update(piece);
    }
    assert_eq!(hash.finish(), same.finish());
    true
}
