//! The rules of the house, checked: who may import whom, which folders there are, what no file may hold.
//!
//! Owns: rules about the source as text and as packages. Not: formatting and lints (rustfmt, clippy).
//! Holds: (1) nothing here needs a network or a build; (2) every rule names the file that breaks it and
//! says what to do; (3) the list of long files only gets shorter.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Top-level folders of the project, and no others (hidden ones hold tools' settings).
const FOLDERS: [&str; 7] = ["bench", "chunkstore", "deploy", "gateway", "node", "raft", "tests"];
/// Folders of code.
const CODE: [&str; 6] = ["bench", "chunkstore", "gateway", "node", "raft", "tests"];
/// Files that a newcomer looks for.
const ROOT_FILES: [&str; 8] =
    ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "DECISIONS.md", "LICENSE", "Makefile", "README.md", "deny.toml"];
/// What each package may import, besides what everybody may: nothing. `tests` and `bench` may import all of these.
const IMPORTS: [(&str, &[&str]); 4] = [
    ("kluis-chunkstore", &[]),
    ("kluis-raft", &["kluis-chunkstore"]),
    ("kluis-gateway", &["kluis-chunkstore", "kluis-raft"]),
    ("kluis-node", &["kluis-chunkstore", "kluis-raft", "kluis-gateway"]),
];
/// What the fuzz crate may depend on: it stands outside the workspace, so nothing else looks at it.
const FUZZ_DEPENDENCIES: [&str; 2] = ["kluis-tests", "libfuzzer-sys"];
/// Packages that turn features of the others on: the roof, and what tests the whole.
const MAY_TURN_FEATURES_ON: [&str; 3] = ["kluis-node", "kluis-tests", "kluis-bench"];
/// Lines from which on a file probably holds two ideas.
const LINES_MAX: usize = 700;
/// Longer files that exist, with the lines they may have. Never add one, never raise one.
const LONG_FILES: [(&str, usize); 1] = [("gateway/src/api/tests.rs", 860)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

/// Names that the version control leaves out, at the root.
fn ignored(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join(".gitignore")).unwrap();
    text.lines().filter_map(|l| l.strip_prefix('/')).map(|l| l.trim_end_matches('/').to_owned()).collect()
}

/// Every file of the project, as a path from its root, with what the version control ignores left out.
fn files() -> Vec<String> {
    let root = root();
    let ignored = ignored(&root);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().expect("file names are UTF-8").to_owned();
            // A demo that somebody keeps inside the clone is not part of the project.
            let left_out = name == ".git" || ignored.contains(&name) || path.join("demo-settings.json").exists();
            if left_out || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<(String, String)> {
    let root = root();
    let names =
        files().into_iter().filter(|name| name.ends_with(".rs") && CODE.iter().any(|folder| name.starts_with(&format!("{folder}/"))));
    let found: Vec<(String, String)> =
        names.map(|name| (name.clone(), fs::read_to_string(root.join(&name)).expect("source is UTF-8"))).collect();
    assert!(found.len() > 100, "only {} Rust files were found: the search is broken", found.len());
    found
}

fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}\n  {}", broken.join("\n  "));
}

fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"]).arg(root().join("Cargo.toml"));
    let output = command.output().expect("cargo can be started");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Dependencies on packages of the workspace.
fn own_dependencies(package: &Value) -> Vec<&Value> {
    package["dependencies"].as_array().unwrap().iter().filter(|d| d["name"].as_str().unwrap().starts_with("kluis-")).collect()
}

#[test]
fn imports_run_one_way() {
    let packages = packages();
    let mut names: Vec<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["kluis-bench", "kluis-chunkstore", "kluis-gateway", "kluis-node", "kluis-raft", "kluis-tests"]);
    let mut broken = Vec::new();
    let mut edges = 0;
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        for dependency in own_dependencies(package) {
            edges += 1;
            let on = dependency["name"].as_str().unwrap();
            let allowed = match IMPORTS.iter().find(|(importer, _)| *importer == name) {
                Some((_, allowed)) => allowed.contains(&on),
                None => IMPORTS.iter().any(|(below, _)| *below == on),
            };
            if !allowed {
                broken.push(format!("{name} imports {on}"));
            }
        }
    }
    assert!(edges >= 6, "only {edges} imports were found: the search is broken");
    assert_none(&broken, "chunkstore <- raft <- gateway <- node, and nobody imports tests or bench:");
}

