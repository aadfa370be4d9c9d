//! What a demo writes down: `demo.json` for programs and people, `processes.json` for `stop`.
//!
//! Owns: both forms, atomic replacement, the lock around changes. Not: what the processes do.
//! Holds: (1) `demo.json` is there exactly while the demo serves: written when it does, removed before it
//! stops; (2) a process is known by its id and its start time, so a number that was given to another
//! process meanwhile is never signalled; (3) a file is replaced whole or not at all.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use kluis_chunkstore::ids::{NodeId, SiteName};
use kluis_raft::model::cluster::NodeRole;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use url::Url;

use super::{layout::Settings, process::Process};
use crate::exit::ExitError;

/// `demo.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemoRecord {
    /// Addresses of the gateways, without a slash at the end.
    pub gateways: Vec<String>,
    /// CA that the gateways' and operators' certificates come from.
    pub ca_file: PathBuf,
    /// Issuer of the embedded identity provider.
    pub identity_provider: String,
    /// Who can sign in.
    pub people: Vec<PersonRecord>,
    /// The movable clock: GET and PUT.
    pub clock_url: String,
    /// The nodes, by id.
    pub nodes: Vec<NodeEntry>,
}

/// A synthetic person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonRecord {
    /// Full name.
    pub name: String,
    /// National number: well formed and nobody's.
    pub national_number: String,
    /// Roles that the provider tells of.
    pub roles: Vec<String>,
}

/// A node of a demo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its id, as `n1`.
    pub id: String,
    /// Its site.
    pub site: SiteName,
    /// Its process.
    pub pid: u32,
    /// What it does.
    pub roles: Vec<NodeRole>,
    /// Directories of its disks.
    pub disks: Vec<PathBuf>,
    /// Its operator interface.
    pub admin: Url,
}

/// `processes.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// The process that started the others and serves identity provider and clock.
    pub supervisor: Option<Process>,
    /// The nodes.
    pub nodes: BTreeMap<String, Process>,
}

