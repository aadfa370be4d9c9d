//! Where a webhook may lead: its address as a person gives it, and the network addresses that its name has.
//!
//! Owns: both rules, as pure functions. Not: resolving and connecting ([`super::webhook`]).
//! Holds: (1) nothing is ever posted into a network of ours: not by number in any spelling, not by a name, not by a
//! name that changes between the look and the connection, for each address is judged as it is connected to; (2) where a
//! test or a demo lets webhooks lead to this machine, they do so by number only, never by name; (3) only what is known
//! to be public is taken: a range that is given out tomorrow is refused until somebody adds it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Most bytes of an address.
pub const URL_BYTES_MAX: usize = 1024;
/// Ends of names that are never public (RFC 6761, 6762, 7686, 8375, 9476, and ICANN's `internal`).
const INNER_NAMES: [&str; 9] = ["localhost", "local", "internal", "home.arpa", "test", "example", "invalid", "onion", "alt"];

/// Why an address is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// It is no address, or too long.
    #[error("this is no address of at most {URL_BYTES_MAX} bytes, as in https://example.org/hook")]
    Malformed,
    /// Its scheme is another.
    #[error("only https is taken")]
    Scheme,
    /// It holds a name or a password, or a fragment.
    #[error("an address with a user, a password or a fragment is not taken")]
    Extra,
    /// It leads to a network that is not public.
    #[error("the address does not lead to the public network")]
    Inner,
}

/// The address of a webhook that may be posted to, as far as that can be told before its name is resolved.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// A path may hold a secret.
impl std::fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookUrl(..)")
    }
}

impl WebhookUrl {
    /// The address in `text`; with `loopback`, also one of this machine by number, over http too.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn parse(text: &str, loopback: bool) -> Result<Self, UrlRefused> {
        if text.len() > URL_BYTES_MAX || text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(UrlRefused::Malformed);
        }
        // This reads every spelling of a number (decimal, octal, hexadecimal, short) as clients do, and says what it is.
        let url = Url::parse(text).map_err(|_| UrlRefused::Malformed)?;
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(UrlRefused::Malformed);
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        let is_loopback = literal.is_some_and(|address| address.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if loopback && is_loopback => {}
            _ => return Err(UrlRefused::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(UrlRefused::Extra);
        }
        let is_taken = match (url.host(), literal) {
            (_, Some(address)) => may_connect(address, loopback),
            (Some(Host::Domain(name)), None) => is_public_name(name),
            _ => return Err(UrlRefused::Malformed),
        };
        if is_taken { Ok(Self(url)) } else { Err(UrlRefused::Inner) }
    }

    /// As text, in the form in which it is used.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// As an address.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// The network address that stands in it, if it has no name.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        match self.0.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        }
    }
}

/// A name of at least two parts that could be one of the public network.
fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_inner = |end: &str| name == end || name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
    name.contains('.') && !INNER_NAMES.into_iter().any(is_inner)
}

/// Whether a webhook whose address is this number may be connected to.
pub fn may_connect(address: IpAddr, loopback: bool) -> bool {
    is_public(address) || (loopback && address.is_loopback())
}

/// Whether an address is one of the public network.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Blocks of IPv4 that are not public (IANA's registry of special addresses): first address, bits.
const INNER_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    !INNER_V4.iter().any(|(first, bits)| (u32::from(address) ^ u32::from(*first)) >> (32 - bits) == 0)
}

