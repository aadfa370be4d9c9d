//! The configuration as it was written: which keys there are, what was said for each, and where.
//!
//! Owns: reading of the file, of environment variables and flags; unknown names. Not: which keys there
//! are ([`super::schema`]), what values mean ([`super::checked`]).
//! Holds: reading never stops at the first error.

use std::{fmt, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Place, Problem,
    schema::{
        RawClock, RawDemo, RawDisks, RawGateway, RawIdentity, RawKeys, RawLimits, RawListen, RawLog, RawMail, RawNode, RawRaft,
        RawReconcile, RawScan, RawStorage, RawWebhooks, SectionSpec,
    },
    units::nearest,
};

/// A value as written, before anybody knows what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawValue {
    /// A text; every environment variable and flag is one.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A list.
    List(Vec<RawValue>),
    /// Something that no key takes, by its name in TOML.
    Other(&'static str),
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{item}")?;
                }
                f.write_str("]")
            }
            Self::Other(kind) => write!(f, "({kind})"),
        }
    }
}

/// A text as a TOML basic string.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A value and where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was said.
    pub value: RawValue,
    /// Where.
    pub place: Place,
}

/// Everything that was said.
#[derive(Debug, Clone, Default)]
pub struct RawConfig {
    /// `[node]`
    pub node: RawNode,
    /// `[listen]`
    pub listen: RawListen,
    /// `[disks]`
    pub disks: RawDisks,
    /// `[gateway]`
    pub gateway: RawGateway,
    /// `[[gateway.identity]]`
    pub identity: Vec<RawIdentity>,
    /// `[keys]`
    pub keys: RawKeys,
    /// `[storage]`
    pub storage: RawStorage,
    /// `[reconcile]`
    pub reconcile: RawReconcile,
    /// `[raft]`
    pub raft: RawRaft,
    /// `[limits]`
    pub limits: RawLimits,
    /// `[scan]`
    pub scan: RawScan,
    /// `[mail]`
    pub mail: RawMail,
    /// `[webhooks]`
    pub webhooks: RawWebhooks,
    /// `[log]`
    pub log: RawLog,
    /// `[clock]`
    pub clock: RawClock,
    /// `[demo]`
    pub demo: RawDemo,
}

/// The plain sections (all but `[[gateway.identity]]`), in the order of the file.
pub const SECTIONS: [&SectionSpec; 15] = [
    &RawNode::SPEC,
    &RawListen::SPEC,
    &RawDisks::SPEC,
    &RawGateway::SPEC,
    &RawKeys::SPEC,
    &RawStorage::SPEC,
    &RawReconcile::SPEC,
    &RawRaft::SPEC,
    &RawLimits::SPEC,
    &RawScan::SPEC,
    &RawMail::SPEC,
    &RawWebhooks::SPEC,
    &RawLog::SPEC,
    &RawClock::SPEC,
    &RawDemo::SPEC,
];

/// The keys of a section with what was written for them.
pub type SectionEntries<'a> = Vec<(&'static str, Option<&'a Entry>)>;

impl RawConfig {
    /// The defaults of the schema.
    pub fn defaults() -> Self {
        let mut text = String::new();
        for section in SECTIONS {
            text.push_str(&format!("[{}]\n", section.name));
            push_defaults(&mut text, section);
        }
        let mut problems = Vec::new();
        let mut raw = Self::default();
        raw.read(&text, &|_| Place::Default, &mut problems);
        debug_assert!(problems.is_empty(), "{problems:?}");
        raw
    }

    /// Takes over what a file says, over what was there; adds what is wrong with it to `problems`.
    pub fn read_file(&mut self, text: &str, problems: &mut Vec<Problem>) {
        let starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.read(text, &|span| Place::Line(starts.partition_point(|start| *start <= span.start).max(1)), problems);
    }