impl DemoRecord {
    /// The record of a demo that serves.
    ///
    /// # Errors
    /// There is none.
    pub fn read(dir: &Path) -> Result<Self, ExitError> {
        let path = demo_file(dir);
        read_json(&path)?.ok_or_else(|| {
            ExitError::unreachable(
                format!("no demo serves in {}", dir.display()),
                format!("start one with `kluis demo --dir {}`", dir.display()),
            )
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), ExitError> {
        write_json(&demo_file(dir), self)
    }
}

impl Processes {
    /// The processes that were written down; none when there is no file.
    ///
    /// # Errors
    /// An unreadable file.
    pub fn read(dir: &Path) -> Result<Self, ExitError> {
        Ok(read_json(&processes_file(dir))?.unwrap_or_default())
    }

    /// Changes what is written down; changes of several processes come one after the other.
    ///
    /// # Errors
    /// An unreadable or unwritable file.
    pub fn change(dir: &Path, change: impl FnOnce(&mut Self)) -> Result<(), ExitError> {
        let path = dir.join("processes.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| ExitError::file("open", &path, &e))?;
        lock.lock().map_err(|e| ExitError::file("lock", &path, &e))?;
        let mut processes = Self::read(dir)?;
        change(&mut processes);
        write_json(&processes_file(dir), &processes)
    }

    /// Those that live, under the name by which people know them.
    pub fn alive(&self) -> Vec<(String, Process)> {
        let nodes = self.nodes.iter().map(|(id, process)| (id.clone(), *process));
        let supervisor = self.supervisor.map(|process| ("the supervisor".to_owned(), process));
        supervisor.into_iter().chain(nodes).filter(|(_, process)| process.is_alive()).collect()
    }
}

/// Writes down that a node runs as `process`, in both files.
///
/// # Errors
/// An unreadable or unwritable file.
pub fn note_node(dir: &Path, id: NodeId, process: Process) -> Result<(), ExitError> {
    // Under the lock of the one file the other is changed too: nodes may be started at the same moment.
    let mut noted = Ok(());
    Processes::change(dir, |processes| {
        processes.nodes.insert(id.to_string(), process);
        noted = note_in_record(dir, id, process);
    })?;
    noted
}

fn note_in_record(dir: &Path, id: NodeId, process: Process) -> Result<(), ExitError> {
    let Some(mut record) = read_json::<DemoRecord>(&demo_file(dir))? else { return Ok(()) };
    for node in record.nodes.iter_mut().filter(|n| n.id == id.to_string()) {
        node.pid = process.pid;
    }
    record.write(dir)
}

/// `demo.json` of a demo.
pub fn demo_file(dir: &Path) -> PathBuf {
    dir.join("demo.json")
}

fn processes_file(dir: &Path) -> PathBuf {
    dir.join("processes.json")
}

/// Where the operator's certificate and key of a demo are.
pub fn operator_dir(dir: &Path) -> PathBuf {
    dir.join("operator")
}

/// What the demo in a directory was made with, if there is one.
///
/// # Errors
/// An unreadable file.
pub fn settings(dir: &Path) -> Result<Option<Settings>, ExitError> {
    read_json(&dir.join("demo-settings.json"))
}

/// Writes down what a demo is made with.
///
/// # Errors
/// The file cannot be written.
pub fn write_settings(dir: &Path, settings: &Settings) -> Result<(), ExitError> {
    write_json(&dir.join("demo-settings.json"), settings)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ExitError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| ExitError::failed(format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ExitError::file("read", path, &e)),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ExitError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| ExitError::failed(format!("{}: {e}", path.display())))?;
    text.push(b'\n');
    replace(path, &text)
}

/// Puts `content` in the place of a file, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), ExitError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let write = || {
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|e| ExitError::file("write", path, &e))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn record() -> DemoRecord {
        DemoRecord {
            gateways: vec!["https://127.0.0.1:7112".into()],
            ca_file: "/d/ca.pem".into(),
            identity_provider: "http://127.0.0.1:7100".into(),
            people: vec![PersonRecord { name: "A B".into(), national_number: "11030495678".into(), roles: vec!["notary".into()] }],
            clock_url: "http://127.0.0.1:7101/clock".into(),
            nodes: vec![NodeEntry {
                id: "n1".into(),
                site: "dc1".parse().unwrap(),
                pid: 7,
                roles: vec![NodeRole::Metadata, NodeRole::Gateway],
                disks: vec!["/d/disks/n1-d1".into()],
                admin: "https://127.0.0.1:7111".parse().unwrap(),
            }],
        }
    }

    #[test]
    fn demo_json_has_the_promised_members_and_no_others() {
        let json = serde_json::to_value(record()).unwrap();
        let members: BTreeSet<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, BTreeSet::from(["ca_file", "clock_url", "gateways", "identity_provider", "nodes", "people"]));
        let node: BTreeSet<&str> = json["nodes"][0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(node, BTreeSet::from(["admin", "disks", "id", "pid", "roles", "site"]));
        assert_eq!(json["nodes"][0]["roles"][1], "gateway");
        assert_eq!(json["people"][0]["national_number"], "11030495678");
    }

    #[test]
    fn a_node_that_was_started_again_has_its_new_pid_in_both_files() {
        let dir = tempfile::tempdir().unwrap();
        record().write(dir.path()).unwrap();
        let process = Process { pid: 99, start_time: 5 };
        note_node(dir.path(), NodeId(1), process).unwrap();
        assert_eq!(DemoRecord::read(dir.path()).unwrap().nodes[0].pid, 99);
        assert_eq!(Processes::read(dir.path()).unwrap().nodes["n1"], process);
        note_node(dir.path(), NodeId(2), process).unwrap();
        assert_eq!(Processes::read(dir.path()).unwrap().nodes.len(), 2);
    }

    #[test]
    fn no_demo_is_said_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = DemoRecord::read(dir.path()).unwrap_err();
        assert_eq!(error.exit.code(), 3);
        assert!(error.advice.contains("kluis demo --dir"));
    }
}