/// Blocks of `2000::/3` that are not public, or hold an IPv4 address in themselves (Teredo, 6to4): first address, bits.
const INNER_V6: [(Ipv6Addr, u32); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Of IPv6 only `2000::/3` is given out: what is mapped from IPv4, local, or multicast lies outside.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = u128::from(address);
    bits >> 125 == 1 && !INNER_V6.iter().any(|(first, len)| (bits ^ u128::from(*first)) >> (128 - len) == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_public_targets_are_taken() {
        for good in [
            "https://hooks.example.org/a?b=c",
            "https://93.184.216.34/x",
            "https://[2606:2800:220:1::1]:8443/",
            "HTTPS://Hooks.Example.org",
        ] {
            assert!(WebhookUrl::parse(good, false).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", UrlRefused::Malformed),
            ("hooks.example.org", UrlRefused::Malformed),
            ("https://", UrlRefused::Malformed),
            ("https://a b.example.org/", UrlRefused::Malformed),
            ("https://hooks.example.org/\n", UrlRefused::Malformed),
            ("http://hooks.example.org/", UrlRefused::Scheme),
            ("http://127.0.0.1/", UrlRefused::Scheme),
            ("file:///etc/passwd", UrlRefused::Scheme),
            ("ftp://hooks.example.org/", UrlRefused::Scheme),
            ("https://user@hooks.example.org/", UrlRefused::Extra),
            ("https://user:secret@hooks.example.org/", UrlRefused::Extra),
            ("https://hooks.example.org/#a", UrlRefused::Extra),
            ("https://localhost/", UrlRefused::Inner),
            ("https://a.localhost/", UrlRefused::Inner),
            ("https://printer.local/", UrlRefused::Inner),
            ("https://metadata.google.internal/", UrlRefused::Inner),
            ("https://metadata/", UrlRefused::Inner),
            ("https://127.0.0.1/", UrlRefused::Inner),
            ("https://2130706433/", UrlRefused::Inner),
            ("https://0x7f.1/", UrlRefused::Inner),
            ("https://0177.0.0.1/", UrlRefused::Inner),
            ("https://169.254.169.254/latest/meta-data/", UrlRefused::Inner),
            ("https://10.1.2.3/", UrlRefused::Inner),
            ("https://172.31.255.255/", UrlRefused::Inner),
            ("https://192.168.0.1/", UrlRefused::Inner),
            ("https://100.64.0.1/", UrlRefused::Inner),
            ("https://0.0.0.0/", UrlRefused::Inner),
            ("https://224.0.0.1/", UrlRefused::Inner),
            ("https://255.255.255.255/", UrlRefused::Inner),
            ("https://[::1]/", UrlRefused::Inner),
            ("https://[::]/", UrlRefused::Inner),
            ("https://[::ffff:93.184.216.34]/", UrlRefused::Inner),
            ("https://[::ffff:127.0.0.1]/", UrlRefused::Inner),
            ("https://[64:ff9b::7f00:1]/", UrlRefused::Inner),
            ("https://[2002:7f00:1::]/", UrlRefused::Inner),
            ("https://[fe80::1]/", UrlRefused::Inner),
            ("https://[fd00:ec2::254]/", UrlRefused::Inner),
            ("https://[ff02::1]/", UrlRefused::Inner),
        ] {
            assert_eq!(WebhookUrl::parse(bad, false), Err(why), "{bad}");
        }
        let long = format!("https://hooks.example.org/{}", "a".repeat(URL_BYTES_MAX));
        assert_eq!(WebhookUrl::parse(&long, false), Err(UrlRefused::Malformed));
    }

    #[test]
    fn this_machine_is_reached_by_number_only_and_only_where_it_may() {
        for good in ["http://127.0.0.1:8080/", "https://127.0.0.1:8443/", "http://[::1]:8080/"] {
            assert!(WebhookUrl::parse(good, true).is_ok(), "{good}");
            assert!(WebhookUrl::parse(good, false).is_err(), "{good}");
        }
        for bad in ["http://localhost/", "https://localhost/", "http://10.0.0.1/", "http://[::ffff:127.0.0.1]/", "https://169.254.169.254/"]
        {
            assert!(WebhookUrl::parse(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn blocks_end_where_they_end() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "223.255.255.255",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for inner in [
            "10.255.255.255",
            "100.127.255.255",
            "172.16.0.0",
            "198.19.255.255",
            "239.1.1.1",
            "240.0.0.1",
            "2001:1ff::1",
            "2001:db8::1",
            "::7f00:1",
            "4000::1",
        ] {
            assert!(!is_public(inner.parse().unwrap()), "{inner}");
        }
    }

    proptest! {
        #[test]
        fn mapped_addresses_are_never_public(v4: u32, v6: u128) {
            prop_assert!(!is_public(IpAddr::V6(Ipv4Addr::from(v4).to_ipv6_mapped())));
            prop_assert!(!is_public(IpAddr::V6(Ipv4Addr::from(v4).to_ipv6_compatible())));
            let address = Ipv6Addr::from(v6);
            prop_assert!(!is_public(IpAddr::V6(address)) || !(address.is_loopback() || address.is_multicast() || address.is_unspecified()));
        }

        #[test]
        fn what_is_taken_is_taken_again_in_the_same_form(text in "https://[a-z0-9.:\\[\\]]{0,20}(/[ -~]{0,20})?", loopback: bool) {
            if let Ok(url) = WebhookUrl::parse(&text, loopback) {
                prop_assert_eq!(WebhookUrl::parse(url.as_str(), loopback), Ok(url.clone()));
            }
        }
    }
}
