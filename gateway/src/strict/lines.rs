//! Where the head of an HTTP/1.1 request ends, and whether every line of it ends as it must.
//!
//! Owns: CR LF as the one end of a line. Not: fields, lengths and bodies (hyper's parser), and how bytes come
//! in ([`super`]).
//! Holds: (1) a head that passes has no LF without a CR before it, so a lenient and a strict parser see the
//! same lines; (2) nothing here depends on how the bytes were cut into reads.

/// What a look at bytes of a head found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The head goes on behind these bytes.
    More,
    /// The head ends before this offset.
    End(usize),
    /// The byte at this offset is an LF without a CR before it.
    LoneLf(usize),
}

/// A head as far as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// A byte other than an empty line was there: empty lines before a request are skipped, not its end.
    begun: bool,
    /// The line at hand has a byte.
    filled: bool,
    /// The byte before was a CR.
    cr: bool,
}

impl Head {
    /// Looks at the next bytes. After [`Seen::End`] a new head begins; after [`Seen::LoneLf`] nothing does.
    pub fn look(&mut self, bytes: &[u8]) -> Seen {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if !self.cr => return Seen::LoneLf(at),
                b'\n' => {
                    if self.begun && !self.filled {
                        *self = Self::default();
                        return Seen::End(at + 1);
                    }
                    (self.filled, self.cr) = (false, false);
                }
                b'\r' if !self.cr => self.cr = true,
                other => {
                    self.cr = *other == b'\r';
                    (self.begun, self.filled) = (true, true);
                }
            }
        }
        Seen::More
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look(text: &str) -> Seen {
        Head::default().look(text.as_bytes())
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let head = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(look(head), Seen::End(head.len()));
        assert_eq!(look(&format!("{head}GET /")), Seen::End(head.len()));
        assert_eq!(look("GET / HTTP/1.1\r\nHost: x\r\n"), Seen::More);
        assert_eq!(look("GET /\r\n\r\n"), Seen::End(9));
        assert_eq!(look("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Seen::End(22), "empty lines before a request are not its end");
        assert_eq!(look("\r\r\n\r\n"), Seen::End(5), "a CR is a byte like others unless an LF follows");
        assert_eq!(look("a\r\n\r\r\n"), Seen::More, "and makes a line that is not empty");
    }

    #[test]
    fn a_lone_lf_is_found_wherever_it_stands() {
        assert_eq!(look("\n"), Seen::LoneLf(0));
        assert_eq!(look("GET / HTTP/1.1\nHost: x\r\n\r\n"), Seen::LoneLf(14));
        assert_eq!(look("GET / HTTP/1.1\r\nHost: x\n\r\n"), Seen::LoneLf(23));
        assert_eq!(look("GET / HTTP/1.1\r\nHost: x\r\n\n"), Seen::LoneLf(25));
        assert_eq!(look("GET / HTTP/1.1\r\nA: x\r y\nHost: x\r\n\r\n"), Seen::LoneLf(23));
        assert_eq!(look("GET / HTTP/1.1\r\n\r\n\n"), Seen::End(18), "what is behind a head is looked at when it is asked for");
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..24), cut in 0..24_usize) {
            let whole = Head::default().look(&bytes);
            let cut = cut.min(bytes.len());
            let mut head = Head::default();
            let parts = match head.look(&bytes[..cut]) {
                Seen::More => match head.look(&bytes[cut..]) {
                    Seen::More => Seen::More,
                    Seen::End(at) => Seen::End(at + cut),
                    Seen::LoneLf(at) => Seen::LoneLf(at + cut),
                },
                seen => seen,
            };
            prop_assert_eq!(whole, parts);
        }
    }
}
