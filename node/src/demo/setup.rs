//! Making the nodes of a demo: with the commands and the operator interface that everybody uses.
//!
//! Owns: the order of steps, the nodes' configuration files. Not: the steps themselves.
//! Holds: (1) a step that was done is not done again: what was interrupted is taken up; (2) a node counts
//! as a member when its `kluis.toml` is there, which is written after it joined.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use kluis_chunkstore::env::Env;
use kluis_gateway::{
    api::offices::{NotaryLine, OfficeLine},
    keys::file::FileMasterKey,
};
use kluis_raft::model::cluster::NodeRole;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};
use url::Url;

use super::{
    identity::{self, CLIENT_ID, ENCRYPT_KEY, PROVIDER, SIGN_KEY},
    layout::{Layout, PlannedNode},
    process::Process,
    record,
};
use crate::{
    admin::offices::RegisterPiece,
    admin_client::AdminClient,
    cli::role_name,
    config::raw::quoted,
    exit::{Exit, ExitError},
    idp,
    options::{IssuedToken, Member, TokenOptions},
};

/// Time for one step (a node that starts, a token that is made) to succeed.
const STEP_DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A node's process, and the handle by which this process waits for it.
pub struct StartedNode {
    /// Which.
    pub node: PlannedNode,
    /// The handle.
    pub child: Child,
}

/// Makes the directories and keys that nodes share.
///
/// # Errors
/// Something cannot be written.
pub fn make_shared(layout: &Layout, env: &Env) -> Result<(), ExitError> {
    for name in ["nodes", "disks", "keys"] {
        let dir = layout.dir.join(name);
        fs::create_dir_all(&dir).map_err(|e| ExitError::file("make", &dir, &e))?;
    }
    let master = layout.key_file("master");
    if !master.exists() {
        FileMasterKey::create(&master, &*env.entropy).map_err(|e| ExitError::failed(format!("no master key was made: {e}")))?;
    }
    identity::make_keys(layout)
}

/// Whether a node is a member.
pub fn is_member(node: &PlannedNode) -> bool {
    node.config().exists()
}

/// Makes the first node, and with it the cluster.
///
/// # Errors
/// `kluis cluster init` failed.
pub async fn init(layout: &Layout, node: &PlannedNode) -> Result<(), ExitError> {
    let mut command = kluis()?;
    command.args(["--output", "json", "cluster", "init", "--name", "demo", "--site", node.site]);
    command.arg("--operator-dir").arg(record::operator_dir(&layout.dir));
    command.args(["--code", &layout.settings.code.to_string(), "--quota", &format!("{}B", layout.settings.quota_bytes)]);
    listen_args(&mut command, node);
    check_member(node, &run(command, None).await?)?;
    let ca = record::operator_dir(&layout.dir).join("ca.pem");
    let pem = fs::read(&ca).map_err(|e| ExitError::file("read", &ca, &e))?;
    record::replace(&layout.ca_file(), &pem)?;
    write_config(layout, node)
}

/// Makes another node a member, with a token from the operator interface.
///
/// # Errors
/// No token is given out, or `kluis node join` failed.
pub async fn join(layout: &Layout, admin: &AdminClient, node: &PlannedNode) -> Result<(), ExitError> {
    let site = node.site.parse().map_err(|_| ExitError::failed(format!("{} is no site", node.site)))?;
    let options = TokenOptions { site, roles: node.roles.clone(), lifetime_s: 600 };
    let issued: IssuedToken =
        patiently(&format!("a token for {}", node.id), async || crate::join::create_token(admin, &options).await).await?;
    let mut command = kluis()?;
    command.args(["--output", "json", "node", "join", "--token-file", "-"]);
    listen_args(&mut command, node);
    check_member(node, &run(command, Some(issued.token.as_bytes())).await?)?;
    write_config(layout, node)
}

/// Takes all disks into use, `disks` of them the first time.
///
/// # Errors
/// The plan is refused.
pub async fn apply_topology(admin: &AdminClient, disks: usize) -> Result<(), ExitError> {
    patiently("the topology", async || {
        let plan = admin.plan_topology().await?;
        if let Some(reason) = plan.refused {
            return Err(ExitError::unreachable(format!("not all disks are announced yet: {reason}"), ""));
        }
        if plan.current_version == 0 && plan.added.len() < disks {
            return Err(ExitError::unreachable(format!("{} of {disks} disks are announced yet", plan.added.len()), ""));
        }
        if plan.next_version != plan.current_version {
            admin.apply_topology(plan.next_version).await?;
        }
        Ok(())
    })
    .await
}