#[test]
fn only_the_roof_turns_features_on() {
    let mut broken = Vec::new();
    for package in &packages() {
        let name = package["name"].as_str().unwrap();
        if package["features"]["default"].as_array().is_some_and(|on| !on.is_empty()) {
            broken.push(format!("{name} has default features: what is on by default cannot be left out"));
        }
        if MAY_TURN_FEATURES_ON.contains(&name) {
            continue;
        }
        for dependency in own_dependencies(package).into_iter().filter(|d| d["kind"].as_str() != Some("dev")) {
            let on = &dependency["features"];
            if on.as_array().is_some_and(|on| !on.is_empty()) {
                broken.push(format!("{name} turns {on} of {} on", dependency["name"]));
            }
        }
    }
    assert_none(&broken, "below the roof everything is pure until node turns disk, net or consensus on:");
}

#[test]
fn the_fuzz_crate_is_only_a_way_in() {
    let inside: Vec<String> = files().into_iter().filter_map(|name| name.strip_prefix("tests/fuzz/").map(str::to_owned)).collect();
    assert!(inside.len() > 2, "only {} files were found: the search is broken", inside.len());
    let foreign: Vec<String> = inside
        .into_iter()
        .filter(|name| !matches!(name.as_str(), "Cargo.toml" | "fuzz_targets/any.rs"))
        .filter(|name| !(name.starts_with("dictionaries/") && name.ends_with(".dict")))
        .collect();
    assert_none(&foreign, "targets, seeds and properties are in tests/src/fuzz; corpora and findings in the target directory:");
    let manifest: toml::Table = fs::read_to_string(root().join("tests/fuzz/Cargo.toml")).unwrap().parse().unwrap();
    let dependencies: Vec<&str> = manifest["dependencies"].as_table().unwrap().keys().map(String::as_str).collect();
    assert_eq!(dependencies, FUZZ_DEPENDENCIES);
    assert!(manifest.contains_key("workspace"), "it must be its own workspace: building Kluis needs no libFuzzer");
}

#[test]
fn the_folders_are_the_fixed_ones() {
    let root = root();
    let ignored = ignored(&root);
    let mut folders: Vec<String> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !path.join("demo-settings.json").exists())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !name.starts_with('.') && !ignored.contains(name))
        .collect();
    folders.sort();
    assert_eq!(folders, FOLDERS, "a new top-level folder needs a decision first");
    let missing: Vec<String> = ROOT_FILES.iter().filter(|name| !root.join(name).is_file()).map(ToString::to_string).collect();
    assert_none(&missing, "files that a newcomer looks for are missing:");
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    let broken: Vec<String> = rust_files().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name).collect();
    assert_none(&broken, "a file opens with `//!`: what it is, what it owns, what holds (see CONTRIBUTING.md):");
}

/// The known bugs that show what the simulation finds (`make planted`) are a change of the code as it is.
#[test]
fn the_planted_bugs_still_fit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new("git").args(["apply", "--check", "tests/planted/bugs.diff"]).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn nothing_is_left_over() {
    // Put together here, so that this file does not find itself.
    let markers: Vec<String> = [["to", "do!("], ["unimpl", "emented!("], ["db", "g!("], ["FIX", "ME"], ["XX", "X"], ["TO", "DO"]]
        .iter()
        .map(|m| m.concat())
        .collect();
    let mut broken = Vec::new();
    for (name, text) in rust_files() {
        for (number, line) in text.lines().enumerate() {
            for marker in markers.iter().filter(|marker| line.contains(marker.as_str())) {
                broken.push(format!("{name}:{}: {marker}", number + 1));
            }
        }
    }
    assert_none(&broken, "finish it, or write an issue:");
}

#[test]
fn the_world_comes_in_through_the_environment() {
    let calls: Vec<String> = [["SystemTime", "::now"], ["Utc", "::now"], ["Timestamp", "::now"], ["thread", "::sleep"], ["OsRng", ""]]
        .iter()
        .map(|c| c.concat())
        .collect();
    let may =
        |name: &str| name == "chunkstore/src/env_real.rs" || name.starts_with("bench/") || name.split('/').any(|part| part == "tests");
    let mut broken = Vec::new();
    for (name, text) in rust_files().into_iter().filter(|(name, _)| !may(name)) {
        for (number, line) in text.lines().enumerate() {
            for call in calls.iter().filter(|call| line.contains(call.as_str())) {
                broken.push(format!("{name}:{}: {call}", number + 1));
            }
        }
    }
    assert_none(&broken, "clock and randomness come from chunkstore::env::Env, pauses from tokio::time:");
}

