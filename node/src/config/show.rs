//! The configuration as text for people: an example file with every key, and what is in force from where.
//!
//! Owns: the two renderings. Not: files, flags, checks.
//! Holds: (1) the example names every key of the schema; as it is printed it passes the check, and so do the forms
//! of all of it when every key is un-commented; (2) a `#` right before a word stands before a key, never before prose.

use std::path::Path;

use super::{
    Place,
    raw::{RawConfig, SECTIONS},
    schema::{Needed, RawIdentity, SectionSpec},
};

/// A file with every key that serves as it is once the required values are those of the node: what may be
/// absent is commented out, with its default or, where it has none, an example.
pub fn example() -> String {
    let mut out = String::from(
        "# kluis.toml: every key of a node's configuration.\n\
         # What is required on every node is set below: make the values those of this node. All else is commented out\n\
         # and shows its default, or an example where it has none; a key that is required says where. Take away the `#`\n\
         # right before a key to set it. KLUIS_SECTION_KEY in the environment goes over this file, `--set\n\
         # section.key=value` over both. Sizes and durations carry their unit.\n",
    );
    for section in SECTIONS {
        out.push_str(&format!("\n#{}\n[{}]\n", section.doc.trim_end().replace('\n', "\n#"), section.name));
        push_keys(&mut out, section);
        if section.name == "gateway" {
            out.push_str(&format!("\n#{}\n#[[gateway.identity]]\n", RawIdentity::SPEC.doc.trim_end()));
            push_keys(&mut out, &RawIdentity::SPEC);
        }
    }
    out
}

fn push_keys(out: &mut String, section: &SectionSpec) {
    for key in section.keys {
        for line in key.doc.lines() {
            out.push_str(&format!("#{line}\n"));
        }
        let off = match key.needed {
            Needed::Always => {
                out.push_str("# Required.\n");
                ""
            }
            Needed::Where(words) => {
                out.push_str(&format!("# Required {words}.\n"));
                "#"
            }
            Needed::Never => "#",
        };
        let value = if key.default.is_empty() { key.example } else { key.default };
        out.push_str(&format!("{off}{} = {value}\n", key.key));
    }
}

/// What is in force; with `origin`, where each value was said. Secrets are in files, never in values.
pub fn in_force(raw: &RawConfig, file: &Path, origin: bool) -> String {
    let mut out = String::new();
    for (heading, entries) in raw.entries() {
        out.push_str(&format!("{heading}\n"));
        for (key, entry) in entries {
            let Some(entry) = entry else { continue };
            out.push_str(&format!("{key} = {}", entry.value));
            if origin {
                let from = match &entry.place {
                    Place::Default => "default".to_owned(),
                    Place::File => file.display().to_string(),
                    Place::Line(line) => format!("{}:{line}", file.display()),
                    Place::Environment(name) => format!("${name}"),
                    Place::Flag => "--set".to_owned(),
                };
                out.push_str(&format!("  # {from}"));
            }
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example with the `#` right before every key and heading taken away.
    fn uncommented() -> String {
        let bare = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned();
        example().lines().map(|line| bare(line) + "\n").collect()
    }

    fn read(text: &str) -> RawConfig {
        let mut problems = Vec::new();
        let mut raw = RawConfig::defaults();
        raw.read_file(text, &mut problems);
        assert!(problems.is_empty(), "{problems:?}\n{text}");
        raw
    }

    #[test]
    fn the_example_names_every_key_and_has_the_right_forms() {
        let text = uncommented();
        let raw = read(&text);
        assert_eq!(raw.identity.len(), 1);
        for section in SECTIONS.into_iter().chain([&RawIdentity::SPEC]) {
            for key in section.keys {
                assert!(text.lines().any(|line| line.starts_with(&format!("{} = ", key.key))), "{}.{}", section.name, key.key);
                assert!(!key.default.is_empty() || !key.example.is_empty(), "{}.{} has neither default nor example", section.name, key.key);
                assert!(key.default.is_empty() || key.needed == Needed::Never, "{}.{} has a default and is needed", section.name, key.key);
            }
        }
        for (_, entries) in raw.entries() {
            for (key, entry) in entries {
                assert!(entry.is_some_and(|entry| entry.place != Place::Default), "{key} has a value in the example");
            }
        }
    }

    #[test]
    fn as_it_is_printed_only_what_is_required_is_said() {
        let raw = read(&example());
        assert!(raw.identity.is_empty());
        let required = SECTIONS.into_iter().flat_map(|section| section.keys).filter(|key| key.needed == Needed::Always).map(|key| key.key);
        let entries = raw.entries();
        let said = entries.iter().flat_map(|(_, entries)| entries).filter(|(_, entry)| entry.is_some_and(|e| e.place != Place::Default));
        assert_eq!(said.map(|(key, _)| *key).collect::<Vec<_>>(), required.collect::<Vec<_>>());
    }

    #[test]
    fn the_origin_of_each_value_is_shown() {
        let mut problems = Vec::new();
        let mut raw = RawConfig::defaults();
        raw.read_file("[node]\ndir = \"/x\"\n", &mut problems);
        raw.read_environment([("KLUIS_LISTEN_QUIC".to_owned(), "127.0.0.1:1".to_owned())], &mut problems);
        let text = in_force(&raw, Path::new("kluis.toml"), true);
        assert!(text.contains("dir = \"/x\"  # kluis.toml:2"), "{text}");
        assert!(text.contains("quic = \"127.0.0.1:1\"  # $KLUIS_LISTEN_QUIC"), "{text}");
        assert!(text.contains("heartbeat = \"500ms\"  # default"), "{text}");
    }
}