/// Two offices: one whose notary is among the demo's people, one that has none there.
///
/// # Errors
/// No gateway takes them in.
pub async fn import_offices(admin: &AdminClient) -> Result<(), ExitError> {
    let people = idp::demo_people();
    let notary = people.iter().find(|person| person.roles.iter().any(|role| role == "notary"));
    let notaries = || -> Vec<NotaryLine> {
        let line = |person: &idp::Person| NotaryLine {
            name: person.name.clone(),
            national_number: Some(person.national_number.clone()),
            suspended: false,
        };
        notary.map(line).into_iter().collect()
    };
    let other = || vec![NotaryLine { name: "Pieter Zegel".to_owned(), national_number: None, suspended: false }];
    let office = |number: &str, name: &str, address: &str, notaries: Vec<NotaryLine>| OfficeLine {
        register_number: number.to_owned(),
        name: name.to_owned(),
        address: address.to_owned(),
        notaries,
        successor_of: Vec::new(),
        closed: false,
    };
    patiently("the offices", async || {
        let offices = vec![
            office("DEMO-1", "Notariskantoor Akte", "Kerkstraat 1, 3000 Leuven", notaries()),
            office("DEMO-2", "Étude Zegel", "Rue du Sceau 2, 4000 Liège", other()),
        ];
        admin.import_offices(&RegisterPiece { offices }).await.map(|_| ())
    })
    .await
}

/// Starts a node. Its output goes to its log, and signals of this terminal do not reach it.
///
/// # Errors
/// The process cannot be started.
pub fn start(layout: &Layout, node: &PlannedNode) -> Result<StartedNode, ExitError> {
    let path = node.log();
    let log = fs::File::options().create(true).append(true).open(&path).map_err(|e| ExitError::file("write", &path, &e))?;
    let errors = log.try_clone().map_err(|e| ExitError::file("write", &path, &e))?;
    let mut command = kluis()?;
    command.args(["node", "run", "--config"]).arg(node.config());
    command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    let child = command.spawn().map_err(|e| ExitError::failed(format!("{} cannot be started: {e}", node.id)))?;
    let process = child.id().and_then(Process::of);
    let process = process.ok_or_else(|| ExitError::failed(format!("{} ended at once: see {}", node.id, path.display())))?;
    record::note_node(&layout.dir, node.id, process)?;
    Ok(StartedNode { node: node.clone(), child })
}

/// The operator interface of the first node that answers.
///
/// # Errors
/// The operator's credentials are missing.
pub fn admin(layout: &Layout) -> Result<AdminClient, ExitError> {
    let operator = record::operator_dir(&layout.dir);
    let addresses = layout.nodes.iter().filter(|n| is_member(n)).map(admin_url).collect::<Result<Vec<_>, _>>()?;
    AdminClient::new(addresses, &layout.ca_file(), &operator.join("cert.pem"), &operator.join("key.pem"))
}

/// Address of a node's operator interface.
///
/// # Errors
/// Never for a loopback address.
pub fn admin_url(node: &PlannedNode) -> Result<Url, ExitError> {
    Url::parse(&format!("https://{}", node.admin)).map_err(|e| ExitError::failed(format!("{} is no address: {e}", node.admin)))
}

