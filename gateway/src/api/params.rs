//! Query strings, read strictly: every parameter known, given once, well encoded.
//!
//! Owns: splitting and decoding. Not: what a parameter means.
//! Holds: a misspelt or doubled parameter is an error and never silently ignored.
//! The usual form decoder is not used because it replaces invalid UTF-8 and keeps broken escapes.

use crate::problem::{Code, Problem};

/// The parameters of one request.
#[derive(Debug)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `query`; `known` are the names that the route takes.
    ///
    /// # Errors
    /// 400 `bad_parameter`, or `bad_name` where the parameter is `name`.
    pub fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut found: Vec<(String, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = decode(key).ok_or_else(|| bad("query", "a name is not valid UTF-8 in percent encoding"))?;
            if !known.contains(&key.as_str()) {
                return Err(bad("query", "unknown parameter").with_error(shown(&key), format!("known: {}", known.join(", "))));
            }
            if found.iter().any(|(k, _)| *k == key) {
                return Err(bad(&key, "given twice"));
            }
            let Some(value) = decode(value) else {
                let code = if key == "name" { Code::BadName } else { Code::BadParameter };
                return Err(Problem::new(code, format!("{key}: not valid UTF-8 in percent encoding")));
            };
            found.push((key, value));
        }
        Ok(Self(found))
    }

    /// The value of a parameter.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// The value of a parameter as a number in a range.
    ///
    /// # Errors
    /// 400 `bad_parameter`.
    pub fn number(&self, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(text) = self.value(name) else { return Ok(None) };
        match crate::upload::decimal(text) {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(bad(name, &format!("a number from {} to {} is wanted", range.start(), range.end()))),
        }
    }
}

fn bad(name: &str, why: &str) -> Problem {
    Problem::new(Code::BadParameter, format!("{name}: {why}"))
}

fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

/// Percent and plus decoding; `None` for a broken escape or invalid UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    #[test]
    fn decodes_and_refuses() {
        let params = Params::parse(Some("name=a%20b+c%2F..&limit=5"), &["name", "limit"]).unwrap();
        assert_eq!(params.value("name"), Some("a b c/.."));
        assert_eq!(params.number("limit", 1..=200).unwrap(), Some(5));
        assert!(params.number("limit", 1..=4).is_err());
        for (query, code) in [
            ("name=%zz", Code::BadName),
            ("name=%ff", Code::BadName),
            ("name=%", Code::BadName),
            ("limit=%zz", Code::BadParameter),
            ("nmae=x", Code::BadParameter),
            ("name=a&name=b", Code::BadParameter),
        ] {
            assert_eq!(Params::parse(Some(query), &["name", "limit"]).unwrap_err().code, code, "{query}");
        }
    }

    proptest! {
        #[test]
        fn encoded_text_comes_back(text in ".{0,60}") {
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
            assert_eq!(decode(&encoded), Some(text));
        }
    }
}