#[test]
fn ids_of_chunks_are_made_where_they_are_defined() {
    let mut broken = Vec::new();
    // What reads them from bytes writes them out, and so may tests.
    for (name, text) in rust_files().into_iter().filter(|(name, _)| !name.starts_with("chunkstore/") && !name.starts_with("tests/")) {
        for (number, _) in text.lines().enumerate().filter(|(_, line)| line.contains("ChunkId {")) {
            broken.push(format!("{name}:{}", number + 1));
        }
    }
    assert_none(&broken, "an id of a chunk holds its attempt: take it from Blob::chunk, ChunkId::of or ChunkId::tail:");
}

#[test]
fn no_file_knows_the_machine_of_its_author() {
    let homes: Vec<String> = [["/ho", "me/"], ["/ro", "ot/"], ["/Us", "ers/"]].iter().map(|h| h.concat()).collect();
    let root = root();
    let mut broken = Vec::new();
    for name in files() {
        // What is not text is a fixture.
        let Ok(text) = fs::read_to_string(root.join(&name)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for home in homes.iter().filter(|home| line.contains(home.as_str())) {
                broken.push(format!("{name}:{}: {home}", number + 1));
            }
        }
    }
    assert_none(&broken, "paths of one machine work on no other:");
}

#[test]
fn long_files_only_get_shorter() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for (name, text) in rust_files() {
        let lines = text.lines().count();
        match LONG_FILES.iter().find(|(long, _)| *long == name) {
            Some((_, most)) => {
                seen += 1;
                if lines > *most {
                    broken.push(format!("{name}: {lines} lines, may have {most}"));
                } else if lines <= LINES_MAX {
                    broken.push(format!("{name}: {lines} lines: take it off LONG_FILES"));
                }
            }
            None if lines > LINES_MAX => broken.push(format!("{name}: {lines} lines, may have {LINES_MAX}")),
            None => {}
        }
    }
    assert_eq!(seen, LONG_FILES.len(), "LONG_FILES names a file that is gone");
    assert_none(&broken, "one idea a file:");
}

#[test]
fn every_file_is_part_of_a_crate() {
    let all = rust_files();
    let text_of = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str());
    let mut broken = Vec::new();
    for (name, _) in all.iter().filter(|(name, _)| name.contains("/src/")) {
        let (folder, file) = name.rsplit_once('/').unwrap();
        if matches!(file, "lib.rs" | "main.rs") || folder.ends_with("/src/bin") {
            continue;
        }
        // `a/b.rs` and `a/b/mod.rs` are both declared one level up, in `a` or beside it.
        let (module, home) = match file {
            "mod.rs" => (folder.rsplit_once('/').unwrap().1, folder.rsplit_once('/').unwrap().0),
            file => (file.trim_end_matches(".rs"), folder),
        };
        let parents = [format!("{home}/mod.rs"), format!("{home}/lib.rs"), format!("{home}/main.rs"), format!("{home}.rs")];
        let declared = format!("mod {module};");
        let by_name = parents.iter().filter_map(|parent| text_of(parent)).any(|text| text.contains(&declared));
        let by_path = || all.iter().any(|(_, text)| text.contains(&format!("/{file}\"]")) || text.contains(&format!("\"{file}\"]")));
        if !by_name && !by_path() {
            broken.push(name.clone());
        }
    }
    assert_none(&broken, "no module declares these files, so nothing compiles them:");
}

#[test]
fn what_the_documents_name_exists() {
    let root = root();
    let mut broken = Vec::new();
    let mut named = 0;
    for document in files().into_iter().filter(|name| name.ends_with(".md")) {
        let text = fs::read_to_string(root.join(&document)).unwrap();
        // Odd pieces between backticks are code.
        for code in text.split('`').skip(1).step_by(2) {
            let is_path = FOLDERS.iter().any(|folder| code.starts_with(&format!("{folder}/")));
            if !is_path || code.contains(|c: char| c.is_whitespace() || "*{}<>".contains(c)) {
                continue;
            }
            named += 1;
            if !root.join(code).exists() {
                broken.push(format!("{document}: {code}"));
            }
        }
    }
    assert!(named > 20, "only {named} paths were found: the search is broken");
    assert_none(&broken, "documents name files that are not there:");
}