    fn read(&mut self, text: &str, place: &dyn Fn(Range<usize>) -> Place, problems: &mut Vec<Problem>) {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(Place::File, place);
            problems.push(Problem::new(at, "", error.message().replace('\n', ", ")));
        }
        for (name, value) in document.get_ref() {
            let at = place(name.span());
            let section: &str = name.get_ref();
            let Some(spec) = section_spec(section) else {
                let hint = hint(section, SECTIONS.iter().map(|s| s.name));
                problems.push(Problem::new(at, section, format!("there is no section [{section}]{hint}")));
                continue;
            };
            let DeValue::Table(table) = value.get_ref() else {
                problems.push(Problem::new(at, section, format!("[{section}] is a section, not a value")));
                continue;
            };
            for (key, value) in table {
                let key_name: &str = key.get_ref();
                if section == "gateway" && key_name == "identity" {
                    self.read_identities(value, place, problems);
                    continue;
                }
                let entry = Entry { value: raw_value(value.get_ref()), place: place(value.span()) };
                match self.slot(section, key_name) {
                    Some(slot) => *slot = Some(entry),
                    None => problems.push(unknown_key(place(key.span()), section, key_name, spec)),
                }
            }
        }
    }

    fn read_identities(&mut self, value: &Spanned<DeValue<'_>>, place: &dyn Fn(Range<usize>) -> Place, problems: &mut Vec<Problem>) {
        let DeValue::Array(items) = value.get_ref() else {
            problems.push(Problem::new(place(value.span()), "gateway.identity", "is written [[gateway.identity]], once a provider"));
            return;
        };
        self.identity.clear();
        for item in items {
            let DeValue::Table(table) = item.get_ref() else {
                problems.push(Problem::new(place(item.span()), "gateway.identity", "is written [[gateway.identity]], once a provider"));
                continue;
            };
            let mut identity = RawIdentity::defaults();
            for (key, value) in table {
                let key_name: &str = key.get_ref();
                let entry = Entry { value: raw_value(value.get_ref()), place: place(value.span()) };
                match identity.slot(key_name) {
                    Some(slot) => *slot = Some(entry),
                    None => problems.push(unknown_key(place(key.span()), "gateway.identity", key_name, &RawIdentity::SPEC)),
                }
            }
            self.identity.push(identity);
        }
    }

    /// Takes over what environment variables say: `KLUIS_SECTION_KEY`, and `KLUIS_LOG` for the level.
    /// A variable of a known section with an unknown key is a problem; other variables are not ours.
    pub fn read_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>, problems: &mut Vec<Problem>) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix("KLUIS_") else { continue };
            let rest = rest.to_ascii_lowercase();
            let entry = Entry { value: RawValue::Text(value), place: Place::Environment(name.clone()) };
            if rest == "log" {
                self.log.level = Some(entry);
                continue;
            }
            let Some((section, key)) = rest.split_once('_') else { continue };
            let Some(spec) = section_spec(section) else { continue };
            match self.slot(section, key) {
                Some(slot) => *slot = Some(entry),
                None => problems.push(unknown_key(Place::Environment(name), section, key, spec)),
            }
        }
    }

    /// Takes over what flags say (`--set section.key=value`).
    pub fn read_flags(&mut self, flags: &[(String, String)], problems: &mut Vec<Problem>) {
        for (name, value) in flags {
            let known = name.split_once('.').and_then(|(section, key)| Some((section, key, section_spec(section)?)));
            let Some((section, key, spec)) = known else {
                let hint = hint(name, SECTIONS.iter().map(|s| s.name));
                problems.push(Problem::new(Place::Flag, name, format!("is not of the form section.key{hint}")));
                continue;
            };
            match self.slot(section, key) {
                Some(slot) => *slot = Some(Entry { value: RawValue::Text(value.clone()), place: Place::Flag }),
                None => problems.push(unknown_key(Place::Flag, section, key, spec)),
            }
        }
    }

    fn slot(&mut self, section: &str, key: &str) -> Option<&mut Option<Entry>> {
        match section {
            "node" => self.node.slot(key),
            "listen" => self.listen.slot(key),
            "disks" => self.disks.slot(key),
            "gateway" => self.gateway.slot(key),
            "keys" => self.keys.slot(key),
            "storage" => self.storage.slot(key),
            "reconcile" => self.reconcile.slot(key),
            "raft" => self.raft.slot(key),
            "limits" => self.limits.slot(key),
            "scan" => self.scan.slot(key),
            "mail" => self.mail.slot(key),
            "webhooks" => self.webhooks.slot(key),
            "log" => self.log.slot(key),
            "clock" => self.clock.slot(key),
            "demo" => self.demo.slot(key),
            _ => None,
        }
    }

    /// What was said for each key, by section, in order of the schema.
    pub fn entries(&self) -> Vec<(String, SectionEntries<'_>)> {
        let Self { node, listen, disks, gateway, identity, keys, storage, reconcile, raft, limits, scan, mail, webhooks, log, clock, demo } =
            self;
        let mut all = vec![
            ("[node]".to_owned(), node.entries()),
            ("[listen]".to_owned(), listen.entries()),
            ("[disks]".to_owned(), disks.entries()),
            ("[gateway]".to_owned(), gateway.entries()),
        ];
        all.extend(identity.iter().map(|i| ("[[gateway.identity]]".to_owned(), i.entries())));
        all.extend([
            ("[keys]".to_owned(), keys.entries()),
            ("[storage]".to_owned(), storage.entries()),
            ("[reconcile]".to_owned(), reconcile.entries()),
            ("[raft]".to_owned(), raft.entries()),
            ("[limits]".to_owned(), limits.entries()),
            ("[scan]".to_owned(), scan.entries()),
            ("[mail]".to_owned(), mail.entries()),
            ("[webhooks]".to_owned(), webhooks.entries()),
            ("[log]".to_owned(), log.entries()),
            ("[clock]".to_owned(), clock.entries()),
            ("[demo]".to_owned(), demo.entries()),
        ]);
        all
    }
}

