//! JSON bodies, read strictly.
//!
//! Owns: the bounds (length, depth) and the refusal of doubled and unknown members, each named. Not: what
//! a body means.
//! Holds: a body is checked whole before any of it is used; two parsers can never read two meanings out of
//! one body, for doubled members are refused.

use std::fmt;

use axum::body::Body;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::Gateway;
use crate::problem::{Code, Problem};

/// Marks the error of a too deep body among serde's errors, which are only text.
const TOO_DEEP: &str = "nested deeper than allowed";

/// The value of type `T` in the body of a request. `T` must deny unknown fields.
///
/// # Errors
/// 415 for another media type, 413 when it is too long, 400 as [`read`].
pub async fn body<T: DeserializeOwned>(gateway: &Gateway, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    of_type(gateway, headers, body, &["application/json"]).await
}

/// A JSON merge patch (RFC 7396), as [`body`]: a member that is not there stays, one that is null goes ([`given`]).
///
/// # Errors
/// As [`body`].
pub async fn patch<T: DeserializeOwned>(gateway: &Gateway, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    of_type(gateway, headers, body, &["application/merge-patch+json", "application/json"]).await
}

/// Reads a member of a merge patch: `None` is not there, `Some(None)` is null.
///
/// # Errors
/// What the deserializer says.
pub fn given<'de, T: serde::Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    <Option<T> as serde::Deserialize>::deserialize(deserializer).map(Some)
}

async fn of_type<T: DeserializeOwned>(gateway: &Gateway, headers: &HeaderMap, body: Body, types: &[&str]) -> Result<T, Problem> {
    let limits = gateway.limits();
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|text| text.split(';').next());
    if !media_type.is_some_and(|text| types.iter().any(|known| text.trim().eq_ignore_ascii_case(known))) {
        return Err(Problem::new(Code::MediaTypeRefused, format!("send a body of type {}", types.join(" or "))));
    }
    let body = http_body_util::Limited::new(body, limits.json_max_bytes).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            Problem::new(Code::TooLarge, format!("a JSON body has at most {} bytes", limits.json_max_bytes))
        } else {
            Problem::new(Code::LengthMismatch, "the body ended before its announced end")
        }
    })?;
    read(&body.to_bytes(), limits.json_depth_max)
}

/// The value of type `T` in `body`, nested at most `depth_max` deep. `T` must deny unknown fields.
///
/// # Errors
/// 400 `bad_json` or `json_too_deep`, with the member in `errors[]`.
pub fn read<T: DeserializeOwned>(body: &[u8], depth_max: usize) -> Result<T, Problem> {
    let mut path = String::new();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Strict { depth_left: depth_max, path: &mut path }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    let value = value.map_err(|error| {
        let text = error.to_string();
        let code = if text.contains(TOO_DEEP) { Code::JsonTooDeep } else { Code::BadJson };
        Problem::new(code, "the body is not the JSON that is wanted").with_error(path, text)
    })?;
    serde_json::from_value(value)
        .map_err(|error| Problem::new(Code::BadJson, "the body is not the JSON that is wanted").with_error("", error.to_string()))
}

/// Builds a value while it counts levels and remembers where it is.
struct Strict<'a> {
    depth_left: usize,
    path: &'a mut String,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| A::Error::custom(TOO_DEEP))?;
        let mut items = Vec::new();
        let len = self.path.len();
        loop {
            self.path.push_str(&format!("/{}", items.len()));
            let Some(item) = seq.next_element_seed(Strict { depth_left, path: &mut *self.path })? else { break };
            self.path.truncate(len);
            items.push(item);
        }
        self.path.truncate(len);
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| A::Error::custom(TOO_DEEP))?;
        let mut members = Map::new();
        let len = self.path.len();
        while let Some(key) = map.next_key::<String>()? {
            let shown: String = key.chars().take(64).collect();
            self.path.push('/');
            self.path.push_str(&shown.replace('~', "~0").replace('/', "~1"));
            if members.contains_key(&key) {
                return Err(A::Error::custom("the member is given twice"));
            }
            let value = map.next_value_seed(Strict { depth_left, path: &mut *self.path })?;
            self.path.truncate(len);
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        name: String,
        length: Option<u64>,
    }

    fn refused(text: &str) -> Problem {
        read::<Body>(text.as_bytes(), 4).unwrap_err()
    }

    #[test]
    fn reads_what_is_wanted() {
        let body: Body = read(br#"{"name": "a", "length": 3}"#, 4).unwrap();
        assert_eq!(body, Body { name: "a".into(), length: Some(3) });
    }

    #[test]
    fn names_what_is_wrong() {
        let twice = refused(r#"{"name": "a", "name": "b"}"#);
        assert_eq!((twice.code, twice.errors[0].pointer.as_str()), (Code::BadJson, "/name"));
        let unknown = refused(r#"{"name": "a", "nmae": "b"}"#);
        assert!(unknown.errors[0].detail.contains("nmae"), "{unknown:?}");
        assert_eq!(refused(&format!("{}1{}", "[".repeat(60_000), "]".repeat(60_000))).code, Code::JsonTooDeep);
        assert_eq!(refused(r#"{"a":{"b":{"c":{"d":{}}}}}"#).code, Code::JsonTooDeep);
        for bad in ["", "{", "{}", "{} {}", "null", r#"{"name": 1}"#, "{\"name\": \"\u{1}\"}", r#"{"name":"a","length":-1}"#, "\u{feff}{}"]
        {
            assert_eq!(refused(bad).code, Code::BadJson, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read::<Body>(&bytes, 4);
        }
    }
}
