//! Dictionaries: the words that inputs of a family are made of, in libFuzzer's form, read here too.
//!
//! ```text
//! # comment
//! "word"
//! name="word with \x00 bytes, \" and \\"
//! ```
//! Owns: reading that form. Not: the words (`tests/fuzz/dictionaries/`).
//! Holds: a line that is none of these is an error, for libFuzzer would refuse the whole file.

/// The words of a dictionary.
///
/// # Errors
/// The first line that is not of the form.
pub fn words(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| word(line).ok_or_else(|| format!("not a word of a dictionary: {line}"))).collect()
}

fn word(line: &str) -> Option<Vec<u8>> {
    let (_, quoted) = line.split_at(line.find('"')?);
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' => match bytes.next()? {
                b'x' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                }
                escaped @ (b'\\' | b'"') => out.push(escaped),
                _ => return None,
            },
            plain => out.push(plain),
        }
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_other_lines_refused() {
        let text = "# words\n\"a\\x00b\"\n\nquote=\"\\\"\\\\\"\n";
        assert_eq!(words(text), Ok(vec![b"a\0b".to_vec(), b"\"\\".to_vec()]));
        for bad in ["a", "\"\"", "\"a", "\"\\y\"", "\"\\x0\"", "\"a\"b\""] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }
}