impl RawIdentity {
    /// A provider of which nothing was said yet.
    fn defaults() -> Self {
        let mut text = String::new();
        push_defaults(&mut text, &Self::SPEC);
        let (document, _) = DeTable::parse_recoverable(&text);
        let mut identity = Self::default();
        for (key, value) in document.get_ref() {
            if let Some(slot) = identity.slot(key.get_ref()) {
                *slot = Some(Entry { value: raw_value(value.get_ref()), place: Place::Default });
            }
        }
        identity
    }
}

fn section_spec(name: &str) -> Option<&'static SectionSpec> {
    SECTIONS.into_iter().find(|s| s.name == name)
}

fn push_defaults(text: &mut String, section: &SectionSpec) {
    for key in section.keys.iter().filter(|k| !k.default.is_empty()) {
        text.push_str(&format!("{} = {}\n", key.key, key.default));
    }
}

fn unknown_key(place: Place, section: &str, key: &str, spec: &SectionSpec) -> Problem {
    let hint = hint(key, spec.keys.iter().map(|k| k.key));
    Problem::new(place, &format!("{section}.{key}"), format!("there is no such key{hint}"))
}

fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default()
}

fn raw_value(value: &DeValue<'_>) -> RawValue {
    match value {
        DeValue::String(text) => RawValue::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => RawValue::Integer(number),
            Err(_) => RawValue::Other("a number that is too large"),
        },
        DeValue::Boolean(value) => RawValue::Boolean(*value),
        DeValue::Array(items) => RawValue::List(items.iter().map(|item| raw_value(item.get_ref())).collect()),
        DeValue::Float(_) => RawValue::Other("a number with a fraction"),
        DeValue::Datetime(_) => RawValue::Other("a date"),
        DeValue::Table(_) => RawValue::Other("a table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (RawConfig, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut raw = RawConfig::defaults();
        raw.read_file(text, &mut problems);
        (raw, problems)
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let (raw, problems) = read("[node]\ndir = \"/x\"\n\n[storage]\nqueue_bytes = \"1 GiB\"\n");
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(raw.node.dir.unwrap().place, Place::Line(2));
        assert_eq!(raw.storage.queue_bytes.unwrap().place, Place::Line(5));
        assert_eq!(raw.storage.segment_bytes.unwrap().place, Place::Default);
    }

    #[test]
    fn unknown_names_are_reported_with_the_nearest_all_at_once() {
        let (_, problems) = read("[nod]\ndir = 1\n[storage]\nsegmnt_bytes = 1\nxyzzy = 2\n[[gateway.identity]]\nisuer = \"x\"\n");
        let shown: Vec<String> = problems.iter().map(|p| p.text.clone()).collect();
        assert_eq!(problems.len(), 4, "{shown:?}");
        let all = shown.join("\n");
        for near in ["\"node\"", "\"segment_bytes\"", "\"issuer\""] {
            assert!(all.contains(near), "{near} in {all}");
        }
        assert!(problems.iter().any(|p| p.key == "storage.xyzzy" && !p.text.contains("did you mean")));
    }

    #[test]
    fn a_broken_file_is_a_problem_with_a_line_and_not_a_panic() {
        for bad in ["[node\ndir=1", "dir == 2", "[node]\ndir = \"x", "\u{0}", "[node]\ndir='a'\ndir='b'"] {
            let (_, problems) = read(bad);
            assert!(problems.iter().any(|p| matches!(p.place, Place::Line(_))), "{bad:?}: {problems:?}");
        }
    }

    #[test]
    fn the_environment_overrides_the_file_and_its_typing_errors_are_caught() {
        let mut problems = Vec::new();
        let mut raw = RawConfig::defaults();
        let variables = [
            ("KLUIS_STORAGE_QUEUE_BYTES", "1 GiB"),
            ("KLUIS_LOG", "debug"),
            ("KLUIS_GATEWAY", "https://127.0.0.1:1"),
            ("KLUIS_STORAGE_QUEU_BYTES", "1 GiB"),
            ("PATH", "/bin"),
        ];
        raw.read_environment(variables.map(|(k, v)| (k.to_owned(), v.to_owned())), &mut problems);
        assert_eq!(raw.storage.queue_bytes.unwrap().value, RawValue::Text("1 GiB".into()));
        assert_eq!(raw.log.level.unwrap().value, RawValue::Text("debug".into()));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].to_string().contains("queue_bytes"));
    }

    #[test]
    fn quoted_text_reads_back() {
        for text in ["plain", "a\"b\\c", "line\nbreak\t\u{7f}", "é"] {
            let (raw, problems) = read(&format!("[node]\ndir = {}\n", quoted(text)));
            assert!(problems.is_empty(), "{problems:?}");
            assert_eq!(raw.node.dir.unwrap().value, RawValue::Text(text.into()));
        }
    }
}
