//! What is remembered of the device that signs in: coarse, for the list of devices that a person sees.
//!
//! Owns: reading a `User-Agent`. Not: the device's records, which are sealed.
//! Holds: (1) whatever the header says, what is kept is one of a few words: nothing in it is a stranger's text; (2) it
//! is too coarse to follow somebody by, and proves nothing: it only helps to recognise.

use std::net::IpAddr;

/// Most bytes of a header that are looked at.
const AGENT_BYTES_MAX: usize = 512;

/// Programs, the more special name first: most of them name others too.
const PROGRAMS: [(&str, &str); 9] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
    ("kluis/", "kluis"),
];
/// Systems, the more special name first.
const SYSTEMS: [(&str, &str); 7] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];

/// The device that a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Program.
    pub program: &'static str,
    /// Operating system.
    pub system: &'static str,
    /// Network address, where it is known.
    pub address: Option<IpAddr>,
}

impl Default for Device {
    fn default() -> Self {
        Self { program: "unknown", system: "unknown", address: None }
    }
}

impl Device {
    /// The device behind a `User-Agent` and an address.
    pub fn new(agent: Option<&str>, address: Option<IpAddr>) -> Self {
        let agent = agent.filter(|agent| agent.len() <= AGENT_BYTES_MAX).unwrap_or_default();
        let find = |table: &[(&str, &'static str)]| table.iter().find(|(mark, _)| agent.contains(mark)).map_or("unknown", |(_, name)| name);
        Self { program: find(&PROGRAMS), system: find(&SYSTEMS), address }
    }

    /// What tells devices apart: not the address, which changes on the way to work.
    pub fn label(&self) -> String {
        format!("{} on {}", self.program, self.system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_devices_are_named_and_others_are_not_repeated() {
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0";
        let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1";
        let label = |agent| Device::new(agent, None).label();
        assert_eq!(label(Some(firefox)), "Firefox on Linux");
        assert_eq!(label(Some(edge)), "Edge on Windows");
        assert_eq!(label(Some(phone)), "Safari on iPhone");
        for strange in [None, Some(""), Some("<script>"), Some(&*"Firefox/".repeat(100))] {
            assert_eq!(label(strange), "unknown on unknown");
        }
    }
}
