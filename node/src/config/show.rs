//! The configuration as text for people: an example file with every key, and what is in force from where.
//!
//! Owns: the two renderings. Not: files, flags, checks.
//! Holds: the example names every key of the schema and, its comments removed, passes the check of forms.

use std::path::Path;

use super::{
    Place,
    raw::{RawConfig, SECTIONS},
    schema::{RawIdentity, SectionSpec},
};

/// A file with every key: defaults as comments, the rest with an example value.
pub fn example() -> String {
    let mut out = String::from(
        "# kluis.toml: every key of a node's configuration.\n\
         # A line that begins with `#` and a key shows its default. KLUIS_SECTION_KEY in the environment goes over\n\
         # this file, `--set section.key=value` over both. Sizes and durations carry their unit.\n",
    );
    for section in SECTIONS {
        out.push_str(&format!("\n#{}\n[{}]\n", section.doc.trim_end().replace('\n', "\n#"), section.name));
        push_keys(&mut out, section);
        if section.name == "gateway" {
            out.push_str(&format!("\n#{}\n[[gateway.identity]]\n", RawIdentity::SPEC.doc.trim_end()));
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
        if key.default.is_empty() {
            out.push_str(&format!("{} = {}\n", key.key, key.example));
        } else {
            out.push_str(&format!("#{} = {}\n", key.key, key.default));
        }
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

    #[test]
    fn the_example_names_every_key_and_has_the_right_forms() {
        let text = example();
        let mut problems = Vec::new();
        let mut raw = RawConfig::defaults();
        raw.read_file(&text, &mut problems);
        assert!(problems.is_empty(), "{problems:?}\n{text}");
        assert_eq!(raw.identity.len(), 1);
        for section in SECTIONS.into_iter().chain([&RawIdentity::SPEC]) {
            for key in section.keys {
                assert!(text.contains(&format!("{} = ", key.key)), "{}.{}", section.name, key.key);
                assert!(!key.default.is_empty() || !key.example.is_empty(), "{}.{} has neither default nor example", section.name, key.key);
            }
        }
        for (_, entries) in raw.entries() {
            for (key, entry) in entries {
                assert!(entry.is_some(), "{key} has a value in the example");
            }
        }
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