/// Tries a step until it succeeds, is refused for good, or its time is up.
///
/// # Errors
/// The last failure.
pub async fn patiently<T>(what: &str, mut step: impl AsyncFnMut() -> Result<T, ExitError>) -> Result<T, ExitError> {
    let until = tokio::time::Instant::now() + STEP_DEADLINE;
    loop {
        match step().await {
            Ok(value) => return Ok(value),
            Err(error) if error.exit != Exit::Unreachable || tokio::time::Instant::now() >= until => {
                return Err(ExitError::new(error.exit, format!("{what}: {}", error.what), error.advice));
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn kluis() -> Result<Command, ExitError> {
    let program = std::env::current_exe().map_err(|e| ExitError::failed(format!("this program is not to be found: {e}")))?;
    let mut command = Command::new(program);
    // What a person set for the demo's commands or for a client is not meant for every node.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("KLUIS_") && n != "KLUIS_LOG") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

fn listen_args(command: &mut Command, node: &PlannedNode) {
    command.arg("--dir").arg(&node.dir);
    command.args(["--quic", &node.quic.to_string(), "--admin", &node.admin.to_string()]);
    if let Some(gateway) = node.gateway {
        command.args(["--gateway", &gateway.to_string()]);
    }
    for disk in &node.disks {
        command.arg("--disks").arg(disk);
    }
}

async fn run(mut command: Command, input: Option<&[u8]>) -> Result<Output, ExitError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| ExitError::failed(format!("a command cannot be started: {e}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends without reading says why itself.
        let _ = stdin.write_all(input.unwrap_or_default()).await;
    }
    let output = tokio::time::timeout(STEP_DEADLINE, child.wait_with_output()).await;
    let output = output.map_err(|_| ExitError::new(Exit::StillRunning, "a command did not end in time", ""))?;
    output.map_err(|e| ExitError::failed(format!("a command cannot be awaited: {e}")))
}

fn check_member(node: &PlannedNode, output: &Output) -> Result<(), ExitError> {
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(ExitError::failed(format!("{} did not become a member: {}", node.id, errors.trim())));
    }
    let member: Member = serde_json::from_slice(&output.stdout)
        .map_err(|e| ExitError::failed(format!("{} gave an answer of another form: {e}; {}", node.id, errors.trim())))?;
    if member.node == node.id {
        return Ok(());
    }
    Err(ExitError::failed(format!("{} became {}", node.id, member.node))
        .or_advice("an earlier attempt left half a member behind: remove the demo's directory and start again"))
}

fn write_config(layout: &Layout, node: &PlannedNode) -> Result<(), ExitError> {
    let text = with_settings(config(layout, node), &layout.settings.set)?;
    record::replace(&node.config(), text.as_bytes())
}

/// A configuration with what the demo was asked to set, over what it says already.
fn with_settings(text: String, set: &[(String, String)]) -> Result<String, ExitError> {
    if set.is_empty() {
        return Ok(text);
    }
    let failed = |e: &dyn std::fmt::Display| ExitError::failed(format!("no configuration was made: {e}"));
    let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| failed(&e))?;
    for (name, value) in set {
        let wrong = || ExitError::usage(format!("{name} is not of the form section.key"), "`kluis config example` lists them");
        let (section, key) = name.split_once('.').ok_or_else(wrong)?;
        let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        section.as_table_mut().ok_or_else(wrong)?.insert(key.to_owned(), toml::Value::String(value.clone()));
    }
    toml::to_string(&table).map_err(|e| failed(&e))
}

/// The configuration of a node.
fn config(layout: &Layout, node: &PlannedNode) -> String {
    let path = |path: &Path| quoted(&path.display().to_string());
    let key = |name: &str| path(&layout.key_file(name));
    let disks: Vec<String> = node.disks.iter().map(|d| path(d)).collect();
    let roles: Vec<&str> = node.roles.iter().map(|r| role_name(*r)).collect();
    let mut lines = vec![
        format!("# {}: {}. Written by kluis demo.", node.id, roles.join(", ")),
        "[node]".to_owned(),
        format!("dir = {}", path(&node.dir)),
        format!("site = {}", quoted(node.site)),
        "[listen]".to_owned(),
        format!("quic = {}", quoted(&node.quic.to_string())),
        format!("admin = {}", quoted(&node.admin.to_string())),
    ];
    if let Some(gateway) = node.gateway {
        lines.push(format!("gateway = {}", quoted(&gateway.to_string())));
    }
    lines.extend([
        "[disks]".to_owned(),
        format!("paths = [{}]", disks.join(", ")),
        // All disks of a demo are on one file system: what that has says nothing of their shares.
        "weight = 1".to_owned(),
        // A demo is watched by a person: what is given up or moved should be seen to go.
        "[reconcile]".to_owned(),
        "interval = \"5s\"".to_owned(),
        "grace = \"60s\"".to_owned(),
        "[clock]".to_owned(),
        format!("offset_file = {}", path(&layout.clock_file())),
        "[demo]".to_owned(),
        "embedded = true".to_owned(),
        "[log]".to_owned(),
        "format = \"json\"".to_owned(),
    ]);
    if let Some(gateway) = node.gateway {
        lines.extend([
            "[keys]".to_owned(),
            "master = \"file\"".to_owned(),
            format!("file = {}", key("master")),
            "[gateway]".to_owned(),
            format!("public_url = {}", quoted(&format!("https://{gateway}"))),
            // One person at one machine opens many connections here.
            "connections_per_address = 0".to_owned(),
            "[[gateway.identity]]".to_owned(),
            format!("name = {}", quoted(PROVIDER)),
            format!("issuer = {}", quoted(&identity::issuer(layout))),
            format!("client_id = {}", quoted(CLIENT_ID)),
            format!("client_key_file = {}", key(SIGN_KEY)),
            format!("encryption_key_file = {}", key(ENCRYPT_KEY)),
            format!("national_number_claim = {}", quoted(idp::NATIONAL_NUMBER_CLAIM)),
            format!("roles_claim = {}", quoted(idp::ROLES_CLAIM)),
            format!("acr_values = [{}]", quoted(idp::ACR_ADVANCED)),
        ]);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Directories of a node's disks, as `demo.json` lists them.
pub fn disks(node: &PlannedNode) -> Vec<PathBuf> {
    if node.roles.contains(&NodeRole::Chunk) { node.disks.clone() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use kluis_chunkstore::code::Code;

    use super::*;
    use crate::{config::Config, demo::layout::Settings};

    #[test]
    fn the_written_configurations_pass_the_check() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            base_port: 7100,
            nodes_per_site: 3,
            disks_per_node: 2,
            code: Code::STANDARD,
            quota_bytes: 1_000_000_000,
            set: Vec::new(),
        };
        let layout = Layout::new(dir.path(), settings).unwrap();
        fs::create_dir_all(dir.path().join("keys")).unwrap();
        for name in ["master", SIGN_KEY, ENCRYPT_KEY] {
            fs::write(layout.key_file(name), "x").unwrap();
            fs::set_permissions(layout.key_file(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        for node in &layout.nodes {
            fs::create_dir_all(&node.dir).unwrap();
            write_config(&layout, node).unwrap();
            let config = Config::load(&node.config(), []).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(config.listen.quic, node.quic);
            assert_eq!(config.disks.paths, node.disks);
            assert!(config.demo && config.clock_offset_file == Some(layout.clock_file()));
            assert_eq!(config.gateway.is_some(), node.gateway.is_some());
            if let Some(gateway) = config.gateway {
                assert_eq!(gateway.connections_per_address, None);
                assert_eq!(gateway.identity[0].name, PROVIDER);
            }
        }
    }

    #[test]
    fn what_is_set_goes_over_what_is_there_and_leaves_the_rest() {
        let set = [("reconcile.grace", "2s"), ("disks.weight", "7")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = "[disks]\nweight = 1\n[gateway]\npublic_url = \"x\"\n[[gateway.identity]]\nname = \"i\"\n".to_owned();
        let config: toml::Table = with_settings(text.clone(), &set).unwrap().parse().unwrap();
        assert_eq!(config["reconcile"]["grace"].as_str(), Some("2s"));
        assert_eq!(config["disks"]["weight"].as_str(), Some("7"));
        assert_eq!(config["gateway"]["identity"][0]["name"].as_str(), Some("i"));
        assert_eq!(config["gateway"]["public_url"].as_str(), Some("x"), "what is beside a list of tables stays there");
        assert_eq!(with_settings(text.clone(), &[]).unwrap(), text);
        assert_eq!(with_settings(text, &[("weight".to_owned(), "7".to_owned())]).unwrap_err().exit.code(), 2);
    }

    #[test]
    fn a_member_with_another_id_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            base_port: 7100,
            nodes_per_site: 1,
            disks_per_node: 3,
            code: Code::STANDARD,
            quota_bytes: 1_000_000_000,
            set: Vec::new(),
        };
        let layout = Layout::new(dir.path(), settings).unwrap();
        // The form that `--output json` prints is the form that is read here.
        let member = Member {
            cluster: kluis_chunkstore::ids::ClusterId(1),
            cluster_name: "demo".into(),
            node: kluis_chunkstore::ids::NodeId(1),
            site: "dc1".parse().unwrap(),
            roles: vec![NodeRole::Chunk],
        };
        let status = std::os::unix::process::ExitStatusExt::from_raw(0);
        let printed = Output { status, stdout: serde_json::to_vec(&member).unwrap(), stderr: Vec::new() };
        assert!(check_member(&layout.nodes[0], &printed).is_ok());
        assert!(check_member(&layout.nodes[1], &printed).is_err());
    }
}
